//! The offsets between what is settled and what was never handed out.

use std::collections::VecDeque;

use castmq_protocol::model::QueueOffset;

use super::receipt::Receipt;

/// Room that an empty window keeps.
const KEPT_SLOTS: usize = 64;

/// How a message was handed out the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// Counts from 1.
    pub(crate) attempt: u32,
    /// On the clock outside, in milliseconds since the epoch.
    pub(crate) popped_at_ms: i64,
    pub(crate) invisible_ms: u32,
    /// How far the ledger's clock was ahead of the one outside.
    pub(crate) ahead_ms: i64,
}

impl Delivery {
    /// When its invisible time ends, on the ledger's clock.
    pub(super) fn end_ms(&self) -> i64 {
        self.popped_at_ms
            .saturating_add(self.ahead_ms)
            .saturating_add(i64::from(self.invisible_ms))
    }

    pub(super) fn receipt(&self, offset: u64) -> Receipt {
        Receipt {
            offset: QueueOffset(offset),
            popped_at_ms: self.popped_at_ms,
            invisible_ms: self.invisible_ms,
            attempt: self.attempt,
        }
    }

    /// Whether the receipt is the one given with this delivery.
    pub(super) fn gave(&self, receipt: &Receipt) -> bool {
        self.popped_at_ms == receipt.popped_at_ms
            && self.invisible_ms == receipt.invisible_ms
            && (receipt.attempt == self.attempt || receipt.attempt == Receipt::ANY_ATTEMPT)
    }

    /// Whether the receipt can be that of an earlier attempt. Those are not kept, so this goes by its word.
    pub(super) fn follows(&self, receipt: &Receipt) -> bool {
        match receipt.attempt {
            Receipt::ANY_ATTEMPT => receipt.popped_at_ms < self.popped_at_ms,
            attempt => attempt < self.attempt,
        }
    }
}

/// What is known of an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Settled,
    /// Read, and not handed out yet: an earlier message of its key was unsettled.
    Held,
    Out {
        delivery: Delivery,
        /// Its invisible time has ended, and it waits to be handed out again.
        is_back: bool,
    },
}

/// A slot for each offset from `floor` to `next`. The first is never settled: then it would be below the floor.
#[derive(Debug)]
pub(super) struct Window {
    floor: u64,
    slots: VecDeque<Slot>,
}

impl Window {
    pub(super) fn new(floor: u64) -> Self {
        Self {
            floor,
            slots: VecDeque::new(),
        }
    }

    /// All offsets below are settled.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// The first offset that was never handed out.
    pub(super) fn next(&self) -> u64 {
        self.floor + self.len()
    }

    pub(super) fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn get(&self, offset: u64) -> Option<&Slot> {
        self.slots.get(self.index(offset)?)
    }

    pub(super) fn get_mut(&mut self, offset: u64) -> Option<&mut Slot> {
        let index = self.index(offset)?;
        self.slots.get_mut(index)
    }

    fn index(&self, offset: u64) -> Option<usize> {
        usize::try_from(offset.checked_sub(self.floor)?).ok()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Slot)> {
        (self.floor..).zip(&self.slots)
    }

    /// Adds a slot for `next`.
    pub(super) fn push(&mut self, slot: Slot) {
        self.slots.push_back(slot);
        self.advance();
    }

    /// Moves an empty window.
    pub(super) fn move_to(&mut self, floor: u64) {
        debug_assert!(self.is_empty() && self.floor <= floor);
        self.floor = floor;
    }

    /// Settles an offset of the window; the floor follows.
    pub(super) fn settle(&mut self, offset: u64) {
        if let Some(slot) = self.get_mut(offset) {
            *slot = Slot::Settled;
        }
        self.advance();
    }

    fn advance(&mut self) {
        while let Some(Slot::Settled) = self.slots.front() {
            self.slots.pop_front();
            self.floor += 1;
        }
        if self.slots.is_empty() && self.slots.capacity() > KEPT_SLOTS {
            self.slots.shrink_to(KEPT_SLOTS);
        }
    }
}
