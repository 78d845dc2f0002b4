//! Messages that wait: never early, never lost, never twice, whatever happens to the broker.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]

mod support;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use castmq_actors::supervision::capture_panics;
use castmq_client::{Client, Message, Producer, ReceivedMessage};

use support::process::Process;
use support::{
    admin, now_ms, number, panics, reader, run, seed, settings, started, stop, stored, text,
};

const TOPIC: &str = "reminders";

const LEVELS: &str = "20ms 100ms 300ms 600ms";

/// How a message waits.
#[derive(Debug, Clone, Copy)]
enum Wait {
    /// For a delay level and its milliseconds.
    Level(u8, i64),
    /// Until a time, so many milliseconds from now.
    Until(i64),
}

const WAITS: [Wait; 8] = [
    Wait::Level(1, 20),
    Wait::Level(2, 100),
    Wait::Level(3, 300),
    Wait::Level(4, 600),
    Wait::Until(7),
    Wait::Until(250),
    Wait::Until(1_100),
    Wait::Until(2_900),
];

/// A message that says in its body for how long it has to wait.
fn delayed(name: &str, wait: Wait) -> (String, Message) {
    let (Wait::Level(_, wait_ms) | Wait::Until(wait_ms)) = wait;
    let id = format!("{}-{name}", wait_ms.max(0));
    let message = Message::builder(TOPIC, id.clone()).property("colour", "green");
    let due_ms = now_ms() + wait_ms;
    let message = match wait {
        Wait::Level(level, _) => message.delay_level(level),
        Wait::Until(_) => message.deliver_at_ms(due_ms),
    };
    let message = message.property("due", &due_ms.to_string());
    (id, message.build().expect("a message"))
}

/// Reads the topic from its first message on, until all of these have come and nothing is left of what is there: one that came
/// twice may lie behind the last of another queue. Returns how often each came, and sees to it that none was early.
async fn read_with(client: &Client, wanted: &HashSet<String>) -> HashMap<String, u32> {
    let admin = admin(client).await;
    let mut consumer = reader(client, TOPIC).await;
    let mut seen = HashMap::new();
    let mut missing = wanted.clone();
    let mut read = 0;
    while !missing.is_empty() || read < stored(&admin, TOPIC).await {
        let messages = consumer.poll(Duration::from_secs(5)).await.expect("a poll");
        read += messages.len() as u64;
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
    let id = text(message);
    let due_ms: i64 = message
        .property("due")
        .and_then(|due| due.parse().ok())
        .expect("a time");
    let early_ms = due_ms - message.store_timestamp_ms();
    assert!(early_ms <= 0, "{id} came {early_ms} ms early");
    assert_eq!(message.topic(), TOPIC);
    assert_eq!(message.property("colour"), Some("green"));
    assert_eq!(message.property("DELAY"), None);
    id
}

/// Sends messages, and returns the ids of those that are stored.
async fn send(producer: &Producer, names: &[(String, Wait)]) -> HashSet<String> {
    let messages = names.iter().map(|(name, wait)| delayed(name, *wait));
    let (ids, messages): (Vec<_>, Vec<_>) = messages.unzip();
    let receipts = producer.send_all(messages).await;
    let stored = ids.into_iter().zip(receipts);
    let stored = stored.filter(|(_, receipt)| receipt.is_ok());
    stored.map(|(id, _)| id).collect()
}

/// The last messages of each way to wait: when they have come, all before them have.
fn markers() -> Vec<(String, Wait)> {
    WAITS.map(|wait| ("last".to_owned(), wait)).to_vec()
}

#[test]
fn a_delayed_message_comes_once_and_not_before_it_is_due() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = settings(folder.path());
        settings.broker.delay_levels = LEVELS.to_owned();
        let (node, client) = started(&settings).await;
        let producer = client.producer().build();
        let names = (0..800).map(|n: usize| (n.to_string(), WAITS[n % WAITS.len()]));
        let names: Vec<_> = names.chain(markers()).collect();
        let stored = send(&producer, &names).await;
        assert_eq!(stored.len(), names.len());
        let seen = read_with(&client, &stored).await;
        assert!(seen.values().all(|times| *times == 1));
        // Levels beyond the last are the last, and a time that is past is now.
        let beyond = [
            ("beyond".to_owned(), Wait::Level(200, 600)),
            ("past".to_owned(), Wait::Until(-5_000)),
        ];
        let stored = send(&producer, &beyond).await;
        assert_eq!(stored.len(), 2);
        read_with(&client, &stored).await;
        producer.close().await;
        stop(node).await;
    });
}

#[test]
fn delayed_messages_come_once_though_their_sender_is_gone_and_what_moves_them_panics() {
    capture_panics();
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = settings(folder.path());
        settings.broker.delay_levels = LEVELS.to_owned();
        let (node, client) = started(&settings).await;
        let sender = Client::connect(&node.name_server_address().expect("one").to_string()).await;
        let sender = sender.expect("the client connects");
        let producer = sender.producer().build();
        let names = (0..4_000).map(|n: usize| (n.to_string(), WAITS[n % WAITS.len()]));
        let sent = send(&producer, &names.collect::<Vec<_>>()).await;
        drop((producer, sender));
        for actor in [
            "broker/delivery/schedule",
            "broker/delivery/timer",
            "broker/storage/log-writer",
            "broker/delivery/timer",
            "broker/delivery/schedule",
        ] {
            panics(&node, actor).await;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(5..300))).await;
        }
        let seen = read_with(&client, &sent).await;
        let again: Vec<_> = seen.iter().filter(|(_, times)| **times != 1).collect();
        assert!(again.is_empty(), "{again:?}");
        stop(node).await;
    });
}

