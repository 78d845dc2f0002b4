//! The Rust SDK for CastMQ.

#![warn(missing_docs)]
