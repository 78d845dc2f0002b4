//! What the broker knows about a topic and about a consumer group, with RocketMQ's fields and defaults.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Assignment, AssignmentError, DelayLevels, DelayLevelsError};

use super::expiration::{TTL_ATTRIBUTE, parse_ttl_ms};

/// The topic attribute that says what messages are for (RocketMQ `TopicMessageType`).
pub const TYPE_ATTRIBUTE: &str = "message.type";

/// The value of [`TYPE_ATTRIBUTE`] that has each queue take messages of one priority.
pub const PRIORITY_TYPE: &str = "PRIORITY";

/// The highest priority of a message, as in JMS; the lowest is 0.
pub const MAX_PRIORITY: u8 = 9;

/// Permission bits of a topic (RocketMQ `PermName`).
pub mod permission {
    /// Consumers may read.
    pub const READ: u32 = 4;
    /// Producers may write.
    pub const WRITE: u32 = 2;
    /// New topics may be created after this one.
    pub const INHERIT: u32 = 1;
}

/// Names of topic attributes that have a meaning here.
pub mod topic_attributes {
    /// Whether clients trace the topic's messages: `on` or `off`, which it is without.
    pub const TRACE: &str = "trace";
}

/// Why a topic's settings were refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TopicConfigError {
    /// Attribute `message.ttl` is no time.
    #[error(
        "it cannot have {TTL_ATTRIBUTE}={value}: it takes milliseconds, from 1 to {}",
        i64::MAX
    )]
    Ttl {
        /// What it is.
        value: String,
    },
    /// Attribute `trace` is neither of its values.
    #[error("it cannot have trace={value}: it is on or off")]
    Trace {
        /// What it is.
        value: String,
    },
}

/// A topic on one broker.
///
/// The name is not part of it: it is the key under which the configuration is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct TopicConfig {
    /// Queues that consumers read.
    pub read_queues: u32,
    /// Queues that producers write.
    pub write_queues: u32,
    /// Bits of [`permission`].
    pub permission: u32,
    /// Whether producers must keep each queue on its broker.
    pub order: bool,
    /// Bit 0 unit, bit 1 unit subscription; kept for RocketMQ's tools.
    pub system_flag: u32,
    /// RocketMQ's topic attributes (`message.type`, `cleanup.policy`, …).
    pub attributes: BTreeMap<String, String>,
}

impl TopicConfig {
    /// A readable and writable topic with this many queues.
    pub fn with_queues(queues: u32) -> Self {
        Self {
            read_queues: queues,
            write_queues: queues,
            permission: permission::READ | permission::WRITE,
            order: false,
            system_flag: 0,
            attributes: BTreeMap::new(),
        }
    }

    /// Whether producers may write.
    pub fn is_writable(&self) -> bool {
        self.permission & permission::WRITE != 0
    }

    /// Whether consumers may read.
    pub fn is_readable(&self) -> bool {
        self.permission & permission::READ != 0
    }

    /// Whether clients trace its messages; `None` when the attribute is neither `on` nor `off`.
    pub fn traces(&self) -> Option<bool> {
        match self
            .attributes
            .get(topic_attributes::TRACE)
            .map(String::as_str)
        {
            Some("on") => Some(true),
            Some("off") | None => Some(false),
            Some(_) => None,
        }
    }

    /// Milliseconds after which its messages expire, from [`TTL_ATTRIBUTE`].
    pub fn ttl_ms(&self) -> Option<u64> {
        parse_ttl_ms(self.attributes.get(TTL_ATTRIBUTE)?)
    }

    /// Whether its queues are those of priorities, by [`TYPE_ATTRIBUTE`].
    pub fn is_by_priority(&self) -> bool {
        let message_type = self.attributes.get(TYPE_ATTRIBUTE);
        message_type.is_some_and(|message_type| message_type == PRIORITY_TYPE)
    }

