//! From sessions to the log, to the disk, to the queues.
//!
//! - [`log_writer`]: the single appender; [`append`]: what it gets and gives; [`queue_offsets`]: the offsets it assigns.
//! - [`put`]: messages that the broker's own actors store.
//! - [`flush_service`]: group commit; [`commit_tracker`]: who waits for it, and what consumers may see.
//! - [`dispatcher`]: from the log to queues; [`indexer`]: to the key index.
//! - [`segment_allocator`]: room for the log ahead of the writer; [`runway`]: how much of it.
//! - [`checkpointer`]: from where the next start begins. [`cleaner`]: what is no longer kept; [`needed`]: what has to be.

pub(crate) mod append;
pub(crate) mod checkpointer;
pub(crate) mod cleaner;
pub(crate) mod commit_tracker;
pub(crate) mod dispatcher;
pub(crate) mod flush_service;
pub(crate) mod indexer;
pub(crate) mod log_writer;
mod needed;
pub(crate) mod put;
pub(crate) mod queue_offsets;
pub(crate) mod runway;
pub(crate) mod segment_allocator;
