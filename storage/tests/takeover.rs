//! Stores that RocketMQ left, and stores that are left to RocketMQ.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use castmq_protocol::model::{
    GroupConfig, GroupName, QueueId, QueueOffset, TopicConfig, TopicName, group_attributes, keys,
    system_topics,
};
use castmq_protocol::record::Record;
use castmq_storage::commit_log::LogWriter;
use castmq_storage::disk::os::OsDisk;
use castmq_storage::metadata::StoredOffset;
use castmq_storage::store::{Store, StoreError, StoreOptions};
use castmq_storage::takeover;
use castmq_storage::timer::{Ends, Entry, Kind, Timer, TimerOptions};

const TOPICS: &str = r#"{
	"dataVersion":{"counter":3,"stateVersion":0,"timestamp":1700000000000},
	"topicConfigTable":{
		"orders":{"attributes":{"message.type":"FIFO"},"order":true,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"orders","topicSysFlag":0,"writeQueueNums":3},
		"rmq_sys_REVIVE_LOG_c":{"perm":6,"readQueueNums":1,"topicName":"rmq_sys_REVIVE_LOG_c","writeQueueNums":1}
	}
}"#;
const GROUPS: &str = r#"{"dataVersion":{"counter":1},"forbiddenTable":{},"subscriptionGroupTable":{
	"bills":{"groupName":"bills","retryMaxTimes":3,"retryQueueNums":1,"groupRetryPolicy":{"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":1000,"max":5000,"multiplier":4}}},
	"plain":{"groupName":"plain","groupRetryPolicy":{"type":"CUSTOMIZED"}}
}}"#;
const OFFSETS: &str = r#"{"dataVersion":{"counter":7},"groupTopicMap":{},"offsetTable":{
	"orders@bills":{0:2,1:0,"2":0},
	"orders@plain":{0:3},
	"RMQ_SYS_TRANS_HALF_TOPIC@CID_RMQ_SYS_TRANS":{0:5},
	"no topic@bills":{0:1}
},"pullOffsetTable":{}}"#;
const DELAYS: &str = r#"{"dataVersion":{"counter":1},"offsetTable":{1:10,3:20}}"#;

/// A folder of RocketMQ's with three messages and these files.
fn rocketmq_store(root: &Path) {
    let store = open(root).unwrap();
    let several =
        |queue, topic, count| (0..count).map(move |offset| (queue, topic, offset, "", "body"));
    let messages = several(0, "orders", 3)
        .chain(several(0, system_topics::SCHEDULE, 20))
        .chain(several(2, system_topics::SCHEDULE, 20))
        .chain(several(0, system_topics::TRANSACTION_HALF, 7))
        // The last of those was asked about once more.
        .chain([7, 8].map(|offset| {
            (
                0,
                system_topics::TRANSACTION_HALF,
                offset,
                "UNIQ_KEY\u{1}id\u{2}",
                "body",
            )
        }));
    append(&store, &messages.collect::<Vec<_>>());
    store.close(store.log.begin()).unwrap();
    drop(store);
    // What only CastMQ has.
    fs::remove_dir_all(root.join("metadata")).unwrap();
    fs::remove_file(root.join("checkpoint")).unwrap();
    write_files(root);
}

fn write_files(root: &Path) {
    let config = root.join("config");
    fs::create_dir_all(&config).unwrap();
    for (name, text) in [
        ("topics.json", TOPICS),
        ("subscriptionGroup.json", GROUPS),
        ("consumerOffset.json", OFFSETS),
        ("delayOffset.json", DELAYS),
    ] {
        fs::write(config.join(name), text).unwrap();
    }
}

fn options(root: &Path) -> StoreOptions {
    support::options(root, root.join("metadata"))
}

fn open(root: &Path) -> Result<Store, StoreError> {
    Store::open(Arc::new(OsDisk), options(root)).map(|(store, _)| store)
}

fn refusal(root: &Path) -> String {
    open(root).unwrap_err().to_string()
}

/// A message: queue, topic, offset, properties, body.
type Message<'a> = (u32, &'a str, u64, &'a str, &'a str);

