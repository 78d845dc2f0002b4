//! What brokers remember besides messages.
//!
//! - [`actor`]: the only writer of the metadata store.
//! - [`job`]: what it has a thread do.
//! - [`system`]: topics and groups that every broker has.

pub(crate) mod actor;
pub(crate) mod job;
pub(crate) mod system;
