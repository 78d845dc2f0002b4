//! Files that nobody should have written.

use std::sync::Arc;

use super::tests::{ENDLESS, NOW, SMALL, bytes_of, entry, open, root, take};
use super::*;
use crate::disk::Disk;
use crate::disk::fault::FaultDisk;

/// Ten messages that wait, in four files and two slots.
fn stored() -> FaultDisk {
    let disk = FaultDisk::new();
    let mut timer = open(&disk, SMALL, NOW);
    for number in 0..10 {
        let deliver_at_ms = NOW + 5_000 + 1_000 * (number as i64 % 2);
        timer.insert(&entry(number, deliver_at_ms), NOW).unwrap();
    }
    timer.checkpoint(NOW, NOW, Survives::PowerCut).unwrap();
    disk
}

const ALL: [u64; 10] = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9];

fn write(disk: &FaultDisk, name: &str, at: u64, bytes: &[u8]) {
    let file = disk.open(&root().join(name)).unwrap();
    file.write_at(bytes, at).unwrap();
}

fn try_open(disk: &FaultDisk) -> Result<Timer, TimerError> {
    Timer::open(Arc::new(disk.clone()), root(), SMALL, ENDLESS, NOW)
}

fn slot_at(time_ms: i64) -> u64 {
    (time_ms / 1000 % 600) as u64 * 32
}

/// Takes all there is, whatever goes wrong; ends because every call does something or fails.
fn take_all(timer: &mut Timer) -> Vec<u64> {
    let mut due = Vec::new();
    while timer
        .take_due(NOW + 90_000, 100, &mut due)
        .is_ok_and(|progress| progress.more)
    {}
    due.iter()
        .map(|due| due.physical.0.wrapping_sub(1000) / 100)
        .collect()
}

#[test]
fn a_slot_that_leads_beyond_the_log_has_the_wheel_built_again() {
    for last in [10_000_i64, 640, 1, 196 * 2 + 51, i64::MAX, -1] {
        let disk = stored();
        write(
            &disk,
            "timerwheel",
            slot_at(NOW + 5_000) + 16,
            &last.to_be_bytes(),
        );
        assert_eq!(
            take(&mut open(&disk, SMALL, NOW), NOW + 9_000),
            ALL,
            "{last}"
        );
        // It is durable.
        let mut timer = open(&disk.crash(4), SMALL, NOW);
        assert_eq!(take(&mut timer, NOW + 9_000), ALL, "{last}");
    }
}

#[test]
fn a_wheel_that_is_gone_or_of_another_time_is_built_again() {
    let other_precision = TimerOptions {
        precision_ms: 500,
        ..SMALL
    };
    for options in [SMALL, other_precision] {
        let disk = stored();
        if options == SMALL {
            disk.remove(&root().join("timerwheel")).unwrap();
        }
        let mut timer = open(&disk, options, NOW);
        assert_eq!(timer.waiting(), 10);
        assert_eq!(take(&mut timer, NOW + 9_000), ALL);
        assert!(disk.open(&root().join("timerwheel.new")).is_err());
    }
    let disk = stored();
    let old = bytes_of(&disk, "timerwheel");
    let mut timer = open(&disk, SMALL, NOW);
    timer.insert(&entry(10, NOW + 7_000), NOW).unwrap();
    timer.checkpoint(NOW, NOW, Survives::PowerCut).unwrap();
    write(&disk, "timerwheel", 0, &old);
    let mut timer = open(&disk, SMALL, NOW);
    assert_eq!(take(&mut timer, NOW + 9_000), [&ALL[..], &[10]].concat());
}

