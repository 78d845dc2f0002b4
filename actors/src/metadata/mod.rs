//! What brokers remember besides messages.
//!
//! - [`actor`]: the only writer of the metadata store.
//! - [`system`]: topics and groups that every broker has.

pub(crate) mod actor;
pub(crate) mod system;
