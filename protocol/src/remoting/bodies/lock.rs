//! Queues that are consumed in order.

use serde::{Deserialize, Serialize};

use super::MessageQueue;

/// Queues that a member of a group locks or gives back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockQueues {
    /// The member.
    pub client_id: String,
    /// The group.
    pub consumer_group: String,
    /// The queues.
    #[serde(rename = "mqSet")]
    pub queues: Vec<MessageQueue>,
    /// Whether other brokers of the set need not be asked.
    pub only_this_broker: bool,
}

/// Queues that the member has now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LockedQueues {
    /// The queues.
    #[serde(rename = "lockOKMQSet")]
    pub queues: Vec<MessageQueue>,
}
