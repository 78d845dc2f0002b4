//! Whatever comes over a socket that should not: the answer says what, the limit and what to do, and no acknowledged message
//! pays for it.
//!
//! - `asking`: a node to ask, honest requests, and what a refusal says.
//! - `frames`: what cannot be read. `requests`: what can be read and not be done.
//! - `connections`: too many of them, silent ones, a port that is taken. `pulls`: answers that nobody reads or that wait.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod asking;
mod connections;
mod frames;
mod pulls;
mod requests;
#[path = "../support/mod.rs"]
mod support;
