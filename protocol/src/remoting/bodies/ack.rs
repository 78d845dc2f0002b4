//! Messages that were handed out and are done.

use serde::{Deserialize, Serialize};

use super::BitSet;

/// Messages that are done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BatchAckMessages {
    /// One for each batch that was handed out.
    pub acks: Vec<BatchAck>,
    /// The broker.
    pub broker_name: String,
}

/// Messages of a batch that was handed out from a queue. Names are short on the wire; long ones are read, too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchAck {
    /// How far behind [`start_offset`](Self::start_offset) each message is.
    #[serde(rename = "b", alias = "bitSet")]
    pub messages: BitSet,
    /// The group.
    #[serde(rename = "c", alias = "consumerGroup")]
    pub group: String,
    /// For how long they were handed out.
    #[serde(rename = "it", alias = "invisibleTime")]
    pub invisible_ms: i64,
    /// When they were handed out, in milliseconds since the epoch.
    #[serde(rename = "pt", alias = "popTime")]
    pub popped_ms: i64,
    /// The queue.
    #[serde(rename = "q", alias = "queueId")]
    pub queue: i32,
    /// The [`TopicKind`](crate::remoting::pop::TopicKind).
    #[serde(rename = "r", alias = "retry")]
    pub kind: String,
    /// The broker's own queue that watches over them.
    #[serde(rename = "rq", alias = "reviveQueueId")]
    pub revive_queue: i32,
    /// Where the batch began.
    #[serde(rename = "so", alias = "startOffset")]
    pub start_offset: i64,
    /// The topic.
    #[serde(rename = "t", alias = "topic")]
    pub topic: String,
}
