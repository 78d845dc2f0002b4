//! Settings of consumer groups, on the wire and in `subscriptionGroup.json` (RocketMQ `SubscriptionGroupConfig`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::heartbeat::Subscription;
use super::{DataVersion, names, not_negative, signed};
use crate::model::GroupConfig;

names! {
    /// How long messages wait before their retries.
    RetryPolicyKind {
        /// By a curve.
        Exponential = "EXPONENTIAL",
        /// By a list, or by the broker's delay levels.
        #[default]
        Customized = "CUSTOMIZED",
    }
}

/// How long messages wait before their retries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryPolicy {
    /// The list, if there is one of the group's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customized_retry_policy: Option<CustomizedRetry>,
    /// The curve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exponential_retry_policy: Option<ExponentialRetry>,
    /// Which of them counts.
    #[serde(rename = "type")]
    pub kind: RetryPolicyKind,
}

/// Waiting by a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CustomizedRetry {
    /// Milliseconds before each retry.
    #[serde(rename = "next")]
    pub delays_ms: Vec<i64>,
}

/// Waiting by a curve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExponentialRetry {
    /// Milliseconds before the first retry.
    #[serde(rename = "initial")]
    pub initial_ms: i64,
    /// Milliseconds before any retry, at most.
    #[serde(rename = "max")]
    pub max_ms: i64,
    /// How much longer each is than the one before.
    pub multiplier: i64,
}

impl Default for ExponentialRetry {
    fn default() -> Self {
        Self {
            initial_ms: 5_000,
            max_ms: 7_200_000,
            multiplier: 2,
        }
    }
}

/// A subscription that belongs to a group's settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SimpleSubscription {
    /// The filter.
    pub expression: String,
    /// `TAG` or `SQL92`.
    pub expression_type: String,
    /// The topic.
    pub topic: String,
    /// The filter's version.
    pub version: i64,
}

/// A consumer group's settings with its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupEntry {
    /// RocketMQ's group attributes.
    pub attributes: BTreeMap<String, String>,
    /// Broker id that clients read from.
    pub broker_id: i64,
    /// Whether broadcasting is allowed.
    #[serde(rename = "consumeBroadcastEnable")]
    pub broadcast_enabled: bool,
    /// Whether the group may consume at all.
    #[serde(rename = "consumeEnable")]
    pub consume_enabled: bool,
    /// Whether a new group may start at the earliest message.
    #[serde(rename = "consumeFromMinEnable")]
    pub consume_from_min_enabled: bool,
    /// Whether the group consumes in order.
    #[serde(rename = "consumeMessageOrderly")]
    pub consume_in_order: bool,
    /// Minutes after which a message being consumed counts as failed.
    #[serde(rename = "consumeTimeoutMinute")]
    pub consume_timeout_minutes: i32,
    /// The name.
    pub group_name: String,
    /// How long messages wait before their retries.
    #[serde(rename = "groupRetryPolicy")]
    pub retry_policy: RetryPolicy,
    /// Kept for RocketMQ's tools.
    #[serde(rename = "groupSysFlag")]
    pub sys_flag: i32,
    /// Whether members are told when others come and go.
    #[serde(rename = "notifyConsumerIdsChangedEnable")]
    pub notify_members_changed: bool,
    /// Attempts after which a message goes to the dead-letter topic. Negative is RocketMQ's default.
    #[serde(rename = "retryMaxTimes")]
    pub retry_max: i32,
    /// Queues of the retry topic.
    #[serde(rename = "retryQueueNums")]
    pub retry_queues: i32,
    /// Subscriptions that count whatever clients say.
    #[serde(
        rename = "subscriptionDataSet",
        skip_serializing_if = "Option::is_none"
    )]
    pub subscriptions: Option<Vec<SimpleSubscription>>,
    /// Broker id to read from when the master is too far ahead of the reader.
    #[serde(rename = "whichBrokerWhenConsumeSlowly")]
    pub slow_read_broker_id: i64,
}

impl Default for GroupEntry {
    fn default() -> Self {
        Self::new("", &GroupConfig::default())
    }
}

impl GroupEntry {
    /// A group of that name with those settings.
    pub fn new(group_name: &str, config: &GroupConfig) -> Self {
        let broker_id = |id: u64| i64::try_from(id).unwrap_or(i64::MAX);
        Self {
            attributes: config.attributes.clone(),
            broker_id: broker_id(config.broker_id),
            broadcast_enabled: config.broadcast_enabled,
            consume_enabled: config.consume_enabled,
            consume_from_min_enabled: config.consume_from_min_enabled,
            consume_in_order: config.consume_in_order,
            consume_timeout_minutes: signed(config.consume_timeout_minutes),
            group_name: group_name.to_owned(),
            retry_policy: RetryPolicy::default(),
            sys_flag: signed(config.system_flag),
            notify_members_changed: config.notify_members_changed,
            retry_max: signed(config.retry_max),
            retry_queues: signed(config.retry_queues),
            subscriptions: None,
            slow_read_broker_id: broker_id(config.slow_read_broker_id),
        }
    }

    /// The settings. The retry policy and subscriptions have no place there, and numbers that are negative count as 0.
    pub fn config(&self) -> GroupConfig {
        let default = GroupConfig::default();
        let broker_id = |id: i64| u64::try_from(id).unwrap_or_default();
        GroupConfig {
            consume_enabled: self.consume_enabled,
            consume_from_min_enabled: self.consume_from_min_enabled,
            broadcast_enabled: self.broadcast_enabled,
            consume_in_order: self.consume_in_order,
            retry_queues: not_negative(self.retry_queues),
            retry_max: u32::try_from(self.retry_max).unwrap_or(default.retry_max),
            broker_id: broker_id(self.broker_id),
            slow_read_broker_id: broker_id(self.slow_read_broker_id),
            notify_members_changed: self.notify_members_changed,
            consume_timeout_minutes: not_negative(self.consume_timeout_minutes),
            system_flag: not_negative(self.sys_flag),
            attributes: self.attributes.clone(),
        }
    }
}

/// All consumer groups of a broker: `subscriptionGroup.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupTable {
    /// The table's state.
    pub data_version: DataVersion,
    /// By group and topic, bits of what the group may not do there.
    #[serde(rename = "forbiddenTable")]
    pub forbidden: BTreeMap<String, BTreeMap<String, i32>>,
    /// Groups by their names.
    #[serde(rename = "subscriptionGroupTable")]
    pub groups: BTreeMap<String, GroupEntry>,
}

/// Groups to be created or changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PutGroups {
    /// The groups.
    #[serde(rename = "groupConfigList")]
    pub groups: Vec<GroupEntry>,
}

/// Names of groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupList {
    /// The names.
    #[serde(rename = "groupList")]
    pub groups: BTreeSet<String>,
}

/// A group's subscription to a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupSubscription {
    /// The group.
    pub group: String,
    /// The subscription; `None` when there is none.
    #[serde(rename = "subscriptionData", skip_serializing_if = "Option::is_none")]
    pub subscription: Option<Subscription>,
    /// The topic.
    pub topic: String,
}

/// Whether a group may read a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupReadable {
    /// The group.
    pub group: String,
    /// Whether it may.
    pub readable: bool,
    /// The topic.
    pub topic: String,
}
