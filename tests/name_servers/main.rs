//! Brokers and any number of name servers, which do not talk to each other.
//!
//! - `cluster`: name servers and brokers of a test, each a node. `toll`: a way to a name server that counts.
//! - `scale`: what a broker with many topics costs. `coming_and_going`: name servers and brokers that end and begin.
//! - `claims`: two that are one broker. `hostile`: what should not be said to a name server, or by one.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are what the scale is read from.
#![allow(clippy::print_stdout)]

mod claims;
mod cluster;
mod coming_and_going;
mod hostile;
mod scale;
#[path = "../support/mod.rs"]
mod support;
mod toll;
