//! Journal entries as bytes.

use castmq_protocol::model::QueueOffset;
use proptest::prelude::*;

use super::super::encoding::{DecodeError, decode, encode};
use super::super::journal::Entry;
use super::super::ledger::{Ledger, MAX_WINDOW, Order, Settings};
use super::super::window::Delivery;
use super::state;

fn entry() -> impl Strategy<Value = Entry> {
    let offset = || prop_oneof![0_u64..40, 0..=i64::MAX as u64].prop_map(QueueOffset);
    let count = || prop_oneof![0_u64..40, 0..=i64::MAX as u64];
    let fits = |first: QueueOffset, count: u64| count.min(i64::MAX as u64 - first.0);
    let delivery = (1_u32.., any::<i64>(), any::<u32>(), any::<i64>()).prop_map(
        |(attempt, popped_at_ms, invisible_ms, ahead_ms)| Delivery {
            attempt,
            popped_at_ms,
            invisible_ms,
            ahead_ms,
        },
    );
    prop_oneof![
        (offset(), any::<i64>(), any::<i64>(), any::<Option<u64>>()).prop_map(
            |(floor, latest_ms, ahead_ms, attempt_id)| Entry::Start {
                floor,
                latest_ms,
                ahead_ms,
                attempt_id
            }
        ),
        (offset(), count(), delivery).prop_map(move |(first, count, delivery)| Entry::HandedOut {
            first,
            count: fits(first, count),
            delivery
        }),
        (0_u64..1 << 60, prop::collection::vec(any::<u64>(), 0..9)).prop_map(|(first, keys)| {
            Entry::Keyed {
                first: QueueOffset(first % 50),
                keys,
            }
        }),
        (offset(), count()).prop_map(move |(first, count)| Entry::Settled {
            first,
            count: fits(first, count)
        }),
        any::<Option<u64>>().prop_map(Entry::AttemptId),
        (any::<i64>(), any::<i64>()).prop_map(|(latest_ms, ahead_ms)| Entry::ClockBack {
            latest_ms,
            ahead_ms
        }),
    ]
}

/// Replays entries behind a snapshot, and looks at what comes out.
fn replay(entries: &[Entry]) {
    let start = Entry::Start {
        floor: QueueOffset(0),
        latest_ms: 0,
        ahead_ms: 0,
        attempt_id: None,
    };
    for order in [Order::Unordered, Order::Queue, Order::Keyed] {
        let settings = Settings {
            order,
            max_outstanding: 50,
        };
        let entries = [&start].into_iter().chain(entries);
        if let Ok(mut ledger) = Ledger::replay(settings, entries) {
            assert!(ledger.floor() <= ledger.next());
            assert!(ledger.next().0 - ledger.floor().0 <= MAX_WINDOW);
            ledger.next_event_ms();
            let again = Ledger::replay(settings, ledger.snapshot().entries()).unwrap();
            assert_eq!(state(&again), state(&ledger));
        }
    }
}

#[test]
fn the_bytes_stay_as_they_are() {
    let entries = [
        Entry::Start {
            floor: QueueOffset(300),
            latest_ms: 64,
            ahead_ms: 0,
            attempt_id: Some(0x0102_0304_0506_0708),
        },
        Entry::HandedOut {
            first: QueueOffset(300),
            count: 2,
            delivery: Delivery {
                attempt: 1,
                popped_at_ms: -1,
                invisible_ms: 128,
                ahead_ms: 3,
            },
        },
        Entry::Keyed {
            first: QueueOffset(5),
            keys: vec![u64::MAX],
        },
        Entry::Settled {
            first: QueueOffset(1),
            count: 9,
        },
        Entry::AttemptId(None),
        Entry::ClockBack {
            latest_ms: 1,
            ahead_ms: 2,
        },
    ];
    let bytes = [
        &[1, 6][..],
        &[1, 0xac, 2, 0x80, 1, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8],
        &[2, 0xac, 2, 2, 1, 1, 0x80, 1, 6],
        &[3, 5, 1, 255, 255, 255, 255, 255, 255, 255, 255],
        &[4, 1, 9],
        &[5, 0],
        &[6, 2, 4],
    ]
    .concat();
    assert_eq!(encode(&entries), bytes);
    assert_eq!(decode(&bytes).unwrap(), entries);
    for length in 0..bytes.len() {
        let cut = decode(&bytes[..length]);
        assert!(
            matches!(cut, Err(DecodeError::Truncated { .. })),
            "{length}"
        );
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(
        decode(&longer),
        Err(DecodeError::TrailingBytes { length: 1 })
    );
}

#[test]
fn values_that_are_never_written_are_refused() {
    assert_eq!(decode(&[2, 0]), Err(DecodeError::Version { found: 2 }));
    let value = |field, value| Err(DecodeError::Value { field, value });
    assert_eq!(decode(&[1, 1, 7]), value("kind of entry", 7));
    assert_eq!(decode(&[1, 1, 5, 2]), value("attempt id", 2));
    assert_eq!(decode(&[1, 1, 2, 0, 1, 0, 0, 0, 0]), value("attempt", 0));
    let most = [255, 255, 255, 255, 255, 255, 255, 255, 255];
    let above_i64 = [&[1, 1, 4][..], &most, &[1, 0]].concat();
    assert_eq!(decode(&above_i64), value("offset", u64::MAX));
    let above_u64 = [&[1, 1, 4][..], &most, &[2, 0]].concat();
    assert!(matches!(decode(&above_u64), Err(DecodeError::Value { .. })));
    let run_too_long = [&[1, 1, 4, 1][..], &most[..8], &[0x7f]].concat();
    assert_eq!(
        decode(&run_too_long),
        value("number of offsets", i64::MAX as u64)
    );
    let too_many_keys = [1, 1, 3, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(
        decode(&too_many_keys),
        Err(DecodeError::Truncated { field: "keys" })
    );
}

proptest! {
    #[test]
    fn every_record_comes_back_from_its_bytes(entries in prop::collection::vec(entry(), 0..20)) {
        prop_assert_eq!(decode(&encode(&entries)), Ok(entries));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = decode(&[&[1, 3][..], &bytes].concat());
        if let Ok(entries) = decode(&bytes) {
            replay(&entries);
        }
    }

    #[test]
    fn bent_records_make_an_error_or_other_entries_and_no_panic(
        entries in prop::collection::vec(entry(), 1..10), at: prop::sample::Index, byte: u8,
    ) {
        let mut bytes = encode(&entries);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(entries) = decode(&bytes) {
            replay(&entries);
        }
    }

    #[test]
    fn no_entries_make_replay_panic_or_its_window_grow(entries in prop::collection::vec(entry(), 0..20)) {
        replay(&entries);
    }
}
