//! Entries of queues.

use serde::{Deserialize, Serialize};

use super::heartbeat::Subscription;

/// Entries of a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsumeQueueEntries {
    /// What is known of the group's filter.
    #[serde(rename = "filterData", skip_serializing_if = "Option::is_none")]
    pub filter_data: Option<String>,
    /// Behind the last entry.
    #[serde(rename = "maxQueueIndex")]
    pub max_offset: i64,
    /// The first entry.
    #[serde(rename = "minQueueIndex")]
    pub min_offset: i64,
    /// The entries.
    #[serde(rename = "queueData")]
    pub entries: Vec<ConsumeQueueEntry>,
    /// The group's subscription.
    #[serde(rename = "subscriptionData", skip_serializing_if = "Option::is_none")]
    pub subscription: Option<Subscription>,
}

/// An entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeQueueEntry {
    /// Bits by which filters are judged beforehand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bit_map: Option<String>,
    /// Whether the group's filter takes it.
    #[serde(rename = "eval")]
    pub matches: bool,
    /// What else lies with it.
    #[serde(rename = "extendDataJson", skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
    /// What is wrong with the message.
    #[serde(rename = "msg", skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Where the message lies in the log.
    #[serde(rename = "physicOffset")]
    pub physical_offset: i64,
    /// How many bytes it has there.
    #[serde(rename = "physicSize")]
    pub physical_bytes: i32,
    /// The hash code of its tag.
    pub tags_code: i64,
}
