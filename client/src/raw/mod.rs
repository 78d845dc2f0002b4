//! Connections as such: a header and a payload go in, a header and a payload come out.
//!
//! Producers, consumers and [`Admin`](crate::Admin) are built on this. It is public for tools and benchmarks that want to
//! speak the protocol themselves; the protocol's types are exported again here.
//!
//! - [`Connection`]: the handle, [`Options`] to open it, [`Pushes`] that come by themselves.
//! - [`Payload`]: what travels behind a header.
//! - [`Dial`]: where byte streams come from.

mod connection;
mod dial;
mod names;
mod options;
mod outbox;
mod pending;
mod task;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub(crate) use connection::Settle;
pub use connection::{Answer, Connection, Push, Pushes, Reply};
pub use dial::{Dial, Dialing, Stream, Tcp};
#[cfg(test)]
pub(crate) use names::request_name;
pub use options::Options;
pub use outbox::Payload;

pub use castmq_protocol::native::{
    ClientHeader, ErrorCode, Failure, Limits, Request, Response, Retry, Role, ServerHeader,
    Welcome, admin, request, response, route,
};

/// A time as the wire has it; what does not fit is as long as possible.
pub(crate) fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
