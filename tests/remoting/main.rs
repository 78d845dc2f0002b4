//! RocketMQ's wire, spoken by hand: what clients ask, in the order in which they ask it. Its own clients are in `tests/interop`.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]

mod alike;
mod asking;
mod assignment;
mod bad_clients;
mod bad_input;
mod brokers;
mod genuine_broker;
mod groups;
mod hostile;
mod looking;
mod messages;
mod operating;
mod rocketmq_names;
#[path = "../hostile_remoting/stock.rs"]
#[allow(dead_code)] // A part of it is used here.
mod stock;
#[path = "../support/mod.rs"]
mod support;
mod transactions;
mod wire;
