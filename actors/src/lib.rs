//! The actors of CastMQ, and the tree that keeps them alive.
//!
//! # Layout
//!
//! - [`supervision`]: the one place that knows actix. Actors, references to them, supervisors, the live tree, the
//!   watchdog.

pub mod supervision;
