//! What is known of a topic's queues now, and the messages that none of them can take yet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use castmq_protocol::model::QueueId;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::avoidance::Avoidance;
use super::batcher::Batcher;
use super::choose::Candidates;
use super::delivery::InFlight;
use super::strand::Strand;
use crate::link::Session;

/// A broker that has the topic, and the topic's number on the connection to it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) broker: Arc<str>,
    pub(super) session: Arc<Session>,
    pub(super) alias: u32,
    /// It has said that it is no master: it gets nothing before it has been looked for again.
    is_wrong: AtomicBool,
    pub(super) avoidance: Avoidance,
}

impl Target {
    pub(super) fn new(broker: Arc<str>, session: Arc<Session>, alias: u32) -> Self {
        Self {
            broker,
            session,
            alias,
            is_wrong: AtomicBool::new(false),
            avoidance: Avoidance::new(Instant::now()),
        }
    }

    pub(super) fn set_wrong(&self) {
        self.is_wrong.store(true, Ordering::Relaxed);
    }

    /// Whether messages can be given to it.
    pub(super) fn is_usable(&self) -> bool {
        self.session.connection.is_usable() && !self.is_wrong.load(Ordering::Relaxed)
    }
}

/// A broker of the topic, reached or not.
#[derive(Debug, Clone)]
pub(super) struct BrokerSlot {
    pub(super) name: Arc<str>,
    pub(super) address: Arc<str>,
    /// Queues of the topic that can be written.
    pub(super) queues: u32,
    pub(super) target: Option<Arc<Target>>,
}

impl BrokerSlot {
    fn is_same(&self, other: &Self) -> bool {
        let same_target = match (&self.target, &other.target) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        self.name == other.name
            && self.address == other.address
            && self.queues == other.queues
            && same_target
    }
}

/// A queue, and the batch that is being filled for it.
#[derive(Debug)]
pub(super) struct QueueSlot {
    broker: usize,
    pub(super) id: QueueId,
    pub(super) batcher: Mutex<Batcher<Arc<InFlight>>>,
    /// Whether a message has ever waited here for company. Saves looking where nobody gathers.
    pub(super) gathers: AtomicBool,
    /// Messages that have to stay in order.
    pub(super) strand: Arc<Mutex<Strand>>,
}

/// The topic's queues, sorted by broker and number.
#[derive(Debug, Default)]
pub(super) struct Ready {
    pub(super) brokers: Vec<BrokerSlot>,
    pub(super) queues: Vec<QueueSlot>,
    /// Indexes of the queues whose brokers are reached.
    live: Vec<usize>,
    /// In the order in which they were sent.
    pub(super) parked: VecDeque<Arc<InFlight>>,
}

impl Ready {
    pub(super) fn is_same(&self, brokers: &[BrokerSlot]) -> bool {
        let mut pairs = self.brokers.iter().zip(brokers);
        self.brokers.len() == brokers.len() && pairs.all(|(one, other)| one.is_same(other))
    }

    /// Replaces the brokers and their queues. Open batches must have been taken out before. Returns the ordered messages of
    /// queues that are gone.
    pub(super) fn replace(&mut self, brokers: Vec<BrokerSlot>) -> Vec<Arc<InFlight>> {
        let mut strands: HashMap<(Arc<str>, QueueId), _> = std::mem::take(&mut self.queues)
            .into_iter()
            .filter_map(|queue| {
                let broker = self.brokers.get(queue.broker)?.name.clone();
                Some(((broker, queue.id), queue.strand))
            })
            .collect();
        for (broker, slot) in brokers.iter().enumerate() {
            for id in (0..slot.queues).map(QueueId) {
                let strand = strands.remove(&(slot.name.clone(), id));
                self.queues.push(QueueSlot {
                    broker,
                    id,
                    batcher: Mutex::default(),
                    gathers: AtomicBool::new(false),
                    strand: strand.unwrap_or_default(),
                });
            }
        }
        self.brokers = brokers;
        let live = (0..self.queues.len()).filter(|index| self.target(*index).is_some());
        self.live = live.collect();
        let gone = strands.into_values();
        let mut left: Vec<_> = gone.flat_map(|strand| strand.lock().take_idle()).collect();
        left.sort_by_key(|inflight| inflight.number);
        left
    }

    pub(super) fn target(&self, index: usize) -> Option<&Arc<Target>> {
        let queue = self.queues.get(index)?;
        self.brokers.get(queue.broker)?.target.as_ref()
    }
}

impl Candidates for Ready {
    fn len(&self) -> usize {
        self.queues.len()
    }

    fn live(&self) -> &[usize] {
        &self.live
    }

    fn is_usable(&self, index: usize) -> bool {
        let target = self.target(index);
        target.is_some_and(|target| target.is_usable())
    }

    fn is_avoided(&self, index: usize, now: Instant) -> bool {
        let target = self.target(index);
        target.is_some_and(|target| target.avoidance.is_avoided(now))
    }

    fn broker(&self, index: usize) -> &str {
        let queue = self.queues.get(index);
        let broker = queue.and_then(|queue| self.brokers.get(queue.broker));
        broker.map_or("", |broker| &broker.name)
    }

    fn id(&self, index: usize) -> QueueId {
        let queue = self.queues.get(index);
        queue.map_or_else(QueueId::default, |queue| queue.id)
    }
}
