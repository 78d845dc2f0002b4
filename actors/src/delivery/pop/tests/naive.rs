//! The rules once more, without a thought for speed, memory or bytes; and numbers at random.

use std::collections::BTreeMap;

use castmq_protocol::model::QueueOffset;

use super::super::error::ReceiptError;
use super::super::hand_out::{Taken, Terms};
use super::super::ledger::{Ledger, Order};
use super::super::receipt::Receipt;

/// SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(super) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// An unsettled message.
#[derive(Debug, Clone)]
struct Message {
    key: Option<u64>,
    /// Zero when it was never handed out.
    attempt: u32,
    receipt: Option<Receipt>,
    /// In milliseconds that have passed.
    end: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Naive {
    order: Order,
    max_outstanding: u64,
    unsettled: BTreeMap<u64, Message>,
    pub(super) next: u64,
    /// Milliseconds that have passed: steps back are none.
    passed: i64,
    now_ms: i64,
    attempt_id: Option<u64>,
}

impl Naive {
    pub(super) fn new(order: Order, max_outstanding: u64, now_ms: i64) -> Self {
        Self {
            order,
            max_outstanding,
            unsettled: BTreeMap::new(),
            next: 0,
            passed: 0,
            now_ms,
            attempt_id: None,
        }
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.now_ms
    }

    pub(super) fn look(&mut self, now_ms: i64) {
        self.passed += (now_ms - self.now_ms).max(0);
        self.now_ms = now_ms;
    }

    pub(super) fn floor(&self) -> u64 {
        self.unsettled.keys().next().copied().unwrap_or(self.next)
    }

    pub(super) fn unsettled(&self) -> impl Iterator<Item = u64> {
        self.unsettled.keys().copied()
    }

    fn is_out(&self, message: &Message) -> bool {
        message.attempt > 0 && self.passed < message.end
    }

    pub(super) fn in_flight(&self) -> usize {
        let messages = self.unsettled.values();
        messages.filter(|message| self.is_out(message)).count()
    }

    fn is_blocked(&self, offset: u64, key: Option<u64>) -> bool {
        let mut earlier = self.unsettled.range(..offset);
        self.order == Order::Keyed
            && key.is_some()
            && earlier.any(|(_, message)| message.key == key)
    }

    /// What waits: came back, or is held no more.
    fn waiting(&self) -> Vec<(u64, u32)> {
        let waits = |(offset, message): (&u64, &Message)| {
            let waits = match message.attempt {
                0 => !self.is_blocked(*offset, message.key),
                _ => !self.is_out(message),
            };
            waits.then_some((*offset, message.attempt))
        };
        self.unsettled.iter().filter_map(waits).collect()
    }

    fn is_repeat(&self, attempt_id: Option<u64>) -> bool {
        self.order == Order::Queue
            && self.in_flight() > 0
            && attempt_id.is_some()
            && attempt_id == self.attempt_id
    }

    /// Offsets and attempts of what came before, and the room for new ones.
    pub(super) fn offer(&self, attempt_id: Option<u64>) -> (Vec<(u64, u32)>, u64) {
        let full = self.next - self.floor() >= self.max_outstanding;
        let room = self.max_outstanding - (self.next - self.floor()).min(self.max_outstanding);
        if self.order != Order::Queue {
            return (self.waiting(), if full { 0 } else { room });
        }
        if self.is_repeat(attempt_id) {
            let out = self.unsettled.iter().filter(|(_, m)| self.is_out(m));
            return (out.map(|(offset, m)| (*offset, m.attempt)).collect(), 0);
        }
        if self.in_flight() > 0 {
            return (Vec::new(), 0);
        }
        let waiting = self.waiting();
        let room = if waiting.is_empty() { room } else { 0 };
        (waiting, room)
    }

