//! What a stop leaves, and what may be removed before the next one.

use std::sync::Arc;

use castmq_protocol::model::QueueOffset;

use super::tests::{NOW, SMALL, bytes_of, checkpoint, entry, open, root, take};
use super::*;
use crate::disk::Disk;
use crate::disk::fault::FaultDisk;

#[test]
fn repeated_inserts_are_known_after_every_stop() {
    for stop in ["clean", "kill", "power cut"] {
        let disk = FaultDisk::new();
        let mut timer = open(&disk, SMALL, NOW);
        for number in 0..10 {
            timer.insert(&entry(number, NOW + 5_000), NOW).unwrap();
            if number == 4 {
                checkpoint(&mut timer, NOW, Survives::PowerCut);
            }
        }
        timer.flush().unwrap();
        if stop == "clean" {
            checkpoint(&mut timer, NOW, Survives::PowerCut);
        }
        let disk = match stop {
            "power cut" => disk.crash(3),
            _ => disk.kill(),
        };
        let mut timer = open(&disk, SMALL, NOW);
        let resume = timer.resume_offset().0;
        assert_eq!(resume, if stop == "clean" { 10 } else { 5 }, "{stop}");
        for number in 0..10 {
            let placed = timer.insert(&entry(number, NOW + 5_000), NOW).unwrap();
            assert!(placed == Placed::Known || stop == "power cut" && number >= resume);
        }
        assert_eq!(timer.resume_offset(), QueueOffset(10));
        assert_eq!(timer.waiting(), 10);
        assert_eq!(
            take(&mut timer, NOW + 5_000),
            (0..10).collect::<Vec<_>>(),
            "{stop}"
        );
    }
}

#[test]
fn what_came_out_since_the_checkpoint_comes_out_again_and_nothing_else() {
    for survives in [Survives::Kill, Survives::PowerCut] {
        let disk = FaultDisk::new();
        let mut timer = open(&disk, SMALL, NOW);
        for number in 0..5 {
            let deliver_at_ms = NOW + 1_000 * number as i64;
            timer.insert(&entry(number, deliver_at_ms), NOW).unwrap();
        }
        assert_eq!(take(&mut timer, NOW + 2_000), [0, 1, 2]);
        checkpoint(&mut timer, NOW + 2_000, survives);
        assert_eq!(take(&mut timer, NOW + 4_000), [3, 4]);
        let disk = match survives {
            Survives::Kill => disk.kill(),
            Survives::PowerCut => disk.crash(1),
        };
        let mut timer = open(&disk, SMALL, NOW + 4_000);
        assert_eq!(timer.read_time_ms(), NOW + 2_000);
        assert_eq!(timer.waiting(), 3);
        assert_eq!(take(&mut timer, NOW + 4_000), [2, 3, 4]);
    }
}

#[test]
fn what_is_not_stored_yet_comes_out_again() {
    let disk = FaultDisk::new();
    let mut timer = open(&disk, SMALL, NOW);
    timer.insert(&entry(0, NOW + 1_000), NOW).unwrap();
    timer.insert(&entry(1, NOW + 2_000), NOW).unwrap();
    let before_ms = timer.read_time_ms();
    assert_eq!(take(&mut timer, NOW + 9_000), [0, 1]);
    timer
        .checkpoint(NOW + 9_000, before_ms, Survives::PowerCut)
        .unwrap();
    let mut timer = open(&disk.crash(1), SMALL, NOW + 9_000);
    assert_eq!(take(&mut timer, NOW + 9_000), [0, 1]);
}

#[test]
fn a_late_message_survives_the_stop_after_it() {
    let disk = FaultDisk::new();
    let mut timer = open(&disk, SMALL, NOW);
    take(&mut timer, NOW + 10_000);
    timer.insert(&entry(0, NOW + 3), NOW + 10_000).unwrap();
    timer.insert(&entry(1, NOW + 30_000), NOW + 10_000).unwrap();
    checkpoint(&mut timer, NOW + 10_000, Survives::PowerCut);
    let mut timer = open(&disk.crash(9), SMALL, NOW + 10_000);
    assert_eq!(timer.resume_offset(), QueueOffset(2));
    assert_eq!(take(&mut timer, NOW + 10_000), [0]);
    assert_eq!(take(&mut timer, NOW + 30_000), [1]);
}

