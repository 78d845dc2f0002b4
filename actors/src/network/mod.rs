//! Sockets and the actors that own them.
//!
//! - [`connection`]: a socket with what was read (`input`) and what waits to be written (`output`), and the loop that
//!   every session runs.
//! - [`listener`]: accepts, greets ([`greeting`]), and starts a session of the role that was asked for.
//! - [`producer_session`], [`consumer_session`], [`admin_session`]: one connection each. [`sending`] is a connection's way to the
//!   log-writer. [`aliases`] are the numbers that
//!   stand for names on it, [`announce`] makes sure of what is named, [`membership`] speaks for a client in its groups.
//! - [`remoting_session`]: one connection on RocketMQ's wire, whatever its client is; [`remoting`]: what such sessions have in
//!   common with those of name servers.
//! - [`replying`]: a reply on its way to whoever asked.
//! - [`registrar`]: keeps a broker known to one name server.
//! - [`socket`]: where all sockets come from; `simulated` is the kind that tests have.

pub(crate) mod admin_session;
pub(crate) mod aliases;
mod announce;
pub(crate) mod connection;
pub(crate) mod consumer_session;
pub(crate) mod greeting;
mod input;
pub(crate) mod listener;
mod membership;
mod output;
pub(crate) mod producer_session;
pub(crate) mod registrar;
pub(crate) mod remoting;
pub(crate) mod remoting_session;
mod replying;
mod sending;
#[cfg(feature = "simulation")]
mod simulated;
pub(crate) mod socket;
