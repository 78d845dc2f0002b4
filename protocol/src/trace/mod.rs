//! Message traces: what happened to messages, as RocketMQ's clients write it and its tools read it.
//!
//! Clients send traces as ordinary messages to the [trace topic](crate::model::system_topics::TRACE). A body holds any number
//! of records: fields of text separated by `\x01`, each record ended by `\x02` (RocketMQ `TraceDataEncoder`).

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use thiserror::Error;

pub use decode::decode;
pub use encode::encode;

use crate::native::request::Resolution;

/// The region of all traces (RocketMQ `MixAll.DEFAULT_TRACE_REGION_ID`).
pub const DEFAULT_REGION: &str = "DefaultRegion";

const FIELD_END: char = '\x01';
const RECORD_END: char = '\x02';

/// What stands for a text that there is none of: Java's way of writing it. RocketMQ's tools fail on an empty last field.
const NONE: &str = "null";

/// A record of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceRecord {
    /// A message was sent, or an attempt to send it failed (`Pub`).
    Produced(Produced),
    /// A consumer begins to process a message (`SubBefore`).
    Delivered(Delivered),
    /// A consumer is done with a message (`SubAfter`).
    Acknowledged(Acknowledged),
    /// A producer ended a transaction (`EndTransaction`).
    TransactionEnded(TransactionEnded),
}

impl TraceRecord {
    /// The id that the message's producer gave it, or the one that says where it is stored.
    pub fn message_id(&self) -> &str {
        match self {
            Self::Produced(record) => &record.message_id,
            Self::Delivered(record) => &record.message_id,
            Self::Acknowledged(record) => &record.message_id,
            Self::TransactionEnded(record) => &record.message_id,
        }
    }

    /// The message's keys, separated by spaces.
    pub fn keys(&self) -> Option<&str> {
        match self {
            Self::Produced(record) => record.keys.as_deref(),
            Self::Delivered(record) => record.keys.as_deref(),
            Self::Acknowledged(record) => record.keys.as_deref(),
            Self::TransactionEnded(record) => record.keys.as_deref(),
        }
    }

    /// When it happened, in milliseconds since the epoch; 0 in old records of acknowledgement.
    pub fn timestamp_ms(&self) -> i64 {
        match self {
            Self::Produced(record) => record.timestamp_ms,
            Self::Delivered(record) => record.timestamp_ms,
            Self::Acknowledged(record) => record.timestamp_ms,
            Self::TransactionEnded(record) => record.timestamp_ms,
        }
    }
}

/// What a message is to its producer, in RocketMQ's order (`MessageType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// Nothing special.
    Normal,
    /// A half message.
    Half,
    /// What a half message becomes.
    Committed,
    /// It waits for its time.
    Delayed,
    /// It has an ordering key.
    Ordered,
}

/// How a consumer was done with a message, in RocketMQ's order (`ConsumeReturnType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consumed {
    /// It is processed.
    Success,
    /// Its time was over.
    TimedOut,
    /// Processing threw an exception.
    Exception,
    /// Processing returned nothing.
    ReturnedNull,
    /// It could not be processed.
    Failed,
}

/// A message was sent, or an attempt to send it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Produced {
    /// When the attempt began, in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// See [`DEFAULT_REGION`].
    pub region: String,
    /// The producer's group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The message's id.
    pub message_id: String,
    /// Its tag.
    pub tag: Option<String>,
    /// Its keys, separated by spaces.
    pub keys: Option<String>,
    /// The broker that was tried; `None` when none could be.
    pub store_host: Option<String>,
    /// Length of the body, in bytes.
    pub body_bytes: u32,
    /// How long the attempt took, in milliseconds.
    pub cost_ms: u32,
    /// What it is.
    pub kind: MessageKind,
    /// The id that says where it is stored.
    pub stored_id: Option<String>,
    /// Whether it is stored.
    pub is_success: bool,
    /// Where the producer is; RocketMQ's tools take it from the trace's own message where it is missing.
    pub client_host: Option<String>,
}

/// A consumer begins to process a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// When, in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// See [`DEFAULT_REGION`].
    pub region: String,
    /// The consumer's group.
    pub group: String,
    /// Names this attempt; its [`Acknowledged`] has the same.
    pub request_id: String,
    /// The message's id.
    pub message_id: String,
    /// How often it was tried before.
    pub retries: u32,
    /// Its keys, separated by spaces.
    pub keys: Option<String>,
}

/// A consumer is done with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// The [`Delivered`] that it belongs to.
    pub request_id: String,
    /// The message's id.
    pub message_id: String,
    /// How long it took, in milliseconds.
    pub cost_ms: u32,
    /// Whether the message is processed.
    pub is_success: bool,
    /// Its keys, separated by spaces.
    pub keys: Option<String>,
    /// How it ended.
    pub outcome: Consumed,
    /// When, in milliseconds since the epoch; 0 in old records.
    pub timestamp_ms: i64,
    /// The consumer's group; empty in old records.
    pub group: String,
}

/// A producer ended a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionEnded {
    /// When, in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// See [`DEFAULT_REGION`].
    pub region: String,
    /// The producer's group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The message's id.
    pub message_id: String,
    /// Its tag.
    pub tag: Option<String>,
    /// Its keys, separated by spaces.
    pub keys: Option<String>,
    /// The broker.
    pub store_host: Option<String>,
    /// What it is.
    pub kind: MessageKind,
    /// The transaction's id.
    pub transaction_id: String,
    /// What became of it.
    pub resolution: Resolution,
    /// Whether the broker had asked.
    pub from_check: bool,
}

/// Why a record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TraceError {
    /// A kind of record that is not known here.
    #[error("a trace record is of the unknown kind {kind:?}: a newer client may have written it")]
    Kind {
        /// Its first field.
        kind: String,
    },
    /// A field is missing or is not what it should be.
    #[error("field {place} of a trace record of kind {kind} is missing or wrong: {text:?}")]
    Field {
        /// The kind of record.
        kind: &'static str,
        /// The field's place, from 0.
        place: usize,
        /// What stands there.
        text: String,
    },
}
