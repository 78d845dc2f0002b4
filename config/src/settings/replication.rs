//! `[replication]`

use crate::declare::section;
use crate::key::{Effect, Rule, Unit};

section!(
    /// Masters and slaves. These keys are checked and kept now; replication itself comes with a later release.
    ReplicationSettings in replication {
        /// Port on which a master listens for slaves, at the IP address of `broker.listen`. Unset (RocketMQ: 0): the port after the broker's.
        ha_listen_port: Option<u16> = None, Rule::integer(Unit::Count, 1, 65_535).optional().effect(Effect::LaterRelease).rocketmq(&["haListenPort"]);
        /// Brokers, the master among them, that must have a message before a sync_master acknowledges it. RocketMQ's default 1 waits for no slave.
        in_sync_replicas: u32 = 1, Rule::integer(Unit::Count, 1, 64).effect(Effect::LaterRelease).rocketmq(&["inSyncReplicas"]);
        /// Whether consumers may read from a slave while its master lives.
        slave_read_enabled: bool = false, Rule::switch().effect(Effect::LaterRelease).rocketmq(&["slaveReadEnable"]);
        /// Time after which a producer is told that its message is stored but not yet on enough brokers.
        slave_timeout_ms: u64 = 3_000, Rule::integer(Unit::Milliseconds, 1, 600_000).effect(Effect::LaterRelease).rocketmq(&["slaveTimeout"]);
    }
);
