//! Sizes of a timer.

use super::error::TimerError;
use super::places::Places;

/// Slots that stay free between what is read and what is written (RocketMQ `TIMER_BLANK_SLOTS`).
pub(super) const BLANK_SLOTS: u64 = 60;

/// Sizes of a timer. All of them have to stay what they were when its files were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerOptions {
    /// How long a slot is, in milliseconds (RocketMQ `timerPrecisionMs`). Messages come out by their millisecond all the
    /// same.
    pub precision_ms: i64,
    /// Slots of the wheel, of which half are ever in use (RocketMQ: two weeks of seconds).
    pub wheel_slots: u64,
    /// What is farther away than this many slots comes out before its time, to be stored anew (RocketMQ
    /// `timerRollWindowSlot`).
    pub roll_window_slots: u64,
    /// Size of a file of the timer log, in bytes (RocketMQ `mappedFileSizeTimerLog`).
    pub log_file_bytes: u64,
}

impl Default for TimerOptions {
    /// RocketMQ's.
    fn default() -> Self {
        Self {
            precision_ms: 1000,
            wheel_slots: 7 * 86_400 * 2,
            roll_window_slots: 172_800,
            log_file_bytes: 104_857_600,
        }
    }
}

impl TimerOptions {
    /// Refuses what makes no timer.
    pub(super) fn check(&self) -> Result<(), TimerError> {
        let wrong = |what: String, limit: String| Err(TimerError::Options { what, limit });
        if !(1..=3_600_000).contains(&self.precision_ms) {
            let what = format!("a precision of {} ms", self.precision_ms);
            return wrong(what, "it must be 1 ms to one hour".to_owned());
        }
        if !(4 * BLANK_SLOTS..=1 << 30).contains(&self.wheel_slots) {
            let what = format!("a wheel of {} slots", self.wheel_slots);
            return wrong(what, format!("it needs {} to 2^30", 4 * BLANK_SLOTS));
        }
        // The delay of a unit has 32 bits.
        let longest = (i32::MAX as u64 / self.precision_ms.unsigned_abs())
            .min(self.wheel_slots / 2 - BLANK_SLOTS);
        if !(2..=longest).contains(&self.roll_window_slots) {
            let what = format!("a roll window of {} slots", self.roll_window_slots);
            return wrong(what, format!("it must be 2 to {longest}"));
        }
        if !(Places::MIN_FILE_BYTES..=i32::MAX as u64).contains(&self.log_file_bytes) {
            let what = format!("a timer log file of {} bytes", self.log_file_bytes);
            return wrong(
                what,
                format!("it must be {} to 2^31", Places::MIN_FILE_BYTES),
            );
        }
        Ok(())
    }

    pub(super) fn places(&self) -> Places {
        Places {
            file_bytes: self.log_file_bytes,
        }
    }
}
