//! Taking out messages whose time has come.

use super::entry::{Due, Progress};
use super::error::TimerError;
use super::open_slot::OpenSlot;
use super::state::Timer;

/// Units read by one call, at the most.
const UNITS_PER_CALL: usize = 16_384;
/// Slots passed by one call, at the most.
const SLOTS_PER_CALL: usize = 65_536;

impl Timer {
    /// Takes out what is due, at most `max` entries: slot by slot, in each of them first what cancels others, then by the
    /// millisecond, then by the place in the log. Delete markers come out when their slot begins, everything else never
    /// before its time.
    ///
    /// A call reads at most 16,384 units, and passes at most 65,536 slots: [`Progress::more`] asks for the next one. The
    /// slot of now and the one after it are in memory, 32 bytes for each entry.
    ///
    /// # Errors
    ///
    /// I/O errors, [`TimerError::Damaged`]. What was taken out before stays in `due`, and the rest can be tried again.
    pub fn take_due(
        &mut self,
        now_ms: i64,
        max: usize,
        due: &mut Vec<Due>,
    ) -> Result<Progress, TimerError> {
        let mut units = UNITS_PER_CALL;
        let mut slots = SLOTS_PER_CALL;
        let full = due.len().saturating_add(max);
        loop {
            if !self.is_loaded(now_ms, &mut units)? || !self.drain(now_ms, full, due) {
                return Ok(self.progress(true, false));
            }
            if now_ms < self.start_ms(self.front.time + 1) {
                break;
            }
            // Slots that a power cut would read again must keep their places.
            let turned = self.front.time - self.durable_time();
            if turned >= self.options.wheel_slots as i64 / 2 {
                return Ok(self.progress(false, true));
            }
            if slots == 0 {
                return Ok(self.progress(true, false));
            }
            slots -= 1;
            self.pass()?;
        }
        let is_ready = now_ms < self.read_time_ms() || self.prepare_next(&mut units)?;
        Ok(self.progress(!is_ready, false))
    }

    /// Whether everything of the front is in memory that may be due. Before its time only what came too late for its slot
    /// is.
    fn is_loaded(&mut self, now_ms: i64, budget: &mut usize) -> Result<bool, TimerError> {
        if now_ms < self.read_time_ms() {
            return Ok(true);
        }
        let precision_ms = self.options.precision_ms;
        self.front
            .load(&self.log, precision_ms, &mut self.block, budget)
    }

    /// Whether nothing due is left in the front.
    fn drain(&mut self, now_ms: i64, full: usize, due: &mut Vec<Due>) -> bool {
        while due.len() < full {
            match self.front.pop(now_ms) {
                Some(next) => due.push(next),
                None => return true,
            }
        }
        self.front.next_ms().is_none_or(|next| next > now_ms)
    }

    /// Leaves the front, which is empty, for the slot after it.
    fn pass(&mut self) -> Result<(), TimerError> {
        let passed = self.wheel.get(self.front.time)?;
        self.front = match self.next.take() {
            Some(next) => next,
            None => OpenSlot::begin(self.wheel.get(self.front.time + 1)?),
        };
        self.waiting -= i64::from(passed.count);
        Ok(())
    }

    /// Brings the slot after the front into memory, so that its first milliseconds are not spent with reading.
    fn prepare_next(&mut self, budget: &mut usize) -> Result<bool, TimerError> {
        if self.next.is_none() {
            let slot = self.wheel.get(self.front.time + 1)?;
            self.next = Some(OpenSlot::begin(slot));
        }
        match &mut self.next {
            Some(next) => next.load(
                &self.log,
                self.options.precision_ms,
                &mut self.block,
                budget,
            ),
            None => Ok(true),
        }
    }

    fn progress(&self, more: bool, checkpoint_first: bool) -> Progress {
        let next_slot_ms = self.start_ms(self.front.time + 1);
        let next_ms = self.front.next_ms().unwrap_or(next_slot_ms);
        Progress {
            more,
            checkpoint_first,
            next_ms: next_ms.clamp(0, next_slot_ms),
        }
    }
}
