//! What operators ask, and the answers.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::hello::Role;
use super::request::{GroupMode, StartFrom, TopicQueue};
use super::route::BrokerSet;
use crate::model::{GroupConfig, PhysicalOffset, QueueId, QueueOffset, TopicConfig};

/// An operator's request. Grows at its end only.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum AdminRequest {
    /// Creates or changes a topic.
    PutTopic {
        /// The topic's name.
        topic: String,
        /// What it shall be.
        config: TopicConfig,
        /// Fail when it is there already.
        only_new: bool,
    },
    /// Deletes a topic with its queues and the groups' offsets in it.
    DeleteTopic {
        /// The topic's name.
        topic: String,
    },
    /// Names of all topics. Brokers and name servers answer.
    ListTopics,
    /// A topic's settings and queues.
    ShowTopic {
        /// The topic's name.
        topic: String,
    },
    /// Creates or changes a consumer group.
    PutGroup {
        /// The group's name.
        group: String,
        /// What it shall be.
        config: GroupConfig,
    },
    /// Names of all consumer groups.
    ListGroups,
    /// A group's settings, members, offsets.
    ShowGroup {
        /// The group's name.
        group: String,
    },
    /// Sets a group's offsets in a topic.
    ResetOffsets {
        /// The group's name.
        group: String,
        /// The topic's name.
        topic: String,
        /// One queue, or all.
        queue: Option<QueueId>,
        /// Where to.
        to: ResetTo,
    },
    /// Brokers that a name server knows.
    ListBrokers,
    /// A broker's rates, sizes, positions.
    ShowBroker,
    /// The message that lies at a place in the log. Answered with its record as payload.
    MessageAt {
        /// The place.
        physical_offset: PhysicalOffset,
    },
    /// Messages with a key, newest first. Answered with their records as payload.
    MessagesByKey {
        /// The topic's name.
        topic: String,
        /// One of the message's keys.
        key: String,
        /// At most this many.
        max: u32,
        /// Stored at this time or later, in milliseconds since the epoch.
        begin_ms: i64,
        /// Stored at this time or earlier, in milliseconds since the epoch.
        end_ms: i64,
    },
    /// The live tree of actors, as JSON.
    Actors,
    /// Connections.
    ListConnections,
    /// Deletes a consumer group without members, with its offsets.
    DeleteGroup {
        /// The group's name.
        group: String,
        /// Delete its retry topic and its dead letters, too.
        with_topics: bool,
    },
    /// Sets a group's offsets to those of another one.
    CloneOffsets {
        /// The group that is set.
        group: String,
        /// The group whose offsets are taken.
        from: String,
        /// One topic, or all that the other group has offsets in.
        topic: Option<String>,
    },
    /// Makes a slave the master of its set.
    PromoteBroker {
        /// Even while its master lives, or nobody knows whether it does.
        force: bool,
    },
}

/// Where offsets are set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum ResetTo {
    /// First, last, or a time.
    Start(StartFrom),
    /// This offset.
    Offset(QueueOffset),
}

/// An answer to an operator. Grows at its end only.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum AdminResponse {
    /// Names, sorted.
    Names(Vec<String>),
    /// A topic.
    Topic(TopicDetails),
    /// A group.
    Group(GroupDetails),
    /// Offsets as they are now.
    Offsets(Vec<(TopicQueue, QueueOffset)>),
    /// Brokers.
    Brokers(Vec<BrokerSet>),
    /// A broker.
    Broker(Box<BrokerDetails>),
    /// Messages; their records are the payload, one behind the other.
    Messages {
        /// How many.
        count: u32,
    },
    /// JSON for people and tools.
    Json(String),
    /// Connections.
    Connections(Vec<ConnectionDetails>),
    /// The broker starts anew as the master.
    Promoted {
        /// The epoch that begins with that.
        epoch: u32,
    },
}

/// A topic on one broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct TopicDetails {
    /// Its settings.
    pub config: TopicConfig,
    /// Its queues.
    pub queues: Vec<QueueDetails>,
}

/// A queue on one broker.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct QueueDetails {
    /// The queue.
    pub queue: QueueId,
    /// The first message there is.
    pub min_offset: QueueOffset,
    /// Behind the last message there is.
    pub max_offset: QueueOffset,
    /// When the last message was stored, in milliseconds since the epoch; 0 without messages.
    pub last_store_timestamp_ms: i64,
}

