//! `[replication]`

use std::net::SocketAddr;

use crate::declare::{choices, section};
use crate::key::{Rule, Unit};

choices!(
    /// What a sync_master does with a message while too few slaves are in step with it.
    WithoutSlaves {
        /// Stores it, and says to its producer that no slave was available.
        Accept = "accept";
        /// Stores it, and waits for slaves: for its answer as long as `replication.slave_timeout_ms`, and for consumers to see it until they have it.
        Wait = "wait";
        /// Refuses it.
        Refuse = "refuse";
    }
);

section!(
    /// Masters and slaves.
    ReplicationSettings in replication {
        /// Port on which a master listens for slaves, at the IP address of `broker.listen`. Unset (RocketMQ: 0): the port after the broker's.
        ha_listen_port: Option<u16> = None, Rule::integer(Unit::Count, 1, 65_535).optional().rocketmq(&["haListenPort"]);
        /// Where the master that a slave copies listens for slaves. Unset: where name servers say.
        ha_master_address: Option<SocketAddr> = None, Rule::socket().optional().rocketmq(&["haMasterAddress"]);
        /// Whether that master is a RocketMQ broker, which is only told where the slave's log ends: nobody checks then that the two logs are of one origin.
        ha_master_is_rocketmq: bool = false, Rule::switch();
        /// Where clients reach that RocketMQ master: topics, groups, offsets and how far it is with delayed messages are copied from there.
        master_address: Option<SocketAddr> = None, Rule::socket().optional();
        /// Brokers, the master among them, that must have a message before a sync_master acknowledges it and consumers see it.
        /// Unset: 2 in a sync_master. RocketMQ's default, 1, waits for no slave.
        in_sync_replicas: Option<u32> = None, Rule::integer(Unit::Count, 1, 64).optional().rocketmq(&["inSyncReplicas"]);
        /// Whether RocketMQ's slaves count among those. They are known by the IP address of a registered slave and no more, so
        /// whoever connects from there could have messages acknowledged that only the master has.
        count_classic_slaves: bool = false, Rule::switch();
        /// What a sync_master does with a message while too few slaves are in step with it.
        without_slaves: WithoutSlaves = WithoutSlaves::Accept, Rule::choice(WithoutSlaves::CHOICES);
        /// Whether consumers may read from a slave while its master lives. They may always while it does not.
        slave_read_enabled: bool = false, Rule::switch().rocketmq(&["slaveReadEnable"]);
        /// Who pulls and is further behind than this part of the machine's memory is sent to a slave, where slaves are read while their master lives.
        slave_read_memory_percent: u32 = 40, Rule::integer(Unit::Percent, 0, 100).rocketmq(&["accessMessageInMemoryMaxRatio"]);
        /// Time after which a producer is told that its message is stored but not yet on enough brokers; a slave that has got nothing on for as long is not in step.
        slave_timeout_ms: u64 = 3_000, Rule::integer(Unit::Milliseconds, 1, 600_000).rocketmq(&["slaveTimeout"]);
        /// Time between two signs of life of a link at rest.
        heartbeat_interval_ms: u64 = 5_000, Rule::integer(Unit::Milliseconds, 10, 600_000).rocketmq(&["haSendHeartbeatInterval"]);
        /// Silence after which a link is closed.
        housekeeping_interval_ms: u64 = 20_000, Rule::integer(Unit::Milliseconds, 20, 3_600_000).rocketmq(&["haHousekeepingInterval"]);
    }
);
