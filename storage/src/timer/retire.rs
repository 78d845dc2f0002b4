//! The part of the timer log of which everything is out: where the rest begins, and removing files.

use castmq_protocol::model::PhysicalOffset;

use super::error::TimerError;
use super::state::Timer;
use super::unit::{UNIT_BYTES, Unit};

/// Units looked at at once: a mebibyte of the log.
const UNITS_AT_ONCE: u64 = (1 << 20) / UNIT_BYTES as u64;

/// How far the log has been looked at.
#[derive(Debug, Default)]
pub(super) struct Retiring {
    /// Units before this one are out.
    at: u64,
    /// The slot that the unit there waits for.
    waits_for: i64,
    /// Where its message lies.
    physical: PhysicalOffset,
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
        let next = self.log.start() + self.log.places.file_bytes;
        if self.log.files.len() < 2 || self.log.synced <= next {
            return Ok(false);
        }
        if self.retiring.at < next {
            return self.look_on();
        }
        self.log.remove_first()?;
        Ok(true)
    }

    /// Where the first message lies that may still have to be read, of those that have been inserted: all that have not come
    /// out before the last checkpoint that survives a power cut.
    ///
    /// It goes on where it or [`retire`](Self::retire) has looked last, so that each unit of the log is read once.
    ///
    /// # Errors
    ///
    /// I/O errors; it can be called again.
    pub fn first_waiting(&mut self) -> Result<Option<PhysicalOffset>, TimerError> {
        self.log.write()?;
        while self.look_on()? {}
        let is_all_out = self.retiring.at >= self.log.written;
        Ok((!is_all_out).then_some(self.retiring.physical))
    }

    /// Looks at a part of the log, up to the first unit that waits. Whether there is more to look at.
    fn look_on(&mut self) -> Result<bool, TimerError> {
        let durable = self.durable_time();
        let at = self.retiring.at.max(self.log.start());
        self.retiring.at = at;
        if at >= self.log.written || durable <= self.retiring.waits_for {
            return Ok(false);
        }
        let rest = (self.log.written - at) / UNIT_BYTES as u64;
        let mut bytes = Vec::new();
        self.log
            .read_units(at, rest.min(UNITS_AT_ONCE), &mut bytes)?;
        for bytes in bytes.as_chunks::<UNIT_BYTES>().0 {
            // What is damaged is in no chain.
            if let Some(unit) = Unit::from_bytes(bytes) {
                let time = unit.deliver_at_ms() / self.options.precision_ms;
                if time >= durable {
                    self.retiring.waits_for = time;
                    self.retiring.physical = PhysicalOffset(unit.physical);
                    return Ok(false);
                }
            }
            self.retiring.at += UNIT_BYTES as u64;
        }
        let places = self.log.places;
        if places.within(self.retiring.at) >= places.filler_within() {
            self.retiring.at = places.file_start(self.retiring.at) + places.file_bytes;
        }
        Ok(true)
    }
}
