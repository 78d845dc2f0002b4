//! What a timer does with messages, and what its files look like.

use std::path::Path;
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueOffset};

use super::*;
use crate::disk::fault::FaultDisk;
use crate::disk::{Disk, Wait};

/// The start of a slot.
pub(super) const NOW: i64 = 1_700_000_000_000;

pub(super) const ENDLESS: Ends = Ends {
    physical: PhysicalOffset(u64::MAX),
    queue: QueueOffset(u64::MAX),
};

/// Three units in a file.
pub(super) const SMALL: TimerOptions = TimerOptions {
    precision_ms: 1000,
    wheel_slots: 600,
    roll_window_slots: 200,
    log_file_bytes: 3 * 52 + 40,
};

pub(super) fn root() -> &'static Path {
    Path::new("/store")
}

pub(super) fn open(disk: &FaultDisk, options: TimerOptions, now_ms: i64) -> Timer {
    let timer = Timer::open(Arc::new(disk.clone()), root(), options, ENDLESS, now_ms);
    timer.unwrap()
}

/// The `number`th message of the topic.
pub(super) fn entry(number: u64, deliver_at_ms: i64) -> Entry {
    Entry {
        queue_offset: QueueOffset(number),
        physical: PhysicalOffset(1000 + number * 100),
        size_bytes: 100,
        deliver_at_ms,
        kind: Kind::Message,
        topic_hash: 0x0A0B,
    }
}

fn number(due: &Due) -> u64 {
    (due.physical.0 - 1000) / 100
}

/// Numbers of all that is due.
pub(super) fn take(timer: &mut Timer, now_ms: i64) -> Vec<u64> {
    let mut due = Vec::new();
    while timer.take_due(now_ms, 7, &mut due).unwrap().more {}
    due.iter().map(number).collect()
}

pub(super) fn bytes_of(disk: &FaultDisk, name: &str) -> Vec<u8> {
    let file = disk.open(&root().join(name)).unwrap();
    let mut bytes = vec![0; file.bytes().unwrap() as usize];
    file.read_at(&mut bytes, 0, Wait::ForDisk).unwrap();
    bytes
}

pub(super) fn checkpoint(timer: &mut Timer, now_ms: i64, survives: Survives) {
    let read_ms = timer.read_time_ms();
    timer.checkpoint(now_ms, read_ms, survives).unwrap();
}

fn unit(previous: i64, magic: i32, written_ms: i64, delayed_ms: i32, physical: i64) -> Vec<u8> {
    let fields: [&[u8]; 9] = [
        &52_i32.to_be_bytes(),
        &previous.to_be_bytes(),
        &magic.to_be_bytes(),
        &written_ms.to_be_bytes(),
        &delayed_ms.to_be_bytes(),
        &physical.to_be_bytes(),
        &100_i32.to_be_bytes(),
        &0x0A0B_i32.to_be_bytes(),
        &[0; 8],
    ];
    fields.concat()
}

fn slot(time: i64, first: i64, last: i64, count: i32) -> Vec<u8> {
    let longs = [time, first, last].map(i64::to_be_bytes).concat();
    [longs, count.to_be_bytes().to_vec(), vec![0; 4]].concat()
}