    /// Hands out what is on offer, or passes it over. `is_repeat`: see [`Naive::begin`].
    pub(super) fn take(
        &mut self,
        offset: u64,
        key: Option<u64>,
        terms: Terms,
        is_repeat: bool,
    ) -> Taken {
        let is_new = offset == self.next;
        if is_new {
            self.next += 1;
            let message = Message {
                key,
                attempt: 0,
                receipt: None,
                end: 0,
            };
            self.unsettled.insert(offset, message);
            if self.is_blocked(offset, key) {
                return Taken::Held;
            }
        }
        if self.order == Order::Queue {
            self.attempt_id = terms.attempt_id;
        }
        let message = self.unsettled.get_mut(&offset).unwrap();
        message.attempt += u32::from(!is_repeat);
        let receipt = Receipt {
            offset: QueueOffset(offset),
            popped_at_ms: self.now_ms,
            invisible_ms: terms.invisible_ms,
            attempt: message.attempt,
        };
        message.receipt = Some(receipt);
        message.end = self.passed + i64::from(terms.invisible_ms);
        Taken::HandedOut(receipt)
    }

    /// Whether a request repeats the one whose messages are out.
    pub(super) fn begin(&self, terms: Terms) -> bool {
        self.is_repeat(terms.attempt_id)
    }

    pub(super) fn pass_over(&mut self, offset: u64) {
        self.next = self.next.max(offset + 1);
        self.unsettled.remove(&offset);
    }

    fn check(&self, receipt: &Receipt) -> Result<(), ReceiptError> {
        let offset = receipt.offset;
        if offset.0 >= self.next {
            return Err(ReceiptError::Unknown { offset });
        }
        let Some(message) = self.unsettled.get(&offset.0) else {
            return Err(ReceiptError::AlreadySettled { offset });
        };
        let Some(mut given) = message.receipt else {
            return Err(ReceiptError::Unknown { offset });
        };
        let is_older = if receipt.attempt == Receipt::ANY_ATTEMPT {
            given.attempt = Receipt::ANY_ATTEMPT;
            receipt.popped_at_ms < given.popped_at_ms
        } else {
            receipt.attempt < given.attempt
        };
        if given == *receipt && self.is_out(message) {
            Ok(())
        } else if given == *receipt || is_older {
            Err(ReceiptError::Expired { offset })
        } else {
            Err(ReceiptError::Unknown { offset })
        }
    }

    pub(super) fn acknowledge(&mut self, receipt: &Receipt) -> Result<(), ReceiptError> {
        self.check(receipt)?;
        self.unsettled.remove(&receipt.offset.0);
        Ok(())
    }

    pub(super) fn change(
        &mut self,
        receipt: &Receipt,
        invisible_ms: u32,
    ) -> Result<Receipt, ReceiptError> {
        self.check(receipt)?;
        let message = self.unsettled.get_mut(&receipt.offset.0).unwrap();
        let receipt = Receipt {
            popped_at_ms: self.now_ms,
            invisible_ms,
            attempt: message.attempt,
            ..*receipt
        };
        message.receipt = Some(receipt);
        message.end = self.passed + i64::from(invisible_ms);
        Ok(receipt)
    }

    pub(super) fn exhausted(&self, max_attempts: u32) -> Vec<u64> {
        let waiting = self.waiting().into_iter();
        waiting
            .filter(|(_, attempt)| *attempt >= max_attempts)
            .map(|(offset, _)| offset)
            .collect()
    }

    pub(super) fn skip_below(&mut self, offset: u64) {
        self.unsettled.retain(|at, _| *at >= offset);
        self.next = self.next.max(offset);
    }

    pub(super) fn next_event_ms(&self) -> Option<i64> {
        let out = self.unsettled.values().filter(|m| self.is_out(m));
        let end = out.map(|message| message.end).min()?;
        Some(self.now_ms + end - self.passed)
    }

    /// Compares all that can be seen.
    pub(super) fn assert_like(&self, ledger: &mut Ledger, context: &str) {
        assert_eq!(ledger.floor().0, self.floor(), "floor, {context}");
        assert_eq!(ledger.next().0, self.next, "next, {context}");
        assert_eq!(ledger.in_flight(), self.in_flight(), "in flight, {context}");
        let event = ledger.next_event_ms();
        assert_eq!(event, self.next_event_ms(), "next event, {context}");
        let waiting: Vec<u64> = ledger.waiting.iter().copied().collect();
        let expected: Vec<u64> = self.waiting().iter().map(|(offset, _)| *offset).collect();
        assert_eq!(waiting, expected, "waiting, {context}");
    }
}
