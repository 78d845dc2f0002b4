//! Operations at random, on a ledger and on the naive one, with restarts that lose nothing or the end of the journal.

use std::collections::BTreeSet;

use castmq_protocol::model::QueueOffset;

use super::super::encoding::{decode, encode};
use super::super::hand_out::{Taken, Terms};
use super::super::journal::{Entry, Journal};
use super::super::ledger::{Ledger, Order, Settings};
use super::super::receipt::Receipt;
use super::super::window::Slot;
use super::naive::{Naive, Random};
use super::state;

const OPERATIONS: usize = 20_000;
const SEEDS: [u64; 4] = [1, 20_261, 0xdead_beef, 0x5eed_cafe];

struct World {
    random: Random,
    settings: Settings,
    ledger: Ledger,
    naive: Naive,
    now_ms: i64,
    /// What clients hold: some good, some void.
    receipts: Vec<Receipt>,
    snapshot: Vec<u8>,
    /// One record for each operation since the snapshot, and the naive ledger after it.
    records: Vec<(Vec<u8>, Naive)>,
    before: Naive,
    journal: Journal,
    context: String,
    /// How often what happened, so that a run cannot miss its point.
    seen: Seen,
}

#[derive(Debug, Default)]
struct Seen {
    handed_out: usize,
    redelivered: usize,
    repeated: usize,
    held: usize,
    passed_over: usize,
    acknowledged: usize,
    refused: usize,
    changed: usize,
    dead: usize,
    steps_back: usize,
    restarts: usize,
    lost_tails: usize,
}

impl World {
    fn new(order: Order, seed: u64) -> Self {
        let settings = Settings {
            order,
            max_outstanding: 24,
        };
        let ledger = Ledger::new(settings, QueueOffset(0));
        let naive = Naive::new(order, 24, 1_000_000);
        Self {
            random: Random(seed),
            settings,
            snapshot: ledger.snapshot().encode(),
            ledger,
            before: naive.clone(),
            naive,
            now_ms: 1_000_000,
            receipts: Vec::new(),
            records: Vec::new(),
            journal: Journal::default(),
            context: String::new(),
            seen: Seen::default(),
        }
    }

    fn run(&mut self, seed: u64) {
        for operation in 0..OPERATIONS {
            self.context = format!(
                "seed {seed}, {:?}, operation {operation}",
                self.settings.order
            );
            self.step_clock();
            self.naive.look(self.now_ms);
            match self.random.below(20) {
                0..6 => self.hand_out(),
                6..13 => self.acknowledge(),
                13..15 => self.acknowledge_many(),
                15..17 => self.change(),
                17 => self.bury(),
                18 if self.random.one_in(10) => self.skip(),
                18 => {}
                _ if self.random.one_in(4) => self.restart(),
                _ => self.take_snapshot(),
            }
            let look = self.ledger.offer(self.now_ms, None, 0, &mut self.journal);
            assert_eq!(look.again, []);
            self.naive.assert_like(&mut self.ledger, &self.context);
            let record = self.journal.encode();
            self.journal.clear();
            self.records.push((record, self.naive.clone()));
        }
    }

    fn step_clock(&mut self) {
        self.now_ms += match self.random.below(40) {
            0 => {
                self.seen.steps_back += 1;
                -(self.random.below(5_000) as i64)
            }
            1 => self.random.below(2_000) as i64,
            2..20 => self.random.below(20) as i64,
            _ => 0,
        };
    }

    fn key(&self, offset: u64) -> Option<u64> {
        // The same each time the message is read.
        let key = Random(offset ^ 0x77).below(5);
        (self.settings.order == Order::Keyed && key > 0).then_some(key)
    }

    fn invisible_ms(&mut self) -> u32 {
        let longest = if self.random.one_in(4) { 50 } else { 1_000 };
        self.random.below(longest) as u32
    }

