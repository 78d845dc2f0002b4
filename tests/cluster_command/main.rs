//! `castmq cluster`: real processes, made, killed, suspended, restarted and stopped by name.
//!
//! - `life`: a cluster from its first start to its end. `members`: what is done to one of them.
//! - `refused`: what is asked wrongly, and what stands in the way.
//! - `properties`: the same shape from RocketMQ's own files.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod life;
mod members;
mod properties;
mod refused;
#[path = "../support/mod.rs"]
mod support;
