//! The queues that a member holds: taking them up, giving them up, committing how far they are.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::QueueOffset;
use castmq_protocol::native::request::{
    Filter, GroupMode, QueuePosition, Subscribe, TopicAlias, TopicQueue,
};
use castmq_protocol::native::{ErrorCode, Request, Response};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::dispatcher::QueueKey;
use super::member::{Command, Destination, Held, Membership};
use super::tracker::Assigned;
use super::worker::{ReturnRule, Source};
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::message::{Origin, Queue};

/// Handlers that hold up giving a queue up are not warned about more often.
const SHORTEST_WARNING: Duration = Duration::from_secs(1);

fn not_owner(error: &Error) -> bool {
    error.code() == Some(ErrorCode::NotOwner)
}

impl Membership {
    /// Takes a queue up, trying until it works or the queue is taken away.
    pub(super) async fn take_up(
        &self,
        queue: &TopicQueue,
        assigned: Assigned,
        commands: &mut mpsc::UnboundedReceiver<Command>,
    ) {
        if self.table.lock().held.contains_key(queue) {
            // A broker that lost its memory tells again what is known here.
            return;
        }
        let mut backoff = Backoff::default();
        loop {
            let filtered_here = self.core.filters_here();
            let Err(error) = self.subscribe(queue, assigned).await else {
                return;
            };
            if not_owner(&error) {
                return;
            }
            self.session.forget_if_gone(&queue.topic, &error);
            if self.core.may_filter_here(&error, filtered_here) {
                continue;
            }
            tracing::warn!(%error, topic = %queue.topic, queue = %queue.queue, "cannot take up a queue");
            tokio::select! {
                () = sleep(backoff.after_failure(fastrand::f64())) => {}
                command = commands.recv() => match command {
                    Some(Command::GiveUp) | None => return self.give_up(queue).await,
                    Some(Command::TakeUp(_)) => {}
                }
            }
        }
    }

    async fn subscribe(&self, queue: &TopicQueue, assigned: Assigned) -> Result<()> {
        let core = &self.core;
        let name = Queue {
            topic: queue.topic.as_str().into(),
            broker: self.session.broker.clone(),
            id: queue.queue,
        };
        // Handlers of an earlier membership may still have messages of this queue.
        core.wait_for_order(&name).await;
        let topic = self.session.topic(&name.topic).await?.alias;
        let offset = core.start_of(&name, assigned, self.session.address());
        let wanted = core.filter(&queue.topic);
        let (key, subscription) = self.expect(name.clone(), topic, offset, &wanted);
        let request = Request::Subscribe(Subscribe {
            subscription,
            group: self.group,
            topic,
            queue: queue.queue,
            offset,
            filter: core.filter_for_broker(&wanted),
            credit_messages: core.window.messages,
            credit_bytes: core.window.bytes,
        });
        let range = match self
            .session
            .ask(request)
            .await
            .map(|reply| reply.header.response)
        {
            Ok(Response::Subscribed(range)) => range,
            other => {
                self.table.lock().destinations.remove(&subscription);
                core.messages.remove(key);
                other?;
                return Err(self.session.unexpected("subscribe"));
            }
        };
        core.messages.start_at(key, range.offset);
        core.progress.lock().remove(&name);
        let held = Held {
            key,
            topic,
            subscription,
            name,
            assigned,
            committed: None,
        };
        self.table.lock().held.insert(queue.clone(), held.clone());
        if range.offset > assigned.offset {
            // The broker has not heard how far this consumer is.
            let moved = vec![(queue.clone(), held)];
            if let Err(error) = self.commit(moved).await {
                tracing::debug!(%error, %queue.queue, "offset could not be committed yet");
            }
        }
        Ok(())
    }

    /// Makes a place for messages before they are asked for: the first may come with the answer.
    fn expect(
        &self,
        name: Queue,
        topic: TopicAlias,
        offset: QueueOffset,
        wanted: &Filter,
    ) -> (QueueKey, u32) {
        let origin = Arc::new(Origin {
            topic: name.topic.clone(),
            broker: name.broker.clone(),
        });
        let mut table = self.table.lock();
        let subscription = table.next_subscription;
        table.next_subscription += 1;
        let source = Arc::new(Source {
            session: self.session.clone(),
            lease: self.lease.clone(),
            subscription,
            group: self.group,
            topic,
            returns: ReturnRule {
                to_broker: self.core.mode() == GroupMode::Clustering,
                order: self.core.order,
                max_attempts: self.core.max_attempts,
            },
        });
        let key = self.core.messages.add(name, offset, source.clone());
        let tags = match wanted {
            Filter::Tags(tags) => tags.as_slice().into(),
            _ => Arc::from([]),
        };
        let destination = Destination {
            key,
            origin,
            source,
            tags,
        };
        table.destinations.insert(subscription, destination);
        (key, subscription)
    }