    fn hand_out(&mut self) {
        let terms = Terms {
            invisible_ms: self.invisible_ms(),
            attempt_id: Some(self.random.below(3)).filter(|id| *id > 0),
        };
        let id = terms.attempt_id;
        let offer = self
            .ledger
            .offer(self.now_ms, id, usize::MAX, &mut self.journal);
        let (again, room) = self.naive.offer(id);
        let offered: Vec<_> = offer
            .again
            .iter()
            .map(|a| (a.offset.0, a.attempts))
            .collect();
        assert_eq!(
            (offered, offer.room),
            (again.clone(), room),
            "{}",
            self.context
        );
        let is_repeat = self.naive.begin(terms);
        let new = offer.new_from.0..offer.new_from.0 + room;
        let offsets = again.iter().map(|(offset, _)| *offset).chain(new);
        let wanted = self.random.below(9) as usize;
        let messages: Vec<_> = offsets
            .take(wanted)
            .map(|offset| (offset, self.key(offset), self.random.one_in(6)))
            .collect();
        let mut hand_out = self.ledger.hand_out(self.now_ms, terms, &mut self.journal);
        let mut all_taken = Vec::new();
        for (offset, key, is_unwanted) in messages {
            if is_unwanted {
                assert!(hand_out.pass_over(QueueOffset(offset)), "{}", self.context);
                self.naive.pass_over(offset);
                self.seen.passed_over += 1;
            } else {
                let taken = hand_out.take(QueueOffset(offset), key);
                let expected = self.naive.take(offset, key, terms, is_repeat);
                assert_eq!(taken, expected, "{}", self.context);
                all_taken.push(taken);
            }
        }
        for taken in all_taken {
            self.note(taken, is_repeat);
        }
    }

    fn note(&mut self, taken: Taken, is_repeat: bool) {
        match taken {
            Taken::HandedOut(receipt) => {
                self.receipts.push(receipt);
                self.seen.handed_out += 1;
                self.seen.redelivered += usize::from(receipt.attempt > 1);
                self.seen.repeated += usize::from(is_repeat);
            }
            Taken::Held => self.seen.held += 1,
            Taken::Refused => panic!("refused, {}", self.context),
        }
    }

    /// A receipt of the last ones, sometimes forged.
    fn receipt(&mut self) -> Option<Receipt> {
        let recent = self.receipts.len().min(15) as u64;
        if recent == 0 {
            return None;
        }
        let at = self.receipts.len() - 1 - self.random.below(recent) as usize;
        let mut receipt = self.receipts[at];
        match self.random.below(30) {
            0 => receipt.attempt += 1,
            1 => receipt.popped_at_ms += 1,
            2 => receipt.offset.0 += self.random.below(30),
            3 => receipt.invisible_ms ^= 1,
            4..10 => receipt.attempt = Receipt::ANY_ATTEMPT,
            _ => {}
        }
        Some(receipt)
    }

    fn acknowledge(&mut self) {
        let Some(receipt) = self.receipt() else {
            return;
        };
        let result = self
            .ledger
            .acknowledge(self.now_ms, &receipt, &mut self.journal);
        let expected = self.naive.acknowledge(&receipt);
        assert_eq!(result, expected, "{receipt:?}, {}", self.context);
        self.seen.acknowledged += usize::from(result.is_ok());
        self.seen.refused += usize::from(result.is_err());
    }

    fn acknowledge_many(&mut self) {
        let receipts: Vec<_> = (0..5).filter_map(|_| self.receipt()).collect();
        let refused = self
            .ledger
            .acknowledge_all(self.now_ms, &receipts, &mut self.journal);
        let mut expected = Vec::new();
        for (place, receipt) in receipts.iter().enumerate() {
            if let Err(error) = self.naive.acknowledge(receipt) {
                expected.push((place, error));
            }
        }
        assert_eq!(refused, expected, "{}", self.context);
    }

    fn change(&mut self) {
        let Some(receipt) = self.receipt() else {
            return;
        };
        let invisible_ms = self.invisible_ms();
        let journal = &mut self.journal;
        let changed = self
            .ledger
            .change_invisible(self.now_ms, &receipt, invisible_ms, journal);
        let expected = self.naive.change(&receipt, invisible_ms);
        assert_eq!(changed, expected, "{receipt:?}, {}", self.context);
        if let Ok(receipt) = changed {
            self.receipts.push(receipt);
            self.seen.changed += 1;
        }
    }

    /// Messages that had all their attempts go to the dead letter queue.
    fn bury(&mut self) {
        let exhausted = self
            .ledger
            .exhausted(self.now_ms, 3, usize::MAX, &mut self.journal);
        let offsets: Vec<_> = exhausted.iter().map(|offset| offset.0).collect();
        assert_eq!(offsets, self.naive.exhausted(3), "{}", self.context);
        for offset in exhausted {
            let settled = self.ledger.settle(self.now_ms, offset, &mut self.journal);
            assert_eq!(settled, Ok(()), "{}", self.context);
            self.naive.pass_over(offset.0);
            self.seen.dead += 1;
        }
    }

