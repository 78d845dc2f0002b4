//! A name server: where brokers say what they have, and clients ask where topics are.
//!
//! - [`route_table`]: what is known. Pure.
//! - [`route_keeper`]: the actor that keeps the table, and looks for brokers that have gone silent.
//! - [`session`]: one connection.
//! - [`assembly`]: how they are put together.

pub(crate) mod assembly;
pub(crate) mod route_keeper;
mod route_table;
pub(crate) mod session;
