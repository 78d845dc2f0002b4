//! Handing out, acknowledging, coming back.

use castmq_protocol::model::QueueOffset;

use super::super::error::ReceiptError;
use super::super::hand_out::{Again, Taken, Terms};
use super::super::ledger::{MAX_WINDOW, Order};
use super::super::receipt::Receipt;
use super::{INVISIBLE_MS, bench, bench_of, offsets};

#[test]
fn new_messages_are_handed_out_once_in_order_and_the_attempt_is_the_first() {
    let mut bench = bench(Order::Unordered);
    let receipts = bench.pop(3);
    assert_eq!(offsets(&receipts), [0, 1, 2]);
    assert_eq!(
        receipts[0],
        Receipt {
            offset: QueueOffset(0),
            popped_at_ms: 1_000_000,
            invisible_ms: INVISIBLE_MS,
            attempt: 1
        }
    );
    assert_eq!(offsets(&bench.pop(2)), [3, 4]);
    assert_eq!(bench.ledger.next(), QueueOffset(5));
    assert_eq!(bench.ledger.in_flight(), 5);
}

#[test]
fn the_floor_moves_over_settled_messages_only() {
    let mut bench = bench(Order::Unordered);
    let receipts = bench.pop(4);
    for (settled, floor) in [(2, 0), (1, 0), (0, 3), (3, 4)] {
        assert_eq!(bench.acknowledge(&receipts[settled]), Ok(()));
        assert_eq!(bench.ledger.floor(), QueueOffset(floor));
    }
    assert_eq!(bench.ledger.in_flight(), 0);
}

#[test]
fn a_message_comes_back_when_its_invisible_time_ends_and_not_before() {
    let mut bench = bench(Order::Unordered);
    bench.pop(1);
    bench.pass(i64::from(INVISIBLE_MS) - 1);
    assert_eq!(bench.offered().0, [0; 0]);
    bench.pass(1);
    assert_eq!(bench.offered().0, [0]);
    let again = bench.pop(1);
    assert_eq!((again[0].offset.0, again[0].attempt), (0, 2));
    assert_eq!(bench.offered().0, [0; 0]);
}

#[test]
fn what_came_back_goes_first_and_the_lowest_offset_before_all() {
    let mut bench = bench(Order::Unordered);
    let first = bench.pop(2);
    bench.pass(10);
    bench.pop(1);
    // Offset 1 comes back last of the three.
    let (now_ms, journal) = (bench.now_ms, &mut bench.journal);
    let longer = 2 * INVISIBLE_MS;
    bench
        .ledger
        .change_invisible(now_ms, &first[1], longer, journal)
        .unwrap();
    bench.pass(3 * i64::from(INVISIBLE_MS));
    assert_eq!(offsets(&bench.pop(2)), [0, 1]);
    assert_eq!(offsets(&bench.pop(2)), [2, 3]);
}

#[test]
fn an_offer_says_how_often_a_message_was_handed_out() {
    let mut bench = bench(Order::Unordered);
    bench.pop(1);
    bench.pass(INVISIBLE_MS.into());
    bench.pop(1);
    bench.pass(INVISIBLE_MS.into());
    let offer = bench
        .ledger
        .offer(bench.now_ms, None, 10, &mut bench.journal);
    let again = Again {
        offset: QueueOffset(0),
        attempts: 2,
    };
    assert_eq!(offer.again, [again]);
    assert_eq!((offer.new_from, offer.room), (QueueOffset(1), 99));
}

#[test]
fn what_the_filter_passes_over_counts_as_settled() {
    let mut bench = bench(Order::Unordered);
    let terms = Terms {
        invisible_ms: 10,
        attempt_id: None,
    };
    let mut hand_out = bench
        .ledger
        .hand_out(bench.now_ms, terms, &mut bench.journal);
    assert!(hand_out.pass_over(QueueOffset(0)));
    assert!(matches!(
        hand_out.take(QueueOffset(1), None),
        Taken::HandedOut(_)
    ));
    assert!(hand_out.pass_over(QueueOffset(2)));
    assert_eq!(bench.ledger.floor(), QueueOffset(1));
    assert_eq!(bench.ledger.next(), QueueOffset(3));
    // A message that came back is passed over as well, when the subscription has changed.
    bench.pass(10);
    let mut hand_out = bench
        .ledger
        .hand_out(bench.now_ms, terms, &mut bench.journal);
    assert!(hand_out.pass_over(QueueOffset(1)));
    assert!(!hand_out.pass_over(QueueOffset(1)));
    assert_eq!(bench.ledger.floor(), QueueOffset(3));
}