#[test]
fn a_chain_that_loops_or_leads_astray_is_an_error_and_a_new_wheel_mends_it() {
    // The third unit of the second file, which follows the first of it.
    for previous in [196 + 104_i64, 500, 196 + 52, i64::MAX, 7] {
        let disk = stored();
        let name = "timerlog/00000000000000000196";
        write(&disk, name, 104 + 4, &previous.to_be_bytes());
        let mut timer = open(&disk, SMALL, NOW);
        let mut due = Vec::new();
        let error = timer.take_due(NOW + 9_000, 100, &mut due).unwrap_err();
        assert!(matches!(error, TimerError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("timerlog/"), "{error}");
        // It says the same again, and does not turn in circles.
        assert!(timer.take_due(NOW + 9_000, 100, &mut due).is_err());
        disk.remove(&root().join("timerwheel")).unwrap();
        let mut timer = open(&disk, SMALL, NOW);
        assert_eq!(take(&mut timer, NOW + 9_000), ALL, "{previous}");
        assert_eq!(take(&mut open(&disk, SMALL, NOW), NOW + 9_000), ALL);
    }
}

#[test]
fn a_damaged_unit_takes_no_other_with_it_when_the_wheel_is_built_again() {
    for (within, bytes) in [(0, [0; 4]), (12, [0xFF; 4]), (36, [0; 4]), (28, [0x80; 4])] {
        let disk = stored();
        write(&disk, "timerlog/00000000000000000196", 52 + within, &bytes);
        let mut timer = open(&disk, SMALL, NOW);
        assert!(timer.take_due(NOW + 9_000, 100, &mut Vec::new()).is_err());
        disk.remove(&root().join("timerwheel")).unwrap();
        let mut timer = open(&disk, SMALL, NOW);
        let left: Vec<u64> = ALL.into_iter().filter(|number| *number != 4).collect();
        assert_eq!(take(&mut timer, NOW + 9_000), left);
    }
}

#[test]
fn files_of_a_wrong_length_are_named() {
    for name in [
        "timerwheel",
        "timerlog/00000000000000000196",
        "config/timercheck",
    ] {
        let disk = stored();
        let path = root().join(name);
        disk.remove(&path).unwrap();
        disk.create(&path, 77).unwrap();
        match try_open(&disk).unwrap_err() {
            TimerError::FileLength {
                path: named,
                bytes: 77,
                ..
            } => assert_eq!(named, path),
            error => panic!("{error}"),
        }
    }
}

#[test]
fn a_file_missing_between_others_is_named() {
    let disk = stored();
    let path = root().join("timerlog/00000000000000000196");
    disk.remove(&path).unwrap();
    match try_open(&disk).unwrap_err() {
        TimerError::Missing { path: named } => assert_eq!(named, path),
        error => panic!("{error}"),
    }
}

#[test]
fn without_the_log_or_the_checkpoint_all_is_to_be_inserted_again() {
    for gone in ["log", "last file", "first file", "checkpoint"] {
        let disk = stored();
        let files = disk.list(&root().join("timerlog")).unwrap();
        let remove = |name: &str| disk.remove(&root().join(name)).unwrap();
        match gone {
            "log" => files
                .iter()
                .for_each(|file| remove(&format!("timerlog/{}", file.name))),
            "last file" => remove(&format!("timerlog/{}", files.last().unwrap().name)),
            "first file" => remove(&format!("timerlog/{}", files[0].name)),
            _ => remove("config/timercheck"),
        }
        let mut timer = open(&disk, SMALL, NOW);
        // Without the first file the rest is whole: a first file may be gone because all of it is out.
        let expected_resume = if gone == "first file" { 10 } else { 0 };
        assert_eq!(timer.resume_offset().0, expected_resume, "{gone}");
        for number in 0..10 {
            let deliver_at_ms = NOW + 5_000 + 1_000 * (number as i64 % 2);
            timer.insert(&entry(number, deliver_at_ms), NOW).unwrap();
        }
        let taken = take_all(&mut timer);
        match gone {
            "first file" => assert!(!taken.contains(&0) && taken.contains(&9)),
            _ => assert_eq!(taken, ALL, "{gone}"),
        }
    }
}

#[test]
fn a_checkpoint_of_nonsense_is_refused_or_overruled() {
    for read_ms in [-1, i64::MIN, i64::MAX] {
        let disk = stored();
        write(&disk, "config/timercheck", 0, &read_ms.to_be_bytes());
        let error = try_open(&disk).unwrap_err();
        assert!(matches!(error, TimerError::ReadTime { .. }), "{error}");
    }
    for flushed in [-1, 1, 53, 157, 1 << 40, i64::MAX, i64::MIN] {
        let disk = stored();
        write(&disk, "config/timercheck", 8, &flushed.to_be_bytes());
        let mut timer = open(&disk, SMALL, NOW);
        assert_eq!(timer.resume_offset().0, 0, "{flushed}");
        assert_eq!(timer.insert(&entry(9, NOW), NOW).unwrap(), Placed::Known);
        assert_eq!(take(&mut timer, NOW + 9_000), ALL, "{flushed}");
    }
    for queue_offset in [-1, i64::MIN] {
        let disk = stored();
        write(&disk, "config/timercheck", 16, &queue_offset.to_be_bytes());
        assert_eq!(open(&disk, SMALL, NOW).resume_offset().0, 0);
    }
}

#[test]
fn what_lies_behind_the_end_and_belongs_to_no_later_message_is_cut() {
    let disk = stored();
    let name = "timerlog/00000000000000000588";
    let old = bytes_of(&disk, "timerlog/00000000000000000000")[..52].to_vec();
    write(&disk, name, 52, &old);
    let mut timer = open(&disk, SMALL, NOW);
    assert_eq!(timer.last_physical(), Some(entry(9, 0).physical));
    assert_eq!(take(&mut timer, NOW + 9_000), ALL);
    assert!(bytes_of(&disk, name)[52..].iter().all(|byte| *byte == 0));
}

#[test]
fn units_lost_behind_what_a_kill_left_are_inserted_again() {
    let disk = stored();
    let mut timer = open(&disk, SMALL, NOW);
    timer.insert(&entry(10, NOW + 7_000), NOW).unwrap();
    timer.checkpoint(NOW, NOW, Survives::Kill).unwrap();
    let disk = disk.kill();
    assert_eq!(open(&disk.kill(), SMALL, NOW).resume_offset().0, 11);
    write(&disk, "timerlog/00000000000000000588", 52, &[0; 52]);
    assert_eq!(open(&disk, SMALL, NOW).resume_offset().0, 10);
}

#[test]
fn other_names_in_the_folder_are_let_be() {
    let disk = stored();
    for name in ["timerlog/notes.txt", "timerlog/00000000000000000197"] {
        disk.create(&root().join(name), 5).unwrap();
    }
    assert_eq!(take(&mut open(&disk, SMALL, NOW), NOW + 9_000), ALL);
}

#[test]
fn entries_that_no_message_can_have_are_refused() {
    let mut timer = open(&FaultDisk::new(), SMALL, NOW);
    for size_bytes in [0, 1 << 31] {
        let bad = Entry {
            size_bytes,
            ..entry(0, NOW)
        };
        let error = timer.insert(&bad, NOW).unwrap_err();
        assert!(matches!(error, TimerError::Entry { .. }), "{error}");
    }
    assert_eq!(timer.resume_offset().0, 0);
}

#[test]
fn any_bit_may_flip_without_a_panic_or_a_loop() {
    for seed in 0..3_000_u64 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let disk = stored();
        let names = [
            "timerwheel",
            "timerlog/00000000000000000000",
            "timerlog/00000000000000000196",
            "timerlog/00000000000000000588",
            "config/timercheck",
        ];
        for _ in 0..dice.u32(1..4) {
            let name = names[dice.usize(..names.len())];
            let at = match name {
                "timerwheel" => slot_at(NOW + 5_000) + dice.u64(..64),
                "config/timercheck" => dice.u64(..56),
                _ => dice.u64(..196),
            };
            disk.flip_bit(&root().join(name), at, dice.u8(..8)).unwrap();
        }
        let Ok(mut timer) = try_open(&disk) else {
            continue;
        };
        let taken = take_all(&mut timer);
        assert!(taken.len() <= 10, "seed {seed}");
        let _ = timer.insert(&entry(10, NOW + 95_000), NOW + 90_000);
        let _ = timer.checkpoint(NOW, NOW + 90_000, Survives::PowerCut);
        while timer.retire().is_ok_and(|more| more) {}
    }
}
