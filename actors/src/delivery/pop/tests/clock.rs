//! Clocks that step.

use super::super::ledger::Order;
use super::{INVISIBLE_MS, bench};

const HOUR_MS: i64 = 3_600_000;

#[test]
fn a_clock_that_steps_back_redelivers_nothing_early() {
    let mut bench = bench(Order::Unordered);
    bench.pop(1);
    bench.pass(-HOUR_MS);
    assert_eq!(bench.offered().0, [0; 0]);
    bench.pass(i64::from(INVISIBLE_MS) - 1);
    assert_eq!(bench.offered().0, [0; 0]);
}

#[test]
fn a_clock_that_steps_back_holds_nothing_longer_than_its_invisible_time() {
    let mut bench = bench(Order::Unordered);
    let receipt = bench.pop(1)[0];
    bench.pass(-HOUR_MS);
    assert_eq!(bench.offered().0, [0; 0]);
    let end_ms = bench.now_ms + i64::from(INVISIBLE_MS);
    assert_eq!(bench.ledger.next_event_ms(), Some(end_ms));
    bench.pass(INVISIBLE_MS.into());
    assert_eq!(bench.offered().0, [0]);
    assert!(bench.acknowledge(&receipt).is_err());
}

#[test]
fn time_before_a_step_back_counts_as_far_as_it_was_seen() {
    let mut bench = bench(Order::Unordered);
    bench.pop(1);
    bench.pass(40_000);
    bench.offered();
    bench.pass(5_000);
    // Nobody looked at the five seconds before the step.
    bench.pass(-HOUR_MS);
    bench.offered();
    bench.pass(19_999);
    assert_eq!(bench.offered().0, [0; 0]);
    bench.pass(1);
    assert_eq!(bench.offered().0, [0]);
}

#[test]
fn messages_popped_after_a_step_back_have_their_whole_invisible_time() {
    let mut bench = bench(Order::Unordered);
    bench.pop(1);
    bench.pass(-HOUR_MS);
    let receipt = bench.pop(2)[1];
    assert_eq!(
        receipt.popped_at_ms, bench.now_ms,
        "as clients' clocks show it"
    );
    bench.pass(i64::from(INVISIBLE_MS) - 1);
    assert_eq!(bench.offered().0, [0; 0]);
    assert_eq!(bench.acknowledge(&receipt), Ok(()));
}

#[test]
fn many_small_steps_back_hold_nothing_for_ever() {
    let mut bench = bench(Order::Unordered);
    bench.pop(1);
    for _ in 0..INVISIBLE_MS / 3 {
        bench.pass(3);
        bench.offered();
        bench.pass(-2);
        bench.offered();
    }
    assert_eq!(bench.offered().0, [0]);
}

#[test]
fn a_restart_whose_clock_is_behind_the_journal_is_a_step_back() {
    let mut bench = bench(Order::Unordered);
    bench.pop(1);
    bench.pass(10_000);
    bench.pop(1);
    bench.restart();
    bench.now_ms = 0;
    assert_eq!(bench.offered().0, [0; 0]);
    bench.pass(49_999);
    assert_eq!(bench.offered().0, [0; 0]);
    bench.pass(1);
    assert_eq!(bench.offered().0, [0]);
    bench.pass(10_000);
    assert_eq!(bench.offered().0, [0, 1]);
}

#[test]
fn a_step_back_lasts_over_a_restart() {
    let mut bench = bench(Order::Unordered);
    bench.pop(1);
    bench.pass(-HOUR_MS);
    bench.offered();
    bench.restart();
    bench.pass(i64::from(INVISIBLE_MS) - 1);
    assert_eq!(bench.offered().0, [0; 0]);
    bench.pass(1);
    assert_eq!(bench.offered().0, [0]);
}

#[test]
fn times_at_the_end_of_time_do_not_make_it_panic() {
    let mut bench = bench(Order::Unordered);
    for now_ms in [i64::MIN, i64::MAX, i64::MIN, 0, -1, i64::MAX] {
        bench.now_ms = now_ms;
        bench.pop(1);
        bench.ledger.next_event_ms();
        bench.replayed();
    }
}
