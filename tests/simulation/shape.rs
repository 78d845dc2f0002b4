//! How many hosts of each kind a run has, and how they are set up.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use castmq_client::Order;
use castmq_config::{Flush, Settings};
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
    pub brokers: Vec<String>,
    pub producers: Vec<String>,
    pub consumers: Vec<String>,
    /// Queues of the topic on each broker.
    pub queues: u32,
    /// With asynchronous flush a power cut may lose what was acknowledged, and there are none.
    pub flush: Flush,
    pub order: Order,
    /// How long things go wrong.
    pub storm: Duration,
    pub tick: Duration,
    pub latency: Duration,
}

fn hosts(kind: &str, count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("{kind}-{n}")).collect()
}

impl Shape {
    pub fn of(dice: &mut Rng) -> Self {
        Self {
            name_servers: hosts("name-server", dice.usize(1..=2)),
            brokers: hosts("broker", dice.usize(1..=2)),
            producers: hosts("producer", dice.usize(1..=2)),
            consumers: hosts("consumer", dice.usize(1..=3)),
            queues: dice.u32(1..=3),
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
        }
    }

    /// All that can fail.
    pub fn hosts(&self) -> impl Iterator<Item = &String> + Clone {
        let servers = self.name_servers.iter().chain(&self.brokers);
        servers.chain(&self.producers).chain(&self.consumers)
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
    pub fn broker_settings(&self, name: &str, address: String, data: &Path) -> Settings {
        let mut settings = settings(data);
        settings.broker.name = name.to_owned();
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
