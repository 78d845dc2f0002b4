//! A slave's store is made to fit its master's log: what is cut is kept aside, and forgotten by everybody.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

use std::path::Path;
use std::sync::Arc;

use castmq_protocol::model::{
    GroupName, PhysicalOffset, QueueId, QueueOffset, TopicName, system_topics,
};
use castmq_protocol::record::{Origin, Record, body_crc};
use castmq_storage::commit_log::LogWriter;
use castmq_storage::disk::Disk;
use castmq_storage::disk::fault::FaultDisk;
use castmq_storage::store::{OpenReport, Store, StoreOptions};

const LEVEL: u8 = 2;

fn options(folder: &Path) -> StoreOptions {
    let root = Path::new("/store").to_path_buf();
    StoreOptions {
        metadata: folder.join("metadata"),
        takes_lock: false,
        commit_log: root.join("commitlog"),
        consume_queues: root.join("consumequeue"),
        index: root.join("index"),
        root,
        segment_bytes: 1 << 16,
        consume_queue_file_bytes: 1000,
        has_index: true,
        index_slots: 10,
        index_entries: 100,
        metadata_cache_bytes: 1 << 20,
        delays: Default::default(),
        producers: Default::default(),
        verify_bodies: true,
        is_sync_flush: false,
        repair: false,
    }
}

fn append(writer: &mut LogWriter, topic: &str, queue: QueueId, offset: u64, origin: i64) {
    let body = [b'x'; 3000];
    let mut record = Record {
        topic,
        queue,
        queue_offset: QueueOffset(offset),
        physical_offset: PhysicalOffset::ZERO,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 1,
        born_host: "127.0.0.1:1".parse().expect("an address"),
        store_timestamp_ms: 1000,
        store_host: "127.0.0.1:2".parse().expect("an address"),
        reconsume_times: 0,
        prepared_transaction_offset: origin,
        body: &body,
        body_crc: body_crc(&body),
        properties: b"",
    };
    let bytes = record.encoded_bytes();
    if writer.reserve(bytes).is_err() {
        writer.log().add_segment().expect("a segment");
    }
    record.physical_offset = writer.reserve(bytes).expect("room");
    writer.append(&record);
    writer.publish();
}

struct Life {
    folder: tempfile::TempDir,
    disk: Arc<dyn Disk>,
}

impl Life {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            disk: Arc::new(FaultDisk::new()),
        }
    }

    fn options(&self) -> StoreOptions {
        options(self.folder.path())
    }

    fn open(&self) -> (Store, OpenReport) {
        Store::open(self.disk.clone(), self.options()).expect("the store opens")
    }
}

fn orders(store: &Store) -> (u64, u64) {
    let queue = store.queues.find("orders", QueueId(0));
    queue.map_or((0, 0), |q| (q.min_offset().0, q.max_offset().0))
}

#[test]
fn a_tail_is_cut_kept_and_forgotten() {
    let life = Life::new();
    let (store, _) = life.open();
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
    let (store, _) = life.open();
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

    let (store, report) = life.open();
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
    let (store, _) = life.open();
    let mut writer = LogWriter::resume(store.log.clone()).expect("a writer");
    for offset in 0..30 {
        append(&mut writer, "orders", QueueId(0), offset, 0);
    }
    store.close(PhysicalOffset::ZERO).expect("it closes");
    drop((writer, store));
    let at = PhysicalOffset(5 << 16);
    Store::begin_anew(&life.disk, &life.options(), at).expect("it begins anew");
    let (store, _) = life.open();
    assert_eq!((store.log.begin(), store.log.appended()), (at, at));
    assert_eq!(orders(&store), (0, 0));
    let mut writer = LogWriter::resume(store.log.clone()).expect("a writer");
    for offset in 700..703 {
        append(&mut writer, "orders", QueueId(0), offset, 0);
    }
    let end = store.log.appended();
    store.close(at).expect("it closes");
    drop((writer, store));
    let (store, _) = life.open();
    assert_eq!((store.log.begin(), store.log.appended()), (at, end));
    assert_eq!(orders(&store), (700, 703));
}