#[test]
fn a_time_too_far_away_is_refused_with_the_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        let producer = client.producer().build();
        let (_, message) = delayed("far", Wait::Until(41 * 86_400_000));
        let error = producer.send(message).await.expect_err("it is refused");
        assert!(
            error.to_string().contains("broker.timer_max_delay_ms"),
            "{error}"
        );
        producer.close().await;
        stop(node).await;
    });
}

#[test]
fn a_message_says_how_long_it_waited_unless_its_properties_leave_no_room_for_that() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        let producer = client.producer().build();
        let (_, message) = delayed("short", Wait::Until(250));
        let sent_ms = now_ms();
        producer.send(message).await.expect("it is stored");
        // The longest that is taken: less than what is added later is missing to the limit.
        let mut letters = 32_767;
        let filled = |letters| {
            let message = Message::builder(TOPIC, "250-long").deliver_at_ms(now_ms() + 250);
            message.property("filler", &"f".repeat(letters)).build()
        };
        loop {
            letters -= 10;
            let message = filled(letters).expect("a message");
            match producer.send(message).await {
                Ok(_) => break,
                Err(error) => assert!(error.to_string().contains("longer than"), "{error}"),
            }
        }
        let mut consumer = reader(&client, TOPIC).await;
        let mut seen = Vec::new();
        while seen.len() < 2 {
            seen.extend(consumer.poll(Duration::from_secs(5)).await.expect("a poll"));
        }
        let time = |message: &ReceivedMessage, name: &str| -> Option<i64> {
            message.property(name)?.parse().ok()
        };
        for message in &seen {
            let entered = time(message, "TIMER_ENQUEUE_MS");
            let taken_out = time(message, "TIMER_DEQUEUE_MS");
            if text(message) == "250-long" {
                assert_eq!((entered, taken_out), (None, None));
                continue;
            }
            let (entered, taken_out) = (entered.expect("a time"), taken_out.expect("a time"));
            assert!(sent_ms <= entered && entered < sent_ms + 250);
            assert!(sent_ms + 250 <= taken_out && taken_out <= message.store_timestamp_ms());
        }
        producer.close().await;
        stop(node).await;
    });
}

#[test]
fn a_message_that_is_cancelled_never_comes() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        let producer = client.producer().build();
        let at_ms = now_ms() + 400;
        let mut receipts = Vec::new();
        for name in ["cancelled", "kept"] {
            let message = Message::builder(TOPIC, format!("400-{name}"));
            let message = message
                .property("colour", "green")
                .property("UNIQ_KEY", name);
            let message = message
                .property("due", &at_ms.to_string())
                .deliver_at_ms(at_ms);
            let message = message.build().expect("a message");
            receipts.push(producer.send(message).await.expect("it is stored"));
        }
        let cancelled = producer.cancel_delivery(&receipts[0], "cancelled", at_ms);
        cancelled.await.expect("it is cancelled");
        let last = send(&producer, &[("last".to_owned(), Wait::Until(900))]).await;
        let seen = read_with(&client, &last).await;
        let mut seen: Vec<_> = seen.into_keys().collect();
        seen.sort();
        assert_eq!(seen, ["400-kept", "900-last"]);
        let late = producer.cancel_delivery(&receipts[0], "cancelled", at_ms);
        let error = late.await.expect_err("it is too late");
        assert!(error.to_string().contains("due already"), "{error}");
        producer.close().await;
        stop(node).await;
    });
}

fn spawn(data: &Path) -> Process {
    let settings = [("broker.delay_levels", LEVELS)];
    Process::start_small(data, &settings)
}

#[test]
fn delayed_messages_survive_kill_9_and_come_once() {
    seed("CASTMQ_CRASH_SEED");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    run(async {
        let mut acknowledged = HashSet::new();
        for cycle in 0..number("CASTMQ_CRASH_CYCLES", 8) {
            let broker = spawn(&data);
            let client = broker.client().await;
            let producer = client
                .producer()
                .send_timeout(Duration::from_millis(200))
                .build();
            for round in 0..fastrand::u32(1..8) {
                let names: Vec<_> = (0..fastrand::u32(..300))
                    .map(|n| {
                        let wait = WAITS[fastrand::usize(..WAITS.len())];
                        (format!("{cycle}/{round}/{n}"), wait)
                    })
                    .collect();
                acknowledged.extend(send(&producer, &names).await);
                tokio::time::sleep(Duration::from_millis(fastrand::u64(..200))).await;
            }
            let panics = broker.panics();
            let names: Vec<_> = (0..300)
                .map(|n| (format!("{cycle}/last/{n}"), WAITS[n % WAITS.len()]))
                .collect();
            let kill = async {
                tokio::time::sleep(Duration::from_micros(fastrand::u64(..20_000))).await;
                broker.kill();
            };
            let (stored, ()) = tokio::join!(send(&producer, &names), kill);
            acknowledged.extend(stored);
            assert_eq!(panics, Vec::<String>::new());
        }
        let broker = spawn(&data);
        let client = broker.client().await;
        let producer = client.producer().build();
        let last = send(&producer, &markers()).await;
        assert_eq!(last.len(), WAITS.len());
        acknowledged.extend(last);
        let seen = read_with(&client, &acknowledged).await;
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
