//! What servers send: answers, and pushes that nobody asked for just now.

use bincode::{Decode, Encode};

use super::admin::AdminResponse;
use super::failure::Failure;
use super::hello::Welcome;
use super::replication::{Followed, MetadataChanges};
use super::request::{GroupAlias, PopReceipt, TopicAlias, TopicQueue};
use super::route::{Registered, TopicRoute};
use crate::model::{PhysicalOffset, QueueId, QueueOffset};

/// The header of a server's frame.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct ServerHeader {
    /// The request's number; [`PUSH`] for a push.
    pub correlation: u64,
    /// The answer or push.
    pub response: Response,
}

/// The correlation of pushes; clients count from 1.
pub const PUSH: u64 = 0;

/// An answer or a push. Grows at its end only.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Response {
    /// The request failed.
    Failed(Failure),
    /// The connection is open.
    Welcome(Welcome),
    /// Done; there is nothing more to say.
    Done,
    /// The topic has its number.
    TopicAnnounced {
        /// The number.
        alias: TopicAlias,
        /// Queues that can be written.
        write_queues: u32,
        /// Queues that can be read.
        read_queues: u32,
    },
    /// The group has its number.
    GroupAnnounced {
        /// The number.
        alias: GroupAlias,
    },
    /// A message is stored as its policy says.
    Sent(Sent),
    /// A batch is stored as its policy says.
    BatchSent(BatchSent),
    /// A subscription has begun.
    Subscribed(QueueRange),
    /// A pull's messages. Payload: records, one behind the other.
    Pulled(Pulled),
    /// An offset; `None` when there is none.
    Offset(Option<QueueOffset>),
    /// A queue's first and next offset.
    Range(QueueRange),
    /// A member has joined; its queues come as [`Response::AssignmentChanged`].
    Joined(Joined),
    /// Where a topic is.
    Route(TopicRoute),
    /// A name server has taken note of a broker. As a push: something has changed in its set.
    Registered(Registered),
    /// What operators asked for.
    Admin(AdminResponse),
    /// Push: messages of a subscription. Payload: records, one behind the other.
    Deliver(Deliver),
    /// Push: queues were given to or taken from a member.
    AssignmentChanged(AssignmentChanged),
    /// Push: the server closes the connection; the client goes elsewhere.
    Closing {
        /// Why.
        reason: Failure,
    },
    /// Push: what became of a transaction? Payload: the half message's record.
    CheckTransaction(CheckTransaction),
    /// A pop's messages. Payload: records, one behind the other.
    Popped(Popped),
    /// Popped messages are settled, but for some.
    Acknowledged(Acknowledged),
    /// A popped message's invisible time has changed.
    InvisibleChanged {
        /// The receipt to acknowledge it with from now on.
        receipt: PopReceipt,
    },
    /// Push: a reply to a request of this client. Payload: its record, which lies in no queue.
    Reply(PushedReply),
    /// A slave may follow.
    Followed(Followed),
    /// What has changed besides the log.
    Metadata(MetadataChanges),
}

/// A reply to a request of this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct PushedReply {
    /// What [`ReplyTaken`](super::request::Request::ReplyTaken) names it by.
    pub number: u64,
}

/// A pop's messages.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Popped {
    /// One for each record of the payload, in their order.
    pub receipts: Vec<PopReceipt>,
}

/// Which messages an [`Acknowledge`](super::request::Acknowledge) did not settle.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Acknowledged {
    /// Those that were refused; all others are settled.
    pub refused: Vec<RefusedReceipt>,
}

/// A receipt that settles nothing.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RefusedReceipt {
    /// Its place among the request's receipts.
    pub place: u32,
    /// Why.
    pub failure: Failure,
}

/// Asks a producer about a half message that nobody settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct CheckTransaction {
    /// Its place among the half messages.
    pub half: QueueOffset,
    /// Its place in the log.
    pub place: PhysicalOffset,
    /// How often this was asked since the broker started, this time included.
    pub checks: u32,
}

