//! A store that RocketMQ 5.5.0 filled and left: `tests/interop/fixtures/genuine/store.bin`, made by `tests/interop/store.sh`.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use castmq_actors::Parts;
use castmq_actors::store_options;
use castmq_client::model::QueueId;
use castmq_client::{BrokerAdmin, Client, Message};
use castmq_config::Settings;
use castmq_storage::disk::os::OsDisk;
use castmq_storage::store::Store;
use castmq_storage::takeover;

use support::{admin, read_all, run, started, stop, stored, text, until};

/// What Fill leaves of each kind of which there are few.
const FEW: u64 = 4;

struct Packed<'a>(&'a [u8]);

impl Packed<'_> {
    fn number<const N: usize>(&mut self) -> u64 {
        let (bytes, rest) = self.0.split_first_chunk::<N>().expect("a number");
        self.0 = rest;
        bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn bytes(&mut self, count: u64) -> &[u8] {
        let (bytes, rest) = self.0.split_at(count as usize);
        self.0 = rest;
        bytes
    }
}

/// Unpacks the store into a folder.
fn unpack(folder: &Path) {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/fixtures/genuine/store.bin");
    let packed = fs::read(path).expect("the fixture");
    let mut packed = Packed(&packed);
    while !packed.0.is_empty() {
        let length = packed.number::<2>();
        let name = String::from_utf8(packed.bytes(length).to_vec()).expect("a path");
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let file = File::create(&path).expect("a file");
        file.set_len(packed.number::<8>()).expect("a length");
        loop {
            let (at, length) = (packed.number::<8>(), packed.number::<4>());
            if length == 0 {
                break;
            }
            file.write_all_at(packed.bytes(length), at)
                .expect("a piece");
        }
    }
}

/// With the sizes of files that it was written with.
fn settings(folder: &Path) -> Settings {
    let mut settings = support::settings(folder);
    settings.store.commit_log_segment_bytes = 1 << 20;
    settings.store.consume_queue_file_bytes = 6000;
    settings.store.index_hash_slots = 100;
    settings.store.index_max_entries = 1000;
    settings.limits.max_message_bytes = 65_536;
    settings
}

async fn bodies(client: &Client, admin: &BrokerAdmin, topic: &str) -> Vec<String> {
    let mut bodies: Vec<_> = read_all(client, admin, topic)
        .await
        .iter()
        .map(text)
        .collect();
    bodies.sort();
    bodies
}

fn numbered(topic: &str, numbers: impl Iterator<Item = u64>) -> Vec<String> {
    let bodies = numbers.map(|number| match number % 100 {
        7 => format!("{topic} {number}{}", " long".repeat(1200)),
        _ => format!("{topic} {number}"),
    });
    // As text.
    bodies.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Where a group is in the queues of a topic, all of them together.
async fn committed(admin: &BrokerAdmin, group: &str, topic: &str) -> u64 {
    let details = admin.show_group(group).await.expect("a group");
    let of_topic = details
        .progress
        .iter()
        .filter(|progress| progress.queue.topic == topic);
    of_topic
        .filter_map(|progress| progress.committed)
        .map(|offset| offset.0)
        .sum()
}

async fn check(client: &Client, admin: &BrokerAdmin) {
    for (topic, numbers) in [
        ("taken-batched", 0..22),
        ("taken-single", 0..10),
        ("taken-ordered", 0..6),
        // The first was rolled back.
        ("taken-settled", 1..2),
        ("taken-delayed", 0..FEW),
        ("taken-timed", 0..FEW),
        ("taken-popped", 0..FEW),
        // Their time came while nobody had the store.
        ("taken-under-way-delayed", 0..FEW),
        ("taken-under-way-timed", 0..FEW),
    ] {
        until(async || stored(admin, topic).await >= numbers.end - numbers.start).await;
        assert_eq!(
            bodies(client, admin, topic).await,
            numbered(topic, numbers),
            "{topic}"
        );
    }
    for topic in ["%RETRY%taken-failing-group", "%DLQ%taken-dead-group"] {
        until(async || stored(admin, topic).await >= FEW).await;
        assert_eq!(stored(admin, topic).await, FEW, "{topic}");
    }
    let long = format!("taken-{}", "long-".repeat(14));
    let retries = format!("%RETRY%{long}group_{long}");
    assert!(retries.len() > 127);
    assert_eq!(stored(admin, &retries).await, FEW);
    assert_eq!(committed(admin, "taken-behind", "taken-batched").await, 11);
    // Three were popped, and the first two acknowledged.
    assert_eq!(committed(admin, "taken-pop-group", "taken-popped").await, 2);
    let group = admin.show_group("taken-dead-group").await.expect("a group");
    assert_eq!(group.config.retry_max, 0);
    // After a crash the index is made of the log while the broker serves.
    let by_key = async || {
        let found = admin.messages_by_key("taken-single", "key-7", 10, 0..=i64::MAX);
        found.await.expect("messages").len()
    };
    until(async || by_key().await >= 1).await;
    assert_eq!(by_key().await, 1);
}

#[test]
fn a_store_of_rocketmqs_is_served_goes_back_and_comes_again() {
    let folder = tempfile::tempdir().expect("a folder");
    unpack(folder.path());
    let settings = settings(folder.path());
    run(async {
        let (node, client) = started(&settings).await;
        let admin = admin(&client).await;
        check(&client, &admin).await;
        let producer = client.producer().build();
        let sent = producer
            .send(Message::new("taken-popped", "taken-popped 4"))
            .await;
        assert_eq!(sent.expect("it is stored").offset.0, FEW);
        producer.close().await;
        stop(node).await;
    });
    let open = || Store::open(std::sync::Arc::new(OsDisk), store_options(&settings));
    let (store, _) = open().expect("it opens");
    assert_eq!(store.unseen.halves.open() as u64, FEW);
    takeover::export(&store, support::now_ms()).expect("it is exported");
    store.close(store.log.appended()).expect("it is closed");
    let timer = store.queues.find("rmq_sys_wheel_timer", QueueId(0));
    let entered = timer.expect("the timer topic").max_offset().0;
    drop(store);
    // Nothing is entered or delivered once more.
    let check = fs::read(folder.path().join("config/timercheck")).expect("the timer's checkpoint");
    assert_eq!(check[16..24], entered.to_be_bytes());
    // What RocketMQ would find.
    fs::remove_dir_all(folder.path().join("metadata")).expect("the metadata goes");
    let (store, _) = open().expect("it opens");
    assert_eq!(store.unseen.halves.open() as u64, FEW);
    store.close(store.log.appended()).expect("it is closed");
    drop(store);
    run(async {
        let node = castmq_actors::Node::start(&settings, Parts::Standalone).await;
        let node = node.expect("it starts");
        let client = support::client(&node).await;
        let admin = admin(&client).await;
        assert_eq!(stored(&admin, "taken-popped").await, FEW + 1);
        assert_eq!(committed(&admin, "taken-behind", "taken-batched").await, 11);
        // Nothing was moved twice.
        for topic in [
            "taken-under-way-delayed",
            "taken-under-way-timed",
            "%RETRY%taken-failing-group",
        ] {
            assert_eq!(stored(&admin, topic).await, FEW, "{topic}");
        }
        stop(node).await;
    });
}
