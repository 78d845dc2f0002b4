//! By queue and by key.

use castmq_protocol::model::QueueOffset;

use super::super::error::ReceiptError;
use super::super::hand_out::{Taken, Terms};
use super::super::ledger::{Order, Settings};
use super::{INVISIBLE_MS, bench, bench_of, offsets};

fn change(bench: &mut super::Bench, receipt: &super::Receipt, invisible_ms: u32) -> super::Receipt {
    let journal = &mut bench.journal;
    bench
        .ledger
        .change_invisible(bench.now_ms, receipt, invisible_ms, journal)
        .unwrap()
}

#[test]
fn in_queue_order_nothing_new_goes_out_while_anything_is_unacknowledged() {
    let mut bench = bench(Order::Queue);
    let receipts = bench.pop(3);
    assert_eq!(bench.offered(), (vec![], 0));
    bench.acknowledge(&receipts[0]).unwrap();
    bench.acknowledge(&receipts[2]).unwrap();
    assert_eq!(bench.offered(), (vec![], 0));
    bench.acknowledge(&receipts[1]).unwrap();
    assert_eq!(offsets(&bench.pop(2)), [3, 4]);
}

#[test]
fn in_queue_order_redelivery_waits_for_all_that_is_out_and_is_in_order() {
    let mut bench = bench(Order::Queue);
    let receipts = bench.pop(3);
    change(&mut bench, &receipts[1], 0);
    assert_eq!(bench.offered(), (vec![], 0), "the first is still out");
    change(&mut bench, &receipts[0], 0);
    change(&mut bench, &receipts[2], 0);
    assert_eq!(bench.offered(), (vec![0, 1, 2], 0), "and nothing new");
    let terms = Terms {
        invisible_ms: INVISIBLE_MS,
        attempt_id: None,
    };
    let mut hand_out = bench
        .ledger
        .hand_out(bench.now_ms, terms, &mut bench.journal);
    assert_eq!(hand_out.take(QueueOffset(1), None), Taken::Refused);
    assert!(matches!(
        hand_out.take(QueueOffset(0), None),
        Taken::HandedOut(_)
    ));
    assert_eq!(
        bench.offered(),
        (vec![], 0),
        "the others wait for the first"
    );
}

#[test]
fn in_queue_order_the_same_attempt_id_gets_the_same_messages() {
    let mut bench = bench(Order::Queue);
    let lost = bench.pop_keyed(3, Some(7), |_| None);
    bench.pass(10);
    assert_eq!(bench.pop_keyed(3, Some(8), |_| None), []);
    assert_eq!(bench.pop_keyed(3, None, |_| None), []);
    bench.restart();
    let again = bench.pop_keyed(5, Some(7), |_| None);
    assert_eq!(offsets(&again), [0, 1, 2]);
    assert!(again.iter().all(|receipt| receipt.attempt == 1));
    let offset = lost[0].offset;
    let unknown = Err(ReceiptError::Unknown { offset });
    assert_eq!(bench.acknowledge(&lost[0]), unknown);
    bench.acknowledge(&again[1]).unwrap();
    assert_eq!(offsets(&bench.pop_keyed(5, Some(7), |_| None)), [0, 2]);
}

#[test]
fn in_queue_order_an_attempt_id_whose_messages_are_settled_gets_new_ones() {
    let mut bench = bench(Order::Queue);
    for receipt in bench.pop_keyed(2, Some(7), |_| None) {
        bench.acknowledge(&receipt).unwrap();
    }
    assert_eq!(offsets(&bench.pop_keyed(2, Some(7), |_| None)), [2, 3]);
}

#[test]
fn in_queue_order_an_attempt_id_whose_time_has_ended_counts_a_new_attempt() {
    let mut bench = bench(Order::Queue);
    bench.pop_keyed(1, Some(7), |_| None);
    bench.pass(INVISIBLE_MS.into());
    assert_eq!(bench.pop_keyed(1, Some(7), |_| None)[0].attempt, 2);
}

#[test]
fn requests_without_an_attempt_id_are_not_each_other() {
    let mut bench = bench(Order::Queue);
    bench.pop_keyed(1, None, |_| None);
    assert_eq!(bench.pop_keyed(1, None, |_| None), []);
}

/// Offsets 0, 2, 4 … have one key, 1, 3, 5 … none.
fn even(offset: u64) -> Option<u64> {
    offset.is_multiple_of(2).then_some(7)
}

