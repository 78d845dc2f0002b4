//! `[broker]`

use std::net::{Ipv4Addr, SocketAddr};

use crate::declare::{choices, section};
use crate::key::{Rule, Unit};

choices!(
    /// What a broker is to the others of its name.
    Role {
        /// Takes writes; does not wait for slaves.
        AsyncMaster = "async_master", "ASYNC_MASTER";
        /// Takes writes; an acknowledged message is on as many brokers as `replication.in_sync_replicas` says.
        SyncMaster = "sync_master", "SYNC_MASTER";
        /// Copies a master.
        Slave = "slave", "SLAVE";
    }
);

section!(
    /// Who this broker is, where it listens, and which name servers it registers with.
    BrokerSettings in broker {
        /// Cluster the broker belongs to.
        cluster_name: String = "DefaultCluster".to_owned(), Rule::name().rocketmq(&["brokerClusterName"]);
        /// Name of the broker; a master and its slaves share it. RocketMQ's default is the host name.
        name: String = "broker-a".to_owned(), Rule::name().rocketmq(&["brokerName"]);
        /// 0 for the master, 1 and up for its slaves.
        /// RocketMQ makes a master's id 0 whatever its file says; from a RocketMQ file it is 0 here too, with a warning.
        id: u32 = 0, Rule::integer(Unit::Count, 0, i32::MAX as i64).rocketmq(&["brokerId"]);
        /// Address clients connect to. From a RocketMQ file: `bindAddress` (0.0.0.0 when it has none) and `listenPort` (10911).
        listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 10911)), Rule::socket().rocketmq(&["bindAddress", "listenPort"]);
        /// Whether the broker listens two ports below that of `broker.listen`, too, as RocketMQ's brokers always do.
        /// RocketMQ's slaves ask a master there for its topics, and clients send there when their `vipChannelEnabled` is set, which is no default of any current one.
        vip_channel: bool = false, Rule::switch();
        /// Host or IP address under which clients and name servers reach this broker, with the port when it is not that of `broker.listen`.
        /// Unset: the address of `broker.listen`; where that is 0.0.0.0 or ::, an address of this machine.
        advertised_address: Option<String> = None, Rule::host().optional().rocketmq(&["brokerIP1"]);
        /// What clients may do here: 4 read, 2 write, 6 both, 0 nothing.
        permission: u32 = 6, Rule::integer(Unit::Count, 0, 6).step(2).rocketmq(&["brokerPermission"]);
        /// Part of the broker in replication.
        role: Role = Role::AsyncMaster, Rule::choice(Role::CHOICES).rocketmq(&["brokerRole"]);
        /// Name servers to register with. As text (environment, flags, RocketMQ file): separated by `;` or `,`.
        name_servers: Vec<String> = Vec::new(), Rule::host_ports().rocketmq(&["namesrvAddr"]);
        /// Time between two registrations with each name server. RocketMQ keeps it between 10000 and 60000.
        register_interval_ms: u64 = 30_000, Rule::integer(Unit::Milliseconds, 100, 60_000).rocketmq(&["registerNameServerPeriod"]).rocketmq_clamps(10_000, 60_000);
        /// Queues of a topic that is created because somebody sent to it.
        /// RocketMQ's default, 8, belongs to the template topic; its clients ask for 4 and get the smaller of the two.
        default_topic_queues: u32 = 4, Rule::integer(Unit::Count, 1, 65_536).rocketmq(&["defaultTopicQueueNums"]);
        /// How long messages of each delay level wait: numbers with ms, s, m, h or d, level 1 first.
        delay_levels: String = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h".to_owned(), Rule::text().rocketmq(&["messageDelayLevel"]);
        /// The longest time for which a message may wait to be delivered. RocketMQ's default is 3 days.
        timer_max_delay_ms: u64 = 3_456_000_000, Rule::integer(Unit::Milliseconds, 1_000, 34_560_000_000).rocketmq(&["timerMaxDelaySec"]).rocketmq_scale(1_000);
        /// Age at which the producers of a half message that nobody settled are first asked about it.
        transaction_timeout_ms: u64 = 6_000, Rule::integer(Unit::Milliseconds, 1, 86_400_000).rocketmq(&["transactionTimeOut"]);
        /// Time between two rounds of asking.
        transaction_check_interval_ms: u64 = 30_000, Rule::integer(Unit::Milliseconds, 10, 86_400_000).rocketmq(&["transactionCheckInterval"]);
        /// How often the producers of a half message are asked before it is put aside in `TRANS_CHECK_MAX_TIME_TOPIC`.
        transaction_check_max: u32 = 15, Rule::integer(Unit::Count, 1, 1_000_000).rocketmq(&["transactionCheckMax"]);
        /// Whether replies to requests are stored, in the topic named after the cluster and `_REPLY_TOPIC`, besides being passed on.
        store_replies: bool = true, Rule::switch().rocketmq(&["storeReplyMessageEnable"]);
        /// Whether the broker has a topic for message traces, `RMQ_SYS_TRACE_TOPIC`. RocketMQ's default is false.
        trace_topic: bool = true, Rule::switch().rocketmq(&["traceTopicEnable"]);
        /// Most offsets of a queue from the first that a group has not acknowledged to the last that it popped: more are handed out when that one is settled.
        pop_max_outstanding: u32 = 32_768, Rule::integer(Unit::Count, 1, 32_768);
        /// How long a member of a consumer group may be silent before its queues go to others.
        member_lease_ms: u64 = 30_000, Rule::integer(Unit::Milliseconds, 100, 600_000);
        /// The machine room this broker is in, for groups whose queues go to members nearby.
        machine_room: Option<String> = None, Rule::text().optional();
        /// Idempotent producers whose sends are remembered at one time: what a further one sends is refused.
        idempotent_producers_max: u32 = 10_000, Rule::integer(Unit::Count, 1, 1_000_000);
        /// An idempotent producer that has stored nothing for this long is forgotten, the latest after twice this: what it repeats then is stored again.
        /// It has to be longer than any producer goes on sending a message again.
        idempotent_producer_expiry_ms: u64 = 600_000, Rule::integer(Unit::Milliseconds, 1_000, 2_592_000_000);
        /// Whether sending to an unknown topic creates it.
        auto_create_topics: bool = true, Rule::switch().rocketmq(&["autoCreateTopicEnable"]);
        /// Whether consuming as an unknown group creates it.
        auto_create_groups: bool = true, Rule::switch().rocketmq(&["autoCreateSubscriptionGroup"]);
    }
);
