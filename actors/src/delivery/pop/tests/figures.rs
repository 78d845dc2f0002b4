//! How fast a ledger is. Prints figures, checks none:
//! `cargo test --release -p castmq-actors pop::tests::figures -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use castmq_protocol::model::QueueOffset;

use super::super::hand_out::{Taken, Terms};
use super::super::journal::Journal;
use super::super::ledger::{Ledger, Order, Settings};
use super::super::receipt::Receipt;
use super::naive::Random;

const MESSAGES: u64 = 4_000_000;
const ROUNDS: usize = 5;

struct Times {
    hand_out: Duration,
    acknowledge: Duration,
}

fn ledger(order: Order, window: u32) -> Ledger {
    let settings = Settings {
        order,
        max_outstanding: window,
    };
    Ledger::new(settings, QueueOffset(0))
}

/// Fills the window and acknowledges all of it in an order, until `MESSAGES` are through.
fn run(order: Order, window: u32, batch: usize, shuffle: impl Fn(&mut [Receipt])) -> Times {
    let mut ledger = ledger(order, window);
    let mut journal = Journal::default();
    let mut receipts = Vec::new();
    let mut times = Times {
        hand_out: Duration::ZERO,
        acknowledge: Duration::ZERO,
    };
    let mut now_ms = 0;
    while ledger.floor() < QueueOffset(MESSAGES) {
        let start = Instant::now();
        receipts.clear();
        while receipts.len() < window as usize {
            now_ms += 1;
            let terms = Terms {
                invisible_ms: 60_000,
                attempt_id: None,
            };
            let next = ledger.next();
            let mut hand_out = ledger.hand_out(now_ms, terms, &mut journal);
            for at in 0..32 {
                let key = (next.0 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                match hand_out.take(next + at, Some(key)) {
                    Taken::HandedOut(receipt) => receipts.push(receipt),
                    Taken::Held => {}
                    Taken::Refused => break,
                }
            }
            black_box(&journal);
            journal.clear();
        }
        times.hand_out += start.elapsed();
        shuffle(&mut receipts);
        let start = Instant::now();
        for receipts in receipts.chunks(batch) {
            if let [receipt] = receipts {
                ledger.acknowledge(now_ms, receipt, &mut journal).unwrap();
            } else {
                let refused = ledger.acknowledge_all(now_ms, receipts, &mut journal);
                assert_eq!(refused, []);
            }
            black_box(&journal);
            journal.clear();
        }
        times.acknowledge += start.elapsed();
    }
    times
}

fn report(what: &str, order: Order, window: u32, batch: usize, shuffle: impl Fn(&mut [Receipt])) {
    let mut rounds: Vec<Times> = (0..ROUNDS)
        .map(|_| run(order, window, batch, &shuffle))
        .collect();
    rounds.sort_by_key(|times| times.acknowledge);
    let median = &rounds[ROUNDS / 2];
    let per_second = |time: Duration| MESSAGES as f64 / time.as_secs_f64() / 1e6;
    eprintln!(
        "{what}, window {window}, {batch} at a time: {:.1} million acknowledgements/s, {:.1} million handed out/s",
        per_second(median.acknowledge),
        per_second(median.hand_out)
    );
}

fn at_random(receipts: &mut [Receipt]) {
    let mut random = Random(7);
    for last in (1..receipts.len()).rev() {
        receipts.swap(last, random.below(last as u64 + 1) as usize);
    }
}

#[test]
#[ignore = "prints figures, which mean something in release mode only"]
fn figures() {
    for window in [1_024, 32_768] {
        let unordered = Order::Unordered;
        report("in order", unordered, window, 1, |_| {});
        report("backwards", unordered, window, 1, <[Receipt]>::reverse);
        report("at random", unordered, window, 1, at_random);
        report("at random", unordered, window, 32, at_random);
        report("with keys, at random", Order::Keyed, window, 1, at_random);
    }
    // Nothing is acknowledged: all comes back, and is handed out again.
    let mut ledger = ledger(Order::Unordered, 32_768);
    let mut journal = Journal::default();
    let terms = Terms {
        invisible_ms: 1,
        attempt_id: None,
    };
    let (start, mut redelivered) = (Instant::now(), 0);
    for now_ms in 0..100 {
        let offer = ledger.offer(now_ms, None, usize::MAX, &mut journal);
        redelivered += offer.again.len();
        let mut hand_out = ledger.hand_out(now_ms, terms, &mut journal);
        for again in &offer.again {
            hand_out.take(again.offset, None);
        }
        for at in 0..offer.room {
            hand_out.take(offer.new_from + at, None);
        }
        journal.clear();
    }
    let per_second = redelivered as f64 / start.elapsed().as_secs_f64() / 1e6;
    eprintln!("redelivery, window 32768: {per_second:.1} million/s");
    let start = Instant::now();
    let bytes = ledger.snapshot().encode();
    eprintln!(
        "snapshot of 32768 alike: {} bytes in {:?}",
        bytes.len(),
        start.elapsed()
    );
}
