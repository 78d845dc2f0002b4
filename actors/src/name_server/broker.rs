//! A broker as a name server knows it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use castmq_protocol::native::route::{DataVersion, RegisterBroker, TopicQueues};
use tokio::time::Instant;

/// A connection's number.
pub(crate) type ConnectionId = u64;

static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

/// A number that no other connection has.
pub(super) fn next_connection() -> ConnectionId {
    NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed)
}

/// Which wire a broker speaks with a name server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// CastMQ's.
    Native,
    /// RocketMQ's. Which topics are gone such a broker does not say itself.
    Rocketmq,
}

/// A broker: the name of its set, and its number in it.
pub(super) type BrokerKey = (Arc<str>, u64);

/// See the module.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) cluster: String,
    pub(super) configured_id: u64,
    pub(super) epoch: u32,
    pub(super) address: String,
    pub(super) ha_address: String,
    pub(super) kind: Kind,
    /// The state of its topics.
    pub(super) version: DataVersion,
    pub(super) topics: BTreeMap<String, TopicQueues>,
    /// The connection over which it registered; `None` when it is gone. One that is gone is shown to nobody.
    pub(super) connection: Option<ConnectionId>,
    /// When it was heard of last, or when it went.
    pub(super) last_heard: Instant,
    expiry: Duration,
}

impl Broker {
    /// A broker of whose topics nothing is known yet.
    pub(super) fn new(
        (register, kind): (&RegisterBroker, Kind),
        connection: Option<ConnectionId>,
        max_expiry: Duration,
        now: Instant,
    ) -> Self {
        Self {
            cluster: register.cluster.clone(),
            configured_id: register.configured_id,
            epoch: register.epoch,
            address: register.address.clone(),
            ha_address: register.ha_address.clone(),
            kind,
            version: DataVersion::default(),
            topics: BTreeMap::new(),
            connection,
            last_heard: now,
            expiry: Duration::from_millis(register.expiry_ms.into()).min(max_expiry),
        }
    }

    /// Takes what a registration says besides topics.
    pub(super) fn hear(
        &mut self,
        register: (&RegisterBroker, Kind),
        connection: Option<ConnectionId>,
        max_expiry: Duration,
        now: Instant,
    ) {
        *self = Self {
            version: self.version,
            topics: std::mem::take(&mut self.topics),
            ..Self::new(register, connection, max_expiry, now)
        };
    }

    /// Whether it is shown.
    pub(super) fn is_here(&self) -> bool {
        self.connection.is_some()
    }

    /// Whether it is silent for too long.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        now.duration_since(self.last_heard) >= self.expiry
    }

    /// Whether nobody else may have its place.
    pub(super) fn is_alive(&self, now: Instant) -> bool {
        self.is_here() && !self.is_silent(now)
    }

    /// How many topics it has with those that a registration brings.
    pub(super) fn topics_with(&self, changed: &[TopicQueues]) -> usize {
        let is_new = |queues: &&TopicQueues| !self.topics.contains_key(&queues.topic);
        self.topics.len() + changed.iter().filter(is_new).count()
    }
}
