//! What clients send.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::admin::AdminRequest;
use super::hello::Hello;
pub use super::pop_order::PopOrder;
use super::replication::{Follow, SyncMetadata};
use super::route::RegisterBroker;
use crate::model::{PhysicalOffset, QueueId, QueueOffset};

/// The header of a client's frame.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct ClientHeader {
    /// Chosen by the client; the answer carries it back.
    pub correlation: u64,
    /// What is asked.
    pub request: Request,
}

/// A number that stands for a topic on one connection, from [`Request::AnnounceTopic`].
pub type TopicAlias = u32;

/// A number that stands for a group on one connection, from [`Request::AnnounceGroup`].
pub type GroupAlias = u32;

/// A queue id that leaves the choice to the broker.
pub const ANY_QUEUE: QueueId = QueueId(u32::MAX);

/// How far apart a producer's sequences may be of which the broker still knows whether they are stored.
pub const SEQUENCE_WINDOW: u64 = 1 << 17;

/// A request. Grows at its end only.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Request {
    /// Opens the connection; nothing else is taken before.
    Hello(Hello),
    /// Keeps the connection alive.
    Heartbeat,
    /// Gives a topic a number on this connection, and creates the topic where that is allowed.
    AnnounceTopic {
        /// The number; below [`Limits::max_aliases`](super::Limits::max_aliases).
        alias: TopicAlias,
        /// The topic's name.
        topic: String,
    },
    /// Gives a group a number on this connection, and creates the group where that is allowed.
    AnnounceGroup {
        /// The number; below [`Limits::max_aliases`](super::Limits::max_aliases).
        alias: GroupAlias,
        /// The group's name.
        group: String,
    },
    /// Stores one message. Payload: properties, then body.
    Send(Send),
    /// Stores several messages of one topic in one queue. Payload: [`record::batch`](crate::record::batch).
    SendBatch(SendBatch),
    /// Streams a queue to this connection, within credit.
    Subscribe(Subscribe),
    /// Adds credit to a subscription. Not answered.
    Credit {
        /// The subscription.
        subscription: u32,
        /// More messages.
        messages: u32,
        /// More bytes.
        bytes: u32,
    },
    /// Ends a subscription.
    Unsubscribe {
        /// The subscription.
        subscription: u32,
    },
    /// Reads from a queue once.
    Pull(Pull),
    /// Says how far a group has processed queues.
    CommitOffsets {
        /// The group.
        group: GroupAlias,
        /// The next offset to process of each queue.
        offsets: Vec<QueuePosition>,
    },
    /// Asks how far a group has processed a queue.
    QueryOffset {
        /// The group.
        group: GroupAlias,
        /// The topic.
        topic: TopicAlias,
        /// The queue.
        queue: QueueId,
    },
    /// Asks for a queue's first and next offset.
    QueueRange {
        /// The topic.
        topic: TopicAlias,
        /// The queue.
        queue: QueueId,
    },
    /// Asks for the offset of the first message stored at a time or later.
    OffsetAtTime {
        /// The topic.
        topic: TopicAlias,
        /// The queue.
        queue: QueueId,
        /// Milliseconds since the epoch.
        timestamp_ms: i64,
    },
    /// Makes this connection a member of a group.
    JoinGroup(JoinGroup),
    /// Ends membership in a group; its queues go to other members at once.
    LeaveGroup {
        /// The group.
        group: GroupAlias,
    },
    /// Says that queues which an assignment change took away are no longer processed.
    ReleaseQueues {
        /// The group.
        group: GroupAlias,
        /// The queues.
        queues: Vec<TopicQueue>,
    },
    /// Asks a name server where a topic is.
    Route {
        /// The topic's name.
        topic: String,
    },
    /// Tells a name server that a broker is there and what it has. Payload: see [`RegisterBroker`].
    RegisterBroker(RegisterBroker),
    /// Tells a name server that a broker goes.
    UnregisterBroker {
        /// The broker's cluster.
        cluster: String,
        /// The broker's name.
        broker: String,
        /// The broker's id.
        broker_id: u64,
    },
    /// What operators ask.
    Admin(AdminRequest),
    /// Hands a message back that the group could not process.
    SendBack(SendBack),
    /// Makes this connection a producer of a group: its half messages are the group's, and it is asked about those that
    /// nobody settles.
    JoinProducers {
        /// The group's name.
        group: String,
    },
    /// Settles a half message.
    EndTransaction(EndTransaction),
    /// Cancels a message that waits for a time. One that is delivered already, or that there never was, is not told apart.
    CancelDelivery {
        /// The message's topic.
        topic: TopicAlias,
        /// Its unique id.
        unique_id: String,
        /// When it was to be delivered, in milliseconds since the epoch.
        deliver_at_ms: i64,
    },
    /// Takes messages that nobody else gets for a while, to be acknowledged one by one.
    Pop(Pop),
    /// Says that popped messages are processed.
    Acknowledge(Acknowledge),
    /// Lets a popped message's invisible time end later, or earlier.
    ChangeInvisible(ChangeInvisible),
    /// Has replies to this client's requests pushed to this connection, as
    /// [`Response::Reply`](super::Response::Reply). Of connections with one client id the latest gets them.
    TakeReplies,
    /// Hands a reply to the producer that waits for it. Answered when that one has said whether it does. Payload:
    /// properties, then body.
    SendReply(SendReply),
    /// Says whether a reply that was pushed was waited for. Not answered.
    ReplyTaken {
        /// The push's number.
        number: u64,
        /// Whether anybody waited for it.
        is_awaited: bool,
    },
    /// A slave asks its master to copy its log. After the answer the connection is one of [`ha`](crate::ha).
    Follow(Follow),
    /// A slave asks its master what has changed besides the log.
    SyncMetadata(SyncMetadata),
}