/// Writes messages into the log; closing the store brings them to their queues.
fn append(store: &Store, messages: &[Message<'_>]) {
    let mut writer = LogWriter::resume(store.log.clone()).unwrap();
    for (queue, topic, offset, properties, body) in messages {
        let mut record = Record {
            properties: properties.as_bytes(),
            ..support::message(topic, QueueId(*queue), *offset, body.as_bytes())
        };
        record.physical_offset = writer.reserve(record.encoded_bytes()).unwrap();
        writer.append(&record);
    }
    writer.publish();
}

fn offset(group: &str, queue: u32, offset: u64) -> StoredOffset {
    (
        GroupName::new(group).unwrap(),
        (TopicName::new("orders").unwrap(), QueueId(queue)),
        QueueOffset(offset),
    )
}

fn orders(store: &Store) -> Option<TopicConfig> {
    let topics = store.metadata.topics().unwrap();
    topics
        .into_iter()
        .find(|(name, _)| name.as_str() == "orders")
        .map(|(_, config)| config)
}

fn group(store: &Store, wanted: &str) -> GroupConfig {
    let groups = store.metadata.groups().unwrap();
    let found = groups.into_iter().find(|(name, _)| name.as_str() == wanted);
    found.map(|(_, config)| config).expect(wanted)
}

#[test]
fn what_rocketmq_keeps_in_files_is_taken_once() {
    let folder = tempfile::tempdir().unwrap();
    rocketmq_store(folder.path());
    let store = open(folder.path()).unwrap();
    let config = orders(&store).unwrap();
    assert_eq!(
        (config.read_queues, config.write_queues, config.order),
        (4, 3, true)
    );
    assert_eq!(config.attributes["message.type"], "FIFO");
    let bills = group(&store, "bills");
    assert_eq!(bills.retry_max, 3);
    assert_eq!(
        bills.attributes[group_attributes::RETRY_DELAYS],
        "1000ms 4000ms 5000ms"
    );
    assert_eq!(group(&store, "plain"), GroupConfig::default());
    let taken = store.metadata.offsets().unwrap();
    for offset in [offset("bills", 0, 2), offset("plain", 0, 3)] {
        assert!(taken.contains(&offset), "{taken:?}");
    }
    // How far RocketMQ was with what no record tells of, also after a crash.
    let is_as_left = |store: &Store| {
        assert_eq!(store.unseen.moved.next_scheduled(0), QueueOffset(10));
        assert_eq!(store.unseen.moved.next_scheduled(2), QueueOffset(20));
        assert_eq!(store.unseen.halves.open(), 3);
        let is_open = |offset| store.unseen.halves.find(QueueOffset(offset)).is_some();
        assert_eq!(
            [4, 5, 6, 7, 8].map(is_open),
            [false, true, true, false, true]
        );
    };
    is_as_left(&store);
    drop(store);
    let store = open(folder.path()).unwrap();
    is_as_left(&store);
    // What a group has committed since is not lowered again.
    let (name, (topic, queue), _) = offset("bills", 0, 2);
    store
        .metadata
        .put_offset(&name, &topic, queue, Some(QueueOffset(3)))
        .unwrap();
    store.close(store.log.appended()).unwrap();
    drop(store);
    let store = open(folder.path()).unwrap();
    assert!(
        store
            .metadata
            .offsets()
            .unwrap()
            .contains(&offset("bills", 0, 3))
    );
}

#[test]
fn a_file_that_is_empty_or_torn_counts_as_its_backup() {
    for torn in ["", " \n", &OFFSETS[..60]] {
        let folder = tempfile::tempdir().unwrap();
        rocketmq_store(folder.path());
        let config = folder.path().join("config");
        fs::write(config.join("consumerOffset.json.bak"), OFFSETS).unwrap();
        fs::write(config.join("consumerOffset.json"), torn).unwrap();
        fs::rename(config.join("topics.json"), config.join("topics.json.bak")).unwrap();
        let store = open(folder.path()).unwrap();
        assert!(
            store
                .metadata
                .offsets()
                .unwrap()
                .contains(&offset("bills", 0, 2))
        );
        assert!(orders(&store).is_some());
    }
}

#[test]
fn files_that_are_torn_without_a_backup_are_refused_and_can_be_mended() {
    let folder = tempfile::tempdir().unwrap();
    rocketmq_store(folder.path());
    let topics = folder.path().join("config/topics.json");
    fs::write(&topics, &TOPICS[..100]).unwrap();
    let refused = refusal(folder.path());
    assert!(refused.contains("topics.json cannot be read"), "{refused}");
    assert!(!folder.path().join("abort").exists(), "nothing was changed");
    fs::write(&topics, TOPICS).unwrap();
    assert!(orders(&open(folder.path()).unwrap()).is_some());
}

#[test]
fn a_start_that_fails_later_takes_the_files_again() {
    let folder = tempfile::tempdir().unwrap();
    rocketmq_store(folder.path());
    // No folder of queues can be made where a file is.
    let queues = folder.path().join("consumequeue");
    fs::rename(&queues, folder.path().join("aside")).unwrap();
    fs::write(&queues, "").unwrap();
    open(folder.path()).unwrap_err();
    fs::remove_file(&queues).unwrap();
    fs::rename(folder.path().join("aside"), &queues).unwrap();
    let changed = TOPICS.replace("\"readQueueNums\":4", "\"readQueueNums\":5");
    fs::write(folder.path().join("config/topics.json"), changed).unwrap();
    let store = open(folder.path()).unwrap();
    assert_eq!(orders(&store).unwrap().read_queues, 5);
}

#[test]
fn files_that_change_without_an_export_are_taken_only_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    rocketmq_store(folder.path());
    let store = open(folder.path()).unwrap();
    store.close(store.log.appended()).unwrap();
    drop(store);
    let changed = OFFSETS.replace("\"orders@bills\":{0:2", "\"orders@bills\":{0:1");
    fs::write(folder.path().join("config/consumerOffset.json"), changed).unwrap();
    let refused = refusal(folder.path());
    assert!(refused.contains("castmq store import-config"), "{refused}");
    let imported = takeover::import(&OsDisk, &options(folder.path())).unwrap();
    assert_eq!(
        (imported.topics, imported.groups, imported.offsets),
        (2, 2, 5)
    );
    let store = open(folder.path()).unwrap();
    assert!(
        store
            .metadata
            .offsets()
            .unwrap()
            .contains(&offset("bills", 0, 1))
    );
}

