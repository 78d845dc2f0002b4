//! What the popper is asked, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::filter::CompiledFilter;
use castmq_protocol::model::{GroupName, QueueId, TopicName};
use castmq_protocol::native::request::{PopReceipt, StartFrom};
use castmq_storage::commit_log::LogSlice;

use super::agreement::Habit;
use crate::broker::topics::Topic;
use crate::delivery::assignment::QueueKey;
use crate::delivery::pop::error::ReceiptError;

/// Takes messages for a group.
#[derive(Debug, Clone)]
pub(crate) struct Pop {
    /// Who asks; see [`Withdraw`].
    pub(crate) member: u64,
    pub(crate) group: GroupName,
    pub(crate) topic: Arc<Topic>,
    /// `None`: any.
    pub(crate) queue: Option<QueueId>,
    pub(crate) max_messages: u32,
    /// But always one message.
    pub(crate) max_bytes: u32,
    pub(crate) invisible_ms: u32,
    /// Where the group begins when it has read nothing of the topic.
    pub(crate) from: StartFrom,
    /// `None` for all. What it does not let through is settled.
    pub(crate) filter: Option<Arc<CompiledFilter>>,
    pub(crate) habit: Arc<Habit>,
    pub(crate) attempt_id: Option<u64>,
    /// How long to wait for a message.
    pub(crate) wait: Duration,
}

/// Messages that were handed out; none when there were none in time.
#[derive(Debug)]
pub(crate) struct HandedOut {
    /// One for each record.
    pub(crate) receipts: Vec<PopReceipt>,
    pub(crate) records: Vec<LogSlice>,
}

/// Settles messages of a topic.
#[derive(Debug)]
pub(crate) struct Acknowledge {
    pub(crate) group: GroupName,
    pub(crate) topic: TopicName,
    pub(crate) receipts: Vec<PopReceipt>,
}

/// Receipts that settle nothing, by their place.
pub(crate) type Refused = Vec<(u32, ReceiptError)>;

/// Lets a message's invisible time end at another time.
#[derive(Debug)]
pub(crate) struct ChangeInvisible {
    pub(crate) group: GroupName,
    pub(crate) topic: TopicName,
    pub(crate) receipt: PopReceipt,
    /// From now.
    pub(crate) invisible_ms: u32,
}

/// A group is deleted: who had which of its messages is forgotten.
#[derive(Debug)]
pub(crate) struct ForgetGroup {
    pub(crate) group: GroupName,
}

/// Somebody has set a group's offsets: who had which message of these queues is forgotten.
#[derive(Debug)]
pub(crate) struct ForgetBooks {
    pub(crate) group: GroupName,
    pub(crate) queues: Vec<QueueKey>,
}

/// Retention cannot make room: if it is the journal that keeps the log from it, a part of the journal less is needed.
#[derive(Debug)]
pub(crate) struct MakeRoom;

/// Whoever asked is gone: nobody waits for its pops.
#[derive(Debug)]
pub(crate) struct Withdraw {
    pub(crate) member: u64,
}
