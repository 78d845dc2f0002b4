//! A slave's store is made to fit its master's log: what is cut is kept aside, and forgotten by everybody.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use castmq_protocol::model::{
    GroupName, PhysicalOffset, QueueId, QueueOffset, TopicName, system_topics,
};
use castmq_protocol::record::{Origin, Record};
use castmq_storage::commit_log::LogWriter;
use castmq_storage::store::Store;
use support::Life;

const LEVEL: u8 = 2;

fn append(writer: &mut LogWriter, topic: &str, queue: QueueId, offset: u64, origin: i64) {
    let body = [b'x'; 3000];
    let mut record = Record {
        prepared_transaction_offset: origin,
        ..support::message(topic, queue, offset, &body)
    };
    let bytes = record.encoded_bytes();
    if writer.reserve(bytes).is_err() {
        writer.log().add_segment().expect("a segment");
    }
    record.physical_offset = writer.reserve(bytes).expect("room");
    writer.append(&record);
    writer.publish();
}

fn orders(store: &Store) -> (u64, u64) {
    let queue = store.queues.find("orders", QueueId(0));
    queue.map_or((0, 0), |q| (q.min_offset().0, q.max_offset().0))
}

#[test]
fn a_tail_is_cut_kept_and_forgotten() {
    let life = Life::new();
    let store = life.open();
    let mut writer = LogWriter::resume(store.log.clone()).expect("a writer");
    let level = QueueId(u32::from(LEVEL));
    for offset in 0..30 {
        append(&mut writer, system_topics::SCHEDULE, level, offset, 0);
    }
    let moved = |offset| {
        let offset = QueueOffset(offset);
        Origin::Schedule {
            queue: LEVEL,
            offset,
        }
        .encode()
    };
    for offset in 0..10 {
        append(&mut writer, "orders", QueueId(0), offset, moved(offset));
    }
    let at = store.log.appended();
    for offset in 10..25 {
        append(&mut writer, "orders", QueueId(0), offset, moved(offset));
    }
    let end = store.log.appended();
    let group = GroupName::new("g").expect("a name");
    let topic = TopicName::new("orders").expect("a name");
    store
        .metadata
        .put_offset(&group, &topic, QueueId(0), Some(QueueOffset(20)))
        .expect("an offset");
    store.close(PhysicalOffset::ZERO).expect("it closes");
    // The notes are saved by the next life's close, and say more than what will be left.
    drop((writer, store));
    let store = life.open();
    assert_eq!(store.unseen.moved.next_scheduled(LEVEL), QueueOffset(25));
    assert_eq!(orders(&store), (0, 25));
    store.close(end).expect("it closes");
    drop(store);

    let cut = Store::cut(
        &life.disk,
        &life.options(),
        at,
        "it never reached the master",
    );
    let cut = cut.expect("it is cut").expect("there was something");
    assert_eq!(cut.from, at);
    // And zeros up to the end of a page.
    assert!((0..4096).contains(&(cut.bytes - end.distance_from(at))));
    assert_eq!(cut.reason, "it never reached the master");
    let kept = life.disk.open(&cut.kept_in).expect("it is kept");
    assert_eq!(kept.bytes().expect("a length"), cut.bytes);
    let again = Store::cut(&life.disk, &life.options(), at, "");
    assert_eq!(again.expect("there is nothing to cut"), None);

    let (store, report) = life.open_with_report();
    assert!(report.was_clean);
    assert_eq!(store.log.appended(), at);
    assert_eq!(orders(&store), (0, 10));
    assert_eq!(store.unseen.moved.next_scheduled(LEVEL), QueueOffset(10));
    let offsets = store.metadata.offsets().expect("offsets");
    assert_eq!(offsets[0].2, QueueOffset(10));
}

#[test]
fn a_log_that_begins_anew_takes_what_belongs_there() {
    let life = Life::new();
    let store = life.open();
    let mut writer = LogWriter::resume(store.log.clone()).expect("a writer");
    for offset in 0..30 {
        append(&mut writer, "orders", QueueId(0), offset, 0);
    }
    store.close(PhysicalOffset::ZERO).expect("it closes");
    drop((writer, store));
    let at = PhysicalOffset(5 << 16);
    Store::begin_anew(&life.disk, &life.options(), at).expect("it begins anew");
    let store = life.open();
    assert_eq!((store.log.begin(), store.log.appended()), (at, at));
    assert_eq!(orders(&store), (0, 0));
    let mut writer = LogWriter::resume(store.log.clone()).expect("a writer");
    for offset in 700..703 {
        append(&mut writer, "orders", QueueId(0), offset, 0);
    }
    let end = store.log.appended();
    store.close(at).expect("it closes");
    drop((writer, store));
    let store = life.open();
    assert_eq!((store.log.begin(), store.log.appended()), (at, end));
    assert_eq!(orders(&store), (700, 703));
}
