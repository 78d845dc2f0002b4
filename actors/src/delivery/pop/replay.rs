//! Snapshots, and ledgers made of snapshots and entries.

use castmq_protocol::model::QueueOffset;

use super::error::ReplayError;
use super::journal::{Entry, Journal};
use super::ledger::{Ledger, MAX_WINDOW, Order, Settings};
use super::window::{Delivery, Slot};

impl Ledger {
    /// Entries that make this ledger: no more of them than offsets in the window allow. To be written as one record.
    pub(crate) fn snapshot(&self) -> Journal {
        let mut journal = Journal::default();
        journal.push(Entry::Start {
            floor: self.floor(),
            latest_ms: self.clock.latest_ms,
            ahead_ms: self.clock.ahead_ms,
            attempt_id: self.attempt_id,
        });
        for (offset, slot) in self.window.iter() {
            if let Some(key) = self.keys.get(offset) {
                journal.keyed(offset, key);
            }
            match slot {
                Slot::Settled => journal.settled(offset),
                // Only messages with keys are held.
                Slot::Held => {}
                Slot::Out { delivery, .. } => journal.handed_out(offset, *delivery),
            }
        }
        journal
    }

    /// Makes a ledger of a snapshot and the entries written since. It is what that ledger was, but for what that one
    /// saw of the clock without writing anything.
    pub(crate) fn replay<'a>(
        settings: Settings,
        entries: impl IntoIterator<Item = &'a Entry>,
    ) -> Result<Self, ReplayError> {
        let mut ledger = None;
        Self::replay_on(&mut ledger, settings, entries)?;
        ledger.ok_or(ReplayError::NoSnapshot)
    }

    /// Goes on with a replay. After an error nothing can be said of the ledger but what the next snapshot says.
    pub(crate) fn replay_on<'a>(
        ledger: &mut Option<Self>,
        settings: Settings,
        entries: impl IntoIterator<Item = &'a Entry>,
    ) -> Result<(), ReplayError> {
        for entry in entries {
            match (entry, &mut *ledger) {
                (Entry::Start { floor, .. }, _) => {
                    ledger.insert(Self::new(settings, *floor)).apply(entry)?;
                }
                (_, Some(ledger)) => ledger.apply(entry)?,
                (_, None) => return Err(ReplayError::NoSnapshot),
            }
        }
        Ok(())
    }

    fn apply(&mut self, entry: &Entry) -> Result<(), ReplayError> {
        match entry {
            Entry::Start {
                latest_ms,
                ahead_ms,
                attempt_id,
                ..
            } => {
                self.set_clock(*latest_ms, *ahead_ms);
                self.attempt_id = *attempt_id;
            }
            Entry::ClockBack {
                latest_ms,
                ahead_ms,
            } => self.set_clock(*latest_ms, *ahead_ms),
            Entry::AttemptId(id) => self.attempt_id = *id,
            Entry::Settled { first, count } => self.apply_settled(first.0, *count)?,
            Entry::Keyed { first, keys } => self.apply_keyed(first.0, keys)?,
            Entry::HandedOut {
                first,
                count,
                delivery,
            } => self.apply_handed_out(first.0, *count, *delivery)?,
        }
        Ok(())
    }

    fn set_clock(&mut self, latest_ms: i64, ahead_ms: i64) {
        self.clock.latest_ms = latest_ms;
        self.clock.ahead_ms = ahead_ms;
    }

    fn apply_settled(&mut self, first: u64, count: u64) -> Result<(), ReplayError> {
        self.check_gap(first)?;
        let (end, next) = (first.saturating_add(count), self.window.next());
        for offset in first.max(self.window.floor())..end.min(next) {
            self.settle_one(offset);
        }
        if self.window.is_empty() && end > next {
            self.window.move_to(end);
        }
        while self.window.next() < end {
            self.push(Slot::Settled)?;
        }
        Ok(())
    }

    fn apply_keyed(&mut self, first: u64, keys: &[u64]) -> Result<(), ReplayError> {
        self.check_gap(first)?;
        for (offset, key) in (first..).zip(keys) {
            if offset < self.window.next() {
                continue;
            }
            self.push(Slot::Held)?;
            let is_free = self.keys.add(offset, *key);
            // In other orders nothing is held: the group's settings have changed.
            if is_free || self.order != Order::Keyed {
                self.waiting.insert(offset);
            }
        }
        Ok(())
    }

    fn apply_handed_out(
        &mut self,
        first: u64,
        count: u64,
        delivery: Delivery,
    ) -> Result<(), ReplayError> {
        self.check_gap(first)?;
        for offset in first.max(self.window.floor())..first.saturating_add(count) {
            if offset == self.window.next() {
                self.push(Slot::Held)?;
            }
            if self.window.get(offset) != Some(&Slot::Settled) {
                self.deliver(offset, delivery);
            }
        }
        let popped_at_ms = delivery.popped_at_ms.saturating_add(delivery.ahead_ms);
        self.clock.latest_ms = self.clock.latest_ms.max(popped_at_ms);
        Ok(())
    }

    fn push(&mut self, slot: Slot) -> Result<(), ReplayError> {
        if self.window.len() >= MAX_WINDOW {
            return Err(ReplayError::Window {
                floor: self.floor(),
                limit: MAX_WINDOW,
            });
        }
        self.window.push(slot);
        Ok(())
    }

    fn check_gap(&self, first: u64) -> Result<(), ReplayError> {
        let next = self.next();
        if first > next.0 {
            return Err(ReplayError::Gap {
                offset: QueueOffset(first),
                next,
            });
        }
        Ok(())
    }
}
