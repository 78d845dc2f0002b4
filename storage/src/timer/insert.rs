//! Entering messages.

use super::entry::{Due, Entry, Placed};
use super::error::TimerError;
use super::state::Timer;
use super::unit::{MAX_TIME_MS, Unit};

/// Where an entry goes, and when it comes out.
#[derive(Debug, Clone, Copy)]
struct Place {
    time: i64,
    /// Not before its slot.
    deliver_at_ms: i64,
    written_ms: i64,
    rolls: bool,
}

impl Timer {
    /// Enters a message, in memory. What fails has changed nothing and can be tried again.
    ///
    /// # Errors
    ///
    /// I/O errors: a file of the log may be full, the slot may not be in memory. [`TimerError::Entry`].
    pub fn insert(&mut self, entry: &Entry, now_ms: i64) -> Result<Placed, TimerError> {
        let resume = self.resume.max(entry.queue_offset + 1);
        if self.last_physical >= Some(entry.physical) {
            self.resume = resume;
            return Ok(Placed::Known);
        }
        let is_sound = 0 < entry.size_bytes
            && entry.size_bytes <= i32::MAX as u32
            && entry.physical.0 <= i64::MAX as u64;
        if !is_sound {
            return Err(TimerError::Entry {
                physical: entry.physical.0,
                size_bytes: entry.size_bytes,
            });
        }
        self.log.make_room()?;
        let place = self.place(entry.deliver_at_ms, now_ms);
        let slot = self.wheel.get(place.time)?;
        let unit = Unit {
            previous: slot.last,
            kind: entry.kind,
            rolls: place.rolls,
            written_ms: place.written_ms,
            delayed_ms: clamped(place.deliver_at_ms - place.written_ms),
            physical: entry.physical.0,
            size_bytes: entry.size_bytes,
            topic_hash: entry.topic_hash,
        };
        self.wheel.put(slot.with(self.log.end(), unit.counts()))?;
        self.log.append(&unit);
        self.waiting += i64::from(unit.counts());
        self.last_physical = Some(entry.physical);
        self.resume = resume;
        Ok(self.admit(entry, place))
    }

    /// Where an entry goes.
    ///
    /// What is farther away than the window is put at its end, or in its middle when the rest would be short, by
    /// RocketMQ's rule (`doEnqueue`). Its time begins at the slot of now, or at the front when the clock stepped back. A
    /// slot whose place a slot in use has already is no choice either: what is so far away rolls in the last that is free.
    fn place(&self, deliver_at_ms: i64, now_ms: i64) -> Place {
        let precision_ms = self.options.precision_ms;
        let front_ms = self.read_time_ms();
        let now_ms = now_ms.clamp(0, MAX_TIME_MS);
        let base_ms = (now_ms / precision_ms * precision_ms).max(front_ms);
        let slots_ms = |slots: u64| slots as i64 * precision_ms;
        let window = self.options.roll_window_slots;
        let last_time = self.durable_time() + self.options.wheel_slots as i64 - 1;
        let mut deliver_at_ms = deliver_at_ms.clamp(0, MAX_TIME_MS);
        let mut rolls = false;
        if deliver_at_ms - base_ms >= slots_ms(window) {
            rolls = true;
            let rest_ms = deliver_at_ms - base_ms - slots_ms(window);
            deliver_at_ms = base_ms
                + match rest_ms < slots_ms(window / 3) {
                    true => slots_ms(window / 2),
                    false => slots_ms(window),
                };
        }
        if deliver_at_ms / precision_ms > last_time {
            rolls = true;
            deliver_at_ms = self.start_ms(last_time);
        }
        let deliver_at_ms = deliver_at_ms.max(front_ms);
        let time = deliver_at_ms / precision_ms;
        Place {
            time,
            deliver_at_ms,
            // Not later than it comes out: what is behind the clock, but not yet read, has no negative delay.
            written_ms: base_ms.min(self.start_ms(time)),
            rolls,
        }
    }

    /// Puts an entry into its slot if that is being read.
    fn admit(&mut self, entry: &Entry, place: Place) -> Placed {
        let precision_ms = self.options.precision_ms;
        let slot = match &mut self.next {
            _ if place.time == self.front.time => &mut self.front,
            Some(next) if place.time == next.time => next,
            _ => return Placed::Waiting,
        };
        // One whose slot is out waits for its own millisecond, which only a clock that stepped back has still to reach.
        let is_late = entry.deliver_at_ms < place.deliver_at_ms && !place.rolls;
        let deliver_at_ms = match is_late {
            true => entry
                .deliver_at_ms
                .max(place.written_ms.saturating_sub(i64::from(i32::MAX))),
            false => place.deliver_at_ms,
        };
        let due = Due {
            deliver_at_ms,
            physical: entry.physical,
            size_bytes: entry.size_bytes,
            topic_hash: entry.topic_hash,
            delayed_ms: clamped(deliver_at_ms - place.written_ms),
            kind: entry.kind,
            rolls: place.rolls,
        };
        slot.push(due, precision_ms);
        Placed::Open
    }
}

/// A delay as a unit has it.
fn clamped(delay_ms: i64) -> i32 {
    delay_ms.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}