    /// Gives a queue up: handlers that run finish; then its offset is committed, and another member may have it.
    pub(super) async fn give_up(&self, queue: &TopicQueue) {
        let held = self.table.lock().held.get(queue).cloned();
        if let Some(held) = held {
            self.core.messages.drain(held.key);
            let most = self.core.drain_timeout.max(SHORTEST_WARNING);
            while timeout(most, self.core.messages.drained(held.key))
                .await
                .is_err()
            {
                tracing::warn!(queue = %held.name, "handlers still run, and keep the queue from another member");
            }
            if let Err(error) = self.commit(vec![(queue.clone(), held.clone())]).await {
                tracing::warn!(%error, queue = %held.name, "offset could not be committed");
            }
            let subscription = held.subscription;
            self.forget(queue);
            if let Err(error) = self
                .session
                .ask(Request::Unsubscribe { subscription })
                .await
            {
                tracing::debug!(%error, "subscription could not be ended");
            }
        }
        let release = Request::ReleaseQueues {
            group: self.group,
            queues: vec![queue.clone()],
        };
        if let Err(error) = self.session.ask(release).await {
            tracing::debug!(%error, "queue could not be released, its lease will end");
        }
    }

    fn forget(&self, queue: &TopicQueue) {
        let mut table = self.table.lock();
        if let Some(held) = table.held.remove(queue) {
            table.destinations.remove(&held.subscription);
            self.core.messages.remove(held.key);
        }
    }

    pub(super) fn committing(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            if let Err(error) = self.commit_all().await {
                tracing::warn!(%error, group = %self.core.group, "offsets could not be committed");
            }
        })
    }

    pub(super) async fn commit_all(&self) -> Result<()> {
        let held = self.table.lock().held.clone();
        self.commit(held.into_iter().collect()).await
    }

    /// Commits the queues that are further than what was committed.
    pub(super) async fn commit(&self, queues: Vec<(TopicQueue, Held)>) -> Result<()> {
        let moved: Vec<_> = queues
            .into_iter()
            .filter_map(|(queue, held)| {
                let offset = self.core.messages.committable(held.key)?;
                (held.committed != Some(offset)).then_some((queue, held, offset))
            })
            .collect();
        if moved.is_empty() {
            return Ok(());
        }
        if let Some(offsets) = &self.core.offsets {
            for (_, held, offset) in &moved {
                offsets.set(held.name.clone(), *offset);
            }
            offsets.save().await?;
            self.note_committed(&moved);
            return Ok(());
        }
        match self.commit_at_broker(&moved).await {
            // One of them is the reason, and the others need not suffer for it.
            Err(error) if error.code().is_some() => self.commit_one_by_one(&moved).await,
            Err(error) => Err(error),
            Ok(()) => {
                self.note_committed(&moved);
                Ok(())
            }
        }
    }

    async fn commit_at_broker(&self, moved: &[(TopicQueue, Held, QueueOffset)]) -> Result<()> {
        let position = |(queue, held, offset): &(TopicQueue, Held, QueueOffset)| QueuePosition {
            topic: held.topic,
            queue: queue.queue,
            offset: *offset,
        };
        let request = Request::CommitOffsets {
            group: self.group,
            offsets: moved.iter().map(position).collect(),
        };
        match self.session.ask(request).await?.header.response {
            Response::Done => Ok(()),
            _ => Err(self.session.unexpected("commit offsets")),
        }
    }

    /// Commits what can be. A queue that turns out to be another's is dropped.
    async fn commit_one_by_one(&self, moved: &[(TopicQueue, Held, QueueOffset)]) -> Result<()> {
        let mut result = Ok(());
        for one in moved {
            let (queue, held, _) = one;
            let one = std::slice::from_ref(one);
            match self.commit_at_broker(one).await {
                Ok(()) => self.note_committed(one),
                Err(error) if not_owner(&error) => {
                    tracing::warn!(queue = %held.name, "queue belongs to another member");
                    self.forget(queue);
                }
                Err(error) if error.code().is_some() => result = Err(error),
                Err(error) => return Err(error),
            }
        }
        result
    }

    fn note_committed(&self, moved: &[(TopicQueue, Held, QueueOffset)]) {
        let mut table = self.table.lock();
        for (queue, held, offset) in moved {
            if let Some(current) = table.held.get_mut(queue)
                && current.key == held.key
            {
                current.committed = Some(*offset);
            }
        }
    }
}
