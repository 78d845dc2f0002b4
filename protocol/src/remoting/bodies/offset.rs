//! Offsets of groups, on the wire and in `consumerOffset.json` and `delayOffset.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DataVersion, MessageQueue};

/// Offsets of all groups of a broker: `consumerOffset.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerOffsets {
    /// The table's state.
    pub data_version: DataVersion,
    /// By `topic@group` and queue, the next offset to process.
    #[serde(rename = "offsetTable")]
    pub offsets: BTreeMap<String, BTreeMap<i32, i64>>,
}

/// How far delayed messages are delivered: `delayOffset.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DelayOffsets {
    /// The table's state.
    pub data_version: DataVersion,
    /// By delay level, the next offset to deliver.
    #[serde(rename = "offsetTable")]
    pub offsets: BTreeMap<i32, i64>,
}

/// Offsets to go on from: to clients, and what resetting them is answered with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResetOffsets {
    /// By queue, the next offset to process.
    #[serde(rename = "offsetTable")]
    pub offsets: BTreeMap<MessageQueue, i64>,
}

/// The same for clients in C++, which read no objects as keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResetOffsetsForCpp {
    /// Queues with their offsets.
    #[serde(rename = "offsetTable")]
    pub offsets: Vec<OffsetForCpp>,
}

/// A queue with its offset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OffsetForCpp {
    /// The broker.
    pub broker_name: String,
    /// The next offset to process.
    pub offset: i64,
    /// The number of the queue there.
    pub queue_id: i32,
    /// The topic.
    pub topic: String,
}

impl From<&ResetOffsets> for ResetOffsetsForCpp {
    fn from(reset: &ResetOffsets) -> Self {
        let offsets = reset.offsets.iter().map(|(queue, offset)| OffsetForCpp {
            broker_name: queue.broker_name.clone(),
            offset: *offset,
            queue_id: queue.queue_id,
            topic: queue.topic.clone(),
        });
        Self {
            offsets: offsets.collect(),
        }
    }
}

/// How far clients are by their own account (RocketMQ `GetConsumerStatusBody`).
///
/// One client answers the broker with its queues, and the broker answers an operator with all clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsumerStatus {
    /// By client and queue, the next offset to process.
    #[serde(rename = "consumerTable")]
    pub clients: BTreeMap<String, BTreeMap<MessageQueue, i64>>,
    /// By queue, the next offset to process.
    #[serde(rename = "messageQueueTable")]
    pub queues: BTreeMap<MessageQueue, i64>,
}

/// Smallest offsets among groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CorrectionOffsets {
    /// By queue.
    pub correction_offsets: BTreeMap<i32, i64>,
}
