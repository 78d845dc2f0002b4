//! Messages that wait: never early, never lost, never twice, whatever happens to the broker.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]

mod support;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use castmq_client::{Client, Message, Producer, ReceivedMessage, SeekTo};

use support::process::Process;
use support::{client, run, settings, start, stop};

const TOPIC: &str = "reminders";

const LEVELS: &str = "20ms 100ms 300ms 600ms";
const DELAYS_MS: [i64; 4] = [20, 100, 300, 600];

fn delayed(id: &str, level: u8) -> Message {
    let message = Message::builder(TOPIC, id.to_owned()).property("colour", "green");
    message.delay_level(level).build().expect("a message")
}

/// Reads the topic from its first message on, until all of these have come. Returns how often each came, and sees to it
/// that none was early.
async fn read_until(client: &Client, wanted: &HashSet<String>) -> HashMap<String, u32> {
    let mut consumer = client.pull_consumer("reader").build().expect("a consumer");
    let queues = consumer.queues(TOPIC).await.expect("queues");
    consumer.assign(queues.clone()).await.expect("assigned");
    for queue in &queues {
        consumer
            .seek(queue, SeekTo::Earliest)
            .await
            .expect("sought");
    }
    let mut seen = HashMap::new();
    let mut missing = wanted.clone();
    while !missing.is_empty() {
        let messages = consumer.poll(Duration::from_secs(5)).await.expect("a poll");
        for message in messages {
            let id = check(&message);
            missing.remove(&id);
            *seen.entry(id).or_default() += 1;
        }
    }
    seen
}

/// A message's identity, if it is one that could come by now.
fn check(message: &ReceivedMessage) -> String {
    let id = String::from_utf8(message.body().expect("a body").to_vec()).expect("text");
    let level: usize = id
        .split('-')
        .next()
        .and_then(|level| level.parse().ok())
        .expect("a level");
    let waited_ms = message.store_timestamp_ms() - message.born_timestamp_ms();
    assert!(
        waited_ms >= DELAYS_MS[level - 1],
        "{id} waited for {waited_ms} ms"
    );
    assert_eq!(message.topic(), TOPIC);
    assert_eq!(message.property("colour"), Some("green"));
    assert_eq!(message.property("DELAY"), None);
    id
}

async fn send(producer: &Producer, ids: &[(String, u8)]) -> HashSet<String> {
    let messages = ids.iter().map(|(id, level)| delayed(id, *level));
    let receipts = producer.send_all(messages).await;
    let stored = ids
        .iter()
        .zip(receipts)
        .filter(|(_, receipt)| receipt.is_ok());
    stored.map(|((id, _), _)| id.clone()).collect()
}

/// The last messages of each level: when they have come, all before them have.
fn markers() -> Vec<(String, u8)> {
    (1..=4)
        .map(|level| (format!("{level}-last"), level))
        .collect()
}

#[test]
fn a_delayed_message_comes_once_and_not_before_it_is_due() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = settings(folder.path());
        settings.broker.delay_levels = LEVELS.to_owned();
        let node = start(&settings).await;
        let client = client(&node).await;
        let producer = client.producer().build();
        let ids: Vec<_> = (0..400_u32)
            .map(|n| {
                let level = n % 4 + 1;
                (format!("{level}-{n}"), level as u8)
            })
            .chain(markers())
            .collect();
        let stored = send(&producer, &ids).await;
        assert_eq!(stored.len(), ids.len());
        let seen = read_until(&client, &stored).await;
        assert!(seen.values().all(|times| *times == 1));
        // Levels beyond the last are the last.
        let beyond = delayed("4-beyond", 200);
        producer.send(beyond).await.expect("it is stored");
        read_until(&client, &HashSet::from(["4-beyond".to_owned()])).await;
        producer.close().await;
        stop(node).await;
    });
}

fn number(variable: &str, default: u64) -> u64 {
    let set = std::env::var(variable).ok();
    set.map_or(default, |text| text.parse().expect("a number"))
}

fn spawn(data: &Path) -> Process {
    let settings = [
        ("broker.delay_levels", LEVELS),
        ("store.commit_log_segment_bytes", "8388608"),
        ("store.index_hash_slots", "1000"),
        ("store.index_max_entries", "10000"),
        ("limits.max_message_bytes", "1048576"),
    ];
    let mut broker = Process::spawn(data, &settings);
    broker.ready();
    broker
}

#[test]
fn delayed_messages_survive_kill_9_and_come_once() {
    let seed = number("CASTMQ_CRASH_SEED", fastrand::u64(..));
    println!("seed {seed}");
    fastrand::seed(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    run(async {
        let mut acknowledged = HashSet::new();
        for cycle in 0..number("CASTMQ_CRASH_CYCLES", 8) {
            let broker = spawn(&data);
            let client = Client::connect(&broker.name_server)
                .await
                .expect("a client");
            let producer = client
                .producer()
                .send_timeout(Duration::from_millis(200))
                .build();
            for round in 0..fastrand::u32(1..8) {
                let ids: Vec<_> = (0..fastrand::u32(..300))
                    .map(|n| {
                        let level = fastrand::u8(1..=4);
                        (format!("{level}-{cycle}/{round}/{n}"), level)
                    })
                    .collect();
                acknowledged.extend(send(&producer, &ids).await);
                tokio::time::sleep(Duration::from_millis(fastrand::u64(..200))).await;
            }
            let panics = broker.panics();
            let ids: Vec<_> = (0..300)
                .map(|n| (format!("1-{cycle}/last/{n}"), 1))
                .collect();
            let kill = async {
                tokio::time::sleep(Duration::from_micros(fastrand::u64(..20_000))).await;
                broker.kill();
            };
            let (stored, ()) = tokio::join!(send(&producer, &ids), kill);
            acknowledged.extend(stored);
            assert_eq!(panics, Vec::<String>::new());
        }
        let broker = spawn(&data);
        let client = Client::connect(&broker.name_server)
            .await
            .expect("a client");
        let producer = client.producer().build();
        let last = send(&producer, &markers()).await;
        assert_eq!(last.len(), 4);
        acknowledged.extend(last);
        let seen = read_until(&client, &acknowledged).await;
        let twice: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "{twice:?}");
        println!(
            "{} messages, {} of them acknowledged",
            seen.len(),
            acknowledged.len()
        );
        broker.kill();
    });
}
