//! A name server: where brokers say what they have, and clients ask where topics are.
//!
//! - [`route_table`]: what is known, of each [`broker`] and by [topic](topic_index). Pure, as are the rules by which a
//!   [`registration`] is taken, in [parts](report_parts) if it is long, and by which of two brokers one is
//!   [what both claim](claim) to be.
//! - [`route_keeper`]: the actor that keeps the table, and looks for brokers that have gone silent.
//! - [`session`]: one connection; [`remoting_session`]: one on RocketMQ's wire. [`tidings`]: in which order a broker hears of its set.
//!   [`patience`]: how long connections may say nothing.
//! - [`assembly`]: how they are put together.

pub(crate) mod assembly;
mod broker;
mod claim;
mod patience;
mod registration;
pub(crate) mod remoting_session;
mod report_parts;
pub(crate) mod route_keeper;
mod route_table;
pub(crate) mod session;
pub(crate) mod tidings;
mod topic_index;