#[test]
fn a_store_of_castmqs_own_with_files_of_rocketmqs_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let name = TopicName::new("mine").unwrap();
    store
        .metadata
        .put_topic(&name, &TopicConfig::with_queues(1))
        .unwrap();
    store.close(store.log.appended()).unwrap();
    drop(store);
    write_files(folder.path());
    let refused = refusal(folder.path());
    assert!(
        refused.contains("RocketMQ has run on this folder since"),
        "{refused}"
    );
}

#[test]
fn what_was_exported_comes_back_as_it_was_or_as_rocketmq_left_it() {
    let folder = tempfile::tempdir().unwrap();
    rocketmq_store(folder.path());
    let export = || {
        let store = open(folder.path()).unwrap();
        let before = (
            store.metadata.topics().unwrap(),
            store.metadata.groups().unwrap(),
            store.metadata.offsets().unwrap(),
            store.unseen.moved.all_next(),
        );
        takeover::export(&store, 1_700_000_000_000).unwrap();
        store.close(store.log.appended()).unwrap();
        before
    };
    export();
    let before = export();
    let config = folder.path().join("config");
    let bak = fs::read_to_string(config.join("topics.json.bak")).unwrap();
    assert!(bak.contains("\"counter\":4"), "{bak}");
    // Only RocketMQ's files.
    fs::remove_dir_all(folder.path().join("metadata")).unwrap();
    let after = export();
    assert_eq!(before.0, after.0);
    assert_eq!(before.1, after.1);
    assert_eq!(before.3, after.3);
    let of_groups = |offsets: &[StoredOffset]| {
        let own = |(group, ..): &&StoredOffset| !group.as_str().starts_with("CID_RMQ_SYS");
        offsets.iter().filter(own).cloned().collect::<Vec<_>>()
    };
    assert_eq!(of_groups(&before.2), of_groups(&after.2));
    // RocketMQ has gone on.
    let offsets = fs::read_to_string(config.join("consumerOffset.json")).unwrap();
    assert!(offsets.contains("\"orders@bills\":{0:2,"), "{offsets}");
    let gone_on = offsets.replace("\"orders@bills\":{0:2,", "\"orders@bills\":{0:3,");
    fs::write(config.join("consumerOffset.json"), gone_on).unwrap();
    let store = open(folder.path()).unwrap();
    assert!(
        store
            .metadata
            .offsets()
            .unwrap()
            .contains(&offset("bills", 0, 3))
    );
}