    /// Whether the attributes mean something.
    ///
    /// # Errors
    ///
    /// What is wrong with the first that does not.
    pub fn check(&self) -> Result<(), TopicConfigError> {
        let value = |name: &str| self.attributes.get(name).cloned().unwrap_or_default();
        if self.attributes.contains_key(TTL_ATTRIBUTE) && self.ttl_ms().is_none() {
            let value = value(TTL_ATTRIBUTE);
            return Err(TopicConfigError::Ttl { value });
        }
        if self.traces().is_none() {
            let value = value(topic_attributes::TRACE);
            return Err(TopicConfigError::Trace { value });
        }
        Ok(())
    }

    /// Queues that exist at all: those that can be read and those that can be written.
    pub fn queues(&self) -> u32 {
        self.read_queues.max(self.write_queues)
    }
}

/// Names of group attributes that the broker gives a meaning to.
pub mod group_attributes {
    /// How queues are shared among members: a name of an [`Assignment`](super::Assignment).
    pub const ASSIGNMENT: &str = "assignment";
    /// How long a message waits before each of its retries, as in `10s 1m 1h`; the last time counts for all further ones.
    pub const RETRY_DELAYS: &str = "retry.delays";
}

/// Why a group's settings were refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GroupConfigError {
    /// Attribute `assignment` names no rule.
    #[error("attribute assignment: {0}")]
    Assignment(#[from] AssignmentError),
    /// Attribute `retry.delays` is no list of times.
    #[error("attribute retry.delays: {0}")]
    RetryDelays(#[from] DelayLevelsError),
}

/// A consumer group on one broker (RocketMQ `SubscriptionGroupConfig`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct GroupConfig {
    /// Whether the group may consume at all.
    pub consume_enabled: bool,
    /// Whether a new group may start at the earliest message.
    pub consume_from_min_enabled: bool,
    /// Whether broadcasting is allowed.
    pub broadcast_enabled: bool,
    /// Whether the group consumes in order.
    pub consume_in_order: bool,
    /// Queues of the retry topic.
    pub retry_queues: u32,
    /// Attempts after which a message goes to the dead-letter topic.
    pub retry_max: u32,
    /// Broker id that clients read from.
    pub broker_id: u64,
    /// Broker id to read from when the master is too far ahead of the reader.
    pub slow_read_broker_id: u64,
    /// Whether members are told when others come and go.
    pub notify_members_changed: bool,
    /// Minutes after which a message being consumed counts as failed.
    pub consume_timeout_minutes: u32,
    /// Kept for RocketMQ's tools.
    pub system_flag: u32,
    /// RocketMQ's group attributes.
    pub attributes: BTreeMap<String, String>,
}

impl GroupConfig {
    /// How queues are shared among members.
    ///
    /// # Errors
    ///
    /// When the attribute names no rule.
    pub fn assignment(&self) -> Result<Assignment, AssignmentError> {
        let name = self.attributes.get(group_attributes::ASSIGNMENT);
        name.map_or(Ok(Assignment::default()), |name| name.parse())
    }

    /// How long messages wait before their retries; `None` for the broker's delay levels.
    ///
    /// # Errors
    ///
    /// When the attribute is no list of times.
    pub fn retry_delays(&self) -> Result<Option<DelayLevels>, DelayLevelsError> {
        let delays = self.attributes.get(group_attributes::RETRY_DELAYS);
        delays.map(|delays| delays.parse()).transpose()
    }

    /// Whether the attributes mean something.
    ///
    /// # Errors
    ///
    /// What is wrong with the first that does not.
    pub fn check(&self) -> Result<(), GroupConfigError> {
        self.assignment()?;
        self.retry_delays()?;
        Ok(())
    }
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            consume_enabled: true,
            consume_from_min_enabled: true,
            broadcast_enabled: true,
            consume_in_order: false,
            retry_queues: 1,
            retry_max: 16,
            broker_id: 0,
            slow_read_broker_id: 1,
            notify_members_changed: true,
            consume_timeout_minutes: 15,
            system_flag: 0,
            attributes: BTreeMap::new(),
        }
    }
}
