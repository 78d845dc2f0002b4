//! Messages: what a producer sends, what a consumer gets, and how bodies are compressed.

mod compression;
mod queue;
mod received;
mod reply;
mod sent;

use std::time::{SystemTime, UNIX_EPOCH};

pub use compression::Compression;
pub(crate) use compression::{compress, decompress};
pub use queue::{Queue, QueueChoice};
pub use received::ReceivedMessage;
pub(crate) use received::{Origin, read_records};
pub use reply::Reply;
pub use sent::{Message, MessageBuilder};

/// Milliseconds since the epoch, by this machine's clock.
pub(crate) fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.map_or(0, |time| {
        i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
pub(crate) use received::tests::record as stored_record;