#[test]
fn a_message_waits_for_the_earlier_one_of_its_key_and_others_pass_it() {
    let mut bench = bench(Order::Keyed);
    let first = bench.pop_keyed(4, None, even);
    assert_eq!(offsets(&first), [0, 1, 3, 5]);
    assert_eq!(bench.offered().0, [0; 0]);
    bench.acknowledge(&first[0]).unwrap();
    assert_eq!(bench.offered().0, [2]);
    let second = bench.pop_keyed(1, None, even);
    assert_eq!((offsets(&second), second[0].attempt), (vec![2], 1));
    assert_eq!(bench.offered().0, [0; 0]);
    bench.acknowledge(&second[0]).unwrap();
    assert_eq!(offsets(&bench.pop_keyed(1, None, even)), [4]);
}

#[test]
fn a_message_that_comes_back_still_holds_its_key() {
    let mut bench = bench(Order::Keyed);
    bench.pop_keyed(2, None, even);
    bench.pop_keyed(1, None, even);
    bench.pass(INVISIBLE_MS.into());
    assert_eq!(bench.offered().0, [0, 1, 3]);
    let again = bench.pop_keyed(1, None, even);
    assert_eq!(offsets(&again), [0]);
    assert_eq!(bench.offered().0, [1, 3]);
    bench.acknowledge(&again[0]).unwrap();
    assert_eq!(bench.offered().0, [1, 2, 3]);
}

#[test]
fn whatever_settles_a_message_frees_the_next_of_its_key() {
    let mut bench = bench(Order::Keyed);
    assert_eq!(bench.pop_keyed(10, None, |_| Some(1)).len(), 1);
    assert_eq!(bench.ledger.next(), QueueOffset(100));
    bench
        .ledger
        .settle(bench.now_ms, QueueOffset(0), &mut bench.journal)
        .unwrap();
    assert_eq!(bench.offered().0, [1], "after the dead letter queue");
    let terms = Terms {
        invisible_ms: INVISIBLE_MS,
        attempt_id: None,
    };
    let mut hand_out = bench
        .ledger
        .hand_out(bench.now_ms, terms, &mut bench.journal);
    assert!(hand_out.pass_over(QueueOffset(1)));
    assert_eq!(bench.offered().0, [2], "after the filter");
    let (now_ms, journal) = (bench.now_ms, &mut bench.journal);
    bench.ledger.skip_below(now_ms, QueueOffset(10), journal);
    assert_eq!(bench.offered().0, [10], "after retention");
}

#[test]
fn a_message_that_is_held_has_no_receipt_and_cannot_be_settled() {
    let mut bench = bench(Order::Keyed);
    let first = bench.pop_keyed(10, None, |_| Some(1))[0];
    let offset = QueueOffset(1);
    let forged = super::Receipt { offset, ..first };
    let unknown = Err(ReceiptError::Unknown { offset });
    assert_eq!(bench.acknowledge(&forged), unknown);
    let (now_ms, journal) = (bench.now_ms, &mut bench.journal);
    assert_eq!(bench.ledger.settle(now_ms, offset, journal), unknown);
    let terms = Terms {
        invisible_ms: INVISIBLE_MS,
        attempt_id: None,
    };
    let mut hand_out = bench.ledger.hand_out(now_ms, terms, journal);
    assert_eq!(hand_out.take(offset, Some(1)), Taken::Refused);
    assert!(!hand_out.pass_over(offset));
}

#[test]
fn keys_take_no_more_memory_than_the_window_has_offsets() {
    let mut bench = bench_of(Order::Keyed, 20);
    for _ in 0..100 {
        for receipt in bench.pop_keyed(10, None, |offset| Some(offset % 7)) {
            bench.acknowledge(&receipt).unwrap();
        }
        assert!(bench.ledger.keys.len() <= 20);
    }
    assert!(bench.ledger.next() > QueueOffset(500));
}

#[test]
fn a_group_may_give_up_its_keys_and_take_them_again() {
    let mut bench = bench(Order::Keyed);
    let first = bench.pop_keyed(2, None, even)[0];
    bench.pop_keyed(1, None, even);
    assert_eq!(bench.ledger.next(), QueueOffset(4));
    bench.settings = Settings {
        order: Order::Unordered,
        ..bench.settings
    };
    bench.restart();
    assert_eq!(bench.offered().0, [2], "nothing is held any more");
    assert_eq!(offsets(&bench.pop_keyed(1, None, even)), [2]);
    assert_eq!(offsets(&bench.pop_keyed(2, None, even)), [4, 5]);
    bench.snapshot = bench.ledger.snapshot().encode();
    bench.journal.clear();
    bench.settings.order = Order::Keyed;
    bench.restart();
    bench.acknowledge(&first).unwrap();
    assert_eq!(bench.offered().0, [0; 0], "the next of its key is out");
    assert_eq!(bench.ledger.next(), QueueOffset(6));
}
