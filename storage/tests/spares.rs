//! What a store keeps of removed segments counts as free room, and is given up when the room is needed.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::sync::Arc;

use castmq_protocol::model::QueueId;
use castmq_storage::commit_log::{AppendError, LogWriter};
use castmq_storage::disk::Disk;
use castmq_storage::disk::fault::FaultDisk;
use castmq_storage::store::{Store, StoreOptions};
use tempfile::TempDir;

const SEGMENT: u64 = 1 << 16;

/// Room for forty segments and some more.
const DISK: u64 = 40 * SEGMENT + SEGMENT / 2;

fn open(disk: &FaultDisk, folder: &TempDir, spare_segments: usize) -> Store {
    let metadata = folder.path().join("metadata");
    let options = StoreOptions {
        segment_bytes: SEGMENT,
        spare_segments,
        ..support::options(Path::new("/store"), metadata)
    };
    Store::open(Arc::new(disk.clone()), options).unwrap().0
}

/// Sends until the log has so many segments, and gives all but the last to retention.
fn fill_and_remove(store: &Store, segments: usize) {
    let mut writer = LogWriter::resume(store.log.clone()).unwrap();
    while store.log.segments().unwrap().len() < segments {
        let mut record = support::message("orders", QueueId(0), 0, &[7; 10_000]);
        match writer.reserve(record.encoded_bytes()) {
            Ok(place) => {
                record.physical_offset = place;
                writer.append(&record);
                writer.publish();
            }
            Err(AppendError::SegmentNotReady) => drop(store.log.add_segment().unwrap()),
            Err(error) => panic!("{error}"),
        }
    }
    store.log.sync(store.log.appended()).unwrap();
    while store.log.retire(store.log.begin()) {}
    assert_eq!(store.log.remove_retired(false).unwrap(), 0);
}

fn spares(store: &Store) -> usize {
    store.log.spares().unwrap().count()
}

#[test]
fn spare_segments_count_as_free_room() {
    let (disk, folder) = (FaultDisk::new(), tempfile::tempdir().unwrap());
    let store = open(&disk, &folder, 3);
    disk.set_capacity(DISK);
    let before = store.log_space().unwrap();
    fill_and_remove(&store, 9);
    assert_eq!(spares(&store), 3);
    let after = store.log_space().unwrap();
    assert_eq!(after, before, "one segment is written, as before");
    let on_disk = disk.space(store.log.directory()).unwrap();
    assert_eq!(on_disk.available_bytes, after.available_bytes - 3 * SEGMENT);
}

#[test]
fn spare_segments_take_a_tenth_of_the_partition_at_most() {
    let (disk, folder) = (FaultDisk::new(), tempfile::tempdir().unwrap());
    let store = open(&disk, &folder, 20);
    disk.set_capacity(DISK);
    fill_and_remove(&store, 9);
    assert_eq!(spares(&store), 8, "it was not looked at yet");
    store.log_space().unwrap();
    assert_eq!(spares(&store), 4);
}

#[test]
fn spare_segments_are_given_up_when_room_is_short() {
    let (disk, folder) = (FaultDisk::new(), tempfile::tempdir().unwrap());
    let store = open(&disk, &folder, 3);
    fill_and_remove(&store, 9);
    // Of another tenant of the partition there is as much that not even a segment fits beside it.
    disk.set_capacity(100 * SEGMENT);
    let others = Path::new("/store/others");
    let taken = disk.used_bytes() + store.room_for_segment() - SEGMENT;
    disk.create_segment(others, 100 * SEGMENT - taken).unwrap();
    let space = store.log_space().unwrap();
    assert_eq!(spares(&store), 0);
    assert_eq!(space, disk.space(store.log.directory()).unwrap());
    assert!(space.available_bytes >= store.room_for_segment());
    disk.remove(others).unwrap();
    fill_and_remove(&store, 3);
    assert_eq!(
        spares(&store),
        0,
        "not before it is known that there is room again"
    );
    store.log_space().unwrap();
    fill_and_remove(&store, 3);
    assert_eq!(spares(&store), 2);
}
