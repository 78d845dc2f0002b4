//! Bodies and files in RocketMQ's JSON.
//!
//! All of them are read with [`json::from_slice`](super::json::from_slice) and written with
//! [`json::to_bytes`](super::json::to_bytes). Members stand in the order in which they are written, which is
//! alphabetical by their names on the wire. Members that are missing have their defaults, and unknown ones are passed
//! over. Names of topics and groups are as they came: nobody has checked them.
//!
//! Bodies that a broker only passes on, such as what clients tell of themselves, are bytes and are not here.
//!
//! - [`heartbeat`]: what clients say of their groups and subscriptions.
//! - [`route`]: where queues and brokers are. [`registration`]: what brokers tell name servers.
//! - [`topic`], [`group`]: settings, also those that lie in files.
//! - [`offset`]: offsets of groups, also those that lie in files. [`stats`]: how far queues, groups and counters are.
//! - [`connection`]: who is connected. [`lock`]: queues that are consumed in order.
//! - [`assignment`]: queues that members of groups get. [`ack`]: messages that are done.
//! - [`consume_queue`]: entries of queues. [`broker`]: how brokers stand to each other. [`auth`]: users and rights.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub mod ack;
pub mod assignment;
pub mod auth;
mod bit_set;
pub mod broker;
pub mod connection;
pub mod consume_queue;
pub mod group;
pub mod heartbeat;
pub mod lock;
mod names;
pub mod offset;
pub mod registration;
pub mod route;
pub mod stats;
pub mod topic;

pub use bit_set::BitSet;
use names::names;

/// A queue of a topic on one broker. In tables it is a key, whole.
///
/// Queues are in the order in which RocketMQ assigns them: by topic, broker, number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageQueue {
    /// The broker.
    pub broker_name: String,
    /// The number of the queue there.
    pub queue_id: i32,
    /// The topic.
    pub topic: String,
}

impl MessageQueue {
    /// A queue.
    pub fn new(topic: &str, broker_name: &str, queue_id: i32) -> Self {
        Self {
            broker_name: broker_name.to_owned(),
            queue_id,
            topic: topic.to_owned(),
        }
    }
}

impl Ord for MessageQueue {
    fn cmp(&self, other: &Self) -> Ordering {
        fn key(queue: &MessageQueue) -> (&str, &str, i32) {
            (&queue.topic, &queue.broker_name, queue.queue_id)
        }
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for MessageQueue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Which state of a table it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    /// How often the table was changed.
    pub counter: i64,
    /// Which reign of a master it belongs to.
    pub state_version: i64,
    /// When it was changed last, in milliseconds since the epoch.
    pub timestamp: i64,
}

/// Named values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KvTable {
    /// Values by their names.
    pub table: BTreeMap<String, String>,
}

/// All values of a name server: `kvConfig.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KvConfig {
    /// By namespace and name.
    #[serde(rename = "configTable")]
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

/// A number of a setting that cannot be less than 0; what is counts as 0.
fn not_negative(number: i32) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

/// As RocketMQ keeps it, in 32 bits with a sign.
fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Members of a consumer group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsumerIds {
    /// Ids of clients.
    #[serde(rename = "consumerIdList")]
    pub ids: Vec<String>,
}