/// Bits of [`Send::flags`] and [`SendBatch::flags`].
pub mod send_flags {
    /// Nobody waits for an answer; failures are not reported.
    pub const ONE_WAY: u8 = 1;
    /// Answer without waiting for flush or replicas (RocketMQ's `WAIT=false`).
    pub const NO_WAIT: u8 = 2;
}

/// Stores one message.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Send {
    /// The topic.
    pub topic: TopicAlias,
    /// The queue, or [`ANY_QUEUE`].
    pub queue: QueueId,
    /// Bits of [`send_flags`].
    pub flags: u8,
    /// The producer's own flag, stored and not interpreted.
    pub flag: i32,
    /// Bits of [`sys_flag`](crate::record::sys_flag): how the body is compressed.
    pub sys_flag: i32,
    /// When the producer made it, in milliseconds since the epoch.
    pub born_timestamp_ms: i64,
    /// Bytes of the payload that are properties; the rest is the body.
    pub properties_bytes: u32,
    /// What most messages do not have.
    pub extras: Option<Box<SendExtras>>,
}

/// What most messages do not have. A field that asks for something the broker does not do yet is refused.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
pub struct SendExtras {
    /// How often the message was delivered and failed.
    pub reconsume_times: u32,
    /// RocketMQ's delay level, 1-based; 0 for none.
    pub delay_level: u8,
    /// When to deliver, in milliseconds since the epoch; 0 for at once.
    pub deliver_at_ms: i64,
    /// The message's part in a transaction.
    pub transaction: TransactionPhase,
    /// The half message's place in the log, for commit and rollback.
    pub prepared_offset: u64,
    /// 0 lowest.
    pub priority: u8,
    /// Names the producer for [`SendExtras::producer_sequence`]; 0 for none. Chosen at random for each producer: two that
    /// choose the same take each other's messages for their own.
    pub producer_id: u64,
    /// Names the request among the producer's, from 1: a repeated one is stored once. At most [`SEQUENCE_WINDOW`] from
    /// the oldest that is not settled.
    pub producer_sequence: u64,
    /// W3C trace context.
    pub trace: Option<TraceContext>,
    /// The producer sends nothing below this sequence again, so that the broker need not remember it; 0 when it does not
    /// say.
    pub settled_below: u64,
}

/// A message's part in a transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub enum TransactionPhase {
    /// None.
    #[default]
    None,
    /// A half message.
    Prepare,
    /// Makes the half message visible.
    Commit,
    /// Drops the half message.
    Rollback,
}

/// W3C trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The sender's span.
    pub span_id: [u8; 8],
    /// Bit 0: sampled.
    pub flags: u8,
}

