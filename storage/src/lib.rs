//! What lasts: commit log, consume queues, key index, checkpoint, recovery, metadata.
//!
//! # Layout
//!
//! - [`disk`]: directories, files and segments as the store sees them, on the operating system and in memory.
//!
//! Nothing here knows actors, sockets or async.

pub mod disk;
