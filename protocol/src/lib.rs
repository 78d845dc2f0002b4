//! CastMQ's ground floor: what a message is, how it is stored, and how it travels.
//!
//! # Layout
//!
//! - [`model`]: the domain types (topic, group, queue, offsets, properties), validated once and trusted afterwards.
//! - [`record`]: RocketMQ's commit-log record, written and read; the same bytes lie in the log and travel to consumers.
//! - [`filter`]: what decides whether a consumer wants a message: tags, SQL92, JMS selectors.
//! - [`native`]: CastMQ's own wire: preface, length-prefixed frames, bincode headers, raw payloads.
//! - [`remoting`]: RocketMQ's wire between clients, brokers and name servers: frames, headers, bodies.
//! - [`ha`]: RocketMQ's wire between a slave and its master.
//! - [`trace`]: what happened to messages, in RocketMQ's form.
//!
//! Nothing here knows sockets, files or actors.

pub mod filter;
pub mod ha;
mod hexadecimal;
pub mod model;
pub mod native;
pub mod record;
pub mod remoting;
mod search;
pub mod trace;

pub use hexadecimal::hexadecimal;
