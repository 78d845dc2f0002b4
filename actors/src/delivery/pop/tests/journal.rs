//! What lasts.

use castmq_protocol::model::QueueOffset;

use super::super::error::ReplayError;
use super::super::journal::Entry;
use super::super::ledger::{Ledger, MAX_WINDOW, Order};
use super::super::window::Delivery;
use super::{Bench, INVISIBLE_MS, bench, bench_of, offsets, state};

/// Every kind of change, in an order mode.
fn eventful(order: Order) -> Bench {
    let mut bench = bench_of(order, 1_000);
    let receipts = bench.pop_keyed(10, Some(3), |offset| (offset % 3 > 0).then_some(offset % 3));
    for at in [4, 2, 3, 0] {
        if let Some(receipt) = receipts.get(at) {
            bench.acknowledge(receipt).unwrap();
        }
    }
    bench.pass(-500);
    let (now_ms, journal) = (bench.now_ms, &mut bench.journal);
    bench
        .ledger
        .change_invisible(now_ms, &receipts[1], 5, journal)
        .unwrap();
    bench.pass(10);
    bench.pop_keyed(3, Some(4), |_| None);
    bench
}

const ORDERS: [Order; 3] = [Order::Unordered, Order::Queue, Order::Keyed];

#[test]
fn snapshot_and_entries_make_the_same_ledger() {
    for order in ORDERS {
        let bench = eventful(order);
        assert_eq!(state(&bench.replayed()), state(&bench.ledger), "{order:?}");
    }
}

#[test]
fn a_snapshot_alone_makes_the_same_ledger() {
    for order in ORDERS {
        let mut bench = eventful(order);
        let before = bench.ledger.snapshot();
        bench.snapshot = before.encode();
        bench.journal.clear();
        bench.restart();
        assert_eq!(bench.ledger.snapshot(), before, "{order:?}");
    }
}

#[test]
fn after_a_restart_nothing_is_delivered_twice_within_its_invisible_time_and_nothing_is_lost() {
    for order in ORDERS {
        let mut bench = bench(order);
        let receipts = bench.pop(3);
        bench.acknowledge(&receipts[1]).unwrap();
        bench.restart();
        bench.pass(i64::from(INVISIBLE_MS) - 1);
        assert_eq!(bench.offered().0, [0; 0]);
        assert_eq!(bench.acknowledge(&receipts[2]), Ok(()), "it is still good");
        bench.pass(1);
        bench.restart();
        assert_eq!(bench.offered().0, [0]);
    }
}

#[test]
fn every_prefix_of_the_journal_makes_a_ledger_that_settled_nothing_more() {
    for order in ORDERS {
        let bench = eventful(order);
        let entries = bench.entries();
        for length in 1..=entries.len() {
            let mut ledger = Ledger::replay(bench.settings, &entries[..length]).unwrap();
            let settled_later: Vec<u64> = unsettled(&bench.ledger);
            let mut found = unsettled(&ledger);
            found.extend(ledger.next().0..bench.ledger.next().0);
            for offset in settled_later {
                assert!(found.contains(&offset), "{order:?} {length} lost {offset}");
            }
            assert!(ledger.floor() <= bench.ledger.floor());
            ledger.next_event_ms();
        }
    }
}

fn unsettled(ledger: &Ledger) -> Vec<u64> {
    let settled = super::super::window::Slot::Settled;
    let slots = ledger.window.iter();
    slots
        .filter(|(_, slot)| **slot != settled)
        .map(|(offset, _)| offset)
        .collect()
}

#[test]
fn a_message_whose_hand_out_was_lost_is_handed_out_as_new_and_its_old_receipt_is_worthless() {
    let mut bench = bench(Order::Unordered);
    let lost = bench.pop(1)[0];
    bench.journal.clear();
    bench.restart();
    assert!(bench.acknowledge(&lost).is_err());
    bench.pass(5);
    let receipt = bench.pop(1)[0];
    assert_eq!((receipt.offset, receipt.attempt), (lost.offset, 1));
    assert!(bench.acknowledge(&lost).is_err());
    assert_eq!(bench.acknowledge(&receipt), Ok(()));
}

