//! From the log to those who wait: queues, groups, and what they decide.
//!
//! - [`fetch`]: reading messages of a queue, hot or cold.
//! - [`queue`]: a queue with its waiting consumers; [`queues`] finds those that are awake.
//! - [`cold_reader`]: reads that would wait for the disk.
//! - [`catching_up`]: waiting until the log says what was done before.
//! - [`redirect`]: messages that wait elsewhere before they reach their topic; [`schedule`]: for a delay level;
//!   [`timer`]: for any time.
//! - [`retry`]: what becomes of a message that a group could not process, pure; [`returning`] stores it again.
//! - [`transactions`]: half messages and what becomes of them; [`producers`]: who can be asked.
//! - [`requesters`]: who waits for replies to requests; [`registry`] holds both.
//! - [`assignment`]: which member gets which queue. Pure.
//! - [`pop`]: the ledger of per-message acknowledgement, pure; [`popper`]: hands messages out by it.
//! - [`consumer_group`]: a group's members and their queues; [`groups`] finds those that are awake. [`client_groups`]: those
//!   whose members share the queues among themselves.

pub(crate) mod assignment;
mod catching_up;
pub(crate) mod client_groups;
pub(crate) mod cold_reader;
pub(crate) mod consumer_group;
pub(crate) mod expiry;
pub(crate) mod fetch;
pub(crate) mod groups;
pub(crate) mod letters;
pub(crate) mod pop;
pub(crate) mod popper;
pub(crate) mod producers;
pub(crate) mod queue;
pub(crate) mod queues;
pub(crate) mod redirect;
pub(crate) mod registry;
pub(crate) mod requesters;
pub(crate) mod retry;
pub(crate) mod returning;
pub(crate) mod schedule;
pub(crate) mod timer;
pub(crate) mod transactions;
