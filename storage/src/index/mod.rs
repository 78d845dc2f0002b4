//! The key index: where messages with a key lie in the log.
//!
//! The files are RocketMQ's byte for byte, 420 MB each at RocketMQ's sizes and sparse. Nothing is mapped: the slot table
//! of the file that takes keys is in memory from the first key on, and new entries until they are written back.
//!
//! # Layout
//!
//! - `key_index`: the files in order; entering, querying, retention.
//! - `file`: one of them; entering, following a chain, building the slot table from the entries.
//! - `write`: from memory to the device. `slots`: the slot table. `keys`: keys and their hashes. `format`: bytes. `name`: names of
//!   files.
//!
//! # What a power cut can do
//!
//! A header counts what was durable before it was written, so all entries it counts are whole; later ones are lost, and
//! [`KeyIndex::entered`] says from where the log has to be indexed again: from the last message that survived, or from
//! further on when the store knows that the index was there already. Slots can be lost or lead to lost entries: they are
//! built anew. Entries of records that the log lost are forgotten with [`KeyIndex::truncate`].

mod error;
mod file;
mod format;
mod key_index;
mod keys;
mod name;
mod slots;
mod write;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

pub use error::IndexError;
pub use key_index::{Covered, KeyIndex};
pub use keys::IndexKey;
pub(crate) use keys::{Keys, TopicHash};
