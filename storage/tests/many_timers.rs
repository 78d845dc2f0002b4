//! What five million messages that wait for a time cost. To be read, not to pass: `cargo test --release -p castmq-storage
//! --test many_timers -- --ignored --nocapture`. `TIMER_FOLDER` names a folder on the disk to measure.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used, clippy::print_stdout)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use castmq_protocol::model::{PhysicalOffset, QueueOffset};
use castmq_storage::disk::os::OsDisk;
use castmq_storage::timer::{Due, Ends, Entry, Kind, Survives, Timer, TimerOptions};

const ENTRIES: u64 = 5_000_000;
const NOW: i64 = 1_700_000_000_000;
const HOUR_MS: i64 = 3_600_000;

const ENDLESS: Ends = Ends {
    physical: PhysicalOffset(u64::MAX),
    queue: QueueOffset(u64::MAX),
};

fn open(root: &Path, now_ms: i64) -> Timer {
    let timer = Timer::open(
        Arc::new(OsDisk),
        root,
        TimerOptions::default(),
        ENDLESS,
        now_ms,
    );
    timer.expect("what was written opens")
}

fn entry(number: u64, deliver_at_ms: i64) -> Entry {
    Entry {
        queue_offset: QueueOffset(number),
        physical: PhysicalOffset(number * 300),
        size_bytes: 300,
        deliver_at_ms,
        kind: Kind::Message,
        topic_hash: 7,
    }
}

/// Anonymous memory of the process, in MiB: what files have in the page cache is not its own.
fn memory_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

fn rate(count: u64, took: Duration) -> String {
    format!(
        "{:.0} a second ({took:.2?})",
        count as f64 / took.as_secs_f64()
    )
}

/// Takes out all that is due, and returns how many there were and how long the longest call took.
fn take_all(timer: &mut Timer, now_ms: i64) -> (u64, Duration) {
    let mut due: Vec<Due> = Vec::with_capacity(1_000);
    let (mut count, mut longest) = (0, Duration::ZERO);
    loop {
        due.clear();
        let began = Instant::now();
        let progress = timer
            .take_due(now_ms, 1_000, &mut due)
            .expect("it is whole");
        longest = longest.max(began.elapsed());
        assert!(due.iter().all(|due| due.deliver_at_ms <= now_ms));
        count += due.len() as u64;
        if !progress.more {
            return (count, longest);
        }
    }
}

#[test]
#[ignore = "takes a minute, and a gigabyte of the disk"]
fn five_million_messages_wait_and_come_out() {
    let folder = std::env::var_os("TIMER_FOLDER").unwrap_or_else(|| std::env::temp_dir().into());
    let folder = tempfile::tempdir_in(folder).expect("there is a place");
    let root = folder.path();
    let mut timer = open(root, NOW);
    let before_mib = memory_mib();

    let began = Instant::now();
    for number in 0..ENTRIES {
        let deliver_at_ms = NOW + 60_000 + fastrand::i64(0..47 * HOUR_MS);
        timer
            .insert(&entry(number, deliver_at_ms), NOW)
            .expect("there is room");
    }
    timer.flush().expect("there is room");
    println!("inserted {}", rate(ENTRIES, began.elapsed()));
    println!(
        "{ENTRIES} waiting take {:.1} MiB",
        memory_mib() - before_mib
    );

    // The end of the process with nothing but the log written: all slots are made from it.
    drop(timer);
    let began = Instant::now();
    let mut timer = open(root, NOW);
    println!(
        "opened after a kill before any checkpoint in {:.0?}",
        began.elapsed()
    );
    assert_eq!(timer.waiting(), ENTRIES);

    let began = Instant::now();
    for number in 0..100_000 {
        let number = ENTRIES + number;
        let deliver_at_ms = NOW + 60_000 + fastrand::i64(0..47 * HOUR_MS);
        timer
            .insert(&entry(number, deliver_at_ms), NOW)
            .expect("there is room");
    }
    timer
        .checkpoint(NOW, NOW, Survives::PowerCut)
        .expect("there is room");
    println!(
        "100000 more inserted and made durable in {:.0?}",
        began.elapsed()
    );
    drop(timer);
    let began = Instant::now();
    let timer = open(root, NOW);
    println!("opened after a checkpoint in {:.0?}", began.elapsed());
    println!(
        "open, {} waiting take {:.1} MiB",
        timer.waiting(),
        memory_mib() - before_mib
    );
    drop(timer);

    std::fs::remove_file(root.join("timerwheel")).expect("it was there");
    let began = Instant::now();
    let mut timer = open(root, NOW);
    println!("opened without a wheel in {:.0?}", began.elapsed());
    assert_eq!(timer.waiting(), ENTRIES + 100_000);

    let began = Instant::now();
    let (mut count, mut longest) = (0, Duration::ZERO);
    let mut now_ms = NOW;
    let mut peak_mib = 0.0_f64;
    while count < ENTRIES + 100_000 {
        now_ms += 10_000;
        let (taken, took) = take_all(&mut timer, now_ms);
        count += taken;
        longest = longest.max(took);
        if now_ms % HOUR_MS == 0 {
            peak_mib = peak_mib.max(memory_mib() - before_mib);
        }
    }
    println!(
        "came out {}, the longest call {longest:.1?}",
        rate(count, began.elapsed())
    );
    println!("meanwhile at most {peak_mib:.1} MiB");

    timer
        .checkpoint(now_ms, timer.read_time_ms(), Survives::PowerCut)
        .expect("there is room");
    let began = Instant::now();
    let mut longest = Duration::ZERO;
    loop {
        let call = Instant::now();
        let more = timer.retire().expect("it can be removed");
        longest = longest.max(call.elapsed());
        if !more {
            break;
        }
    }
    println!(
        "old files removed in {:.0?}, the longest call {longest:.1?}",
        began.elapsed()
    );

    let deliver_at_ms = now_ms + 60_000;
    for number in 0..1_000_000 {
        let number = ENTRIES + 100_000 + number;
        timer
            .insert(
                &entry(number, deliver_at_ms + fastrand::i64(0..1_000)),
                now_ms,
            )
            .expect("there is room");
    }
    let began = Instant::now();
    let (count, longest) = take_all(&mut timer, deliver_at_ms + 999);
    assert_eq!(count, 1_000_000);
    println!(
        "one slot came out {}, the longest call {longest:.1?}, {:.1} MiB afterwards",
        rate(count, began.elapsed()),
        memory_mib() - before_mib
    );
}
