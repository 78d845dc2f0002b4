//! Finding messages.

use super::{FieldError, FieldWriter, Fields, ReadFields, WriteFields, headers};

headers! {
    /// Messages with a key.
    QueryMessage<'a> {
        /// The topic.
        "topic" => topic: &'a str,
        /// The key.
        "key" => key: &'a str,
        /// The most messages that are wanted.
        "maxNum" => max_messages: i32,
        /// Stored at this time or later, in milliseconds since the epoch.
        "beginTimestamp" => begin_ms: i64,
        /// Stored at this time or earlier, in milliseconds since the epoch.
        "endTimestamp" => end_ms: i64,
        /// Whether the key is the id that the client gave the message.
        "_UNIQUE_KEY_QUERY" => by_unique_key: Option<bool>,
    }

    /// Messages. The body is records, one behind the other.
    QueryMessageResponse {
        /// The time of the last message that was indexed.
        "indexLastUpdateTimestamp" => index_timestamp_ms: i64,
        /// Where the last message that was indexed lies.
        "indexLastUpdatePhyoffset" => index_physical_offset: i64,
    }

    /// The message at a place in the log. It is answered with a record as the body.
    ViewMessage<'a> {
        /// The topic, which nobody looks at.
        "topic" => topic: Option<&'a str>,
        /// The place.
        "offset" => physical_offset: i64,
    }

    /// Entries of a queue.
    QueryConsumeQueue<'a> {
        /// The topic.
        "topic" => topic: Option<&'a str>,
        /// The queue.
        "queueId" => queue: i32 = 0,
        /// The first entry that is wanted.
        "index" => index: i64 = 0,
        /// The most entries that are wanted.
        "count" => count: i32 = 0,
        /// The group by whose filter the entries are judged.
        "consumerGroup" => group: Option<&'a str>,
    }
}