#[test]
fn what_cannot_be_taken_is_named_before_anything_changes() {
    type Case = (&'static str, fn(&Path));
    let cases: [Case; 7] = [
        ("DLedger", |root| {
            fs::create_dir_all(root.join("dledger-n0/data")).unwrap()
        }),
        ("BatchCQ", |root| {
            fs::create_dir_all(root.join("batchconsumequeue/t/0")).unwrap()
        }),
        ("extended consume queues", |root| {
            fs::create_dir_all(root.join("consumequeue_ext/t/0")).unwrap();
        }),
        ("light queue", |root| {
            fs::create_dir_all(root.join("consumequeue/%LMQ%a/0")).unwrap()
        }),
        ("static topic", |root| {
            let text = r#"{"topicQueueMappingInfoMap":{"fixed":{"topic":"fixed"}}}"#;
            fs::write(root.join("config/topicQueueMapping.json"), text).unwrap();
        }),
        ("it is compacted", |root| {
            let topics = TOPICS.replace(
                "\"message.type\":\"FIFO\"",
                "\"cleanup.policy\":\"COMPACTION\"",
            );
            fs::write(root.join("config/topics.json"), topics).unwrap();
        }),
        ("mqadmin rocksDBConfigToJson", |root| {
            let config = root.join("config");
            fs::remove_dir_all(&config).unwrap();
            fs::create_dir_all(config.join("topics")).unwrap();
            fs::write(config.join("topics/CURRENT"), "MANIFEST-000005\n").unwrap();
        }),
    ];
    for (named, make) in cases {
        let folder = tempfile::tempdir().unwrap();
        rocketmq_store(folder.path());
        make(folder.path());
        let refused = refusal(folder.path());
        assert!(refused.contains(named), "{named}: {refused}");
        assert!(!folder.path().join("abort").exists());
        assert!(!folder.path().join("metadata").exists());
    }
}

#[test]
fn a_group_goes_back_to_what_it_popped_and_did_not_acknowledge() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let store = open(root).unwrap();
    let body = |start: u64, more: &str| {
        format!(r#"{{"c":"bills","t":"orders","q":0,"so":{start},"pt":77,{more}}}"#)
    };
    let tag = |tag: &str| format!("{}\u{1}{tag}\u{2}", keys::TAGS);
    let waiting = |text: &str| {
        format!(
            "{}{}\u{1}rmq_sys_REVIVE_LOG_c\u{2}{}\u{1}5000\u{2}",
            tag(text),
            keys::REAL_TOPIC,
            keys::TIMER_OUT_MS
        )
    };
    let revive = "rmq_sys_REVIVE_LOG_c";
    let checkpoint = body(0, r#""n":4,"d":[0,1,2,3],"bm":1"#);
    let ack = body(0, r#""ao":1"#);
    let acks = body(0, r#""aol":[2]"#);
    append(
        &store,
        &[
            (0, "orders", 0, "", "a"),
            (0, "orders", 1, "", "b"),
            (0, "orders", 2, "", "c"),
            (0, "orders", 3, "", "d"),
            (0, "orders", 4, "", "e"),
            // This one is done with, as the group of the revive topic says.
            (
                0,
                revive,
                0,
                &tag("ck"),
                &body(0, r#""n":1,"d":[0],"pt":5"#),
            ),
            (0, revive, 1, &tag("ck"), &checkpoint),
            (0, revive, 2, &tag("ack"), &ack),
            (0, system_topics::TIMER, 0, &waiting("bAck"), &acks),
        ],
    );
    store.close(store.log.begin()).unwrap();
    drop(store);
    fs::remove_dir_all(root.join("metadata")).unwrap();
    write_files(root);
    let offsets = OFFSETS.replace(
        "\"orders@bills\":{0:2,",
        "\"rmq_sys_REVIVE_LOG_c@CID_RMQ_SYS_REVIVE_GROUP\":{0:1},\"orders@bills\":{0:5,",
    );
    fs::write(root.join("config/consumerOffset.json"), offsets).unwrap();
    let store = open(root).unwrap();
    let taken = store.metadata.offsets().unwrap();
    assert!(taken.contains(&offset("bills", 0, 3)), "{taken:?}");
    assert!(taken.contains(&offset("plain", 0, 3)), "{taken:?}");
}

#[test]
fn what_the_timer_has_entered_since_its_checkpoint_is_not_left_to_be_entered_again() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let store = open(root).unwrap();
    let messages = (0..3).map(|offset| (0, system_topics::TIMER, offset, "", "body"));
    append(&store, &messages.collect::<Vec<_>>());
    store.close(store.log.begin()).unwrap();
    let ends = Ends {
        physical: store.log.appended(),
        queue: QueueOffset(3),
    };
    let now_ms = 1_700_000_000_000;
    let disk = Arc::new(OsDisk);
    let mut timer = Timer::open(disk, root, TimerOptions::default(), ends, now_ms).unwrap();
    for offset in (0..3).map(QueueOffset) {
        let place = store.queues.place(system_topics::TIMER, QueueId(0), offset);
        let entry = Entry {
            queue_offset: offset,
            physical: place.unwrap().unwrap(),
            size_bytes: 100,
            deliver_at_ms: now_ms + 60_000,
            kind: Kind::Message,
            topic_hash: 0,
        };
        timer.insert(&entry, now_ms).unwrap();
    }
    timer.flush().unwrap();
    drop((timer, store));
    let store = open(root).unwrap();
    takeover::export(&store, now_ms).unwrap();
    store.close(store.log.appended()).unwrap();
    let check = fs::read(root.join("config/timercheck")).unwrap();
    assert_eq!(check[16..24], 3_u64.to_be_bytes());
}