#[test]
fn what_is_not_on_offer_is_refused_and_nothing_is_written() {
    let mut bench = bench_of(Order::Unordered, 1);
    bench.pop(1);
    bench.journal.clear();
    let terms = Terms {
        invisible_ms: 10,
        attempt_id: None,
    };
    let mut hand_out = bench
        .ledger
        .hand_out(bench.now_ms, terms, &mut bench.journal);
    for offset in [0, 1, 2, u64::MAX] {
        assert_eq!(hand_out.take(QueueOffset(offset), None), Taken::Refused);
        assert!(!hand_out.pass_over(QueueOffset(offset)));
    }
    assert!(bench.journal.is_empty());
}

#[test]
fn a_full_window_gives_nothing_new_and_still_what_came_back() {
    let mut bench = bench_of(Order::Unordered, 3);
    let receipts = bench.pop(10);
    assert_eq!(offsets(&receipts), [0, 1, 2]);
    bench.acknowledge(&receipts[1]).unwrap();
    assert_eq!(
        bench.offered(),
        (vec![], 0),
        "the first one keeps the window full"
    );
    bench.pass(INVISIBLE_MS.into());
    assert_eq!(bench.offered(), (vec![0, 2], 0));
    let again = bench.pop(10);
    assert_eq!(offsets(&again), [0, 2]);
    bench.acknowledge(&again[0]).unwrap();
    assert_eq!(bench.offered(), (vec![], 2));
    assert_eq!(offsets(&bench.pop(10)), [3, 4]);
}

#[test]
fn no_setting_makes_the_window_larger_than_its_snapshot_may_be_or_smaller_than_one() {
    assert_eq!(bench_of(Order::Unordered, u32::MAX).offered().1, MAX_WINDOW);
    assert_eq!(bench_of(Order::Unordered, 0).offered().1, 1);
}

#[test]
fn acknowledging_twice_says_that_it_is_harmless() {
    let mut bench = bench(Order::Unordered);
    let receipts = bench.pop(2);
    bench.acknowledge(&receipts[1]).unwrap();
    bench.acknowledge(&receipts[0]).unwrap();
    bench.journal.clear();
    for receipt in &receipts {
        let error = bench.acknowledge(receipt).unwrap_err();
        let offset = receipt.offset;
        assert_eq!(error, ReceiptError::AlreadySettled { offset });
        assert!(error.to_string().contains("harmless"), "{error}");
    }
    assert!(bench.journal.is_empty());
}

#[test]
fn a_receipt_expires_when_its_time_ends_even_while_nobody_else_has_the_message() {
    let mut bench = bench(Order::Unordered);
    let first = bench.pop(1)[0];
    let expired = ReceiptError::Expired {
        offset: first.offset,
    };
    bench.pass(INVISIBLE_MS.into());
    assert_eq!(bench.acknowledge(&first), Err(expired));
    let (now_ms, journal) = (bench.now_ms, &mut bench.journal);
    let changed = bench.ledger.change_invisible(now_ms, &first, 10, journal);
    assert_eq!(changed, Err(expired));
    let second = bench.pop(1)[0];
    assert_eq!(bench.acknowledge(&first), Err(expired));
    assert_eq!(bench.acknowledge(&second), Ok(()));
}

#[test]
fn a_receipt_that_nobody_was_given_is_unknown() {
    let mut bench = bench(Order::Unordered);
    let real = bench.pop(1)[0];
    for forged in [
        Receipt {
            offset: QueueOffset(1),
            ..real
        },
        Receipt {
            offset: QueueOffset(u64::MAX),
            ..real
        },
        Receipt {
            popped_at_ms: real.popped_at_ms + 1,
            ..real
        },
        Receipt {
            invisible_ms: real.invisible_ms + 1,
            ..real
        },
        Receipt { attempt: 2, ..real },
    ] {
        let offset = forged.offset;
        let unknown = Err(ReceiptError::Unknown { offset });
        assert_eq!(bench.acknowledge(&forged), unknown, "{forged:?}");
    }
    assert_eq!(bench.acknowledge(&real), Ok(()));
}

