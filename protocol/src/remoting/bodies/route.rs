//! Where queues and brokers are (RocketMQ `TopicRouteData`, `ClusterInfo`).
//!
//! Numbers of brokers stand in quotes, unlike elsewhere: not all clients read them without, and all do with.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, Serializer};

/// Where a topic's queues are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicRoute {
    /// The brokers.
    #[serde(rename = "brokerDatas")]
    pub brokers: Vec<BrokerAddresses>,
    /// Nothing: no release that is still in use has such servers.
    #[serde(rename = "filterServerTable")]
    pub filter_servers: BTreeMap<String, Vec<String>>,
    /// For topics whose order goes beyond queues: `broker:queues` with semicolons between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_topic_conf: Option<String>,
    /// Their queues.
    #[serde(rename = "queueDatas")]
    pub queues: Vec<BrokerQueues>,
}

/// The brokers of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerAddresses {
    /// Addresses by broker id; 0 is the master's.
    #[serde(rename = "brokerAddrs", serialize_with = "quoted_keys")]
    pub addresses: BTreeMap<u64, String>,
    /// The name.
    pub broker_name: String,
    /// The cluster.
    pub cluster: String,
    /// Whether a slave may act for the master.
    #[serde(rename = "enableActingMaster")]
    pub acting_master_enabled: bool,
    /// The zone that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_name: Option<String>,
}

/// A topic's queues on the brokers of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerQueues {
    /// The name.
    pub broker_name: String,
    /// Bits of [`permission`](crate::model::permission).
    #[serde(rename = "perm")]
    pub permission: i32,
    /// Queues that consumers read.
    #[serde(rename = "readQueueNums")]
    pub read_queues: i32,
    /// The topic's flag.
    pub topic_sys_flag: i32,
    /// Queues that producers write.
    #[serde(rename = "writeQueueNums")]
    pub write_queues: i32,
}

/// All brokers that a name server knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterInfo {
    /// Brokers by their names.
    #[serde(rename = "brokerAddrTable")]
    pub brokers: BTreeMap<String, BrokerAddresses>,
    /// Names of brokers by their clusters.
    #[serde(rename = "clusterAddrTable")]
    pub clusters: BTreeMap<String, BTreeSet<String>>,
}

/// Names of topics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicList {
    /// A broker that knows of more.
    #[serde(rename = "brokerAddr", skip_serializing_if = "Option::is_none")]
    pub broker_address: Option<String>,
    /// The names.
    #[serde(rename = "topicList")]
    pub topics: BTreeSet<String>,
}

/// Brokers of a name, as they ask for each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerMemberGroup {
    /// Addresses by broker id; 0 is the master's.
    #[serde(rename = "brokerAddrs", serialize_with = "quoted_keys")]
    pub addresses: BTreeMap<u64, String>,
    /// The name.
    pub broker_name: String,
    /// The cluster.
    pub cluster: String,
}

/// What the question for brokers of a name is answered with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerMemberGroupResponse {
    /// The brokers.
    pub broker_member_group: BrokerMemberGroup,
}

fn quoted_keys<S: Serializer>(
    addresses: &BTreeMap<u64, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(
        addresses
            .iter()
            .map(|(id, address)| (id.to_string(), address)),
    )
}
