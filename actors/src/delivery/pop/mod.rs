//! Per-message acknowledgement (RocketMQ's POP): who has which message of a queue, and until when. Pure: time and
//! messages come in as arguments, what has to last goes out as journal entries.
//!
//! A [`Ledger`](ledger::Ledger) belongs to one group and one queue of a topic. Its owner asks for an
//! [`Offer`](hand_out::Offer), reads and filters those messages, hands them out, writes the
//! [`Journal`](journal::Journal) to the log, and only then lets the messages leave the broker.
//!
//! - [`ledger`]: the state, acknowledgement, and what happens when invisible time ends; [`hand_out`]: offering and
//!   handing out; [`replay`]: snapshots, and ledgers made of snapshots and entries.
//! - [`window`]: the offsets between what is settled and what was never handed out; [`ends`]: when invisible times end;
//!   [`keys`]: which message of a key comes next; [`steady_clock`]: time that does not go back.
//! - [`receipt`]: what an acknowledgement has to show.
//! - [`journal`]: entries; [`encoding`]: their bytes.
//!
//! # Rules
//!
//! - `floor ≤ next ≤ floor + max_outstanding`. Below `floor` all is settled: it is the group's consumer offset. From
//!   `next` on nothing was handed out. The floor moves over settled offsets only, so entries that a power cut takes from
//!   the end of the journal can cause redelivery and never loss.
//! - A message is invisible for `invisible_ms` on the ledger's own clock, which goes on as the clock outside does and
//!   stands still when that steps back. So a step back redelivers nothing early, and delays what is out by no more than
//!   the time between the last look at the clock and the step. A step ahead is time that passed: nothing tells them
//!   apart.
//! - A message whose invisible time has ended is offered again before new ones, lowest offset first. Until it is handed
//!   out again its old receipt is expired all the same.

pub(crate) mod encoding;
mod ends;
pub(crate) mod error;
pub(crate) mod hand_out;
pub(crate) mod journal;
pub(crate) mod keys;
pub(crate) mod ledger;
pub(crate) mod receipt;
mod replay;
mod steady_clock;
mod window;

#[cfg(test)]
mod tests;
