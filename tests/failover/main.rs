//! What a cluster of real processes does while its servers stop, die, come back and change places, under load.
//!
//! - `load`: producers and a consumer group. `account`: what they were told and given. `window`: how well that went for a while.
//! - `availability`: the table of what goes on while something is stopped.
//! - `promotion`: masters that are killed, and slaves that are promoted, again and again.
//! - `rolling`: all servers started anew, one after the other.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]

mod account;
mod availability;
mod load;
mod promotion;
mod rolling;
#[path = "../support/mod.rs"]
mod support;
mod window;
