//! Pulling messages.

use super::{FieldError, FieldWriter, Fields, ReadFields, WriteFields, headers};

/// Bits of [`PullMessage::sys_flag`].
pub mod pull_flag {
    /// `commit_offset` counts.
    pub const COMMIT_OFFSET: i32 = 1;
    /// The request may wait for messages.
    pub const SUSPEND: i32 = 2;
    /// The subscription of the request counts, not that of the heartbeat.
    pub const SUBSCRIPTION: i32 = 4;
    /// The subscription is a class; no release that is still in use serves that.
    pub const CLASS_FILTER: i32 = 8;
    /// The consumer pulls by itself.
    pub const LITE_PULL: i32 = 16;
}

headers! {
    /// Messages of a queue from an offset on.
    PullMessage<'a> {
        /// The group.
        "consumerGroup" => group: &'a str,
        /// The topic.
        "topic" => topic: &'a str,
        /// The queue.
        "queueId" => queue: i32,
        /// The first offset that is wanted.
        "queueOffset" => offset: i64,
        /// The most messages that are wanted.
        "maxMsgNums" => max_messages: i32,
        /// Bits of [`pull_flag`].
        "sysFlag" => sys_flag: i32,
        /// What the group has processed, if [`pull_flag::COMMIT_OFFSET`] is set.
        "commitOffset" => commit_offset: i64,
        /// How long to wait for messages, if [`pull_flag::SUSPEND`] is set.
        "suspendTimeoutMillis" => suspend_timeout_ms: i64,
        /// The filter, if [`pull_flag::SUBSCRIPTION`] is set.
        "subscription" => subscription: Option<&'a str>,
        /// The version of the filter: newer ones are greater.
        "subVersion" => subscription_version: i64,
        /// `TAG`, which it is without, or `SQL92`.
        "expressionType" => expression_type: Option<&'a str>,
        /// The most bytes that are wanted.
        "maxMsgBytes" => max_bytes: Option<i32>,
        /// What sort of proxy asks.
        "requestSource" => request_source: Option<i32>,
        /// The client behind a proxy. The name is misspelt on the wire.
        "proxyFrowardClientId" => proxied_client_id: Option<&'a str>,
        /// The broker that the client means.
        "bname" => broker_name: Option<&'a str>,
    }

    /// Messages, or where to go on. The body is records, one behind the other.
    PullMessageResponse {
        /// Where to pull next: 0 for the master.
        "suggestWhichBrokerId" => suggested_broker_id: i64,
        /// The next offset to pull.
        "nextBeginOffset" => next_offset: i64,
        /// The first message of the queue.
        "minOffset" => min_offset: i64,
        /// Behind the last message of the queue.
        "maxOffset" => max_offset: i64,
        /// To be added to offsets in the records.
        "offsetDelta" => offset_delta: Option<i64>,
        /// The topic's flag.
        "topicSysFlag" => topic_sys_flag: Option<i32>,
        /// The group's flag.
        "groupSysFlag" => group_sys_flag: Option<i32>,
        /// Who does not permit it.
        "forbiddenType" => forbidden_type: Option<i32>,
    }
}

/// Values of [`PullMessageResponse::forbidden_type`].
pub mod forbidden {
    /// The broker.
    pub const BROKER: i32 = 1;
    /// The group.
    pub const GROUP: i32 = 2;
    /// The topic.
    pub const TOPIC: i32 = 3;
    /// The group, as it broadcasts.
    pub const BROADCAST: i32 = 4;
    /// The group, for this topic.
    pub const SUBSCRIPTION: i32 = 5;
}
