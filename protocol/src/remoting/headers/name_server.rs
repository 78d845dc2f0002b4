//! What name servers are asked and told.

use super::{FieldError, FieldWriter, Fields, ReadFields, WriteFields, headers};

headers! {
    /// Where a topic's queues are.
    RouteInfo<'a> {
        /// The topic.
        "topic" => topic: &'a str,
        /// Whether the client reads only JSON with quoted keys.
        "acceptStandardJsonOnly" => standard_json_only: Option<bool>,
    }

    /// A broker and its topics. The body is a [`Registration`](crate::remoting::bodies::registration::Registration).
    RegisterBroker<'a> {
        /// The broker's name.
        "brokerName" => broker_name: &'a str,
        /// Where clients reach it.
        "brokerAddr" => broker_address: &'a str,
        /// Its cluster.
        "clusterName" => cluster: &'a str,
        /// Where slaves reach it.
        "haServerAddr" => ha_address: &'a str,
        /// 0 for a master.
        "brokerId" => broker_id: i64,
        /// After how long without a sign of life it is gone.
        "heartbeatTimeoutMillis" => heartbeat_timeout_ms: Option<i64>,
        /// Whether a slave may act for the master.
        "enableActingMaster" => acting_master_enabled: Option<bool>,
        /// Whether the body is compressed.
        "compressed" => compressed: bool = false,
        /// The body's check sum, or 0: CRC-32 without its top bit.
        "bodyCrc32" => body_crc: i32 = 0,
        /// Which CastMQ the broker is. CastMQ's name servers refuse one that says so: on the native wire it can tell them more.
        "castmq" => castmq: Option<&'a str>,
    }

    /// What a broker learns when it registers.
    RegisterBrokerResponse<'a> {
        /// Where the master takes slaves.
        "haServerAddr" => ha_address: Option<&'a str>,
        /// Where clients reach the master.
        "masterAddr" => master_address: Option<&'a str>,
    }

    /// A broker leaves.
    UnregisterBroker<'a> {
        /// The broker's name.
        "brokerName" => broker_name: &'a str,
        /// Where clients reached it.
        "brokerAddr" => broker_address: &'a str,
        /// Its cluster.
        "clusterName" => cluster: &'a str,
        /// 0 for a master.
        "brokerId" => broker_id: i64,
    }

    /// Whether a broker's topics are known as they are. The body is a
    /// [`DataVersion`](crate::remoting::bodies::DataVersion).
    QueryDataVersion<'a> {
        /// The broker's name.
        "brokerName" => broker_name: &'a str,
        /// Where clients reach it.
        "brokerAddr" => broker_address: &'a str,
        /// Its cluster.
        "clusterName" => cluster: &'a str,
        /// 0 for a master.
        "brokerId" => broker_id: i64,
    }

    /// The answer. The body is the name server's [`DataVersion`](crate::remoting::bodies::DataVersion).
    QueryDataVersionResponse {
        /// Whether the broker has to register.
        "changed" => changed: bool,
    }

    /// A broker is alive.
    BrokerHeartbeat<'a> {
        /// Its cluster.
        "clusterName" => cluster: &'a str,
        /// Where clients reach it.
        "brokerAddr" => broker_address: &'a str,
        /// The broker's name.
        "brokerName" => broker_name: &'a str,
        /// 0 for a master.
        "brokerId" => broker_id: Option<i64>,
        /// For controllers.
        "epoch" => epoch: Option<i32>,
        /// For controllers: behind the last byte of its log.
        "maxOffset" => max_offset: Option<i64>,
        /// For controllers: behind the last byte that counts.
        "confirmOffset" => confirm_offset: Option<i64>,
        /// After how long without a sign of life it is gone.
        "heartbeatTimeoutMills" => heartbeat_timeout_ms: Option<i64>,
        /// For controllers: whether it would rather be master than others.
        "electionPriority" => election_priority: Option<i32>,
    }

    /// Brokers of a name.
    BrokerMemberGroup<'a> {
        /// The cluster.
        "clusterName" => cluster: &'a str,
        /// The name.
        "brokerName" => broker_name: &'a str,
    }

    /// Sets a value.
    PutKv<'a> {
        /// The namespace.
        "namespace" => namespace: &'a str,
        /// The key.
        "key" => key: &'a str,
        /// The value.
        "value" => value: &'a str,
    }

    /// Asks for a value, or deletes it.
    KvKey<'a> {
        /// The namespace.
        "namespace" => namespace: &'a str,
        /// The key.
        "key" => key: &'a str,
    }

    /// The value.
    GetKvResponse<'a> {
        /// The value.
        "value" => value: Option<&'a str>,
    }

    /// All values of a namespace.
    KvNamespace<'a> {
        /// The namespace.
        "namespace" => namespace: &'a str,
    }

    /// Has producers leave a broker out, or use it again.
    WritePermission<'a> {
        /// The broker's name.
        "brokerName" => broker_name: &'a str,
    }

    /// How many topics producers use elsewhere now.
    WipeWritePermissionResponse {
        /// How many.
        "wipeTopicCount" => topics: i32,
    }

    /// How many topics producers use here again.
    AddWritePermissionResponse {
        /// How many.
        "addTopicCount" => topics: i32,
    }

    /// Names of a cluster's topics.
    TopicsByCluster<'a> {
        /// The cluster.
        "cluster" => cluster: &'a str,
    }

    /// Forgets a topic.
    ForgetTopic<'a> {
        /// The topic.
        "topic" => topic: &'a str,
        /// Only in this cluster.
        "clusterName" => cluster: Option<&'a str>,
    }

    /// Tells of a topic's queues. The body is a [`TopicRoute`](crate::remoting::bodies::route::TopicRoute).
    RegisterTopic<'a> {
        /// The topic.
        "topic" => topic: &'a str,
    }

    /// To a broker: the first of its set is another one.
    NotifyMinBrokerId<'a> {
        /// The first's id.
        "minBrokerId" => min_broker_id: Option<i64>,
        /// The set's name.
        "brokerName" => broker_name: Option<&'a str>,
        /// Where clients reach the first.
        "minBrokerAddr" => min_broker_address: Option<&'a str>,
        /// The one that left.
        "offlineBrokerAddr" => offline_broker_address: Option<&'a str>,
        /// Where the first takes slaves.
        "haBrokerAddr" => ha_address: Option<&'a str>,
    }
}