#[test]
fn consecutive_offsets_are_one_entry() {
    let mut bench = bench(Order::Unordered);
    let receipts = bench.pop(32);
    for receipt in receipts.iter().rev() {
        bench.acknowledge(receipt).unwrap();
    }
    assert_eq!(
        bench.journal.entries(),
        [
            Entry::HandedOut {
                first: QueueOffset(0),
                count: 32,
                delivery: Delivery {
                    attempt: 1,
                    popped_at_ms: bench.now_ms,
                    invisible_ms: INVISIBLE_MS,
                    ahead_ms: 0
                }
            },
            Entry::Settled {
                first: QueueOffset(0),
                count: 32
            }
        ]
    );
    assert!(bench.journal.encode().len() < 20);
}

#[test]
fn keys_of_consecutive_offsets_are_one_entry() {
    let mut bench = bench(Order::Keyed);
    let receipts = bench.pop_keyed(3, None, |offset| Some(offset / 2));
    assert_eq!(offsets(&receipts), [0, 2, 4]);
    let entries = bench.journal.entries();
    let keyed = Entry::Keyed {
        first: QueueOffset(0),
        keys: vec![0, 0, 1, 1, 2],
    };
    assert_eq!((entries.first(), entries.len()), (Some(&keyed), 4));
    assert_eq!(state(&bench.replayed()), state(&bench.ledger));
}

#[test]
fn a_snapshot_is_no_longer_than_what_is_outstanding() {
    let mut bench = bench_of(Order::Keyed, u32::MAX);
    let mut outstanding = Vec::new();
    for _ in 0..4_000 {
        outstanding.extend(bench.pop_keyed(8, None, Some));
        bench.pass(1);
    }
    assert_eq!(bench.ledger.next(), QueueOffset(32_000));
    for receipt in outstanding.iter().skip(1).step_by(2) {
        bench.acknowledge(receipt).unwrap();
    }
    let worst = bench.ledger.snapshot().encode().len();
    assert!(worst < 1024 * 1024, "{worst}");
    for receipt in outstanding.iter().step_by(2) {
        bench.acknowledge(receipt).unwrap();
    }
    let least = bench.ledger.snapshot().encode().len();
    assert!(least < 20, "{least}");
}

#[test]
fn journals_that_no_ledger_writes_are_refused() {
    let bench = bench(Order::Unordered);
    let settings = bench.settings;
    let start = bench.entries().remove(0);
    let settled = |first, count| Entry::Settled {
        first: QueueOffset(first),
        count,
    };
    let replay = |entries: &[Entry]| Ledger::replay(settings, entries).map(|ledger| ledger.floor());
    assert_eq!(replay(&[]), Err(ReplayError::NoSnapshot));
    assert_eq!(replay(&[settled(0, 1)]), Err(ReplayError::NoSnapshot));
    let gap = ReplayError::Gap {
        offset: QueueOffset(2),
        next: QueueOffset(1),
    };
    let entries = [start.clone(), settled(0, 1), settled(2, 1)];
    assert_eq!(replay(&entries), Err(gap));
    let delivery = Delivery {
        attempt: 1,
        popped_at_ms: 0,
        invisible_ms: 1,
        ahead_ms: 0,
    };
    let handed_out = |count| Entry::HandedOut {
        first: QueueOffset(0),
        count,
        delivery,
    };
    assert!(replay(&[start.clone(), handed_out(MAX_WINDOW)]).is_ok());
    let window = ReplayError::Window {
        floor: QueueOffset(0),
        limit: MAX_WINDOW,
    };
    assert_eq!(replay(&[start.clone(), handed_out(1 << 62)]), Err(window));
    let entries = [start, handed_out(1), settled(1, 1 << 62)];
    assert_eq!(replay(&entries), Err(window));
}

#[test]
fn entries_older_than_the_snapshot_change_nothing() {
    let mut bench = bench(Order::Unordered);
    let receipts = bench.pop(3);
    bench.acknowledge(&receipts[0]).unwrap();
    bench.snapshot = bench.ledger.snapshot().encode();
    assert_eq!(state(&bench.replayed()), state(&bench.ledger));
}
