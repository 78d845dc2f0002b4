//! Leaving a wheel to RocketMQ, which reads whole slots and does not know what of them was delivered.

use castmq_protocol::model::{PhysicalOffset, QueueOffset};

use super::entry::Survives;
use super::error::TimerError;
use super::log::Block;
use super::slot::Slot;
use super::state::Timer;
use super::unit::Unit;

impl Timer {
    /// The last message of the timer topic that was entered.
    pub(crate) fn last_entered(&self) -> Option<PhysicalOffset> {
        self.last_physical
    }

    /// Every message of the timer topic before this one was entered: RocketMQ would enter it twice otherwise.
    pub(crate) fn resume_from(&mut self, next: QueueOffset) {
        self.resume = self.resume.max(next);
    }

    /// Takes entries that were delivered out of the slots from the read time to now, and makes everything durable. Returns how many
    /// there were.
    ///
    /// # Errors
    ///
    /// I/O errors, [`TimerError::Damaged`]; it can be called again.
    pub fn take_delivered_out(
        &mut self,
        now_ms: i64,
        is_delivered: impl Fn(PhysicalOffset) -> bool,
    ) -> Result<u64, TimerError> {
        self.log.write()?;
        let mut taken = 0;
        let last = now_ms / self.options.precision_ms;
        let last = last.min(self.front.time + self.options.wheel_slots as i64 - 1);
        for time in self.front.time..=last {
            let slot = self.wheel.get(time)?;
            let chain = self.chain(slot)?;
            let (out, left): (Vec<_>, Vec<_>) = chain
                .into_iter()
                .partition(|(_, unit)| is_delivered(PhysicalOffset(unit.physical)));
            if out.is_empty() {
                continue;
            }
            taken += out.len() as u64;
            let mut rest = Slot::empty(time);
            for (at, unit) in left.iter().rev() {
                if unit.previous != rest.last {
                    self.log.relink(*at, rest.last)?;
                }
                rest = rest.with(*at, unit.counts());
            }
            self.wheel.put(rest)?;
        }
        self.checkpoint(now_ms, self.read_time_ms(), Survives::PowerCut)?;
        Ok(taken)
    }

    /// Where the units of a slot are, the last first.
    fn chain(&mut self, slot: Slot) -> Result<Vec<(u64, Unit)>, TimerError> {
        let mut chain = Vec::new();
        let mut next = slot.last;
        let mut block = Block::default();
        while let Some(at) = next {
            let unit = self.log.unit_at(at, &mut block)?;
            if unit.previous.is_some_and(|previous| previous >= at) {
                return Err(self.log.damaged(at, "the unit follows one behind it"));
            }
            next = unit.previous;
            chain.push((at, unit));
        }
        Ok(chain)
    }
}
