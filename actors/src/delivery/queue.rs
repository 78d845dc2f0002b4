//! queue: a queue of a topic with the consumers that wait for its next message.
//!
//! It is awake while somebody reads from it; the messages themselves are recorded by the dispatcher, awake or not.

use std::sync::Arc;
use std::time::Duration;

use castmq_storage::consume_queue::ConsumeQueue;
use castmq_storage::disk::Wait;
use serde::Serialize;
use tokio::time::Instant;

use super::cold_reader::{ColdFetch, ColdReader};
use super::fetch::{Fetch, Patience, Read, read};
use super::queues::QueueKey;
use crate::broker::context::BrokerContext;
use crate::supervision::{ActorRef, Cast, Ctx, Failure, Receive};

/// How often fetches that have waited long enough are answered.
const TICK: Duration = Duration::from_millis(100);

/// A queue without readers for this long goes to sleep.
const SLEEP_AFTER: Duration = Duration::from_secs(60);

/// The queue has new messages.
#[derive(Debug)]
pub(crate) struct Grown;

/// See the module.
pub(crate) struct Queue {
    context: Arc<BrokerContext>,
    key: QueueKey,
    queue: Arc<ConsumeQueue>,
    cold_reader: ActorRef<ColdReader>,
    waiting: Vec<Fetch>,
    last_used: Instant,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct QueueState {
    min_offset: u64,
    max_offset: u64,
    waiting_fetches: usize,
}

impl Queue {
    pub(crate) fn new(context: Arc<BrokerContext>, key: QueueKey) -> Result<Self, Failure> {
        Ok(Self {
            queue: context.store.queues.queue(&key.0, key.1),
            cold_reader: context.actors()?.cold_reader.clone(),
            waiting: Vec::new(),
            last_used: Instant::now(),
            context,
            key,
        })
    }

    fn serve(&mut self, fetch: Fetch) {
        let log = &self.context.store.log;
        let clock = &self.context.clock;
        let end = self.context.hidden.end_of(&self.queue);
        match read(log, &self.queue, end, &fetch.wanted, Wait::Never, clock) {
            Ok(Read::Done(fetched)) => fetch.reply.send(fetched),
            Ok(Read::Empty(_)) if fetch.patience != Patience::None => self.waiting.push(fetch),
            Ok(Read::Empty(nothing)) => fetch.reply.send(nothing),
            Ok(Read::Cold) => {
                let queue = self.queue.clone();
                self.cold_reader.tell(ColdFetch { queue, end, fetch });
            }
            // Dropping the fetch tells the reader to ask again; the queue may be another one by then.
            Err(error) => {
                tracing::warn!(topic = %self.key.0, queue = %self.key.1, %error, "a queue cannot be read");
            }
        }
    }

    fn tick(&mut self, ctx: &mut Ctx<'_, Self>) {
        let now = Instant::now();
        // A client may go, and have said that it waits for ever.
        self.waiting.retain(|fetch| fetch.reply.is_awaited());
        let is_due =
            |fetch: &mut Fetch| matches!(fetch.patience, Patience::Until(end) if end <= now);
        for mut fetch in self.waiting.extract_if(.., is_due).collect::<Vec<_>>() {
            fetch.patience = Patience::None;
            self.serve(fetch);
        }
        if !self.waiting.is_empty() {
            self.last_used = now;
        } else if self.last_used.elapsed() >= SLEEP_AFTER {
            self.context.deliveries.forget(&self.key, ctx.me());
            ctx.stop();
        }
    }
}

impl Cast for Queue {
    type State = QueueState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        ctx.every(TICK, Self::tick);
        Ok(())
    }

    fn observe(&self) -> QueueState {
        QueueState {
            min_offset: self.queue.min_offset().0,
            max_offset: self.queue.max_offset().0,
            waiting_fetches: self.waiting.len(),
        }
    }
}

impl Receive<Fetch> for Queue {
    fn receive(&mut self, fetch: Fetch, _ctx: &mut Ctx<'_, Self>) {
        self.last_used = Instant::now();
        self.serve(fetch);
    }
}

impl Receive<Grown> for Queue {
    fn receive(&mut self, Grown: Grown, _ctx: &mut Ctx<'_, Self>) {
        for fetch in std::mem::take(&mut self.waiting) {
            self.serve(fetch);
        }
    }
}
