//! Consume queues: for each queue of a topic, where its messages lie in the log.
//!
//! The files are RocketMQ's byte for byte: `<topic>/<queue>/<position of the first byte, 20 digits>`, all of one length,
//! filled with units of 20 bytes. Nothing is mapped: the newest units are in memory and are written back in batches, so
//! that a queue at rest costs a few hundred bytes, and a full disk is an error rather than a signal.
//!
//! # Layout
//!
//! - `queues`: all of them; finding, writing back and syncing, deleting.
//! - `queue`: one of them; appending and reading.
//! - `tail`: units in memory. `unit`: the 20 bytes. `files`: paths, open files, failed syncs.
//! - `write`: from memory to files to the device. `load`: finding the end when opening. `truncate`: cutting after a stop.
//!   `expire`: retention. `expiring`: messages that expire. `search`: offsets by time.
//!
//! # What a power cut can do
//!
//! Units below [`durable_physical`](ConsumeQueues::durable_physical) are safe. Above, pages are missing or torn at will,
//! so that valid units can follow holes, and a search from outside cannot tell. Recovery therefore cuts all queues at a
//! position reported durable ([`ConsumeQueues::truncate`]) and dispatches the log again from there; appending what is
//! there already changes nothing.

mod error;
mod expire;
mod expiring;
mod files;
mod load;
mod queue;
mod queues;
mod search;
mod tail;
mod truncate;
mod unit;
mod write;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

pub use error::ConsumeQueueError;
pub use queue::{Appended, ConsumeQueue, RunAppended};
pub use queues::{ConsumeQueues, SyncRound};
pub use search::Boundary;
pub use truncate::Leftovers;
pub use unit::{ConsumeUnit, UNIT_BYTES};
