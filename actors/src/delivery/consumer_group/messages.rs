//! What a group is told and asked.

use std::collections::{BTreeMap, BTreeSet};

use castmq_protocol::model::{GroupName, QueueOffset, TopicName};
use castmq_protocol::native::request::{Filter, GroupMode, StartFrom};

use super::super::assignment::{MemberId, QueueKey};
use super::heard::Heard;
use crate::supervision::{Mailbox, Reply};

/// A client wants to be a member.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) member: MemberId,
    pub(crate) client_id: String,
    pub(crate) address: String,
    pub(crate) wishes: Wishes,
    pub(crate) changes: Mailbox<Change>,
    pub(crate) expelled: Mailbox<Expelled>,
    /// When the member was last heard of.
    pub(crate) heard: Heard,
    /// Queues that an earlier incarnation of this actor gave to the member.
    pub(crate) holding: Vec<QueueKey>,
    /// Queues that the client had when its last connection was lost.
    pub(crate) reclaims: Vec<QueueKey>,
    /// Kept while it is a member; lost when this actor fails, so that the member joins again.
    pub(crate) membership: Reply<()>,
}

/// What a client wants to be a member for.
#[derive(Debug, Clone)]
pub(crate) struct Wishes {
    pub(crate) mode: GroupMode,
    pub(crate) from: StartFrom,
    /// With what is wanted of each.
    pub(crate) topics: BTreeMap<TopicName, Filter>,
    /// It processes a queue's messages in order.
    pub(crate) ordered: bool,
    pub(crate) room: Option<String>,
    /// Queues that it says are its own.
    pub(crate) claims: BTreeSet<QueueKey>,
}

/// What a member is told: queues to process from now on, and queues to give up.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) group: GroupName,
    pub(crate) generation: u64,
    pub(crate) assigned: Vec<(QueueKey, QueueOffset)>,
    pub(crate) revoked: Vec<QueueKey>,
}

/// A member is none any more: its lease has ended.
#[derive(Debug)]
pub(crate) struct Expelled {
    pub(crate) reason: String,
}

/// A member goes, or its connection has.
#[derive(Debug)]
pub(crate) struct Leave {
    pub(crate) member: MemberId,
    pub(crate) how: Parting,
}

/// How a member goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parting {
    /// It said so, and processes nothing any more.
    Left,
    /// Its connection is lost: it may still process what it has.
    Lost,
}

/// A member has given up queues.
#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) member: MemberId,
    pub(crate) queues: Vec<QueueKey>,
}

/// Somebody has processed queues so far.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) member: MemberId,
    pub(crate) offsets: Vec<(QueueKey, QueueOffset)>,
}

/// Topics came, went or changed, or the group's settings did.
#[derive(Debug)]
pub(crate) struct SettingsChanged;

/// Asks for members and progress.
#[derive(Debug)]
pub(crate) struct ShowGroup;

/// Sets offsets; members go on from there.
#[derive(Debug)]
pub(crate) struct SetOffsets {
    pub(crate) offsets: Vec<(QueueKey, QueueOffset)>,
}
