//! Sessions of JMS's model over a real broker: the ways to acknowledge, transactions, listeners, starting and closing.
//!
//! - `acknowledging`: the ways to. `transactions`: what is committed or rolled back.
//! - `leases`: how long a message stays with whom it was delivered to, and what becomes of one that was lost.
//! - `listeners`: what runs when messages come. `closing`: before the start, while stopped, after the end.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod acknowledging;
mod closing;
mod leases;
mod listeners;
#[path = "../support/mod.rs"]
mod support;
mod transactions;
