//! The command line as people and scripts use it: the real binary, its output, its exit codes.
//!
//! - `topics`, `groups`, `messages`, `cluster`: what `castmq admin` shows and changes, and what is sent and received.
//! - `server`: starting and stopping one. `store`: the data folder of one that does not run.
//! - `typed`: what is typed wrong, settings, and readers that have enough.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod cluster;
mod groups;
mod messages;
mod server;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod topics;
mod typed;
