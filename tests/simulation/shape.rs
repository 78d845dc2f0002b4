//! How many hosts of each kind a run has, and how they are set up.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use castmq_client::Order;
use castmq_config::{Flush, Role, Settings, WithoutSlaves};
use fastrand::Rng;

use crate::support::history::Place;
use crate::support::settings;

/// What is sent to.
pub const TOPIC: &str = "orders";

const BROKER_PORT: u16 = 10_911;
const NAME_SERVER_PORT: u16 = 9_876;

/// See the module.
#[derive(Debug, Clone)]
pub struct Shape {
    pub name_servers: Vec<String>,
    /// Sets of brokers, by name.
    pub brokers: Vec<String>,
    /// Whether each has a slave, which its master waits for or not.
    pub slaves: Slaves,
    pub producers: Vec<String>,
    pub consumers: Vec<String>,
    /// Queues of the topic on each broker.
    pub queues: u32,
    /// Whether slaves that are in step become masters.
    pub has_promotions: bool,
    /// With asynchronous flush a power cut may lose what was acknowledged, and there are none.
    pub flush: Flush,
    pub order: Order,
    /// How long things go wrong.
    pub storm: Duration,
    pub tick: Duration,
    pub latency: Duration,
}

/// Who copies a broker's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slaves {
    /// Nobody.
    None,
    /// A slave, which messages are not held up for.
    Behind,
    /// A slave, which has what is acknowledged.
    InStep,
}

/// A broker's place in its set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    pub host: String,
    pub broker: String,
    /// 0 is the master.
    pub id: u32,
}

impl Seat {
    /// Where it listens.
    pub fn address(&self) -> String {
        format!("{}:{BROKER_PORT}", self.host)
    }
}

fn hosts(kind: &str, count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("{kind}-{n}")).collect()
}

impl Shape {
    pub fn of(dice: &mut Rng) -> Self {
        let mut shape = Self {
            name_servers: hosts("name-server", dice.usize(1..=2)),
            brokers: hosts("broker", dice.usize(1..=2)),
            slaves: match dice.u8(..4) {
                0 | 1 => Slaves::None,
                2 => Slaves::Behind,
                _ => Slaves::InStep,
            },
            producers: hosts("producer", dice.usize(1..=2)),
            consumers: hosts("consumer", dice.usize(1..=3)),
            queues: dice.u32(1..=3),
            has_promotions: false,
            flush: match dice.u8(..3) {
                0 => Flush::Async,
                _ => Flush::Sync,
            },
            order: match dice.bool() {
                true => Order::PerQueue,
                false => Order::None,
            },
            storm: match dice.u8(..10) {
                0 => Duration::ZERO,
                _ => Duration::from_millis(dice.u64(3_000..10_000)),
            },
            tick: Duration::from_millis(dice.u64(1..=5)),
            latency: Duration::from_millis(dice.u64(2..=30)),
        };
        shape.has_promotions = shape.slaves == Slaves::InStep && dice.bool();
        shape
    }

    /// All brokers, masters first.
    pub fn seats(&self) -> Vec<Seat> {
        let ids = match self.slaves {
            Slaves::None => 0..1,
            Slaves::Behind | Slaves::InStep => 0..2,
        };
        let seat = |id: u32, broker: &String| Seat {
            host: match id {
                0 => broker.clone(),
                _ => format!("{broker}-slave-{id}"),
            },
            broker: broker.clone(),
            id,
        };
        ids.flat_map(|id| self.brokers.iter().map(move |broker| seat(id, broker)))
            .collect()
    }

    /// All that can fail.
    pub fn hosts(&self) -> Vec<String> {
        let clients = self.producers.iter().chain(&self.consumers);
        let others = self.name_servers.iter().chain(clients).cloned();
        others
            .chain(self.seats().into_iter().map(|seat| seat.host))
            .collect()
    }

    /// The queues of all brokers.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        let queues = self.brokers.len() as u32 * self.queues;
        (0..queues).map(|queue| Place { topic: 0, queue })
    }

    /// A queue, by its broker's name and its number there.
    pub fn place(&self, broker: &str, queue: u32) -> Option<Place> {
        let broker = self.brokers.iter().position(|name| name == broker)?;
        let queue = broker as u32 * self.queues + queue;
        Some(Place { topic: 0, queue })
    }

    /// The broker's name, and the queue's number there.
    pub fn queue(&self, place: Place) -> (&str, u32) {
        let broker = &self.brokers[(place.queue / self.queues) as usize];
        (broker, place.queue % self.queues)
    }

    /// Where name servers are, as clients are told.
    pub fn name_server_addresses(&self) -> Vec<String> {
        let servers = self.name_servers.iter();
        servers
            .map(|name| format!("{name}:{NAME_SERVER_PORT}"))
            .collect()
    }

    /// What a name server is told.
    pub fn name_server_settings(&self, data: &Path) -> Settings {
        let mut settings = settings(data);
        settings.name_server.listen = SocketAddr::from(([0, 0, 0, 0], NAME_SERVER_PORT));
        settings.name_server.broker_expiry_ms = 5_000;
        settings.name_server.scan_interval_ms = 500;
        settings
    }

    /// What a broker is told. Its files are small, and its times short, so that much happens in few seconds.
    pub fn broker_settings(&self, seat: &Seat, address: String, data: &Path) -> Settings {
        let mut settings = settings(data);
        settings.broker.name = seat.broker.clone();
        settings.broker.id = seat.id;
        settings.broker.role = match (seat.id, self.slaves) {
            (0, Slaves::InStep) => Role::SyncMaster,
            (0, _) => Role::AsyncMaster,
            _ => Role::Slave,
        };
        settings.replication.heartbeat_interval_ms = 200;
        settings.replication.housekeeping_interval_ms = 1_500;
        settings.replication.slave_timeout_ms = 1_000;
        // What somebody has handled has to survive the end of the master.
        settings.replication.without_slaves = WithoutSlaves::Wait;
        settings.broker.listen = SocketAddr::from(([0, 0, 0, 0], BROKER_PORT));
        settings.broker.advertised_address = Some(address);
        settings.broker.name_servers = self.name_server_addresses();
        settings.broker.register_interval_ms = 1_000;
        settings.broker.member_lease_ms = 3_000;
        settings.broker.auto_create_topics = false;
        settings.name_server.broker_expiry_ms = 5_000;
        settings.store.flush = self.flush;
        settings.store.index_enabled = false;
        settings.store.commit_log_segment_bytes = 1 << 17;
        settings.store.consume_queue_file_bytes = 20 * 200;
        settings.store.flush_interval_ms = 100;
        settings.store.consume_queue_flush_interval_ms = 200;
        settings.store.offsets_flush_interval_ms = 500;
        settings.limits.max_message_bytes = 10_000;
        settings.limits.idle_timeout_ms = 10_000;
        settings
    }
}
