//! What clients say of their groups and subscriptions (RocketMQ `HeartbeatData`).

use serde::{Deserialize, Serialize};

use super::names;

/// A client is alive. The C++ client leaves out what it has nothing of, and writes enums as numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Heartbeat {
    /// The client.
    #[serde(rename = "clientID")]
    pub client_id: String,
    /// Groups in which it consumes.
    #[serde(rename = "consumerDataSet")]
    pub consumers: Vec<Consumer>,
    /// A check sum of all subscriptions; 0 when the client does not know of such.
    pub heartbeat_fingerprint: i32,
    /// Groups in which it produces.
    #[serde(rename = "producerDataSet")]
    pub producers: Vec<Producer>,
    /// Whether subscriptions are left out, since they are as they were.
    pub without_sub: bool,
}

/// A group in which a client produces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Producer {
    /// The group.
    pub group_name: String,
}

/// A group in which a client consumes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Consumer {
    /// Where the group begins in a queue where it never was.
    pub consume_from_where: ConsumeFrom,
    /// How it gets messages.
    pub consume_type: ConsumeType,
    /// The group.
    pub group_name: String,
    /// Whether members share messages.
    pub message_model: MessageModel,
    /// What it subscribes to.
    #[serde(rename = "subscriptionDataSet")]
    pub subscriptions: Vec<Subscription>,
    /// Whether the client belongs to a unit.
    pub unit_mode: bool,
}

/// What a group wants of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subscription {
    /// Whether the filter is a class; no release that is still in use serves that.
    pub class_filter_mode: bool,
    /// Hash codes of the tags.
    #[serde(rename = "codeSet")]
    pub codes: Vec<i32>,
    /// `TAG` or `SQL92`.
    pub expression_type: String,
    /// The filter; `*` or nothing for all messages.
    #[serde(rename = "subString")]
    pub expression: String,
    /// The filter's version: newer ones are greater. Some clients count in milliseconds, others in nanoseconds.
    #[serde(rename = "subVersion")]
    pub version: i64,
    /// The tags.
    #[serde(rename = "tagsSet")]
    pub tags: Vec<String>,
    /// The topic.
    pub topic: String,
}

impl Default for Subscription {
    fn default() -> Self {
        Self {
            class_filter_mode: false,
            codes: Vec::new(),
            expression_type: "TAG".to_owned(),
            expression: String::new(),
            version: 0,
            tags: Vec::new(),
            topic: String::new(),
        }
    }
}

names! {
    /// How members of a group get messages.
    ConsumeType {
        /// They pull when the application asks for messages.
        Actively = "CONSUME_ACTIVELY",
        /// They pull all the time.
        #[default]
        Passively = "CONSUME_PASSIVELY",
        /// They pop.
        Pop = "CONSUME_POP",
    }
}

names! {
    /// Whether members of a group share messages.
    MessageModel {
        /// Each gets all.
        Broadcasting = "BROADCASTING",
        /// They share them.
        #[default]
        Clustering = "CLUSTERING",
    }
}

names! {
    /// Where a group begins in a queue where it never was.
    ConsumeFrom {
        /// At the end.
        #[default]
        Last = "CONSUME_FROM_LAST_OFFSET",
        /// As [`Last`](Self::Last); a name of old.
        LastOrMinWhenFirst = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        /// As [`First`](Self::First); a name of old.
        Min = "CONSUME_FROM_MIN_OFFSET",
        /// As [`Last`](Self::Last); a name of old.
        Max = "CONSUME_FROM_MAX_OFFSET",
        /// At the first message there is.
        First = "CONSUME_FROM_FIRST_OFFSET",
        /// At a time.
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

/// Whether the broker takes a subscription's filter (RocketMQ `CheckClientRequestBody`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckClientConfig {
    /// The client.
    pub client_id: String,
    /// The group.
    pub group: String,
    /// The client's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The subscription.
    #[serde(rename = "subscriptionData")]
    pub subscription: Subscription,
}
