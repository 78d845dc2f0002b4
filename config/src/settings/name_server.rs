//! `[name_server]`

use std::net::{Ipv4Addr, SocketAddr};

use crate::declare::section;
use crate::key::{Rule, Unit};

section!(
    /// Where the name server listens and when it forgets a broker.
    NameServerSettings in name_server {
        /// Address that brokers and clients connect to. From a RocketMQ name server file: `bindAddress` (0.0.0.0 when it has none) and `listenPort` (9876).
        listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 9876)), Rule::socket().rocketmq(&["bindAddress", "listenPort"]);
        /// Silence after which a broker is forgotten. RocketMQ's is fixed at 120000.
        broker_expiry_ms: u64 = 120_000, Rule::integer(Unit::Milliseconds, 1_000, 86_400_000);
        /// Time between two looks for silent brokers.
        scan_interval_ms: u64 = 5_000, Rule::integer(Unit::Milliseconds, 100, 3_600_000).rocketmq(&["scanNotActiveBrokerInterval"]);
    }
);
