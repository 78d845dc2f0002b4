//! Errors on the wire: what happened, whether to try again, and a sentence for a person.

use std::fmt;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// What went wrong. Grows at its end only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request cannot be read or its parts contradict each other.
    InvalidRequest,
    /// The protocol version is not spoken here.
    UnsupportedVersion,
    /// The request is not for connections of this role.
    WrongRole,
    /// The feature is not there.
    NotSupported,
    /// A topic or group name breaks the rules.
    InvalidName,
    /// An alias that was not announced on this connection.
    UnknownAlias,
    /// No such topic.
    TopicNotFound,
    /// The topic exists already with other settings.
    TopicExists,
    /// The topic or the broker takes no writes, or the topic belongs to the broker.
    NotWritable,
    /// The topic cannot be read.
    NotReadable,
    /// No such group.
    GroupNotFound,
    /// The group may not consume.
    GroupDisabled,
    /// The queue id is not one of the topic's.
    QueueOutOfRange,
    /// The offset is not in the queue.
    OffsetOutOfRange,
    /// The message is longer than the broker takes.
    MessageTooLarge,
    /// The properties are longer than a record can hold.
    PropertiesTooLarge,
    /// A limit of the broker is reached: the message names it.
    LimitReached,
    /// Too much is in flight: send less at once.
    Busy,
    /// The disk is fuller than the broker writes on.
    DiskFull,
    /// The log failed and takes no writes until an operator has looked.
    StorageFailed,
    /// The message is stored but was not flushed in time.
    FlushTimeout,
    /// The queue is assigned to another member.
    NotOwner,
    /// The part of the broker that had the request failed: whether it took effect is not known.
    OutcomeUnknown,
    /// The broker is stopping.
    ShuttingDown,
    /// The message asked for is not there.
    MessageNotFound,
    /// Credentials are missing or wrong.
    NotAuthorized,
    /// Another process or an older state stands against it.
    Conflict,
    /// A bug in the broker.
    Internal,
    /// The filter is none: the message says where it is wrong.
    InvalidFilter,
    /// The message's invisible time has ended: it is, or will be, handed out again.
    ReceiptExpired,
    /// No message is out with this receipt.
    ReceiptUnknown,
    /// The message is acknowledged, or a dead letter: nothing can be changed any more.
    MessageSettled,
    /// Nobody waits for the reply: its requester is gone, has given up, or never asked.
    ReplyNotAwaited,
    /// Whether the producer's sequence is stored is not known any more: it is too far behind the newest.
    SequenceForgotten,
    /// The broker copies a master: only that takes the request.
    NotMaster,
    /// Too few slaves are in step with the master to take the message.
    SlaveNotAvailable,
}

/// Whether the request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// It would fail again.
    Never,
    /// It had no effect.
    Safe,
    /// It may have had its effect: sending it again may store a message twice.
    MayDuplicate,
}

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Failure {
    /// What went wrong.
    pub code: ErrorCode,
    /// Whether it may be sent again.
    pub retry: Retry,
    /// What happened to what, the limit, and what to do.
    pub message: String,
}

impl Failure {
    /// A failure that sending again does not help.
    pub fn never(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            retry: Retry::Never,
            message: message.into(),
        }
    }

    /// A failure without effect: sending again is safe.
    pub fn safe(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            retry: Retry::Safe,
            message: message.into(),
        }
    }

    /// A failure that may have had its effect.
    pub fn unknown(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            retry: Retry::MayDuplicate,
            message: message.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
