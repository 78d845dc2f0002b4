//! The ledger: what is settled, what is out, what came back.

use std::collections::BTreeSet;

use castmq_protocol::model::QueueOffset;

use super::encoding::MAX_OFFSET_BYTES;
use super::ends::Ends;
use super::error::ReceiptError;
use super::journal::{Entry, Journal};
use super::keys::Keys;
use super::receipt::Receipt;
use super::steady_clock::SteadyClock;
use super::window::{Delivery, Slot, Window};

/// Most offsets between floor and next. Their snapshot fits into a message of 4 MiB whatever they are.
pub(crate) const MAX_WINDOW: u64 = 32 * 1024;

const _: () = assert!(MAX_WINDOW as usize * MAX_OFFSET_BYTES + 64 <= 4 * 1024 * 1024);

/// In what order messages are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// As they come, whatever is out.
    Unordered,
    /// RocketMQ's `order=true`: while a message is out nobody gets another one of this queue, and while one is
    /// unsettled nobody gets a new one.
    Queue,
    /// By message group: a message waits until the earlier ones of its key are settled; others pass it.
    Keyed,
}

/// What a ledger is told by the group's settings. They may change between replays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) order: Order,
    /// Most offsets from the first unsettled one to the last one handed out: 1 to [`MAX_WINDOW`].
    pub(crate) max_outstanding: u32,
}

/// Who has which message of a queue, for one group.
///
/// Every operation takes the time, in milliseconds since the epoch, and adds what has to be written to a [`Journal`].
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(super) order: Order,
    pub(super) max_outstanding: u64,
    pub(super) window: Window,
    /// Offsets that can be handed out again, or for the first time after they were held.
    pub(super) waiting: BTreeSet<u64>,
    /// How many messages are out and not back.
    pub(super) invisible: usize,
    pub(super) ends: Ends,
    pub(super) keys: Keys,
    /// Of the request whose messages are out; only in [`Order::Queue`].
    pub(super) attempt_id: Option<u64>,
    pub(super) clock: SteadyClock,
}

impl Ledger {
    /// A ledger of a group that has settled everything below `floor`.
    pub(crate) fn new(settings: Settings, floor: QueueOffset) -> Self {
        Self {
            order: settings.order,
            max_outstanding: u64::from(settings.max_outstanding).clamp(1, MAX_WINDOW),
            window: Window::new(floor.0),
            waiting: BTreeSet::new(),
            invisible: 0,
            ends: Ends::default(),
            keys: Keys::default(),
            attempt_id: None,
            clock: SteadyClock::new(),
        }
    }

    /// Everything below is settled: the group's consumer offset.
    pub(crate) fn floor(&self) -> QueueOffset {
        QueueOffset(self.window.floor())
    }

    /// The first offset that was never handed out.
    pub(crate) fn next(&self) -> QueueOffset {
        QueueOffset(self.window.next())
    }

    /// How many messages are out and were not back when the ledger last looked at the clock.
    pub(crate) fn in_flight(&self) -> usize {
        self.invisible
    }

    /// Offsets that were back, or held back no more, when the ledger last looked at the clock.
    pub(crate) fn back(&self) -> impl Iterator<Item = QueueOffset> {
        self.waiting.iter().copied().map(QueueOffset)
    }

    /// Settles a message by its receipt.
    #[cfg(test)]
    pub(crate) fn acknowledge(
        &mut self,
        now_ms: i64,
        receipt: &Receipt,
        journal: &mut Journal,
    ) -> Result<(), ReceiptError> {
        self.look(now_ms, journal);
        self.acknowledge_one(receipt, journal)
    }

    /// Settles messages by their receipts; returns which were refused, by their place, and why.
    pub(crate) fn acknowledge_all(
        &mut self,
        now_ms: i64,
        receipts: &[Receipt],
        journal: &mut Journal,
    ) -> Vec<(usize, ReceiptError)> {
        self.look(now_ms, journal);
        let mut refused = Vec::new();
        for (place, receipt) in receipts.iter().enumerate() {
            if let Err(error) = self.acknowledge_one(receipt, journal) {
                refused.push((place, error));
            }
        }
        refused
    }

    fn acknowledge_one(
        &mut self,
        receipt: &Receipt,
        journal: &mut Journal,
    ) -> Result<(), ReceiptError> {
        self.delivery_of(receipt)?;
        self.settle_one(receipt.offset.0);
        journal.settled(receipt.offset.0);
        Ok(())
    }

    /// Lets a message's invisible time end `invisible_ms` from now: later than it would, or earlier to have it handed
    /// out again. Returns the new receipt; the old one is void.
    pub(crate) fn change_invisible(
        &mut self,
        now_ms: i64,
        receipt: &Receipt,
        invisible_ms: u32,
        journal: &mut Journal,
    ) -> Result<Receipt, ReceiptError> {
        self.look(now_ms, journal);
        let delivery = Delivery {
            attempt: self.delivery_of(receipt)?.attempt,
            popped_at_ms: now_ms,
            invisible_ms,
            ahead_ms: self.clock.ahead_ms,
        };
        self.deliver(receipt.offset.0, delivery);
        journal.handed_out(receipt.offset.0, delivery);
        Ok(delivery.receipt(receipt.offset.0))
    }

    /// Settles a message that was handed out, for a reason of the broker's own: it is in the dead letter queue.
    pub(crate) fn settle(
        &mut self,
        now_ms: i64,
        offset: QueueOffset,
        journal: &mut Journal,
    ) -> Result<(), ReceiptError> {
        self.look(now_ms, journal);
        match self.slot(offset)? {
            Slot::Settled => Err(ReceiptError::AlreadySettled { offset }),
            Slot::Held => Err(ReceiptError::Unknown { offset }),
            Slot::Out { .. } => {
                self.settle_one(offset.0);
                journal.settled(offset.0);
                Ok(())
            }
        }
    }