#[test]
fn a_batch_settles_what_it_can_and_names_what_it_cannot() {
    let mut bench = bench(Order::Unordered);
    let mut receipts = bench.pop(3);
    receipts[1].attempt = 7;
    receipts.push(receipts[0]);
    let refused = bench
        .ledger
        .acknowledge_all(bench.now_ms, &receipts, &mut bench.journal);
    let offset = QueueOffset;
    assert_eq!(
        refused,
        [
            (1, ReceiptError::Unknown { offset: offset(1) }),
            (3, ReceiptError::AlreadySettled { offset: offset(0) })
        ]
    );
    assert_eq!(bench.ledger.floor(), offset(1));
}

#[test]
fn changing_the_invisible_time_moves_its_end_and_voids_the_old_receipt() {
    let mut bench = bench(Order::Unordered);
    let old = bench.pop(2);
    bench.pass(1_000);
    let (now_ms, journal) = (bench.now_ms, &mut bench.journal);
    let longer = bench
        .ledger
        .change_invisible(now_ms, &old[0], 2 * INVISIBLE_MS, journal)
        .unwrap();
    let sooner = bench
        .ledger
        .change_invisible(now_ms, &old[1], 500, journal)
        .unwrap();
    assert_eq!((longer.popped_at_ms, longer.attempt), (now_ms, 1));
    let unknown = Err(ReceiptError::Unknown {
        offset: old[0].offset,
    });
    assert_eq!(bench.acknowledge(&old[0]), unknown);
    bench.pass(500);
    assert_eq!(
        bench.offered().0,
        [1],
        "negatively acknowledged, with a delay"
    );
    let again = bench.pop(1)[0];
    assert_eq!(again.attempt, 2);
    let expired = Err(ReceiptError::Expired {
        offset: sooner.offset,
    });
    assert_eq!(bench.acknowledge(&sooner), expired);
    bench.pass(i64::from(INVISIBLE_MS) - 1);
    assert_eq!(bench.acknowledge(&longer), Ok(()));
}

#[test]
fn an_invisible_time_of_zero_gives_the_message_back_at_once() {
    let mut bench = bench(Order::Unordered);
    let receipt = bench.pop(1)[0];
    let (now_ms, journal) = (bench.now_ms, &mut bench.journal);
    bench
        .ledger
        .change_invisible(now_ms, &receipt, 0, journal)
        .unwrap();
    assert_eq!(bench.offered().0, [0]);
}

#[test]
fn of_the_messages_that_had_their_last_attempt_the_ledger_tells_the_first_ones_that_are_asked_for()
{
    let mut bench = bench(Order::Unordered);
    bench.pop(5);
    bench.pass(INVISIBLE_MS.into());
    let (now_ms, journal) = (bench.now_ms, &mut bench.journal);
    let ledger = &mut bench.ledger;
    let first = [QueueOffset(0), QueueOffset(1)];
    assert_eq!(ledger.exhausted(now_ms, 1, 2, journal), first);
    assert_eq!(ledger.exhausted(now_ms, 1, usize::MAX, journal).len(), 5);
}

#[test]
fn the_ledger_tells_which_messages_had_their_last_attempt_and_settles_them() {
    let mut bench = bench(Order::Unordered);
    for _ in 0..3 {
        bench.pop(1);
        assert_eq!(
            bench
                .ledger
                .exhausted(bench.now_ms, 3, usize::MAX, &mut bench.journal),
            [],
            "it may be acknowledged yet"
        );
        bench.pass(INVISIBLE_MS.into());
    }
    let (now_ms, journal) = (bench.now_ms, &mut bench.journal);
    let ledger = &mut bench.ledger;
    assert_eq!(ledger.exhausted(now_ms, 4, 1, journal), []);
    assert_eq!(ledger.exhausted(now_ms, 3, 1, journal), [QueueOffset(0)]);
    assert_eq!(ledger.settle(now_ms, QueueOffset(0), journal), Ok(()));
    assert_eq!(ledger.exhausted(now_ms, 3, 1, journal), []);
    assert_eq!(ledger.floor(), QueueOffset(1));
    let offset = QueueOffset(0);
    assert_eq!(
        ledger.settle(now_ms, offset, journal),
        Err(ReceiptError::AlreadySettled { offset })
    );
    let offset = QueueOffset(1);
    assert_eq!(
        ledger.settle(now_ms, offset, journal),
        Err(ReceiptError::Unknown { offset })
    );
}

