//! `[limits]`

use crate::declare::section;
use crate::key::{Rule, Unit};

section!(
    /// The bound of everything that grows. A request past one is refused with the name of the limit.
    LimitSettings in limits {
        /// Connections at one time, over all listeners of the node. Each is an open file: the server raises its limit of these as far as
        /// the system lets it, and warns when that is too few.
        max_connections: u32 = 10_000, Rule::integer(Unit::Count, 1, 1_000_000);
        /// Longest frame on the wire, either protocol. RocketMQ's is the system property `com.rocketmq.remoting.frameMaxLength`.
        max_frame_bytes: u64 = 16_777_216, Rule::integer(Unit::Bytes, 4_096, 1_073_741_824);
        /// Longest message body.
        max_message_bytes: u64 = 4_194_304, Rule::integer(Unit::Bytes, 1, 1_073_741_824).rocketmq(&["maxMessageSize"]);
        /// Longest encoded properties of a message. The record keeps their length in 15 bits.
        max_properties_bytes: u32 = 32_767, Rule::integer(Unit::Bytes, 1, 32_767);
        /// Bytes of requests that one connection may have under way; past that its socket is not read.
        max_in_flight_bytes_per_connection: u64 = 33_554_432, Rule::integer(Unit::Bytes, 4_096, 17_179_869_184);
        /// Bytes of requests that all connections together may have under way.
        max_in_flight_bytes_total: u64 = 1_073_741_824, Rule::integer(Unit::Bytes, 4_096, 1_099_511_627_776);
        /// Topics on this broker.
        max_topics: u32 = 100_000, Rule::integer(Unit::Count, 1, 10_000_000);
        /// Consumer groups on this broker.
        max_groups: u32 = 100_000, Rule::integer(Unit::Count, 1, 10_000_000);
        /// Queues of one topic. RocketMQ's own `BenchmarkTest` topic has 1024.
        max_queues_per_topic: u32 = 1_024, Rule::integer(Unit::Count, 1, 65_536);
        /// Silence after which a connection is closed. A broker that has registered at a name server has `name_server.broker_expiry_ms` if that is longer. RocketMQ gives it in seconds.
        idle_timeout_ms: u64 = 120_000, Rule::integer(Unit::Milliseconds, 1_000, 86_400_000).rocketmq(&["serverChannelMaxIdleTimeSeconds"]).rocketmq_scale(1_000);
        /// Time a new connection has to send its first bytes and finish its greeting.
        handshake_timeout_ms: u64 = 5_000, Rule::integer(Unit::Milliseconds, 10, 600_000);
        /// Time that stopping may take; what is not done by then is cut off.
        shutdown_deadline_ms: u64 = 30_000, Rule::integer(Unit::Milliseconds, 1, 3_600_000);
    }
);
