//! Queues that members of groups get, and whether they pull or pop, on the wire and in `messageRequestMode.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::heartbeat::MessageModel;
use super::{MessageQueue, names};

names! {
    /// How a group gets messages of a topic.
    RequestMode {
        /// It pulls.
        #[default]
        Pull = "PULL",
        /// It pops.
        Pop = "POP",
    }
}

/// Queues that a member of a group has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryAssignment {
    /// The member.
    pub client_id: String,
    /// The group.
    pub consumer_group: String,
    /// Whether members share messages.
    pub message_model: MessageModel,
    /// The rule, such as `AVG`.
    pub strategy_name: String,
    /// The topic.
    pub topic: String,
}

/// The queues.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Assignments {
    /// The queues; `None` has the member keep what it has, and an empty list has it give all up.
    #[serde(
        rename = "messageQueueAssignments",
        skip_serializing_if = "Option::is_none"
    )]
    pub queues: Option<Vec<QueueAssignment>>,
}

/// A queue that a member has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueAssignment {
    /// What else there is to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attachments: Option<BTreeMap<String, String>>,
    /// The queue; the number -1 for all queues of the broker.
    #[serde(rename = "messageQueue")]
    pub queue: MessageQueue,
    /// Whether the member pulls or pops.
    pub mode: RequestMode,
}

/// How a group gets messages of a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetRequestMode {
    /// The group.
    pub consumer_group: String,
    /// How.
    pub mode: RequestMode,
    /// When popping, how many members next to it share a member's queues; not positive for all.
    #[serde(rename = "popShareQueueNum")]
    pub pop_share_queues: i32,
    /// The topic.
    pub topic: String,
}

/// How groups get messages: `messageRequestMode.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestModes {
    /// By topic and group.
    #[serde(rename = "messageRequestModeMap")]
    pub modes: BTreeMap<String, BTreeMap<String, SetRequestMode>>,
}