#[test]
fn the_files_are_rocketmqs_byte_for_byte() {
    let disk = FaultDisk::new();
    let mut timer = open(&disk, SMALL, NOW);
    let now_ms = NOW + 250;
    timer.insert(&entry(0, NOW + 5_500), now_ms).unwrap();
    timer.insert(&entry(1, NOW + 7_000), now_ms).unwrap();
    timer.insert(&entry(2, NOW + 5_001), now_ms).unwrap();
    let marker = Entry {
        kind: Kind::DeleteMarker,
        ..entry(3, NOW + 5_500)
    };
    timer.insert(&marker, now_ms).unwrap();
    timer.insert(&entry(4, NOW + 500_000), now_ms).unwrap();
    checkpoint(&mut timer, NOW + 300, Survives::PowerCut);

    let first = bytes_of(&disk, "timerlog/00000000000000000000");
    let filler = [
        &40_i32.to_be_bytes()[..],
        &[0; 8],
        &[0xCB, 0xD4, 0x31, 0x94],
    ]
    .concat();
    let expected = [
        unit(-1, 1, NOW, 5_500, 1000),
        unit(-1, 1, NOW, 7_000, 1100),
        unit(0, 1, NOW, 5_001, 1200),
        filler,
        vec![0; 24],
    ];
    assert_eq!(first, expected.concat());
    let second = bytes_of(&disk, "timerlog/00000000000000000196");
    let expected = [
        unit(104, 5, NOW, 5_500, 1300),
        unit(-1, 3, NOW, 200_000, 1400),
        vec![0; 52 + 40],
    ];
    assert_eq!(second, expected.concat());

    let time = NOW / 1000;
    let mut expected = vec![0; 600 * 32];
    for slot in [
        slot(time + 5, 0, 196, 1),
        slot(time + 7, 52, 52, 1),
        slot(time + 200, 248, 248, 1),
    ] {
        let time = i64::from_be_bytes(*slot.first_chunk().unwrap());
        let at = (time % 600) as usize * 32;
        expected[at..at + 32].copy_from_slice(&slot);
    }
    assert_eq!(bytes_of(&disk, "timerwheel"), expected);

    let fields = [NOW, 300, 5, 5, 0, NOW + 300];
    let check = bytes_of(&disk, "config/timercheck");
    assert_eq!(check.len(), 4096);
    assert_eq!(check[..48], fields.map(i64::to_be_bytes).concat());
}

#[test]
fn sizes_by_default_are_rocketmqs() {
    let disk = FaultDisk::new();
    let mut timer = open(&disk, TimerOptions::default(), NOW);
    timer.insert(&entry(0, NOW + 5_000), NOW).unwrap();
    timer.flush().unwrap();
    let bytes = |name: &str| disk.open(&root().join(name)).unwrap().bytes().unwrap();
    assert_eq!(bytes("timerwheel"), 38_707_200);
    assert_eq!(bytes("timerlog/00000000000000000000"), 104_857_600);
}

#[test]
fn messages_come_out_by_their_millisecond_and_never_before() {
    let mut timer = open(&FaultDisk::new(), SMALL, NOW);
    for (number, delay_ms) in [5_400, 2_001, 5_399, 2_000, 5_400].into_iter().enumerate() {
        let placed = timer.insert(&entry(number as u64, NOW + delay_ms), NOW);
        assert_eq!(placed.unwrap(), Placed::Waiting);
    }
    assert_eq!(timer.waiting(), 5);
    for (delay_ms, expected) in [
        (1_999, vec![]),
        (2_000, vec![3]),
        (2_001, vec![1]),
        (5_398, vec![]),
        (5_399, vec![2]),
        (5_400, vec![0, 4]),
        (90_000, vec![]),
    ] {
        assert_eq!(
            take(&mut timer, NOW + delay_ms),
            expected,
            "after {delay_ms} ms"
        );
    }
    assert_eq!(timer.waiting(), 0);
}

#[test]
fn the_next_time_to_look_is_told_to_the_millisecond() {
    let mut timer = open(&FaultDisk::new(), SMALL, NOW);
    timer.insert(&entry(0, NOW + 1_234), NOW).unwrap();
    timer.insert(&entry(1, NOW + 1_300), NOW).unwrap();
    let mut due = Vec::new();
    let mut next_ms = |now_ms| timer.take_due(now_ms, 9, &mut due).unwrap().next_ms;
    assert_eq!(next_ms(NOW), NOW + 1_000);
    assert_eq!(next_ms(NOW + 1_000), NOW + 1_234);
    assert_eq!(next_ms(NOW + 1_234), NOW + 1_300);
    assert_eq!(next_ms(NOW + 1_300), NOW + 2_000);
    let entered: Vec<i64> = due.iter().map(Due::entered_ms).collect();
    assert_eq!(entered, [NOW, NOW]);
}

