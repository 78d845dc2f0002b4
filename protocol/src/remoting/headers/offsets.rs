//! Where groups are, and where queues begin and end.

use super::{FieldError, FieldWriter, Fields, ReadFields, WriteFields, headers};

headers! {
    /// Where a group is in a queue.
    QueryOffset<'a> {
        /// The group.
        "consumerGroup" => group: &'a str,
        /// The topic.
        "topic" => topic: &'a str,
        /// The queue.
        "queueId" => queue: i32,
        /// Whether a group that never was in the queue is at its beginning, if that is offset 0.
        "setZeroIfNotFound" => zero_if_not_found: Option<bool>,
    }

    /// Sets where a group is in a queue.
    UpdateOffset<'a> {
        /// The group.
        "consumerGroup" => group: &'a str,
        /// The topic.
        "topic" => topic: &'a str,
        /// The queue.
        "queueId" => queue: i32,
        /// The next offset to process.
        "commitOffset" => offset: i64,
    }

    /// The offset of a time in a queue.
    SearchOffset<'a> {
        /// The topic.
        "topic" => topic: &'a str,
        /// The queue.
        "queueId" => queue: i32,
        /// The time, in milliseconds since the epoch.
        "timestamp" => timestamp_ms: i64,
        /// `LOWER`, which it is without, for the first of the messages of that time; `UPPER` for the last.
        "boundaryType" => boundary: Option<&'a str>,
    }

    /// Behind the last message of a queue.
    MaxOffset<'a> {
        /// The topic.
        "topic" => topic: &'a str,
        /// The queue.
        "queueId" => queue: i32,
        /// Whether only messages count that consumers may see.
        "committed" => committed: bool = true,
    }

    /// The first message of a queue.
    MinOffset<'a> {
        /// The topic.
        "topic" => topic: &'a str,
        /// The queue.
        "queueId" => queue: i32,
    }

    /// An offset, in answer to all of these.
    OffsetResponse {
        /// The offset.
        "offset" => offset: i64,
    }

    /// When the first message of a queue was stored.
    EarliestStoreTime<'a> {
        /// The topic.
        "topic" => topic: &'a str,
        /// The queue.
        "queueId" => queue: i32,
    }

    /// A time, in answer to that.
    EarliestStoreTimeResponse {
        /// In milliseconds since the epoch; -1 without messages.
        "timestamp" => timestamp_ms: i64,
    }
}
