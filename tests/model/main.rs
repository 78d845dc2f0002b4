//! A model for each mechanism of delivery: random operations, crashes and restarts of the real broker in time that the test
//! makes go by, and a naive notion of what has to come of them.
//!
//! - `world`: a broker, its disk, and how its life ends.
//! - `time`: time that goes by when it is told to. `loopback`: not before the kernel has delivered what it has.
//! - `seeds`: which runs there are, and what is wrong with them.
//! - `reading`: what a topic has. `under_way`: what is begun and not waited for.
//! - `delay`: levels, any time, cancelling. `retry`: attempts and dead letters. `transaction`: what is committed, rolled back, asked
//!   about, put aside. `pop`: what is acknowledged one by one.
//! - `checkpoint`: where recovery begins. `clock`: what happens when somebody sets it. `many`: a million messages that wait.
//!
//! `CASTMQ_SEED` repeats a run, as far as threads let it; `CASTMQ_RUNS` says how many there are of each model, and
//! `CASTMQ_OPERATIONS` how long they are.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]
#![allow(unreachable_pub)]

mod checkpoint;
mod clock;
mod delay;
mod loopback;
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
