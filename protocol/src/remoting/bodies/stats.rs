//! How far queues, groups and counters are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::MessageQueue;

/// Offsets of a topic's queues.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicStats {
    /// By queue.
    #[serde(rename = "offsetTable")]
    pub offsets: BTreeMap<MessageQueue, QueueStats>,
    /// Messages stored a second.
    pub topic_put_tps: f64,
}

/// Offsets of a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueStats {
    /// When the last message was stored, in milliseconds since the epoch; 0 without messages.
    #[serde(rename = "lastUpdateTimestamp")]
    pub last_store_timestamp_ms: i64,
    /// Behind the last message.
    pub max_offset: i64,
    /// The first message.
    pub min_offset: i64,
}

/// How far a group is in its queues.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeStats {
    /// Messages delivered a second.
    pub consume_tps: f64,
    /// By queue.
    #[serde(rename = "offsetTable")]
    pub offsets: BTreeMap<MessageQueue, Progress>,
}

/// How far a group is in a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// Behind the queue's last message.
    pub broker_offset: i64,
    /// The next offset to process.
    pub consumer_offset: i64,
    /// When the message before that was stored, in milliseconds since the epoch.
    #[serde(rename = "lastTimestamp")]
    pub last_timestamp_ms: i64,
    /// The next offset to pull.
    pub pull_offset: i64,
}

/// How far all groups of a broker are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerConsumeStats {
    /// The broker.
    #[serde(rename = "brokerAddr")]
    pub broker_address: String,
    /// Objects of one group and its topics each.
    #[serde(rename = "consumeStatsList")]
    pub groups: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
    /// Messages not processed.
    pub total_diff: i64,
    /// Messages pulled and not processed.
    pub total_inflight_diff: i64,
}

/// A counter of the last minute, hour and day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatsData {
    /// The last day.
    pub stats_day: StatsItem,
    /// The last hour.
    pub stats_hour: StatsItem,
    /// The last minute.
    pub stats_minute: StatsItem,
}

/// A counter over some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatsItem {
    /// The sum by how often it was added to.
    #[serde(rename = "avgpt")]
    pub average: f64,
    /// All of it.
    pub sum: i64,
    /// The sum by seconds.
    #[serde(rename = "tps")]
    pub per_second: f64,
}

/// Times of the first, last and next messages of a group's queues.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsumeTimeSpans {
    /// One for each queue.
    #[serde(rename = "consumeTimeSpanSet")]
    pub queues: Vec<QueueTimeSpan>,
}

/// Times of a queue, in milliseconds since the epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueTimeSpan {
    /// The message before the next to process.
    #[serde(rename = "consumeTimeStamp")]
    pub consume_ms: i64,
    /// How long ago the next to process was stored, in milliseconds.
    #[serde(rename = "delayTime")]
    pub delay_ms: i64,
    /// The last message.
    #[serde(rename = "maxTimeStamp")]
    pub max_ms: i64,
    /// The queue.
    #[serde(rename = "messageQueue")]
    pub queue: MessageQueue,
    /// The first message.
    #[serde(rename = "minTimeStamp")]
    pub min_ms: i64,
}