#[test]
fn what_is_late_or_for_the_open_slot_comes_out_at_once() {
    let mut timer = open(&FaultDisk::new(), SMALL, NOW);
    assert!(take(&mut timer, NOW + 10_500).is_empty());
    let late = [
        i64::MIN,
        0,
        NOW - 5,
        NOW + 9_999,
        NOW + 10_000,
        NOW + 10_500,
    ];
    for (number, deliver_at_ms) in late.into_iter().enumerate() {
        let placed = timer.insert(&entry(number as u64, deliver_at_ms), NOW + 10_500);
        assert_eq!(placed.unwrap(), Placed::Open);
    }
    let open = timer.insert(&entry(6, NOW + 10_700), NOW + 10_500).unwrap();
    let next = timer.insert(&entry(7, NOW + 11_000), NOW + 10_500).unwrap();
    let other = timer.insert(&entry(8, NOW + 12_000), NOW + 10_500).unwrap();
    assert_eq!(
        (open, next, other),
        (Placed::Open, Placed::Open, Placed::Waiting)
    );
    assert_eq!(take(&mut timer, NOW + 10_500), [0, 1, 2, 3, 4, 5]);
    assert_eq!(take(&mut timer, NOW + 10_700), [6]);
    assert_eq!(take(&mut timer, NOW + 20_000), [7, 8]);
}

#[test]
fn delete_markers_come_out_before_the_messages_of_their_slot() {
    let mut timer = open(&FaultDisk::new(), SMALL, NOW);
    let marker = |number, deliver_at_ms| Entry {
        kind: Kind::DeleteMarker,
        ..entry(number, deliver_at_ms)
    };
    timer.insert(&entry(0, NOW + 5_100), NOW).unwrap();
    timer.insert(&entry(1, NOW + 5_200), NOW).unwrap();
    timer.insert(&marker(2, NOW + 5_900), NOW).unwrap();
    timer.insert(&marker(3, NOW + 5_200), NOW).unwrap();
    assert_eq!(timer.waiting(), 0);
    assert_eq!(take(&mut timer, NOW + 4_999), []);
    assert_eq!(take(&mut timer, NOW + 5_000), [2, 3]);
    timer.insert(&marker(4, NOW + 5_950), NOW + 5_150).unwrap();
    assert_eq!(take(&mut timer, NOW + 5_150), [4, 0]);
    assert_eq!(take(&mut timer, NOW + 5_200), [1]);
    // One that is too far away cancels nothing yet: it is stored anew like any other.
    timer
        .insert(&marker(5, NOW + 999_000), NOW + 6_000)
        .unwrap();
    let mut due = Vec::new();
    timer.take_due(NOW + 206_000, 9, &mut due).unwrap();
    assert!(due[0].rolls && !due[0].cancels());
}

#[test]
fn what_is_farther_away_than_the_window_rolls_by_rocketmqs_rule() {
    for (delay_ms, out_after_ms, rolls) in [
        (199_999, 199_999, false),
        (200_000, 100_000, true),
        (265_999, 100_000, true),
        (266_000, 200_000, true),
        (i64::MAX - NOW, 200_000, true),
    ] {
        let mut timer = open(&FaultDisk::new(), SMALL, NOW);
        timer.insert(&entry(0, NOW + delay_ms), NOW + 400).unwrap();
        assert!(take(&mut timer, NOW + out_after_ms - 1).is_empty());
        let mut due = Vec::new();
        timer.take_due(NOW + out_after_ms, 1, &mut due).unwrap();
        assert_eq!(
            (due[0].deliver_at_ms, due[0].rolls),
            (NOW + out_after_ms, rolls)
        );
    }
}