/// A message is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Sent {
    /// Whether the policy was met.
    pub status: SendStatus,
    /// The queue that has it.
    pub queue: QueueId,
    /// Its place in the queue.
    pub queue_offset: QueueOffset,
    /// Its place in the log.
    pub physical_offset: PhysicalOffset,
}

/// A batch is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct BatchSent {
    /// Whether the policy was met.
    pub status: SendStatus,
    /// The queue that has it.
    pub queue: QueueId,
    /// The first message's place in the queue; the others follow.
    pub first_queue_offset: QueueOffset,
    /// The first message's place in the log; the others follow.
    pub first_physical_offset: PhysicalOffset,
    /// Messages stored.
    pub messages: u32,
}

/// How a stored message stands to the broker's policy. All of them mean *stored*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum SendStatus {
    /// The policy was met.
    Stored,
    /// It was not flushed in time.
    FlushTimeout,
    /// No slave was there to replicate to.
    SlaveNotAvailable,
    /// No slave had it in time.
    ReplicationTimeout,
}

/// A queue's first offset and the one behind its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct QueueRange {
    /// The offset asked for, or the one that is used instead because it is out of the range.
    pub offset: QueueOffset,
    /// The first message there is.
    pub min: QueueOffset,
    /// Behind the last message there is.
    pub max: QueueOffset,
}

/// How a pull ended (RocketMQ `GetMessageStatus`, as far as clients act on it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum PullStatus {
    /// There are messages.
    Found,
    /// None matched the filter; go on at the next offset.
    NoMatch,
    /// There is nothing new.
    NoNewMessage,
    /// The offset was below the range; go on at the first.
    OffsetTooSmall,
    /// The offset was above the range; go on at the last.
    OffsetTooLarge,
}

/// A pull's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Pulled {
    /// How it ended.
    pub status: PullStatus,
    /// Where to go on.
    pub next_offset: QueueOffset,
    /// The first message there is.
    pub min_offset: QueueOffset,
    /// Behind the last message there is.
    pub max_offset: QueueOffset,
    /// Messages in the payload.
    pub messages: u32,
    /// The broker of the set that is better asked next, by its id: 0 for the master.
    pub ask_next: u64,
}

/// A member has joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Joined {
    /// The group.
    pub group: GroupAlias,
    /// Queues taken away go to others after this time even without a release, in milliseconds.
    pub lease_ms: u32,
}

/// Messages of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Deliver {
    /// The subscription.
    pub subscription: u32,
    /// Messages in the payload. 0: the filter passed over everything up to `next_offset`, or the offset moved.
    pub messages: u32,
    /// Where the next delivery begins.
    pub next_offset: QueueOffset,
    /// Behind the last message there is.
    pub max_offset: QueueOffset,
    /// Whether the messages may expire: at the time in their property `EXPIRES_AT`, and so many milliseconds after they were
    /// stored, 0 for the former alone.
    pub expires: Option<u64>,
    /// Whether the topic's queues are those of priorities: messages of higher queues are handled first.
    pub by_priority: bool,
}

/// Queues were given to or taken from a member.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AssignmentChanged {
    /// The group.
    pub group: GroupAlias,
    /// Grows with each change.
    pub generation: u64,
    /// Whose log the broker has: the epoch of the master that writes it. What was seen in another epoch is perhaps not in the
    /// queues any more, and other messages are in its place.
    pub epoch: u32,
    /// Queues to process from now on, and where to begin.
    pub assigned: Vec<AssignedQueue>,
    /// Queues to finish with: stop, commit, then release them.
    pub revoked: Vec<TopicQueue>,
}

/// A queue to process.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AssignedQueue {
    /// The queue.
    pub queue: TopicQueue,
    /// The first message to process.
    pub offset: QueueOffset,
}
