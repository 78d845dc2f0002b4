//! Tracing messages: what happens to them is sent to the trace topic, beside the messages.
//!
//! - [`Trace`]: whether anything is traced. `Tracer`: says what is, and takes the records.
//! - `batch`: records that travel in one message, pure; `dispatcher`: the task that sends them.
//! - `consuming`: what consumers record.

mod batch;
mod consuming;
mod dispatcher;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use castmq_protocol::model::system_topics;
use castmq_protocol::trace::TraceRecord;
use hashbrown::HashSet;
use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};

use crate::client::Client;
pub(crate) use consuming::{Consuming, Outcome, TracedGroup};

/// The group of producers that have none (RocketMQ `MixAll.DEFAULT_PRODUCER_GROUP`).
pub(crate) const DEFAULT_PRODUCER_GROUP: &str = "DEFAULT_PRODUCER";

/// Records that may wait to be sent (RocketMQ's clients keep as many).
const MAX_WAITING: usize = 2048;

/// Which messages a client traces: says of each when and where it was sent, given to a push or pop consumer, processed, and
/// how its transaction ended. What a pull consumer reads is not traced: only its program knows what is done with it.
///
/// Traces are messages of the topic `RMQ_SYS_TRACE_TOPIC`, in RocketMQ's form; `castmq admin trace ID` shows the way of one
/// message. They are sent in the background, many at once; when they cannot be sent as fast as they come they are dropped and
/// [counted](crate::Client::traces_dropped), and never hold up what they are about. What belongs to brokers is not traced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Trace {
    /// Those of topics with the attribute `trace=on`. Clients hear of a change within 30 s. Messages that are sent before
    /// the client knows anything of their topic are traced under the id that says where they are stored, where it is known:
    /// [`prepare`](crate::Producer::prepare) comes before the first.
    #[default]
    ByTopic,
    /// All.
    All,
    /// None.
    Off,
}

/// What the dispatcher is told.
#[derive(Debug)]
enum Told {
    Record(Box<TraceRecord>),
    /// Everything before is to be sent.
    Flush(oneshot::Sender<()>),
}

/// What is known of traces in one client.
#[derive(Debug)]
pub(crate) struct Tracer {
    choice: Trace,
    /// Sends the traces, over connections of its own: they hold up nothing else.
    sends: Option<Client>,
    /// Whether anything is traced: most clients trace nothing, and need not look further.
    is_any: AtomicBool,
    topics: RwLock<HashSet<Arc<str>>>,
    /// To the dispatcher, once there is one.
    told: OnceLock<mpsc::Sender<Told>>,
    dropped: Arc<AtomicU64>,
}

impl Tracer {
    /// Traces what is chosen, by way of another client, which is not traced itself.
    pub(crate) fn new(choice: Trace, sends: Client) -> Self {
        Self {
            sends: (choice != Trace::Off).then_some(sends),
            ..Self::off(choice)
        }
    }

    /// Traces nothing.
    pub(crate) fn none() -> Self {
        Self::off(Trace::Off)
    }

    fn off(choice: Trace) -> Self {
        Self {
            choice,
            sends: None,
            is_any: AtomicBool::new(choice == Trace::All),
            topics: RwLock::default(),
            told: OnceLock::new(),
            dropped: Arc::default(),
        }
    }

    /// Whether anything is traced, as far as is known.
    #[inline]
    pub(crate) fn is_any(&self) -> bool {
        self.is_any.load(Ordering::Relaxed)
    }

    /// Whether a topic's messages are traced, as far as is known.
    #[inline]
    pub(crate) fn wants(&self, topic: &str) -> bool {
        self.is_any() && self.wants_topic(topic)
    }

    fn wants_topic(&self, topic: &str) -> bool {
        match self.choice {
            Trace::All => !system_topics::is_system(topic),
            Trace::ByTopic => self.topics.read().contains(topic),
            Trace::Off => false,
        }
    }

    /// A topic's route says whether it is traced.
    pub(crate) fn learn(&self, topic: &Arc<str>, is_traced: bool) {
        if self.choice != Trace::ByTopic || self.topics.read().contains(topic) == is_traced {
            return;
        }
        let mut topics = self.topics.write();
        match is_traced {
            true => topics.insert(topic.clone()),
            false => topics.remove(topic),
        };
        self.is_any.store(!topics.is_empty(), Ordering::Relaxed);
    }

    /// Takes a record to be sent some time.
    pub(crate) fn record(&self, record: TraceRecord) {
        let Some(client) = &self.sends else {
            return;
        };
        let told = self.told.get_or_init(|| {
            let (sender, told) = mpsc::channel(MAX_WAITING);
            let sending = dispatcher::run(client.clone(), told, self.dropped.clone());
            client.shared.runtime.spawn(sending);
            sender
        });
        if told.try_send(Told::Record(Box::new(record))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all records before are sent, or dropped.
    pub(crate) async fn flush(&self) {
        let Some(told) = self.told.get() else {
            return;
        };
        let (sender, flushed) = oneshot::channel();
        if told.send(Told::Flush(sender)).await.is_ok() {
            // The dispatcher may end with its runtime.
            let _ = flushed.await;
        }
    }

    /// Records that were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