#[test]
fn files_are_removed_when_all_of_them_is_durably_out_and_not_before() {
    let disk = FaultDisk::new();
    let mut timer = open(&disk, SMALL, NOW);
    for number in 0..9 {
        // The last of the first file waits longest.
        let delay_ms = if number == 2 { 50_000 } else { 5_000 };
        timer.insert(&entry(number, NOW + delay_ms), NOW).unwrap();
    }
    let retire = |timer: &mut Timer| while timer.retire().unwrap() {};
    let files = |disk: &FaultDisk| disk.list(&root().join("timerlog")).unwrap().len();
    checkpoint(&mut timer, NOW, Survives::PowerCut);
    assert_eq!(take(&mut timer, NOW + 40_000).len(), 8);
    checkpoint(&mut timer, NOW, Survives::PowerCut);
    retire(&mut timer);
    assert_eq!(files(&disk), 3);
    assert_eq!(take(&mut timer, NOW + 60_000), [2]);
    checkpoint(&mut timer, NOW, Survives::Kill);
    retire(&mut timer);
    assert_eq!(files(&disk), 3);
    checkpoint(&mut timer, NOW, Survives::PowerCut);
    retire(&mut timer);
    // What is known hangs on the last one.
    assert_eq!(files(&disk), 1);
    let mut timer = open(&disk.crash(5), SMALL, NOW + 60_000);
    for number in 0..9 {
        let placed = timer.insert(&entry(number, NOW + 90_000), NOW + 60_000);
        assert_eq!(placed.unwrap(), Placed::Known);
    }
    let placed = timer.insert(&entry(9, NOW + 90_000), NOW + 60_000);
    assert_eq!(placed.unwrap(), Placed::Waiting);
    assert_eq!(take(&mut timer, NOW + 90_000), [9]);
}

#[test]
fn what_is_out_but_not_durably_so_keeps_its_file() {
    let disk = FaultDisk::new();
    let mut timer = open(&disk, SMALL, NOW);
    for number in 0..4 {
        timer.insert(&entry(number, NOW + 5_000), NOW).unwrap();
    }
    checkpoint(&mut timer, NOW, Survives::PowerCut);
    take(&mut timer, NOW + 9_000);
    assert!(!timer.retire().unwrap());
    let mut timer = open(&disk.crash(5), SMALL, NOW + 9_000);
    assert_eq!(take(&mut timer, NOW + 9_000), [0, 1, 2, 3]);
    checkpoint(&mut timer, NOW, Survives::PowerCut);
    assert!(timer.retire().unwrap());
}

#[test]
fn a_file_stays_until_the_one_after_it_is_durable() {
    for seed in 0..50 {
        let disk = FaultDisk::new();
        let mut timer = open(&disk, SMALL, NOW);
        for number in 0..3 {
            timer.insert(&entry(number, NOW + 5_000), NOW).unwrap();
        }
        take(&mut timer, NOW + 9_000);
        checkpoint(&mut timer, NOW, Survives::PowerCut);
        timer.insert(&entry(3, NOW + 20_000), NOW + 9_000).unwrap();
        timer.flush().unwrap();
        assert!(!timer.retire().unwrap());
        let mut timer = open(&disk.crash(seed), SMALL, NOW + 9_000);
        assert_eq!(timer.resume_offset(), QueueOffset(3));
        let placed = timer.insert(&entry(2, NOW + 5_000), NOW + 9_000);
        assert_eq!(placed.unwrap(), Placed::Known);
    }
}