/// Stores several messages of one topic in one queue, all or none.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct SendBatch {
    /// The topic.
    pub topic: TopicAlias,
    /// The queue, or [`ANY_QUEUE`].
    pub queue: QueueId,
    /// Bits of [`send_flags`].
    pub flags: u8,
    /// Bits of [`sys_flag`](crate::record::sys_flag), the same for all.
    pub sys_flag: i32,
    /// When the producer made them, in milliseconds since the epoch.
    pub born_timestamp_ms: i64,
    /// Messages in the payload.
    pub messages: u32,
    /// The batch's place in its producer's sequence.
    pub extras: Option<Box<SendExtras>>,
}

/// Which messages of a queue are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// All.
    #[default]
    All,
    /// Those with one of these tags.
    Tags(Vec<String>),
    /// Those whose properties satisfy an SQL92 expression.
    Sql(String),
    /// Those that a JMS message selector takes.
    Selector(String),
}

/// Streams a queue to this connection.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Subscribe {
    /// The number that deliveries carry; chosen by the client.
    pub subscription: u32,
    /// The group on whose behalf, for accounting.
    pub group: GroupAlias,
    /// The topic.
    pub topic: TopicAlias,
    /// The queue.
    pub queue: QueueId,
    /// The first message wanted.
    pub offset: QueueOffset,
    /// Which messages.
    pub filter: Filter,
    /// Messages that may be delivered before more credit.
    pub credit_messages: u32,
    /// Bytes that may be delivered before more credit; one message is always possible.
    pub credit_bytes: u32,
}

/// Reads from a queue once.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Pull {
    /// The topic.
    pub topic: TopicAlias,
    /// The queue.
    pub queue: QueueId,
    /// The first message wanted.
    pub offset: QueueOffset,
    /// At most this many messages.
    pub max_messages: u32,
    /// At most this many bytes, but always one message.
    pub max_bytes: u32,
    /// How long to wait for a message when there is none, in milliseconds; 0 for not at all.
    pub wait_ms: u32,
    /// Which messages.
    pub filter: Filter,
}

/// A place in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct QueuePosition {
    /// The topic.
    pub topic: TopicAlias,
    /// The queue.
    pub queue: QueueId,
    /// The offset.
    pub offset: QueueOffset,
}

/// Hands a message back that the group could not process. It is stored again, in the group's retry topic or among its dead
/// letters, when this is answered.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SendBack {
    /// The group.
    pub group: GroupAlias,
    /// The message's topic; a retry topic for one that was handed back before.
    pub topic: TopicAlias,
    /// Its queue.
    pub queue: QueueId,
    /// Its place there.
    pub offset: QueueOffset,
    /// When it comes again.
    pub another: Another,
    /// Retries after which it is a dead letter; 0 for as many as the group has set.
    pub max_retries: u32,
}

/// Settles a half message of the connection's producer group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct EndTransaction {
    /// Its place among the half messages, from [`Sent`](super::response::Sent) or
    /// [`CheckTransaction`](super::response::CheckTransaction).
    pub half: QueueOffset,
    /// Its place in the log, from the same.
    pub place: PhysicalOffset,
    /// What becomes of it.
    pub resolution: Resolution,
}

/// A reply to a request. Its properties say to whom it goes
/// ([`REPLY_TO_CLIENT`](crate::model::keys::REPLY_TO_CLIENT)) and which request it is for
/// ([`CORRELATION_ID`](crate::model::keys::CORRELATION_ID)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SendReply {
    /// The responder's own flag, passed on and not interpreted.
    pub flag: i32,
    /// Bits of [`sys_flag`](crate::record::sys_flag): how the body is compressed.
    pub sys_flag: i32,
    /// When the responder made it, in milliseconds since the epoch.
    pub born_timestamp_ms: i64,
    /// Bytes of the payload that are properties; the rest is the body.
    pub properties_bytes: u32,
}

