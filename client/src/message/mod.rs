//! Messages: what a producer sends, what a consumer gets, and how bodies are compressed.

mod compression;
mod queue;
mod received;
mod reply;
mod sent;

pub use compression::Compression;
pub(crate) use compression::{compress, decompress};
pub use queue::{Queue, QueueChoice};
pub use received::ReceivedMessage;
pub(crate) use received::{Origin, read_records};
pub use reply::Reply;
pub use sent::{Message, MessageBuilder};

#[cfg(test)]
pub(crate) use received::tests::record as stored_record;
