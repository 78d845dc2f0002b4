//! Finds the queue actors that are awake, and wakes others.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use castmq_protocol::model::{QueueId, TopicName};
use castmq_storage::consume_queue::ConsumeQueue;
use parking_lot::RwLock;

use super::fetch::Fetch;
use super::queue::{Grown, Queue};
use crate::broker::context::BrokerContext;
use crate::supervision::{ActorRef, Child, Failure};

/// A queue of a topic.
pub(crate) type QueueKey = (TopicName, QueueId);

/// The queues that are awake.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    awake: RwLock<HashMap<QueueKey, ActorRef<Queue>>>,
    count: AtomicUsize,
}

impl Queues {
    /// The actor of a queue, started when it sleeps.
    pub(crate) fn wake(
        &self,
        context: &Arc<BrokerContext>,
        key: &QueueKey,
    ) -> Result<ActorRef<Queue>, Failure> {
        if let Some(queue) = self.awake.read().get(key)
            && queue.is_open()
        {
            return Ok(queue.clone());
        }
        let mut awake = self.awake.write();
        if let Some(queue) = awake.get(key)
            && queue.is_open()
        {
            return Ok(queue.clone());
        }
        let supervisor = context.actors()?.queues.clone();
        let child = {
            let (context, key) = (context.clone(), key.clone());
            let number = self.count.fetch_add(1, Ordering::Relaxed);
            // The number keeps the name apart from that of an actor which is still going to sleep.
            let name = format!("{}/{}#{number}", key.0, key.1);
            Child::new(name, move || Queue::new(context.clone(), key.clone())).transient()
        };
        let queue = child.actor_ref();
        awake.insert(key.clone(), queue.clone());
        drop(supervisor.start_on(&context.data_stage, child));
        Ok(queue)
    }

    /// Asks a queue for messages. Whoever is to be answered hears that the fetch is lost when it is not taken.
    pub(crate) fn fetch(
        &self,
        context: &Arc<BrokerContext>,
        key: &QueueKey,
        fetch: Fetch,
    ) -> Result<(), Failure> {
        self.wake(context, key)?.tell(fetch);
        Ok(())
    }

    /// Tells a queue's actor, if it is awake, that there are new messages.
    pub(crate) fn announce(&self, queue: &ConsumeQueue) {
        let awake = self.awake.read();
        if awake.is_empty() {
            return;
        }
        // A borrowed key would need a type of its own; the clone of a name is one atomic addition.
        if let Some(actor) = awake.get(&(queue.topic().clone(), queue.id())) {
            actor.tell(Grown);
        }
    }

    /// Tells all queues that are awake.
    pub(crate) fn announce_all(&self) {
        for actor in self.awake.read().values() {
            actor.tell(Grown);
        }
    }

    /// A queue goes to sleep.
    pub(crate) fn forget(&self, key: &QueueKey, queue: &ActorRef<Queue>) {
        let mut awake = self.awake.write();
        if awake.get(key) == Some(queue) {
            awake.remove(key);
        }
    }
}
