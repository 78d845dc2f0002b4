//! Removing files of the timer log of which everything is out.

use super::error::TimerError;
use super::state::Timer;
use super::unit::{UNIT_BYTES, Unit};

/// Units looked at by one call: a mebibyte of the log.
const UNITS_PER_CALL: u64 = (1 << 20) / UNIT_BYTES as u64;

/// How far the first file has been looked at.
#[derive(Debug, Default)]
pub(super) struct Retiring {
    /// Units before this one are out.
    at: u64,
    /// The slot that the unit there waits for.
    waits_for: i64,
}

impl Timer {
    /// Looks at a part of the first file of the log, and removes it once all its messages have come out before the last
    /// checkpoint that survives a power cut. Whether there is more to do now.
    ///
    /// The last file with durable units stays: it tells which entries are known.
    ///
    /// # Errors
    ///
    /// I/O errors; it can be called again.
    pub fn retire(&mut self) -> Result<bool, TimerError> {
        let start = self.log.start();
        let next = start + self.log.places.file_bytes;
        let is_last = self.log.files.len() < 2 || self.log.synced <= next;
        if is_last || self.durable_time() <= self.retiring.waits_for {
            return Ok(false);
        }
        self.retiring.at = self.retiring.at.max(start);
        let mut bytes = Vec::new();
        self.log
            .read_units(self.retiring.at, UNITS_PER_CALL, &mut bytes)?;
        for bytes in bytes.as_chunks::<UNIT_BYTES>().0 {
            // What is damaged is in no chain.
            let deliver_at_ms = Unit::from_bytes(bytes).map_or(0, |unit| unit.deliver_at_ms());
            let time = deliver_at_ms / self.options.precision_ms;
            if time >= self.durable_time() {
                self.retiring.waits_for = time;
                return Ok(false);
            }
            self.retiring.at += UNIT_BYTES as u64;
        }
        if self.log.places.within(self.retiring.at) < self.log.places.filler_within() {
            return Ok(true);
        }
        self.log.remove_first()?;
        self.retiring = Retiring::default();
        Ok(true)
    }
}