/// Takes messages that no other member of the group gets for a while. Each comes with a [`PopReceipt`]; one that is not
/// acknowledged in time is handed out again.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Pop {
    /// The group.
    pub group: GroupAlias,
    /// The topic.
    pub topic: TopicAlias,
    /// The queue, or [`ANY_QUEUE`] for all of them.
    pub queue: QueueId,
    /// At most this many messages.
    pub max_messages: u32,
    /// How long nobody else gets them, in milliseconds; 1 or more.
    pub invisible_ms: u32,
    /// How long to wait for a message when there is none, in milliseconds; 0 for not at all.
    pub wait_ms: u32,
    /// Where the group begins when it has read nothing of the topic: [`StartFrom::Earliest`] or [`StartFrom::Latest`].
    pub from: StartFrom,
    /// Which messages.
    pub filter: Filter,
    /// In what order, the same for all consumers of the group.
    pub order: PopOrder,
    /// Names a pop in [`PopOrder::Queue`]. Repeated under the same name, because its answer was lost, it gets the messages
    /// again that are still out.
    pub attempt_id: Option<u64>,
}

/// Which delivery of a message is meant: a message that is handed out again, or whose invisible time was changed, has a new
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct PopReceipt {
    /// The message's queue.
    pub queue: QueueId,
    /// Its place there.
    pub offset: QueueOffset,
    /// When it was handed out, by the broker's clock, in milliseconds since the epoch.
    pub popped_at_ms: i64,
    /// How long nobody else gets it, in milliseconds.
    pub invisible_ms: u32,
    /// How often it has been handed out, this time included.
    pub attempt: u32,
}

/// Says that popped messages of a topic are processed. Saying it again is harmless.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Acknowledge {
    /// The group.
    pub group: GroupAlias,
    /// The topic.
    pub topic: TopicAlias,
    /// The receipts that came with them.
    pub receipts: Vec<PopReceipt>,
}

/// Lets a popped message's invisible time end `invisible_ms` from now: later than it would, because processing takes longer,
/// or earlier, 0 for at once, because it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ChangeInvisible {
    /// The group.
    pub group: GroupAlias,
    /// The topic.
    pub topic: TopicAlias,
    /// The receipt that came with the message. It is void afterwards.
    pub receipt: PopReceipt,
    /// In milliseconds from now.
    pub invisible_ms: u32,
}

/// What becomes of a half message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Resolution {
    /// Consumers see it.
    Commit,
    /// Nobody ever does.
    Rollback,
    /// That is not known yet: ask again.
    Unknown,
}

/// When a message that was handed back comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Another {
    /// After a delay level; 0 leaves it to the broker, which lets a message wait longer with each retry.
    Level(u8),
    /// Never: it is a dead letter now.
    Never,
    /// After this time, in milliseconds.
    After(u64),
}

/// A queue of a topic by its name.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
pub struct TopicQueue {
    /// The topic's name.
    pub topic: String,
    /// The queue.
    pub queue: QueueId,
}

/// How a group's members share messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum GroupMode {
    /// Each message goes to one member.
    Clustering,
    /// Each message goes to every member; each keeps its own offsets.
    Broadcasting,
}

/// Where a group begins in a queue that it has no offset for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum StartFrom {
    /// At the first message there is.
    Earliest,
    /// Behind the last message there is.
    Latest,
    /// At the first message stored at this time or later, in milliseconds since the epoch.
    Timestamp(i64),
}

/// Makes a connection a member of a group.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct JoinGroup {
    /// The group.
    pub group: GroupAlias,
    /// How members share messages.
    pub mode: GroupMode,
    /// Where the group begins in a queue that it has no offset for.
    pub from: StartFrom,
    /// The topics, all members the same.
    pub subscriptions: Vec<TopicSubscription>,
    /// Whether the member processes a queue's messages in order; all members the same. A connection that is lost keeps the
    /// queues of such a member, until it comes back or its lease ends.
    pub ordered: bool,
    /// Queues that it had when its last connection was lost: it gets them again, unless others have them by now.
    pub reclaims: Vec<TopicQueue>,
    /// The machine room it is in, for groups whose queues go to members nearby.
    pub room: Option<String>,
    /// The queues that are its own, for groups whose members say so.
    pub claims: Vec<TopicQueue>,
}

/// A topic that a member of a group wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct TopicSubscription {
    /// The topic's name.
    pub topic: String,
    /// Which messages.
    pub filter: Filter,
}