#[test]
fn what_the_log_has_no_more_is_skipped_with_all_that_is_known_of_it() {
    let mut bench = bench(Order::Unordered);
    let receipts = bench.pop(3);
    bench.pass(INVISIBLE_MS.into());
    bench.pop(1);
    let (now_ms, journal) = (bench.now_ms, &mut bench.journal);
    bench.ledger.skip_below(now_ms, QueueOffset(2), journal);
    assert_eq!(bench.ledger.floor(), QueueOffset(2));
    assert_eq!(bench.ledger.in_flight(), 0);
    assert_eq!(bench.offered().0, [2]);
    let offset = receipts[0].offset;
    let settled = Err(ReceiptError::AlreadySettled { offset });
    assert_eq!(bench.acknowledge(&receipts[0]), settled);
    let journal = &mut bench.journal;
    bench
        .ledger
        .skip_below(now_ms, QueueOffset(1 << 60), journal);
    assert_eq!(bench.ledger.floor(), QueueOffset(1 << 60));
    bench.ledger.skip_below(now_ms, QueueOffset(5), journal);
    assert_eq!(bench.ledger.next(), QueueOffset(1 << 60), "never backwards");
    assert_eq!(bench.offered(), (vec![], 100));
}

#[test]
fn the_next_event_is_the_end_of_the_first_invisible_time_that_still_matters() {
    let mut bench = bench(Order::Unordered);
    assert_eq!(bench.ledger.next_event_ms(), None);
    let start = bench.now_ms;
    let first = bench.pop(1)[0];
    bench.pass(10);
    bench.pop(1);
    let invisible_ms = i64::from(INVISIBLE_MS);
    assert_eq!(bench.ledger.next_event_ms(), Some(start + invisible_ms));
    bench.acknowledge(&first).unwrap();
    assert_eq!(
        bench.ledger.next_event_ms(),
        Some(start + 10 + invisible_ms)
    );
    bench.pass(invisible_ms);
    assert_eq!(bench.offered().0, [1]);
    assert_eq!(bench.ledger.next_event_ms(), None);
}

#[test]
fn a_receipt_acknowledges_though_it_does_not_say_the_attempt() {
    let mut bench = bench(Order::Unordered);
    let without_attempt = |receipt: &Receipt| Receipt {
        attempt: Receipt::ANY_ATTEMPT,
        ..*receipt
    };
    let first = without_attempt(&bench.pop(1)[0]);
    bench.pass(INVISIBLE_MS.into());
    let second = without_attempt(&bench.pop(1)[0]);
    let offset = first.offset;
    let expired = Err(ReceiptError::Expired { offset });
    assert_eq!(bench.acknowledge(&first), expired);
    let later = Receipt {
        popped_at_ms: second.popped_at_ms + 1,
        ..second
    };
    let unknown = Err(ReceiptError::Unknown { offset });
    assert_eq!(bench.acknowledge(&later), unknown);
    assert_eq!(bench.acknowledge(&second), Ok(()));
}

#[test]
fn memory_follows_what_is_out_and_not_what_ever_was() {
    let mut bench = bench(Order::Unordered);
    let mut receipt = bench.pop(2)[0];
    // The end moves away and back, then stays the same, within a millisecond.
    for round in 0..10_000_u32 {
        let (now_ms, journal) = (bench.now_ms, &mut bench.journal);
        let invisible_ms = 1_000_000 + if round < 5_000 { round % 2 } else { 7 };
        receipt = bench
            .ledger
            .change_invisible(now_ms, &receipt, invisible_ms, journal)
            .unwrap();
        assert!(bench.ledger.ends.len() < 100);
    }
}
