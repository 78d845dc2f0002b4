//! A model for each mechanism of delivery: random operations, crashes and restarts of the real broker in time that the test
//! makes go by, and a naive notion of what has to come of them.
//!
//! - `time`: time that goes by when it is told to.
//! - `world`: a broker, its disk, and how its life ends.
//! - `seeds`: which runs there are, and what is wrong with them.
//! - `reading`: what a topic has.
//! - `under_way`: what is begun and not waited for.
//! - `delay`: levels, any time, cancelling. `transaction`: what is committed, rolled back, asked about, put aside. `pop`: what is
//!   acknowledged one by one.
//!
//! `CASTMQ_SEED` repeats a run, as far as threads let it; `CASTMQ_RUNS` says how many there are of each model, and
//! `CASTMQ_OPERATIONS` how long they are.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]
#![allow(unreachable_pub)]

mod clock;
mod delay;
mod many;
mod pop;
mod reading;
mod retry;
mod seeds;
#[path = "../support/mod.rs"]
mod support;
mod time;
mod transaction;
mod under_way;
mod world;
