//! A ledger with its journal, for tests.

mod bytes;
mod clock;
mod figures;
mod journal;
mod model;
mod naive;
mod order;
mod rules;

use castmq_protocol::model::QueueOffset;

use super::encoding::decode;
use super::hand_out::{Taken, Terms};
use super::journal::{Entry, Journal};
use super::ledger::{Ledger, Order, Settings};
use super::receipt::Receipt;

const INVISIBLE_MS: u32 = 60_000;

/// A ledger, the snapshot it began with, and what it has written since.
struct Bench {
    ledger: Ledger,
    settings: Settings,
    snapshot: Vec<u8>,
    journal: Journal,
    now_ms: i64,
}

fn bench(order: Order) -> Bench {
    bench_of(order, 100)
}

fn bench_of(order: Order, max_outstanding: u32) -> Bench {
    let settings = Settings {
        order,
        max_outstanding,
    };
    let ledger = Ledger::new(settings, QueueOffset(0));
    Bench {
        snapshot: ledger.snapshot().encode(),
        ledger,
        settings,
        journal: Journal::default(),
        now_ms: 1_000_000,
    }
}

impl Bench {
    fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
    }

    /// What is on offer: what came back, and how many new ones fit.
    fn offered(&mut self) -> (Vec<u64>, u64) {
        let offer = self
            .ledger
            .offer(self.now_ms, None, usize::MAX, &mut self.journal);
        let again = offer.again.iter().map(|again| again.offset.0);
        (again.collect(), offer.room)
    }

    /// Hands out up to `max` of what is on offer, with keys.
    fn pop_keyed(
        &mut self,
        max: usize,
        attempt_id: Option<u64>,
        key: impl Fn(u64) -> Option<u64>,
    ) -> Vec<Receipt> {
        let offer = self
            .ledger
            .offer(self.now_ms, attempt_id, max, &mut self.journal);
        let new = offer.new_from.0..offer.new_from.0 + offer.room;
        let again = offer.again.iter().map(|again| again.offset.0);
        let terms = Terms {
            invisible_ms: INVISIBLE_MS,
            attempt_id,
        };
        let mut receipts = Vec::new();
        let mut hand_out = self.ledger.hand_out(self.now_ms, terms, &mut self.journal);
        for offset in again.chain(new) {
            if receipts.len() == max {
                break;
            }
            match hand_out.take(QueueOffset(offset), key(offset)) {
                Taken::HandedOut(receipt) => receipts.push(receipt),
                Taken::Held => {}
                Taken::Refused => panic!("{offset} was offered and refused"),
            }
        }
        receipts
    }

    fn pop(&mut self, max: usize) -> Vec<Receipt> {
        self.pop_keyed(max, None, |_| None)
    }

    fn acknowledge(&mut self, receipt: &Receipt) -> Result<(), super::error::ReceiptError> {
        self.ledger
            .acknowledge(self.now_ms, receipt, &mut self.journal)
    }

    /// The entries that the disk has.
    fn entries(&self) -> Vec<Entry> {
        let mut entries = decode(&self.snapshot).unwrap();
        entries.extend(decode(&self.journal.encode()).unwrap());
        entries
    }

    fn replayed(&self) -> Ledger {
        Ledger::replay(self.settings, &self.entries()).unwrap()
    }

    /// Goes on with what the journal makes of it.
    fn restart(&mut self) {
        self.ledger = self.replayed();
    }
}

fn offsets(receipts: &[Receipt]) -> Vec<u64> {
    receipts.iter().map(|receipt| receipt.offset.0).collect()
}

/// All that a ledger is, but for when it looked at the clock.
fn state(ledger: &Ledger) -> Vec<Entry> {
    let mut entries = ledger.snapshot().entries().to_vec();
    if let Some(Entry::Start { latest_ms, .. }) = entries.first_mut() {
        *latest_ms = 0;
    }
    entries
}
