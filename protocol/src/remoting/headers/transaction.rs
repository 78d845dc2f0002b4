//! Half messages: their end, and the question what became of them.

use super::{FieldError, FieldWriter, Fields, ReadFields, WriteFields, headers};

headers! {
    /// Commits or rolls back a half message.
    EndTransaction<'a> {
        /// The real topic.
        "topic" => topic: Option<&'a str>,
        /// The producer's group.
        "producerGroup" => producer_group: &'a str,
        /// The half message's place in its queue.
        "tranStateTableOffset" => half_queue_offset: i64,
        /// Where the half message lies in the log.
        "commitLogOffset" => physical_offset: i64,
        /// [`TRANSACTION_COMMIT`], [`TRANSACTION_ROLLBACK`], or 0 for unknown.
        "commitOrRollback" => decision: i32,
        /// Whether the broker had asked.
        "fromTransactionCheck" => from_check: bool = false,
        /// The id that the client gave the message.
        "msgId" => message_id: &'a str,
        /// The same.
        "transactionId" => transaction_id: Option<&'a str>,
        /// The broker that the client means.
        "bname" => broker_name: Option<&'a str>,
    }

    /// To a client: what became of a transaction. The body is the half message's record, with its real topic and queue.
    CheckTransaction<'a> {
        /// The real topic.
        "topic" => topic: Option<&'a str>,
        /// The half message's place in its queue.
        "tranStateTableOffset" => half_queue_offset: i64,
        /// Where the half message lies in the log.
        "commitLogOffset" => physical_offset: i64,
        /// The id that the client gave the message.
        "msgId" => message_id: Option<&'a str>,
        /// The same.
        "transactionId" => transaction_id: Option<&'a str>,
        /// The [`MessageId`](crate::record::MessageId) of where it lies.
        "offsetMsgId" => offset_message_id: Option<&'a str>,
        /// The broker that asks.
        "bname" => broker_name: Option<&'a str>,
    }

    /// Has a half message be checked again that was given up.
    ResumeCheck<'a> {
        /// The topic.
        "topic" => topic: Option<&'a str>,
        /// The [`MessageId`](crate::record::MessageId) of where it lies.
        "msgId" => message_id: Option<&'a str>,
    }
}

/// The message counts. The same bits as in [`sys_flag`](crate::record::sys_flag).
pub const TRANSACTION_COMMIT: i32 = 8;
/// The message never was.
pub const TRANSACTION_ROLLBACK: i32 = 12;
