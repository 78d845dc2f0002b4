//! Who is connected.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::heartbeat::{ConsumeFrom, ConsumeType, MessageModel, Subscription};
use crate::remoting::Language;

/// A client's connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Connection {
    /// Where it is, as `ip:port`.
    #[serde(rename = "clientAddr")]
    pub client_address: String,
    /// The client.
    pub client_id: String,
    /// What it is written in.
    pub language: Language,
    /// Its [`version`](crate::remoting::codes::version).
    pub version: i32,
}

/// Connections of a consumer group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerConnections {
    /// The connections.
    #[serde(rename = "connectionSet")]
    pub connections: Vec<Connection>,
    /// Where the group begins in a queue where it never was.
    pub consume_from_where: ConsumeFrom,
    /// How members get messages.
    pub consume_type: ConsumeType,
    /// Whether members share messages.
    pub message_model: MessageModel,
    /// Subscriptions by topic.
    #[serde(rename = "subscriptionTable")]
    pub subscriptions: BTreeMap<String, Subscription>,
}

/// Connections of a producer group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProducerConnections {
    /// The connections.
    #[serde(rename = "connectionSet")]
    pub connections: Vec<Connection>,
}

/// All producers of a broker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProducerTable {
    /// By group.
    #[serde(rename = "data")]
    pub groups: BTreeMap<String, Vec<ProducerInfo>>,
}

/// A producer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerInfo {
    /// The client.
    pub client_id: String,
    /// What it is written in.
    pub language: Language,
    /// Its last sign of life, in milliseconds since the epoch.
    #[serde(rename = "lastUpdateTimestamp")]
    pub last_update_ms: i64,
    /// Where it is, as `ip:port`.
    #[serde(rename = "remoteIP")]
    pub remote_address: String,
    /// Its [`version`](crate::remoting::codes::version).
    pub version: i32,
}
