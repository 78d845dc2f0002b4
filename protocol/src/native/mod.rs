//! CastMQ's own wire.
//!
//! A connection opens with the preface `CMQ1`. Then both sides send frames: a `u32` length (little endian, not counting
//! itself), a bincode header, and a payload of raw bytes up to the frame's end. bincode runs with fixed-size
//! little-endian integers and always with a limit.
//!
//! - [`frame`]: lengths, limits, the codec.
//! - [`hello`]: the first exchange, roles, limits.
//! - [`request`]: what clients send.
//! - [`response`]: what servers send, answers and pushes.
//! - [`route`]: what name servers are told and asked.
//! - [`replication`]: what a slave and its master say to each other.
//! - [`admin`]: what operators ask.
//! - [`failure`]: errors on the wire.
//!
//! Enums only grow at their end; the golden bytes in `protocol/tests` hold everything else still.

pub mod admin;
pub mod failure;
pub mod frame;
pub mod hello;
mod pop_order;
pub mod replication;
pub mod request;
pub mod response;
pub mod route;

pub use failure::{ErrorCode, Failure, Retry};
pub use frame::{FrameError, Frames, PREFACE};
pub use hello::{Hello, Limits, Role, VERSION, Welcome};
pub use request::{ClientHeader, Request};
pub use response::{Response, ServerHeader};