    fn skip(&mut self) {
        let offset = self.naive.floor() + self.random.below(30);
        let journal = &mut self.journal;
        self.ledger
            .skip_below(self.now_ms, QueueOffset(offset), journal);
        self.naive.skip_below(offset);
    }

    fn take_snapshot(&mut self) {
        // What this operation has seen of the clock is in it.
        self.ledger.offer(self.now_ms, None, 0, &mut self.journal);
        self.journal.clear();
        self.snapshot = self.ledger.snapshot().encode();
        self.records.clear();
        self.before = self.naive.clone();
    }

    fn entries(&self, records: usize) -> Vec<Entry> {
        let mut entries = decode(&self.snapshot).unwrap();
        for (record, _) in &self.records[..records] {
            entries.extend(decode(record).unwrap());
        }
        entries
    }

    fn restart(&mut self) {
        self.seen.restarts += 1;
        self.ledger.offer(self.now_ms, None, 0, &mut self.journal);
        self.records
            .push((self.journal.encode(), self.naive.clone()));
        self.journal.clear();
        let entries = self.entries(self.records.len());
        let replayed = Ledger::replay(self.settings, &entries).unwrap();
        assert_eq!(state(&replayed), state(&self.ledger), "{}", self.context);
        self.cut_within_a_record(&entries);
        self.ledger = replayed;
        if self.random.one_in(2) {
            self.lose_tail();
        }
    }

    /// Whatever is cut off, nothing is settled that was not.
    fn cut_within_a_record(&mut self, entries: &[Entry]) {
        let first = decode(&self.snapshot).unwrap().len();
        let kept = first + self.random.below((entries.len() - first) as u64 + 1) as usize;
        let kept = decode(&encode(&entries[..kept])).unwrap();
        let cut = Ledger::replay(self.settings, &kept).unwrap();
        let settled: BTreeSet<u64> = cut
            .window
            .iter()
            .filter(|(_, slot)| **slot == Slot::Settled)
            .map(|(offset, _)| offset)
            .collect();
        for offset in self.naive.unsettled() {
            let is_settled = offset < cut.floor().0 || settled.contains(&offset);
            assert!(!is_settled, "{offset} is lost, {}", self.context);
        }
    }

    /// The last records never reached the disk: everything is as it was before them, but for what clients hold.
    fn lose_tail(&mut self) {
        let kept = self.random.below(self.records.len() as u64 + 1) as usize;
        let entries = self.entries(kept);
        self.records.truncate(kept);
        let naive = self.records.last().map_or(&self.before, |(_, naive)| naive);
        self.naive = naive.clone();
        self.ledger = Ledger::replay(self.settings, &entries).unwrap();
        // What that ledger had seen of the clock without writing.
        let then_ms = self.naive.now_ms();
        self.ledger.offer(then_ms, None, 0, &mut self.journal);
        assert!(self.journal.is_empty(), "{}", self.context);
        self.naive.look(self.now_ms);
        self.seen.lost_tails += 1;
    }
}

fn run(order: Order) -> Vec<Seen> {
    let run = |seed| {
        eprintln!("seed {seed}, {order:?}");
        let mut world = World::new(order, seed);
        world.run(seed);
        let seen = world.seen;
        eprintln!("{seen:?}");
        for count in [
            seen.handed_out,
            seen.redelivered,
            seen.passed_over,
            seen.acknowledged,
            seen.refused,
            seen.changed,
            seen.dead,
            seen.steps_back,
            seen.restarts,
            seen.lost_tails,
        ] {
            assert!(count > 10, "{seen:?}");
        }
        seen
    };
    SEEDS.into_iter().map(run).collect()
}

#[test]
fn an_unordered_ledger_does_what_the_naive_one_does() {
    run(Order::Unordered);
}

#[test]
fn a_ledger_in_queue_order_does_what_the_naive_one_does() {
    for seen in run(Order::Queue) {
        assert!(seen.repeated > 100, "{seen:?}");
    }
}

#[test]
fn a_ledger_with_keys_does_what_the_naive_one_does() {
    for seen in run(Order::Keyed) {
        assert!(seen.held > 100, "{seen:?}");
    }
}