#[test]
fn a_power_cut_before_any_checkpoint_loses_nothing() {
    for seed in 0..200 {
        let disk = FaultDisk::new();
        let mut timer = open(&disk, SMALL, NOW);
        for number in 0..12 {
            timer.insert(&entry(number, NOW + 5_000), NOW).unwrap();
        }
        timer.flush().unwrap();
        // Any of the four files may be gone, the first one too.
        let mut timer = open(&disk.crash(seed), SMALL, NOW);
        for number in timer.resume_offset().0..12 {
            timer.insert(&entry(number, NOW + 5_000), NOW).unwrap();
        }
        let all: Vec<u64> = (0..12).collect();
        assert_eq!(take(&mut timer, NOW + 5_000), all, "seed {seed}");
    }
}

#[test]
fn what_only_survives_a_kill_does_not_survive_the_power_cut_after_it() {
    let disk = FaultDisk::new();
    let mut timer = open(&disk, SMALL, NOW);
    timer.insert(&entry(0, NOW + 1_000), NOW).unwrap();
    checkpoint(&mut timer, NOW, Survives::PowerCut);
    timer.insert(&entry(1, NOW + 60_000), NOW).unwrap();
    assert_eq!(take(&mut timer, NOW + 5_000), [0]);
    checkpoint(&mut timer, NOW + 5_000, Survives::Kill);
    // The start makes the second one durable, and not that the first is out.
    let disk = disk.kill();
    let mut timer = open(&disk, SMALL, NOW + 5_000);
    assert_eq!(take(&mut timer, NOW + 5_000), []);
    let mut timer = open(&disk.kill(), SMALL, NOW + 5_000);
    assert_eq!(take(&mut timer, NOW + 5_000), []);
    let mut timer = open(&disk.crash(1), SMALL, NOW + 5_000);
    assert_eq!(timer.resume_offset(), QueueOffset(2));
    assert_eq!(take(&mut timer, NOW + 5_000), [0]);
}

#[test]
fn no_power_cut_leaves_a_slot_that_leads_beyond_the_log() {
    for seed in 0..400 {
        let disk = FaultDisk::new();
        let mut timer = open(&disk, SMALL, NOW);
        for number in 0..3 {
            let deliver_at_ms = NOW + 1_000 * (2 + number as i64 % 5);
            timer.insert(&entry(number, deliver_at_ms), NOW).unwrap();
        }
        disk.cut_power_after(seed % 8);
        let _ = timer.checkpoint(NOW, NOW, Survives::PowerCut);
        let disk = disk.crash(seed);
        for slot in bytes_of(&disk, "timerwheel").as_chunks::<32>().0 {
            let last = i64::from_be_bytes(*slot[16..].first_chunk().unwrap());
            if slot.iter().any(|byte| *byte != 0) {
                let log = bytes_of(&disk, "timerlog/00000000000000000000");
                assert_eq!(log[last as usize..][..4], [0, 0, 0, 52], "seed {seed}");
            }
        }
    }
}

#[test]
fn messages_that_the_commit_log_lost_are_forgotten() {
    let disk = FaultDisk::new();
    let mut timer = open(&disk, SMALL, NOW);
    for number in 0..8 {
        let deliver_at_ms = NOW + 5_000 + 1_000 * (number as i64 % 2);
        timer.insert(&entry(number, deliver_at_ms), NOW).unwrap();
    }
    checkpoint(&mut timer, NOW, Survives::PowerCut);
    let ends = Ends {
        physical: entry(2, 0).physical,
        queue: QueueOffset(2),
    };
    let disk = disk.crash(2);
    let timer = Timer::open(Arc::new(disk.clone()), root(), SMALL, ends, NOW);
    let mut timer = timer.unwrap();
    assert_eq!(timer.resume_offset(), QueueOffset(2));
    assert_eq!(timer.last_physical(), Some(entry(1, 0).physical));
    assert_eq!(timer.waiting(), 2);
    // Others come to their places.
    timer.insert(&entry(2, NOW + 6_500), NOW).unwrap();
    checkpoint(&mut timer, NOW, Survives::PowerCut);
    let mut timer = open(&disk.crash(2), SMALL, NOW);
    assert_eq!(take(&mut timer, NOW + 9_000), [0, 1, 2]);
}
