//! What the log says of sends and moved messages is saved before a start stops looking at it.

// A failed step fails the test, in helpers too.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset};
use castmq_protocol::record::{Origin, PartOfSend, Record, SendNumber};
use castmq_storage::commit_log::LogWriter;
use castmq_storage::disk::fault::FaultDisk;
use castmq_storage::dispatch::{Dispatch, Met};
use castmq_storage::halves::Half;
use castmq_storage::sequences::{Look, Place, StoredSend};
use castmq_storage::store::{Store, StoreOptions};

const NUMBER: SendNumber = SendNumber {
    producer_id: 7,
    sequence: 1,
    settled_below: 1,
};

fn options(metadata: PathBuf) -> StoreOptions {
    StoreOptions {
        consume_queue_file_bytes: 200,
        ..support::options(Path::new("/store"), metadata)
    }
}

/// Appends a numbered send as the log-writer does, and dispatches it.
fn store_one(store: &Store) -> Place {
    let mut properties = Vec::new();
    NUMBER.append_to(b"", &mut properties);
    let part = PartOfSend {
        before: 0,
        behind: 0,
    };
    let mut record = Record {
        store_timestamp_ms: 5,
        prepared_transaction_offset: part.encode(),
        properties: &properties,
        ..support::message("T", QueueId(0), 0, b"body")
    };
    let mut writer = LogWriter::resume(store.log.clone()).unwrap();
    record.physical_offset = writer.reserve(record.encoded_bytes()).unwrap();
    writer.append(&record);
    let place = Place {
        queue: record.queue,
        offset: record.queue_offset,
        physical: record.physical_offset,
    };
    store.sequences.note(&StoredSend {
        number: NUMBER,
        place,
        stored_ms: 5,
    });
    let end = writer.publish();
    let (log, queues) = (store.log.clone(), store.queues.clone());
    let mut dispatch = Dispatch::new(log, queues, Default::default(), PhysicalOffset::ZERO);
    dispatch.advance(end, 1 << 20, |_| {}).unwrap();
    assert_eq!(dispatch.position(), end);
    place
}

#[test]
fn what_becomes_durable_while_a_checkpoint_is_made_is_not_passed_over_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = folder.path().join("metadata");
    let disk = FaultDisk::new();
    let (store, _) = Store::open(Arc::new(disk.clone()), options(metadata.clone())).unwrap();
    let place = store_one(&store);
    let end = store.log.appended();
    assert!(store.log.flushed() < end);
    let mut round = store.begin_checkpoint(end, 5).unwrap();
    store.log.sync(end).unwrap();
    while !store.go_on_with_checkpoint(&mut round).unwrap() {}
    let left = disk.kill();
    drop(store);
    assert_eq!(after(left, metadata, place), (true, Look::Stored(place)));
}

/// Whether the record is in the log after a start, and what is known of the send.
fn after(disk: FaultDisk, metadata: PathBuf, place: Place) -> (bool, Look) {
    let (store, _) = Store::open(Arc::new(disk), options(metadata)).unwrap();
    let is_there = store.log.record(place.physical).is_some();
    (is_there, store.sequences.look(&NUMBER, 5))
}

#[test]
fn after_a_clean_stop_a_send_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = folder.path().join("metadata");
    let disk = FaultDisk::new();
    let (store, _) = Store::open(Arc::new(disk.clone()), options(metadata.clone())).unwrap();
    let place = store_one(&store);
    store.close(store.log.appended()).unwrap();
    drop(store);
    assert_eq!(after(disk, metadata, place), (true, Look::Stored(place)));
}

#[test]
fn a_send_that_a_power_cut_takes_is_not_known_and_one_that_it_leaves_is() {
    let mut taken = 0;
    for seed in 0..16 {
        let folder = tempfile::tempdir().unwrap();
        let metadata = folder.path().join("metadata");
        let disk = FaultDisk::new();
        let (store, _) = Store::open(Arc::new(disk.clone()), options(metadata.clone())).unwrap();
        let place = store_one(&store);
        // A checkpoint is made, and the record is in memory still.
        store.save_checkpoint(store.log.appended(), 5).unwrap();
        let left = disk.crash(seed);
        drop(store);
        let (is_there, look) = after(left, metadata, place);
        taken += usize::from(!is_there);
        let expected = match is_there {
            true => Look::Stored(place),
            false => Look::New,
        };
        assert_eq!(look, expected, "seed {seed}");
    }
    assert!((1..16).contains(&taken), "{taken}");
}

#[test]
fn several_checkpoints_at_once_save_each_note_once() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = folder.path().join("metadata");
    let disk = FaultDisk::new();
    let (store, _) = Store::open(Arc::new(disk.clone()), options(metadata)).unwrap();
    let place = store_one(&store);
    let end = store.log.sync(store.log.appended()).unwrap();
    for offset in 0..1000 {
        let half = Half {
            offset: QueueOffset(offset),
            physical: place.physical,
            stored_ms: 0,
        };
        let met = [
            Met::Moved(Origin::Schedule {
                queue: 1,
                offset: QueueOffset(offset),
            }),
            Met::Half(half),
            Met::Marked(vec![QueueOffset(offset)]),
        ];
        store.unseen.note(&met, place.physical..end);
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| store.save_checkpoint(end, 5).unwrap());
        }
    });
    let saved = store.metadata.value("transactions", "first_open").unwrap();
    assert_eq!(saved, Some(1000_u64.to_be_bytes().to_vec()));
    assert_eq!(
        store.metadata.values("producer_sequences").unwrap().len(),
        1
    );
}
