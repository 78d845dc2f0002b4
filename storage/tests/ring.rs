//! A store whose newest messages lie in a ring, killed: the next start has them, and so does whoever looks at the folder.

// A failed step fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueId};
use castmq_protocol::record::Record;
use castmq_storage::commit_log::{AppendError, LogWriter};
use castmq_storage::disk::Disk;
use castmq_storage::disk::os::OsDisk;
use castmq_storage::store::check::Closed;
use castmq_storage::store::{Store, StoreOptions};
use support::message;
use tempfile::TempDir;

const SEGMENT: u64 = 8 << 20;
const BODY: usize = 100_000;
const MESSAGES: u64 = 200;

fn options(root: &Path) -> StoreOptions {
    StoreOptions {
        segment_bytes: SEGMENT,
        consume_queue_file_bytes: 20_000,
        ring_bytes: 16 << 20,
        ..support::options(root, root.join("metadata"))
    }
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(OsDisk)
}

/// Appends messages as a broker does, and returns where the log ends.
fn fill(store: &Store) -> PhysicalOffset {
    let mut writer = LogWriter::resume(store.log.clone()).unwrap();
    for number in 0..MESSAGES {
        let body: Vec<u8> = (0..BODY).map(|at| (at as u64 * 7 + number) as u8).collect();
        let record = message("orders", QueueId(0), number, &body);
        let at = loop {
            match writer.reserve(record.encoded_bytes()) {
                Ok(at) => break at,
                Err(AppendError::SegmentNotReady) => {
                    if !store.log.has_next_segment() {
                        store.log.add_segment().unwrap();
                    }
                    let end = store.log.appended();
                    store.log.prepare(end, 4 << 20).unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        };
        writer.append(&Record {
            physical_offset: at,
            ..record
        });
        writer.publish();
        if number % 50 == 49 {
            store.log.write_out().unwrap();
        }
    }
    store.log.appended()
}

/// The folder as a process that is killed now leaves it, without the metadata, which are open.
fn kill(root: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["ring", "checkpoint", "abort", "lock"] {
        if root.join(name).exists() {
            fs::copy(root.join(name), copy.path().join(name)).unwrap();
        }
    }
    let log = copy.path().join("commitlog");
    fs::create_dir(&log).unwrap();
    for entry in fs::read_dir(root.join("commitlog")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), log.join(entry.file_name())).unwrap();
    }
    copy
}

#[test]
fn a_killed_store_has_all_of_its_messages() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(disk(), options(folder.path())).unwrap();
    let end = fill(&store);

    for ring_bytes in [16 << 20, 0] {
        let left = kill(folder.path());
        let options = StoreOptions {
            ring_bytes,
            ..options(left.path())
        };
        let (again, report) = Store::open(disk(), options).unwrap();
        assert!(!report.was_clean);
        assert_eq!(again.log.appended(), end);
        assert_eq!(report.dispatched, MESSAGES);
        again.close(end).unwrap();
        assert!(!left.path().join("ring").exists());
    }

    let left = kill(folder.path());
    let checked = Closed::open(disk(), options(left.path())).unwrap();
    let checked = checked.check().unwrap();
    assert!(checked.stretches.is_empty(), "{:?}", checked.stretches);
    assert!(!left.path().join("ring").exists());
    let (again, _) = Store::open(disk(), options(left.path())).unwrap();
    assert_eq!(again.log.appended(), end);
}

#[test]
fn a_store_that_is_dropped_has_all_in_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(disk(), options(folder.path())).unwrap();
    let end = fill(&store);
    let log = store.log.clone();
    drop(store);
    fs::remove_file(folder.path().join("ring")).unwrap();
    let (again, _) = Store::open(disk(), options(folder.path())).unwrap();
    assert_eq!(again.log.appended(), end);
    // Whoever still reads the log that was given up finds it as it was.
    let last = log.begin();
    assert!(log.record(last).is_some());
}

#[test]
fn what_is_cut_off_a_log_does_not_come_back_from_the_ring() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(disk(), options(folder.path())).unwrap();
    fill(&store);
    let left = kill(folder.path());
    let cut_at = store.log.record(PhysicalOffset::ZERO).unwrap().len() as u64 * 20;
    let options = options(left.path());
    let cut = Store::cut(&disk(), &options, PhysicalOffset(cut_at), "a test").unwrap();
    assert!(cut.is_some());
    let (again, _) = Store::open(disk(), options).unwrap();
    assert_eq!(again.log.appended().0, cut_at);
}
