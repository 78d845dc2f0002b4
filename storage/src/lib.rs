//! What lasts: commit log, consume queues, key index, checkpoint, recovery, metadata.
//!
//! # Layout
//!
//! - [`commit_log`]: the records themselves, their one writer, and how the end is found after a stop.
//! - [`consume_queue`]: for each queue of a topic, where its messages lie in the log.
//! - [`disk`]: directories, files and segments as the store sees them, on the operating system and in memory.
//! - [`index`]: where messages with a key lie in the log.
//!
//! Nothing here knows actors, sockets or async.

pub mod commit_log;
pub mod consume_queue;
pub mod disk;
pub mod index;
