//! Whole clusters in a simulated network: name servers, masters and slaves, producers and a group of consumers, each a host of its
//! own. Hosts lose sight of each other, what they send is late or gone, processes are killed, machines lose their power, slaves become
//! masters, and a history checker says whether messages were lost, duplicated, reordered, or made up.
//!
//! All that happens hangs on a seed. A run is a process of its own with one thread that matters, in which there is no
//! time but the simulation's and no chance but the seed's:
//!
//! - `seeds`: which runs there are, side by side, and what is said of those that fail. `chance`: what would be random otherwise.
//! - `run`: one run: a storm, then fair weather in which everything has to arrive, then the check.
//! - `shape`: how many hosts of each kind, and how they are set up. `storm`: what goes wrong, and when it is mended.
//! - `machine`: a broker's machine, which outlives its processes. `dial`: the simulated network for clients.
//! - `producing`, `consuming`, `operating`: what clients do. `record`: what they saw, and what must not be seen.
//! - `trace`: everything that happened in one number, which two runs of a seed have in common.
//!
//! `CASTMQ_RUNS` says how many seeds, and `CASTMQ_FIRST_SEED` with which they begin. `CASTMQ_SEED` repeats one and shows what happens in
//! it, `CASTMQ_SHOW=network` with all that the network does, and `RUST_LOG` with what is logged.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]
#![allow(unreachable_pub)]

mod chance;
mod consuming;
mod dial;
mod machine;
mod operating;
mod producing;
mod record;
mod run;
mod seeds;
mod shape;
mod storm;
#[path = "../support/mod.rs"]
mod support;
mod trace;