#[test]
fn a_message_for_forty_days_from_now_is_delivered_in_forty_days() {
    let mut timer = open(&FaultDisk::new(), TimerOptions::default(), NOW);
    let deliver_at_ms = NOW + 40 * 86_400_000 + 321;
    timer.insert(&entry(0, deliver_at_ms), NOW).unwrap();
    let (mut now_ms, mut rolled) = (NOW, 0);
    let delivered = loop {
        let mut due = Vec::new();
        let progress = timer.take_due(now_ms, 1, &mut due).unwrap();
        match due.first() {
            Some(due) if due.rolls => {
                rolled += 1;
                assert!(due.deliver_at_ms < deliver_at_ms);
                timer.insert(&entry(rolled, deliver_at_ms), now_ms).unwrap();
            }
            Some(due) => break *due,
            None if progress.more => {}
            None => now_ms += 3_600_000,
        }
        if progress.checkpoint_first {
            checkpoint(&mut timer, now_ms, Survives::PowerCut);
        }
    };
    assert_eq!(delivered.deliver_at_ms, deliver_at_ms);
    assert!((20..=21).contains(&rolled), "rolled {rolled} times");
}

#[test]
fn a_clock_that_steps_back_delivers_nothing_early_and_new_messages_in_time() {
    let mut timer = open(&FaultDisk::new(), SMALL, NOW);
    timer.insert(&entry(0, NOW + 60_500), NOW).unwrap();
    take(&mut timer, NOW + 60_000);
    let back_ms = NOW + 20_000;
    assert!(take(&mut timer, back_ms).is_empty());
    let placed = timer.insert(&entry(1, back_ms + 5_005), back_ms).unwrap();
    assert_eq!(placed, Placed::Open);
    timer.insert(&entry(2, back_ms - 5_000), back_ms).unwrap();
    timer.insert(&entry(3, back_ms + 50_000), back_ms).unwrap();
    assert_eq!(take(&mut timer, back_ms), [2]);
    assert!(take(&mut timer, back_ms + 5_004).is_empty());
    assert_eq!(take(&mut timer, back_ms + 5_005), [1]);
    assert!(take(&mut timer, NOW + 60_499).is_empty());
    assert_eq!(take(&mut timer, NOW + 60_500), [0]);
    assert_eq!(take(&mut timer, back_ms + 50_000), [3]);
}

#[test]
fn a_call_takes_no_more_than_it_was_asked_for_and_passes_over_long_silence() {
    let disk = FaultDisk::new();
    let mut timer = open(&disk, TimerOptions::default(), NOW);
    for number in 0..40_000 {
        timer
            .insert(&entry(number, NOW + 300_000_000), NOW)
            .unwrap();
        if number == 30_000 {
            checkpoint(&mut timer, NOW, Survives::PowerCut);
        }
    }
    let mut due = Vec::new();
    let mut calls = 0;
    loop {
        let before = due.len();
        let progress = timer.take_due(NOW + 400_000_000, 1_000, &mut due).unwrap();
        assert!(due.len() - before <= 1_000);
        calls += 1;
        if !progress.more {
            break;
        }
    }
    // They rolled to the end of the window; 172,800 slots were passed at 65,536 a call, and read at 16,384 a call.
    assert!((43..60).contains(&calls), "{calls} calls");
    let numbers: Vec<u64> = due.iter().map(number).collect();
    assert_eq!(numbers, (0..40_000).collect::<Vec<_>>());
}

#[test]
fn a_write_that_fails_is_tried_again_and_a_sync_that_fails_is_final() {
    let disk = FaultDisk::new();
    let mut timer = open(&disk, SMALL, NOW);
    for number in 0..3 {
        timer.insert(&entry(number, NOW + 5_000), NOW).unwrap();
    }
    disk.fail_write(1);
    let fourth = entry(3, NOW + 5_000);
    assert!(matches!(
        timer.insert(&fourth, NOW),
        Err(TimerError::Io { .. })
    ));
    assert_eq!(timer.resume_offset(), QueueOffset(3));
    assert_eq!(timer.insert(&fourth, NOW).unwrap(), Placed::Waiting);
    assert_eq!(take(&mut timer, NOW + 5_000), [0, 1, 2, 3]);
    disk.fail_sync(1);
    let mut checkpoint = || timer.checkpoint(NOW, NOW, Survives::PowerCut);
    assert!(matches!(checkpoint(), Err(TimerError::Io { .. })));
    assert!(matches!(checkpoint(), Err(TimerError::Poisoned { .. })));
}

