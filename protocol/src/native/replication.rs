//! What a slave and its master say to each other besides the log itself.
//!
//! A slave opens two connections to the port on which its master listens for slaves. On one it asks to [follow](Follow), and
//! after the answer the connection is one of [`ha`](crate::ha). On the other it asks again and again what has
//! [changed](SyncMetadata) besides.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::model::{GroupConfig, PhysicalOffset, QueueId, QueueOffset, TopicConfig};

/// Where one life of one master began to write the log. Two logs that have an entry in common are the same below the end of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct LogEpoch {
    /// Grows whenever another broker of the set becomes the master.
    pub epoch: u32,
    /// Drawn by the master at its start: tells its lives apart.
    pub run: u64,
    /// The first byte that it wrote.
    pub start: PhysicalOffset,
}

/// A slave asks to copy the log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Follow {
    /// The slave's cluster.
    pub cluster: String,
    /// The name of its set.
    pub broker: String,
    /// Its number in the set.
    pub broker_id: u64,
    /// Where clients reach it, as name servers know it.
    pub address: String,
    /// Size of its segments in bytes.
    pub segment_bytes: u64,
    /// The first byte of its log.
    pub log_begin: PhysicalOffset,
    /// Behind the last byte of its log.
    pub log_end: PhysicalOffset,
    /// Who wrote its log.
    pub epochs: Vec<LogEpoch>,
}

/// A master lets a slave follow.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Followed {
    /// Where the copy goes on. Below the end of the slave's log, that has to be cut there first; beyond, the master has nothing of
    /// what follows any more, and the slave begins anew there.
    pub from: PhysicalOffset,
    /// Who wrote the master's log.
    pub epochs: Vec<LogEpoch>,
    /// Whether the master waits for slaves.
    pub is_sync: bool,
}

/// A slave asks what has changed since it asked last on this connection; the first time, for everything.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SyncMetadata {
    /// Its number in the set.
    pub broker_id: u64,
    /// Offsets that consumers committed at the slave since it asked last.
    pub offsets: Vec<GroupOffset>,
}

/// What has changed.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct MetadataChanges {
    /// Changes, in the order in which they are to be made.
    pub changes: Vec<MetadataChange>,
    /// There are more already.
    pub more: bool,
}

/// A change of what a master keeps besides the log. Grows at its end only.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum MetadataChange {
    /// Everything follows: what does not come until [`Complete`](Self::Complete) is gone.
    Begin,
    /// Everything has come.
    Complete,
    /// A topic is there.
    Topic {
        /// Its name.
        name: String,
        /// Its settings.
        config: TopicConfig,
    },
    /// A topic was deleted.
    TopicDeleted {
        /// Its name.
        name: String,
        /// Its messages below this place are gone.
        below: PhysicalOffset,
        /// Where its queues go on.
        next: Vec<(QueueId, QueueOffset)>,
        /// Whether nobody has made it again.
        is_gone: bool,
    },
    /// A group is there.
    Group {
        /// Its name.
        name: String,
        /// Its settings.
        config: GroupConfig,
    },
    /// A group is gone.
    GroupGone {
        /// Its name.
        name: String,
    },
    /// How far a group is.
    Offset(GroupOffset),
    /// How far messages that wait for a time have come out.
    Timer(TimerMark),
    /// From here on the log is needed for more than to be read.
    Needed(PhysicalOffset),
}

/// How far a group is in a queue.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct GroupOffset {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The queue.
    pub queue: QueueId,
    /// The next offset to process; `None` when there is none any more.
    pub offset: Option<QueueOffset>,
}

/// How far messages that wait for a time have come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct TimerMark {
    /// What was due at this time is out, in milliseconds since the epoch,
    pub out_to_ms: i64,
    /// of the messages before this one in the timer topic.
    pub entered: QueueOffset,
    /// It lies in the log below this place. What comes out later lies behind.
    pub log: PhysicalOffset,
}
