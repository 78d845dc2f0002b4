mod noted;

use std::path::Path;

use castmq_protocol::record::Record;

use super::*;
use crate::commit_log::LogWriter;
use crate::commit_log::recovery::{Known, Start, open};
use crate::disk::fault::FaultDisk;

fn empty_log(segment_bytes: u64) -> Arc<CommitLog> {
    let known = Known {
        durable: Some(PhysicalOffset::ZERO),
        start: Start::Beginning,
        verify_bodies: true,
        may_be_torn: true,
        clean: false,
        repair: false,
    };
    let disk = Arc::new(FaultDisk::new());
    open(disk, Path::new("/log"), segment_bytes, known)
        .unwrap()
        .0
}

fn record() -> Record<'static> {
    Record {
        topic: "T",
        queue: QueueId(0),
        queue_offset: QueueOffset(0),
        physical_offset: PhysicalOffset::ZERO,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 1,
        born_host: "127.0.0.1:1".parse().unwrap(),
        store_timestamp_ms: 1000,
        store_host: "127.0.0.1:2".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"body",
        body_crc: None,
        properties: b"",
    }
}

/// A log with one record for each of these queues and offsets.
fn logged(records: &[(u32, u64)]) -> (Arc<CommitLog>, Arc<ConsumeQueues>, Vec<PhysicalOffset>) {
    logged_with(records, b"", 0)
}

/// The same with these properties and this flag.
fn logged_with(
    records: &[(u32, u64)],
    properties: &[u8],
    sys_flag: i32,
) -> (Arc<CommitLog>, Arc<ConsumeQueues>, Vec<PhysicalOffset>) {
    let log = empty_log(65_536);
    let mut writer = LogWriter::resume(log.clone()).unwrap();
    let mut places = Vec::new();
    for (queue, offset) in records {
        let mut record = Record {
            queue: QueueId(*queue),
            queue_offset: QueueOffset(*offset),
            sys_flag,
            properties,
            ..record()
        };
        record.physical_offset = writer.reserve(record.encoded_bytes()).unwrap();
        places.push(record.physical_offset);
        writer.append(&record);
    }
    writer.publish();
    let queues = ConsumeQueues::open(Arc::new(FaultDisk::new()), "/queues", 20_000).unwrap();
    (log, Arc::new(queues), places)
}

#[test]
fn each_queue_gets_its_messages_and_is_told_once() {
    let (log, queues, _) = logged(&[(0, 0), (1, 0), (0, 1), (0, 2)]);
    let mut dispatch = Dispatch::new(
        log.clone(),
        queues,
        DelayLevels::default(),
        PhysicalOffset::ZERO,
    );
    let mut touched = Vec::new();
    let tell = |queue: &Arc<ConsumeQueue>| touched.push((queue.id().0, queue.max_offset().0));
    let done = dispatch.advance(log.appended(), 1 << 20, tell).unwrap();
    assert_eq!((done.messages, done.position), (4, log.appended()));
    assert_eq!(touched, [(0, 3), (1, 1)]);
}

/// What is met of keys in one message with these properties and this flag.
fn keyed(properties: &[u8], sys_flag: i32) -> Option<Vec<IndexKey>> {
    let (log, queues, _) = logged_with(&[(0, 0)], properties, sys_flag);
    let from = PhysicalOffset::ZERO;
    let dispatch = Dispatch::new(log.clone(), queues, DelayLevels::default(), from);
    let mut dispatch = dispatch.finding_keys();
    dispatch.advance(log.appended(), 1 << 20, |_| {}).unwrap();
    let keyed = dispatch.take_keyed()?;
    assert_eq!(keyed.range, PhysicalOffset::ZERO..log.appended());
    assert_eq!(dispatch.take_keyed(), None);
    keyed.keys
}

#[test]
fn keys_are_listed_the_unique_one_first() {
    let key = |key| IndexKey::new("T", key, PhysicalOffset::ZERO, 1000);
    let properties = b"KEYS\x01a  b\x02TAGS\x01t\x02UNIQ_KEY\x01u\x02KEYS\x01c\x02";
    let all = vec![key("u"), key("a"), key("b")];
    assert_eq!(keyed(properties, 0), Some(all.clone()));
    assert_eq!(keyed(properties, sys_flag::TRANSACTION_PREPARED), Some(all));
    let none = keyed(properties, sys_flag::TRANSACTION_ROLLBACK);
    assert_eq!(none, Some(Vec::new()));
    assert_eq!(keyed(b"TAGS\x01t\x02", 0), None);
}

#[test]
fn countless_keys_are_left_in_the_log() {
    let keys = "k ".repeat(3000);
    let properties = format!("KEYS\u{1}{keys}\u{2}");
    let records = [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5)];
    let (log, queues, _) = logged_with(&records, properties.as_bytes(), 0);
    let from = PhysicalOffset::ZERO;
    let dispatch = Dispatch::new(log.clone(), queues, DelayLevels::default(), from);
    let mut dispatch = dispatch.finding_keys();
    dispatch.advance(log.appended(), 1 << 20, |_| {}).unwrap();
    let keyed = dispatch.take_keyed().unwrap();
    assert_eq!((keyed.range.end, keyed.keys), (log.appended(), None));
}

#[test]
fn what_a_queue_refuses_is_where_it_stays_and_costs_other_queues_nothing() {
    let (log, queues, places) = logged(&[(0, 0), (1, 0), (0, 5), (1, 1), (0, 6)]);
    let mut dispatch = Dispatch::new(
        log.clone(),
        queues.clone(),
        DelayLevels::default(),
        PhysicalOffset::ZERO,
    );
    for _ in 0..2 {
        let refused = dispatch.advance(log.appended(), 1 << 20, |_| {});
        let Err(DispatchError::Queue { offset, .. }) = refused else {
            panic!("the gap was not noticed: {refused:?}");
        };
        assert_eq!((offset, dispatch.position()), (places[2], places[2]));
    }
    let topic = TopicName::new("T").unwrap();
    let next = |queue| queues.next_offset(&topic, QueueId(queue)).0;
    assert_eq!((next(0), next(1)), (1, 2));
}

#[test]
fn keys_of_what_a_queue_refuses_are_listed_once_it_comes_again() {
    let records = [(0, 0), (1, 0), (0, 5), (1, 1)];
    let (log, queues, places) = logged_with(&records, b"KEYS\x01k\x02", 0);
    let from = PhysicalOffset::ZERO;
    let dispatch = Dispatch::new(log.clone(), queues, DelayLevels::default(), from);
    let mut dispatch = dispatch.finding_keys();
    assert!(dispatch.advance(log.appended(), 1 << 20, |_| {}).is_err());
    let keyed = dispatch.take_keyed().unwrap();
    assert_eq!(keyed.range, from..places[2]);
    let listed = keyed.keys.unwrap();
    let listed: Vec<_> = listed.iter().map(IndexKey::physical).collect();
    assert_eq!(listed, places[..2]);
    assert!(dispatch.advance(log.appended(), 1 << 20, |_| {}).is_err());
    assert_eq!(dispatch.take_keyed(), None);
}
