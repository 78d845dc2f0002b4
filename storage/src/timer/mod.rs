//! Messages that wait for a time, on disk, in RocketMQ's `timerwheel`, `timerlog` and `timercheck`.
//!
//! Each message of the timer topic becomes a unit of the log and goes to the slot of its time; a slot leads to its last
//! unit, and every unit to the one before it in its slot. The wheel is read slot by slot as time goes on. Times are
//! arguments, and nothing here is shared: one thread inserts, takes out and writes checkpoints.
//!
//! # Layout
//!
//! - `state`: what a timer is made of. `insert`, `take`, `durable`, `retire`: what it does. `open_slot`: a slot that is being
//!   read.
//! - `opening`: recovery. `log_files`: the files of the log as they are found, and cutting its end.
//! - `log`, `places`, `unit`: the log, its positions, its 52 bytes. `wheel`, `slot`: the wheel and its 32 bytes. `check`:
//!   how far all was.
//! - `entry`: what goes in and out. `options`: sizes. `hand_over`: leaving it to RocketMQ.
//!
//! # What a stop can do
//!
//! Log, wheel and checkpoint become durable in this order, so that each only speaks of what is durable already.
//!
//! - After a kill everything is there that was [flushed](Timer::flush), after a power cut what a checkpoint covered that
//!   [survives](Survives) it, and any part of what came later: units are taken up to the first that is none.
//! - Entries have to be inserted again from [`Timer::resume_offset`] on. The log holds every entry, late ones included, and
//!   their messages lie ever farther in the commit log: what is not beyond the last of them is [known](Placed::Known).
//! - Messages come out again from the read time of the last checkpoint on, the slot that was open then included, and none
//!   from slots before it. Who delivers them has to know which of them were delivered, by
//!   [their place in the log](Due::physical).
//!
//! # What the clock can do
//!
//! The wheel turns one way. When the clock steps back, its slots wait until the clock has come to them again; what is
//! inserted for a time that the wheel has passed waits in memory for its millisecond on the clock as it is now, so that
//! the rest goes on. Nothing comes out before its time. Only a restart in between delays such entries, to the time to
//! which the wheel was read. When the clock steps forward, everything up to its new time is due.
//!
//! # Memory
//!
//! 256 KiB of the log, 8 MiB of the wheel and more of it only when the roll window covers more, 64 bytes at the most for
//! each entry of the one or two slots that are being read, however many entries wait.

mod check;
mod durable;
mod entry;
mod error;
mod hand_over;
mod insert;
mod log;
mod log_files;
mod open_slot;
mod opening;
mod options;
mod places;
mod retire;
mod slot;
mod state;
mod take;
mod unit;
mod wheel;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod stop_tests;
#[cfg(test)]
mod tests;

pub use entry::{Due, Entry, Kind, Placed, Progress, Survives};
pub use error::TimerError;
pub use opening::Ends;
pub use options::TimerOptions;
pub use state::Timer;

use std::path::Path;

use castmq_protocol::model::PhysicalOffset;

use crate::disk::Disk;
use crate::metadata::{Metadata, MetadataError};

/// Where it is kept, among the key-values, from where the log is searched for what was delivered.
const NAMESPACE: &str = "timer";
const SEARCH_FROM: &str = "search_from";

/// From where on the log has everything that was delivered and may come out again; `None` when nobody noted it.
///
/// # Errors
///
/// When the metadata cannot be read.
pub fn search_from(metadata: &Metadata) -> Result<Option<PhysicalOffset>, MetadataError> {
    let bytes = metadata.value(NAMESPACE, SEARCH_FROM)?;
    let bytes = bytes.and_then(|bytes| <[u8; 8]>::try_from(bytes.as_slice()).ok());
    Ok(bytes.map(|bytes| PhysicalOffset(u64::from_be_bytes(bytes))))
}

/// Notes from where on the log has everything that was delivered and may come out again; to be flushed by the caller.
///
/// # Errors
///
/// When the metadata cannot be written.
pub fn note_search_from(metadata: &Metadata, from: PhysicalOffset) -> Result<(), MetadataError> {
    metadata.put_value(NAMESPACE, SEARCH_FROM, &from.0.to_be_bytes())
}

/// Whether a folder has a wheel.
pub(crate) fn is_there(disk: &dyn Disk, root: &Path) -> bool {
    disk.open(&root.join("timerwheel")).is_ok()
}

/// Before this time everything is out of the wheel in a folder, in milliseconds since the epoch; 0 when there is none.
pub(crate) fn read_time_ms(disk: &dyn Disk, root: &Path) -> Result<i64, TimerError> {
    let path = root.join("config").join("timercheck");
    match disk.open(&path) {
        Err(_) => Ok(0),
        Ok(_) => Ok(check::Check::open(disk, &path)?.0.head.read_ms),
    }
}
