//! The actors of CastMQ, and the tree that keeps them alive.
//!
//! # Layout
//!
//! - [`node`]: a whole process: name server, broker, or both.
//! - `broker`: how a broker is put together, and what its actors share.
//! - `storage`: from sessions to the log, to the disk, to the queues.
//! - `delivery`: from the log to those who wait: queues and consumer groups.
//! - `metadata`: topics, groups and offsets.
//! - `network`: sockets, sessions, registration with name servers.
//! - `replication`: masters and their slaves.
//! - `name_server`: routes.
//! - [`supervision`]: the one place that knows actix. Actors, references to them, supervisors, the live tree, the
//!   watchdog.
//! - `worker`: threads for work that blocks. `clock`: where store times come from. `names`: those that clients say.

mod broker;
mod clock;
mod delivery;
mod metadata;
mod name_server;
mod names;
mod network;
pub mod node;
mod replication;
mod storage;
pub mod supervision;
mod worker;

pub use broker::assembly::store_options;
pub use node::{Node, NodeError, Parts, Surroundings};
#[cfg(feature = "own-time")]
pub use worker::under_way::jobs_under_way;
