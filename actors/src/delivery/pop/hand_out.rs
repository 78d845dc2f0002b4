//! Offering and handing out.

use castmq_protocol::model::QueueOffset;

use super::journal::{Entry, Journal};
use super::ledger::{Ledger, Order};
use super::receipt::Receipt;
use super::window::{Delivery, Slot};

/// A message that can be handed out and is not new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Again {
    pub(crate) offset: QueueOffset,
    /// How often it was handed out; zero when it was only held back by its key.
    pub(crate) attempts: u32,
}

/// Messages that can be handed out, in the order in which to do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    /// First these.
    pub(crate) again: Vec<Again>,
    /// Then new ones from here on.
    pub(crate) new_from: QueueOffset,
    /// At most so many new ones, those that the filter passes over included. When nothing is outstanding those take no
    /// room: after they are passed over another offer has as many.
    pub(crate) room: u64,
}

/// How messages are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    /// How long nobody else gets them.
    pub(crate) invisible_ms: u32,
    /// The hash of the request's attempt id. In [`Order::Queue`] a request that is repeated under the same one, because
    /// its answer was lost, gets those messages again that are still out, with the same attempt numbers.
    pub(crate) attempt_id: Option<u64>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It goes out with this receipt.
    HandedOut(Receipt),
    /// It waits for an earlier one of its key.
    Held,
    /// It is not on offer: it came out of order, there is no room, or things have changed since the offer.
    Refused,
}

/// What may be handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Permit {
    Nothing,
    /// What is out: its request is repeated.
    Repeat,
    /// What came back.
    Again,
    /// What came back, and new ones.
    All,
}

/// Where an offset that is handed out comes from.
enum Source {
    New,
    Window { attempts: u32 },
}

/// Hands messages out. What it has done when it is dropped is done.
#[derive(Debug)]
pub(crate) struct HandOut<'a> {
    ledger: &'a mut Ledger,
    journal: &'a mut Journal,
    permit: Permit,
    now_ms: i64,
    terms: Terms,
}

impl Ledger {
    /// What can be handed out: at most `max` that are not new, and where to read on for new ones.
    pub(crate) fn offer(
        &mut self,
        now_ms: i64,
        attempt_id: Option<u64>,
        max: usize,
        journal: &mut Journal,
    ) -> Offer {
        self.look(now_ms, journal);
        let permit = self.permit(attempt_id);
        let offsets: Vec<u64> = match permit {
            Permit::Nothing => Vec::new(),
            Permit::Repeat => self.invisible_offsets().take(max).collect(),
            Permit::Again | Permit::All => self.waiting.iter().copied().take(max).collect(),
        };
        let again = offsets.into_iter().map(|offset| Again {
            offset: QueueOffset(offset),
            attempts: self.attempts(offset),
        });
        Offer {
            again: again.collect(),
            new_from: self.next(),
            room: match permit {
                Permit::All => self.max_outstanding.saturating_sub(self.window.len()),
                _ => 0,
            },
        }
    }

    /// Begins to hand out messages of an offer.
    pub(crate) fn hand_out<'a>(
        &'a mut self,
        now_ms: i64,
        terms: Terms,
        journal: &'a mut Journal,
    ) -> HandOut<'a> {
        self.look(now_ms, journal);
        HandOut {
            permit: self.permit(terms.attempt_id),
            ledger: self,
            journal,
            now_ms,
            terms,
        }
    }

    fn permit(&self, attempt_id: Option<u64>) -> Permit {
        match self.order {
            Order::Unordered | Order::Keyed => Permit::All,
            Order::Queue if self.invisible > 0 => match attempt_id {
                Some(_) if attempt_id == self.attempt_id => Permit::Repeat,
                _ => Permit::Nothing,
            },
            Order::Queue if self.waiting.is_empty() => Permit::All,
            Order::Queue => Permit::Again,
        }
    }

    fn invisible_offsets(&self) -> impl Iterator<Item = u64> {
        self.window.iter().filter_map(|(offset, slot)| match slot {
            Slot::Out { is_back: false, .. } => Some(offset),
            _ => None,
        })
    }
}

impl HandOut<'_> {
    /// Hands a message out. `key`: the hash of its message group, for [`Order::Keyed`]; only looked at when it is new.
    pub(crate) fn take(&mut self, offset: QueueOffset, key: Option<u64>) -> Taken {
        let Some(source) = self.source(offset.0) else {
            return Taken::Refused;
        };
        let key = key.filter(|_| self.ledger.order == Order::Keyed);
        if let (Source::New, Some(key)) = (&source, key) {
            self.ledger.window.push(Slot::Held);
            self.journal.keyed(offset.0, key);
            if !self.ledger.keys.add(offset.0, key) {
                return Taken::Held;
            }
        }
        self.note_attempt_id();
        let delivery = Delivery {
            attempt: match source {
                Source::New => 1,
                Source::Window { attempts } if self.permit == Permit::Repeat => attempts,
                Source::Window { attempts } => attempts.saturating_add(1),
            },
            popped_at_ms: self.now_ms,
            invisible_ms: self.terms.invisible_ms,
            ahead_ms: self.ledger.clock.ahead_ms,
        };
        if offset == self.ledger.next() {
            self.ledger.window.push(Slot::Held);
        }
        self.ledger.deliver(offset.0, delivery);
        self.journal.handed_out(offset.0, delivery);
        Taken::HandedOut(delivery.receipt(offset.0))
    }

    /// Settles a message that the filter does not want, or that the log has no more. Returns whether it was on offer.
    pub(crate) fn pass_over(&mut self, offset: QueueOffset) -> bool {
        match self.source(offset.0) {
            None => return false,
            Some(Source::New) => self.ledger.window.push(Slot::Settled),
            Some(Source::Window { .. }) => self.ledger.settle_one(offset.0),
        }
        self.journal.settled(offset.0);
        true
    }

    /// Where an offset comes from, when it may be handed out.
    fn source(&self, offset: u64) -> Option<Source> {
        let ledger = &*self.ledger;
        if offset == ledger.window.next() {
            let has_room = ledger.window.len() < ledger.max_outstanding;
            return (self.permit == Permit::All && has_room).then_some(Source::New);
        }
        let may_be_handed_out = match self.permit {
            Permit::Nothing => false,
            Permit::Repeat => matches!(
                ledger.window.get(offset),
                Some(Slot::Out { is_back: false, .. })
            ),
            Permit::Again if ledger.order == Order::Queue => {
                ledger.waiting.first() == Some(&offset)
            }
            Permit::Again | Permit::All => ledger.waiting.contains(&offset),
        };
        may_be_handed_out.then(|| Source::Window {
            attempts: ledger.attempts(offset),
        })
    }

    fn note_attempt_id(&mut self) {
        let is_new = self.ledger.attempt_id != self.terms.attempt_id;
        if self.ledger.order == Order::Queue && is_new {
            self.ledger.attempt_id = self.terms.attempt_id;
            self.journal.push(Entry::AttemptId(self.terms.attempt_id));
        }
    }
}
