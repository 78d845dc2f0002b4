//! Random lives of a whole store on a disk in memory, cut short in every way and opened again.
//!
//! # Layout
//!
//! - `life`: one store: what happens to it, and how it stops.
//! - `history`: what was sent, and whether what is found agrees with it.
//!
//! A failure prints the seed of its life: `CASTMQ_CRASH_SEED=<seed> cargo test -p castmq-storage --test crashes` lives it
//! again. `CASTMQ_CRASHES=<count>` sets how many crashes a run goes through.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod history;
mod life;
#[path = "../support/mod.rs"]
mod support;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::str::FromStr;

use life::Life;

/// Crashes of a run that nobody asked for more.
const CRASHES: u64 = 200;

/// Stops of one store, after which the next begins with an empty disk.
const STOPS_PER_LIFE: u64 = 8;

fn number<T: FromStr>(variable: &str) -> Option<T> {
    env::var(variable).ok()?.parse().ok()
}

fn live(seed: u64) -> u64 {
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let mut life = Life::begin(seed);
        for _ in 0..STOPS_PER_LIFE {
            life.go_on();
            life.stop_and_open_again();
        }
        life.crashes()
    }));
    lived.unwrap_or_else(|panic| {
        eprintln!("the life of seed {seed} failed: CASTMQ_CRASH_SEED={seed} lives it again");
        resume_unwind(panic)
    })
}

fn live_through(crashes: u64) {
    if let Some(seed) = number("CASTMQ_CRASH_SEED") {
        live(seed);
        return;
    }
    let (mut seed, mut seen) = (0, 0);
    while seen < crashes {
        seen += live(seed);
        seed += 1;
    }
}

#[test]
fn what_is_durable_survives_every_crash_in_order_and_once() {
    live_through(number("CASTMQ_CRASHES").unwrap_or(CRASHES));
}

/// As many as the project promises; `cargo test --release -p castmq-storage --test crashes -- --ignored`.
#[test]
#[ignore = "takes a while without --release"]
fn two_thousand_crashes() {
    live_through(2000);
}