/// A consumer group on one broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct GroupDetails {
    /// Its settings.
    pub config: GroupConfig,
    /// Its members' mode; `None` without members.
    pub mode: Option<GroupMode>,
    /// Its members.
    pub members: Vec<MemberDetails>,
    /// How far it is.
    pub progress: Vec<QueueProgress>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct MemberDetails {
    /// The client's id.
    pub client_id: String,
    /// Where it is.
    pub address: String,
    /// Its queues.
    pub queues: Vec<TopicQueue>,
}

/// How far a group is in a queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct QueueProgress {
    /// The queue.
    pub queue: TopicQueue,
    /// The next message to process; `None` when the group never committed here.
    pub committed: Option<QueueOffset>,
    /// The first message there is.
    pub min_offset: QueueOffset,
    /// Behind the last message there is.
    pub max_offset: QueueOffset,
    /// The member that has it.
    pub owner: Option<String>,
}

/// A broker's rates, sizes, positions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct BrokerDetails {
    /// The cluster.
    pub cluster: String,
    /// The name.
    pub name: String,
    /// 0 for a master.
    pub broker_id: u64,
    /// Its software.
    pub software: String,
    /// Milliseconds since it was ready.
    pub uptime_ms: u64,
    /// Messages stored since it was ready.
    pub messages_in: u64,
    /// Messages delivered since it was ready.
    pub messages_out: u64,
    /// Messages stored a second, over the last seconds.
    pub messages_in_per_second: f64,
    /// Messages delivered a second, over the last seconds.
    pub messages_out_per_second: f64,
    /// The first byte of the log.
    pub log_begin: PhysicalOffset,
    /// Behind the last byte appended.
    pub log_appended: PhysicalOffset,
    /// Behind the last byte flushed.
    pub log_flushed: PhysicalOffset,
    /// Behind the last byte that consumers may see.
    pub log_committed: PhysicalOffset,
    /// Behind the last byte that queues know.
    pub log_dispatched: PhysicalOffset,
    /// Connections now.
    pub connections: u32,
    /// Topics.
    pub topics: u32,
    /// Consumer groups.
    pub groups: u32,
    /// Bytes on the partition that are used, 0.0 to 1.0.
    pub disk_used_ratio: f64,
    /// `ok`, or why writes are refused, or why a slave does not follow its master.
    pub health: String,
    /// Processor time since start, in nanoseconds.
    pub cpu_ns: u64,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// The part of resident memory that is pages of mapped files, in bytes.
    pub rss_file_bytes: u64,
    /// Messages passed over since it was ready because they had expired, once for each reader.
    pub messages_expired: u64,
    /// How it stands to the others of its set.
    pub replication: ReplicationDetails,
}

/// How a broker stands to the others of its set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct ReplicationDetails {
    /// `async_master`, `sync_master` or `slave`.
    pub role: String,
    /// Its number in its configuration, whatever it is now.
    pub configured_id: u64,
    /// How often the set's master was changed by operators, as far as it knows; 1 for a set whose master never was.
    pub epoch: u32,
    /// Where slaves reach it; empty when it takes none.
    pub ha_address: String,
    /// On a slave: where the master that it follows takes slaves; empty while it follows none.
    pub following: String,
    /// On a master: brokers, itself among them, that have to have a message before it is acknowledged.
    pub in_sync_replicas: u32,
    /// On a master: its slaves.
    pub slaves: Vec<SlaveDetails>,
}

/// A slave that follows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct SlaveDetails {
    /// Its number in the set.
    pub broker_id: u64,
    /// Where clients reach it, or where it connected from.
    pub address: String,
    /// It has the log up to here.
    pub acknowledged: PhysicalOffset,
    /// Milliseconds since the log ended there.
    pub lag_ms: u64,
    /// Whether it keeps up.
    pub is_in_step: bool,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct ConnectionDetails {
    /// The client's id.
    pub client_id: String,
    /// Where it is.
    pub address: String,
    /// What it is for.
    pub role: Role,
    /// Its software.
    pub software: String,
    /// Milliseconds since it opened.
    pub age_ms: u64,
}
