//! What the index has, from one life of a store to the next.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use castmq_protocol::model::{PhysicalOffset, QueueId};
use castmq_protocol::record::Record;
use castmq_storage::commit_log::LogWriter;
use castmq_storage::store::{Store, index_keys};
use support::Life;

/// Appends messages, each with its number as its key when they have any.
fn append(store: &Store, numbers: std::ops::Range<u64>, has_key: bool) {
    let mut writer = LogWriter::resume(store.log.clone()).expect("a writer");
    for number in numbers {
        let key = format!("KEYS\u{1}{number}\u{2}");
        let mut record = Record {
            properties: if has_key { key.as_bytes() } else { b"" },
            ..support::message("orders", QueueId(0), number, b"body")
        };
        record.physical_offset = writer.reserve(record.encoded_bytes()).expect("room");
        writer.append(&record);
        writer.publish();
    }
}

/// How often the index names a message by its number.
fn times_found(store: &Store, number: u64) -> usize {
    let index = store.index.as_ref().expect("an index");
    let found = index.query("orders", &number.to_string(), 10, 0, i64::MAX);
    found.expect("it can be asked").len()
}

#[test]
fn a_clean_stop_enters_what_nobody_has_entered() {
    let life = Life::new();
    let store = life.open();
    append(&store, 0..5, true);
    store.close(PhysicalOffset::ZERO).expect("it closes");
    let end = store.log.appended();
    drop(store);
    let store = life.open();
    assert_eq!(store.indexed(), Some(end));
    for number in 0..5 {
        assert_eq!(times_found(&store, number), 1);
    }
}

#[test]
fn messages_without_keys_are_not_read_again() {
    let life = Life::new();
    let store = life.open();
    append(&store, 0..2, true);
    append(&store, 2..20, false);
    store.close(PhysicalOffset::ZERO).expect("it closes");
    let end = store.log.appended();
    drop(store);
    assert_eq!(life.open().indexed(), Some(end));
}

#[test]
fn keys_are_entered_once_however_often_the_log_is_read() {
    let life = Life::new();
    let store = life.open();
    append(&store, 0..5, true);
    store.enter_missing_keys(300).expect("they are entered");
    let begin = store.log.begin();
    let index = store.index.as_ref().expect("an index");
    for _ in 0..3 {
        let all = begin..store.log.appended();
        index_keys(&store.log, index, all).expect("they are entered");
    }
    for number in 0..5 {
        assert_eq!(times_found(&store, number), 1);
    }
}

#[test]
fn an_index_that_was_removed_is_made_again_from_the_log() {
    let life = Life::new();
    let store = life.open();
    append(&store, 0..5, true);
    append(&store, 5..8, false);
    store.close(PhysicalOffset::ZERO).expect("it closes");
    let begin = store.log.begin();
    drop(store);
    let folder = life.options().index;
    for entry in life.disk.list(&folder).expect("a folder") {
        let path = folder.join(&entry.name);
        life.disk.remove(&path).expect("it is removed");
    }
    let store = life.open();
    assert_eq!(store.indexed(), Some(begin));
    assert_eq!(store.enter_missing_keys(u64::MAX).expect("keys"), 0);
    for number in 0..5 {
        assert_eq!(times_found(&store, number), 1);
    }
}

#[test]
fn what_comes_where_the_log_was_cut_is_entered() {
    let life = Life::new();
    let store = life.open();
    append(&store, 0..3, true);
    let at = store.log.appended();
    append(&store, 3..9, false);
    store.close(PhysicalOffset::ZERO).expect("it closes");
    drop(store);
    Store::cut(&life.disk, &life.options(), at, "a test").expect("it is cut");
    let store = life.open();
    assert_eq!(store.indexed(), Some(at));
    append(&store, 3..6, true);
    store.close(at).expect("it closes");
    drop(store);
    let store = life.open();
    for number in 0..6 {
        assert_eq!(times_found(&store, number), 1);
    }
}