#[test]
fn a_full_disk_refuses_the_entry_and_keeps_the_others() {
    let disk = FaultDisk::new();
    let mut timer = open(&disk, SMALL, NOW);
    disk.set_capacity(disk.used_bytes() + 4096);
    let mut accepted = 0;
    for number in 0..12 {
        match timer.insert(&entry(number, NOW + 5_000), NOW) {
            Ok(_) => accepted += 1,
            Err(error) => assert!(matches!(error, TimerError::Io { .. }), "{error}"),
        }
    }
    assert!((3..12).contains(&accepted), "{accepted} accepted");
    disk.set_capacity(1 << 30);
    timer.insert(&entry(accepted, NOW + 5_000), NOW).unwrap();
    let numbers: Vec<u64> = (0..=accepted).collect();
    assert_eq!(take(&mut timer, NOW + 5_000), numbers);
}

#[test]
fn sizes_that_make_no_timer_are_refused() {
    let refused = |options: TimerOptions| {
        let disk: Arc<dyn Disk> = Arc::new(FaultDisk::new());
        let result = Timer::open(disk, root(), options, ENDLESS, NOW);
        assert!(
            matches!(result, Err(TimerError::Options { .. })),
            "{options:?}"
        );
    };
    for precision_ms in [0, -1, 3_600_001, 20_000] {
        refused(TimerOptions {
            precision_ms,
            ..TimerOptions::default()
        });
    }
    for roll_window_slots in [0, 1, 241] {
        refused(TimerOptions {
            roll_window_slots,
            ..SMALL
        });
    }
    for log_file_bytes in [0, 67, 1 << 31] {
        refused(TimerOptions {
            log_file_bytes,
            ..SMALL
        });
    }
    refused(TimerOptions {
        wheel_slots: 239,
        ..SMALL
    });
}

#[test]
fn memory_does_not_grow_with_what_waits() {
    let disk = FaultDisk::new();
    let mut timer = open(&disk, TimerOptions::default(), NOW);
    for number in 0..50_000 {
        let delay_ms = (number as i64 * 7_919_000) % 172_000_000;
        timer.insert(&entry(number, NOW + delay_ms), NOW).unwrap();
    }
    assert!(timer.wheel.page_count() <= 1_352);
    assert!(timer.log.pending.len() <= 256 * 1024 + 52);
}

#[test]
fn what_was_delivered_of_the_open_slot_is_taken_out_for_rocketmq() {
    let disk = FaultDisk::new();
    let mut timer = open(&disk, SMALL, NOW);
    for number in 0..5_u64 {
        let deliver_at_ms = NOW + 5_100 + number.cast_signed() * 100;
        timer.insert(&entry(number, deliver_at_ms), NOW).unwrap();
    }
    timer.insert(&entry(5, NOW + 9_000), NOW).unwrap();
    // The first three; a stop gives all of their slot out again.
    assert_eq!(take(&mut timer, NOW + 5_350), [0, 1, 2]);
    checkpoint(&mut timer, NOW + 5_350, Survives::PowerCut);
    drop(timer);
    let mut timer = open(&disk, SMALL, NOW + 5_400);
    let delivered = |place: PhysicalOffset| place < entry(3, 0).physical;
    let taken = timer.take_delivered_out(NOW + 5_400, delivered);
    assert_eq!(taken.unwrap(), 3);
    let taken = timer.take_delivered_out(NOW + 5_400, delivered);
    assert_eq!(taken.unwrap(), 0);
    drop(timer);
    let mut timer = open(&disk, SMALL, NOW + 5_400);
    assert_eq!(timer.waiting(), 3);
    assert_eq!(take(&mut timer, NOW + 10_000), [3, 4, 5]);
}
