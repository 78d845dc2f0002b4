//! What is noted of moved messages outlives a checkpoint that is made while the log becomes durable.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use std::path::Path;
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset, system_topics};
use castmq_protocol::record::{Origin, Record};
use castmq_storage::commit_log::LogWriter;
use castmq_storage::disk::fault::FaultDisk;
use castmq_storage::dispatch::Dispatch;
use castmq_storage::store::{Store, StoreOptions};

const LEVEL: u8 = 2;

fn append(writer: &mut LogWriter, topic: &str, queue: QueueId, offset: u64, origin: i64) {
    let mut record = Record {
        prepared_transaction_offset: origin,
        ..support::message(topic, queue, offset, b"body")
    };
    record.physical_offset = writer.reserve(record.encoded_bytes()).expect("room");
    writer.append(&record);
    writer.publish();
}

#[test]
fn a_checkpoint_that_ends_later_than_it_began_to_be_durable_loses_no_note() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = FaultDisk::new();
    let open = |disk: &FaultDisk| {
        let options = StoreOptions {
            segment_bytes: 1 << 16,
            ..support::options(Path::new("/store"), folder.path().join("metadata"))
        };
        let opened = Store::open(Arc::new(disk.clone()), options);
        opened.expect("the store opens").0
    };
    let store = open(&disk);
    store.log.add_segment().expect("a segment");
    let mut writer = LogWriter::resume(store.log.clone()).expect("a writer");
    let level = QueueId(u32::from(LEVEL));
    for offset in 0..3 {
        append(&mut writer, system_topics::SCHEDULE, level, offset, 0);
    }
    for offset in 0..3 {
        let origin = Origin::Schedule {
            queue: LEVEL,
            offset: QueueOffset(offset),
        };
        append(&mut writer, "orders", QueueId(0), offset, origin.encode());
    }
    let mut dispatch = Dispatch::new(
        store.log.clone(),
        store.queues.clone(),
        Default::default(),
        PhysicalOffset::ZERO,
    );
    let end = store.log.appended();
    dispatch.advance(end, 1 << 20, |_| {}).expect("it is read");
    let met = dispatch.take_met();
    store.unseen.note(&met, PhysicalOffset::ZERO..end);
    assert_eq!(store.unseen.moved.next_scheduled(LEVEL), QueueOffset(3));
    let round = store.begin_checkpoint(end, 1000);
    let mut round = round.expect("a checkpoint begins");
    // Only now the records are durable from which the notes were taken.
    store.log.sync(end).expect("a sync");
    store.note_durable(end);
    while !store
        .go_on_with_checkpoint(&mut round)
        .expect("a checkpoint")
    {}
    let left = disk.kill();
    drop((writer, dispatch, store));
    let store = open(&left);
    assert_eq!(store.unseen.moved.next_scheduled(LEVEL), QueueOffset(3));
}