    /// Settles everything below `offset`: the log has it no more.
    pub(crate) fn skip_below(&mut self, now_ms: i64, offset: QueueOffset, journal: &mut Journal) {
        self.look(now_ms, journal);
        let (first, next) = (self.window.floor(), self.window.next());
        if offset.0 <= first {
            return;
        }
        journal.push(Entry::Settled {
            first: QueueOffset(first),
            count: offset.0 - first,
        });
        for settled in first..offset.0.min(next) {
            self.settle_one(settled);
        }
        if offset.0 > next {
            self.window.move_to(offset.0);
        }
    }

    /// The first messages that came back after `max_attempts` or more, at most so many. They go to the dead letter queue, and
    /// are then to be settled.
    pub(crate) fn exhausted(
        &mut self,
        now_ms: i64,
        max_attempts: u32,
        most: usize,
        journal: &mut Journal,
    ) -> Vec<QueueOffset> {
        self.look(now_ms, journal);
        let offsets = self.waiting.iter().copied();
        offsets
            .filter(|offset| self.attempts(*offset) >= max_attempts.max(1))
            .map(QueueOffset)
            .take(most)
            .collect()
    }

    /// When the next invisible time ends, on the clock outside; it may have. `None` when nothing is out.
    pub(crate) fn next_event_ms(&mut self) -> Option<i64> {
        let window = &self.window;
        let end_ms = self
            .ends
            .first(|end_ms, offset| is_end(window, end_ms, offset))?;
        Some(self.clock.outside_ms(end_ms))
    }

    /// How often the message at an offset was handed out.
    pub(crate) fn attempts(&self, offset: u64) -> u32 {
        match self.window.get(offset) {
            Some(Slot::Out { delivery, .. }) => delivery.attempt,
            _ => 0,
        }
    }

    /// When the message at an offset was handed out last, on the clock outside.
    pub(crate) fn popped_at_ms(&self, offset: QueueOffset) -> Option<i64> {
        match self.window.get(offset.0) {
            Some(Slot::Out { delivery, .. }) => Some(delivery.popped_at_ms),
            _ => None,
        }
    }

    /// Looks at the clock; what has come back waits to be handed out again.
    pub(crate) fn look(&mut self, now_ms: i64, journal: &mut Journal) {
        if self.clock.look(now_ms) {
            journal.push(Entry::ClockBack {
                latest_ms: self.clock.latest_ms,
                ahead_ms: self.clock.ahead_ms,
            });
        }
        while let Some((end_ms, offset)) = self.ends.pop_passed(self.clock.latest_ms) {
            if let Some(Slot::Out { delivery, is_back }) = self.window.get_mut(offset)
                && !*is_back
                && delivery.end_ms() == end_ms
            {
                *is_back = true;
                self.waiting.insert(offset);
                self.invisible -= 1;
            }
        }
    }

    /// The slot of an offset that was offered once.
    fn slot(&self, offset: QueueOffset) -> Result<Slot, ReceiptError> {
        if offset < self.floor() {
            return Err(ReceiptError::AlreadySettled { offset });
        }
        let slot = self.window.get(offset.0).copied();
        slot.ok_or(ReceiptError::Unknown { offset })
    }

    /// The delivery that a receipt was given with, while it is out.
    fn delivery_of(&self, receipt: &Receipt) -> Result<Delivery, ReceiptError> {
        let offset = receipt.offset;
        match self.slot(offset)? {
            Slot::Settled => Err(ReceiptError::AlreadySettled { offset }),
            Slot::Held => Err(ReceiptError::Unknown { offset }),
            Slot::Out { delivery, is_back } => match delivery.gave(receipt) {
                true if is_back => Err(ReceiptError::Expired { offset }),
                true => Ok(delivery),
                false if delivery.follows(receipt) => Err(ReceiptError::Expired { offset }),
                false => Err(ReceiptError::Unknown { offset }),
            },
        }
    }

    /// Puts an unsettled message of the window out.
    pub(super) fn deliver(&mut self, offset: u64, delivery: Delivery) {
        let Some(slot) = self.window.get_mut(offset) else {
            return;
        };
        match slot {
            Slot::Out { is_back: false, .. } => self.invisible -= 1,
            _ => {
                self.waiting.remove(&offset);
            }
        }
        *slot = Slot::Out {
            delivery,
            is_back: false,
        };
        let window = &self.window;
        self.ends
            .push(delivery.end_ms(), offset, self.invisible, |end_ms, at| {
                is_end(window, end_ms, at)
            });
        self.invisible += 1;
    }

    /// Settles an offset of the window. What waited for it by its key waits no more.
    pub(super) fn settle_one(&mut self, offset: u64) {
        match self.window.get(offset) {
            None | Some(Slot::Settled) => return,
            Some(Slot::Out { is_back: false, .. }) => self.invisible -= 1,
            Some(Slot::Out { is_back: true, .. } | Slot::Held) => {
                self.waiting.remove(&offset);
            }
        }
        self.window.settle(offset);
        if let Some(freed) = self.keys.remove(offset)
            && let Some(Slot::Held) = self.window.get(freed)
        {
            self.waiting.insert(freed);
        }
        if self.window.is_empty() {
            self.ends.clear();
        }
    }
}

/// Whether an offset's invisible time ends then.
fn is_end(window: &Window, end_ms: i64, offset: u64) -> bool {
    matches!(
        window.get(offset),
        Some(Slot::Out { delivery, is_back: false }) if delivery.end_ms() == end_ms
    )
}
