//! Masters and slaves, over real sockets and files.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod classic;
mod copying;
mod promotion;
mod reading;
mod set;
#[path = "../support/mod.rs"]
mod support;
