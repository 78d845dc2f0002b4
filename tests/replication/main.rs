//! Masters and slaves, over real sockets and files.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod besides;
mod classic;
mod copying;
mod panics;
mod processes;
mod promotion;
mod reading;
mod refused;
mod rocketmq;
mod set;
mod stalled;
mod strangers;
#[path = "../support/mod.rs"]
mod support;
