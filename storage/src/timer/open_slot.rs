//! A slot that is being read: its chain, and what of it is in memory.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::entry::Due;
use super::error::TimerError;
use super::log::{Block, TimerLog};
use super::slot::Slot;
use super::unit::Unit;
use castmq_protocol::model::PhysicalOffset;

/// What comes out of a slot before another: what is due earlier, then what cancels, then what was stored earlier. The
/// greatest comes first, as in the heap.
#[derive(Debug, PartialEq, Eq)]
struct Next(Due);

impl Next {
    fn key(&self) -> (i64, bool, PhysicalOffset) {
        (self.0.deliver_at_ms, !self.0.cancels(), self.0.physical)
    }
}

impl Ord for Next {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A slot that is being read. 32 bytes for each of its entries, twice that while it grows.
#[derive(Debug)]
pub(super) struct OpenSlot {
    pub(super) time: i64,
    heap: BinaryHeap<Next>,
    /// The next unit of the chain that is not in the heap.
    chain: Option<u64>,
}

impl OpenSlot {
    /// Begins to read a slot: what the wheel has of it now is read from the log, what comes later has to be
    /// [pushed](Self::push).
    pub(super) fn begin(slot: Slot) -> Self {
        Self {
            time: slot.time,
            heap: BinaryHeap::new(),
            chain: slot.last,
        }
    }

    /// Reads on, a unit for each of the budget; whether all of the chain is in memory now. A chain leads to smaller and
    /// smaller positions, so that it ends.
    pub(super) fn load(
        &mut self,
        log: &TimerLog,
        precision_ms: i64,
        block: &mut Block,
        budget: &mut usize,
    ) -> Result<bool, TimerError> {
        while let Some(at) = self.chain {
            if *budget == 0 {
                return Ok(false);
            }
            let unit = log.unit_at(at, block)?;
            if unit.deliver_at_ms() / precision_ms != self.time {
                return Err(log.damaged(at, "the unit belongs to another slot"));
            }
            if unit.previous.is_some_and(|previous| previous >= at) {
                return Err(log.damaged(at, "the unit follows one behind it"));
            }
            self.push(due(&unit), precision_ms);
            self.chain = unit.previous;
            *budget -= 1;
        }
        Ok(true)
    }

    /// Adds an entry. What cancels others is due when its slot begins, before all of them.
    pub(super) fn push(&mut self, due: Due, precision_ms: i64) {
        let early_ms = match due.cancels() {
            true => due.deliver_at_ms.rem_euclid(precision_ms),
            false => 0,
        };
        self.heap.push(Next(Due {
            deliver_at_ms: due.deliver_at_ms - early_ms,
            delayed_ms: due.delayed_ms.saturating_sub(early_ms as i32),
            ..due
        }));
    }

    /// Takes out the next entry if its time has come.
    pub(super) fn pop(&mut self, now_ms: i64) -> Option<Due> {
        match self.next_ms() {
            Some(next_ms) if next_ms <= now_ms => self.heap.pop().map(|next| next.0),
            _ => None,
        }
    }

    /// When the next entry in memory comes out.
    pub(super) fn next_ms(&self) -> Option<i64> {
        self.heap.peek().map(|next| next.0.deliver_at_ms)
    }
}

fn due(unit: &Unit) -> Due {
    Due {
        deliver_at_ms: unit.deliver_at_ms(),
        physical: PhysicalOffset(unit.physical),
        size_bytes: unit.size_bytes,
        topic_hash: unit.topic_hash,
        delayed_ms: unit.delayed_ms,
        kind: unit.kind,
        rolls: unit.rolls,
    }
}
