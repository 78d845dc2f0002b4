//! What name servers are told and asked.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// The state of a broker's topics; a change makes a greater one (RocketMQ `DataVersion`).
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    Encode,
    Decode,
)]
pub struct DataVersion {
    /// When the broker began to count, in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Changes since.
    pub counter: u64,
}

/// A broker says that it is there.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RegisterBroker {
    /// The cluster.
    pub cluster: String,
    /// The name that a master shares with its slaves.
    pub broker: String,
    /// 0 for a master.
    pub broker_id: u64,
    /// Its number in the configuration, whatever it is now.
    pub configured_id: u64,
    /// How often the set's master was changed by operators, as far as it knows; of two masters the one with more is it.
    pub epoch: u32,
    /// Where clients reach it.
    pub address: String,
    /// Where slaves reach it; empty when it takes none.
    pub ha_address: String,
    /// Silence after which the name server forgets it, in milliseconds.
    pub expiry_ms: u32,
    /// The state that `topics` leads to.
    pub version: DataVersion,
    /// What it has.
    pub topics: TopicsReport,
}

/// A broker's topics, whole or as changes, or a part of that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct TopicsReport {
    /// The state that the name server has confirmed, on which the changes build; without one, all topics are here.
    pub since: Option<DataVersion>,
    /// New or changed topics.
    pub changed: Vec<TopicQueues>,
    /// Topics that are gone.
    pub removed: Vec<String>,
    /// The same registration goes on with further topics: it counts when the last part is there, and as a whole.
    pub more: bool,
}

/// A topic's queues on one broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct TopicQueues {
    /// The topic's name.
    pub topic: String,
    /// Queues that can be read.
    pub read_queues: u32,
    /// Queues that can be written.
    pub write_queues: u32,
    /// Bits of [`permission`](crate::model::permission).
    pub permission: u32,
    /// Kept for RocketMQ's clients.
    pub system_flag: u32,
    /// Whether clients trace its messages.
    pub is_traced: bool,
}

/// A name server has taken note of a broker, or tells one that something changed in its set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Registered {
    /// The state that the name server has of the broker's topics; 0 when it knows none. When it is not the broker's, the broker
    /// sends what changed since, or all of it.
    pub version: DataVersion,
    /// The address of the broker set's master, for slaves; empty when there is none.
    pub master_address: String,
    /// Where slaves reach the master; empty when there is none.
    pub master_ha_address: String,
    /// The master's number in its configuration.
    pub master_configured_id: u64,
    /// The master's epoch, also when there is none at the moment; a master that is told a greater one than its own is none
    /// any more, and is not taken note of.
    pub master_epoch: u32,
    /// Broker id and address of each that is known of the set.
    pub members: Vec<(u64, String)>,
}

/// Where a topic is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct TopicRoute {
    /// Broker sets that have queues of it.
    pub brokers: Vec<BrokerSet>,
    /// Its queues, by broker name.
    pub queues: Vec<BrokerQueues>,
}

/// A master and its slaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct BrokerSet {
    /// The cluster.
    pub cluster: String,
    /// The name they share.
    pub name: String,
    /// Broker id and address of each that is alive, by id; 0 is the master.
    pub addresses: Vec<(u64, String)>,
}

/// A topic's queues in one broker set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct BrokerQueues {
    /// The broker set's name.
    pub broker: String,
    /// Queues that can be read.
    pub read_queues: u32,
    /// Queues that can be written.
    pub write_queues: u32,
    /// Bits of [`permission`](crate::model::permission).
    pub permission: u32,
    /// Whether clients trace the topic's messages.
    pub is_traced: bool,
}
