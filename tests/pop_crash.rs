//! Messages that are acknowledged one by one, while brokers are killed and actors panic: each is acknowledged in the end,
//! none comes again after that, nor before its invisible time has ended.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_rt::task::JoinHandle;
use castmq_actors::supervision::{Status, capture_panics};
use castmq_client::{
    Client, ErrorCode, Message, PopConsumer, PopConsumerBuilder, PoppedMessage, ReceivedMessage,
    StartFrom,
};
use castmq_config::Flush;

use support::process::Process;
use support::{number, run, settings, start, stop};

const TOPIC: &str = "jobs";
const GROUP: &str = "workers";

/// What is known of a message.
#[derive(Debug, Default)]
struct Fate {
    deliveries: u32,
    /// Until then nobody may get it, by the broker's clock.
    invisible_until_ms: i64,
    is_acknowledged: bool,
    /// An acknowledgement was sent and not answered.
    is_doubtful: bool,
}

/// What workers have seen, by body.
type Book = Arc<Mutex<HashMap<String, Fate>>>;

/// Notes a delivery; it must not be one that cannot be.
fn deliver(book: &Book, message: &PoppedMessage) {
    let body = text(message);
    let mut book = book.lock().expect("no worker panics");
    let fate = book.entry(body.clone()).or_default();
    assert!(
        !fate.is_acknowledged,
        "{body} came after it was acknowledged"
    );
    assert!(
        message.receipt().popped_at_ms >= fate.invisible_until_ms,
        "{body} came again {} ms before its invisible time had ended: {message:?}, {fate:?}",
        fate.invisible_until_ms - message.receipt().popped_at_ms
    );
    fate.deliveries += 1;
    fate.invisible_until_ms = message.visible_at_ms();
}

/// Takes messages and settles them or not; one that is reliable until nothing comes any more.
async fn work(mut consumer: PopConsumer, book: Book, is_reliable: bool) {
    loop {
        let Ok(messages) = consumer.receive().await else {
            // A broker that is not back yet is tried again.
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        if messages.is_empty() && is_reliable {
            return;
        }
        for mut message in messages {
            deliver(&book, &message);
            let note = |change: &dyn Fn(&mut Fate)| {
                let mut book = book.lock().expect("no worker panics");
                change(book.entry(text(&message)).or_default());
            };
            match fastrand::u8(..8) {
                // It crashes with the message.
                0 if !is_reliable => continue,
                1 if !is_reliable => {
                    // Somebody may get it from now on, whether this is answered or not.
                    note(&|fate| fate.invisible_until_ms = 0);
                    if message.nack(Duration::from_millis(5)).await.is_err() {
                        continue;
                    }
                }
                2 => {
                    // It may end earlier than before, whether this is answered or not.
                    note(&|fate| fate.invisible_until_ms = 0);
                    if message.extend(Duration::from_millis(400)).await.is_ok() {
                        let until_ms = message.visible_at_ms();
                        let body = text(&message);
                        let mut book = book.lock().expect("no worker panics");
                        book.entry(body).or_default().invisible_until_ms = until_ms;
                    }
                }
                _ => {
                    // From when it is sent the broker may know it.
                    note(&|fate| fate.is_doubtful = true);
                    match message.ack().await {
                        Ok(()) => note(&|fate| fate.is_acknowledged = true),
                        Err(error) if error.code() == Some(ErrorCode::ReceiptExpired) => {
                            note(&|fate| fate.is_doubtful = false);
                        }
                        Err(_) => {}
                    }
                }
            }
        }
    }
}

fn text(message: &ReceivedMessage) -> String {
    String::from_utf8(message.body().expect("a body").to_vec()).expect("text")
}

async fn connect(name_server: &str) -> Client {
    // With patience: what is tested are not timeouts.
    let client = Client::builder()
        .name_servers([name_server])
        .request_timeout(Duration::from_secs(60));
    client.build().await.expect("a client")
}

fn consumer(client: &Client) -> PopConsumerBuilder {
    client
        .pop_consumer(GROUP)
        .topic(TOPIC)
        .from(StartFrom::Earliest)
}

/// Sends messages, and returns their bodies.
async fn send(client: &Client, name: &str) -> Vec<String> {
    let producer = client.producer().build();
    let bodies: Vec<_> = (0..300).map(|number| format!("{name}/{number}")).collect();
    for body in &bodies {
        let message = Message::new(TOPIC, body.clone());
        producer.send(message).await.expect("it is stored");
    }
    producer.close().await;
    bodies
}

/// Workers that often fail, until they are stopped.
struct Workers(Vec<JoinHandle<()>>);

impl Workers {
    fn start(client: &Client, book: &Book) -> Self {
        let start = |_| {
            let invisible = Duration::from_millis(fastrand::u64(100..600));
            let consumer = consumer(client)
                .invisible(invisible)
                .max_messages(fastrand::u32(1..6))
                .build();
            let consumer = consumer.expect("a consumer");
            actix_rt::spawn(work(consumer, book.clone(), false))
        };
        Self((0..8).map(start).collect())
    }

    async fn stop(self) {
        for worker in self.0 {
            worker.abort();
            if let Err(error) = worker.await {
                assert!(error.is_cancelled(), "{error}");
            }
        }
    }
}

/// Works until every message is acknowledged.
async fn finish(client: &Client, book: &Book, sent: &[String], what: &str) {
    let is_over = || {
        let book = book.lock().expect("no worker panics");
        let is_done = |fate: &Fate| fate.is_acknowledged || fate.is_doubtful;
        sent.iter().all(|body| book.get(body).is_some_and(is_done))
    };
    loop {
        let consumer = consumer(client)
            .invisible(Duration::from_millis(700))
            .wait(Duration::from_millis(1500))
            .build();
        work(consumer.expect("a consumer"), book.clone(), true).await;
        if is_over() {
            break;
        }
    }
    let book = book.lock().expect("no worker panics");
    let doubtful = book.values().filter(|fate| !fate.is_acknowledged).count();
    let again: u32 = book.values().map(|fate| fate.deliveries - 1).sum();
    println!(
        "{what}: {} messages, {again} came again, {doubtful} acknowledgements without an answer",
        book.len()
    );
}

#[test]
fn a_broker_that_starts_again_knows_who_has_what_although_nothing_is_flushed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = settings(folder.path());
    settings.store.flush = Flush::Sync;
    // Whoever waits for a flush waits longer than any test runs.
    settings.store.sync_flush_timeout_ms = 600_000;
    run(async {
        let node = start(&settings).await;
        let client = support::client(&node).await;
        let producer = client.producer().build();
        let sent = producer.send(Message::new(TOPIC, "job")).await;
        sent.expect("it is stored");
        stop(node).await;
        let node = start(&settings).await;
        let client = support::client(&node).await;
        let mut consumer = client
            .pop_consumer(GROUP)
            .topic(TOPIC)
            .from(StartFrom::Earliest)
            .build()
            .expect("a consumer");
        let popped = consumer.receive().await.expect("an answer");
        assert_eq!(popped.len(), 1);
        stop(node).await;
    });
}

#[test]
fn messages_survive_kill_9_and_are_acknowledged_once() {
    let seed = number("CASTMQ_CRASH_SEED", fastrand::u64(..));
    println!("seed {seed}");
    fastrand::seed(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    run(async {
        let book = Book::default();
        let mut sent = Vec::new();
        for cycle in 0..number("CASTMQ_CRASH_CYCLES", 8) {
            let broker = Process::start_small(&data, &[]);
            let client = connect(&broker.name_server).await;
            sent.extend(send(&client, &cycle.to_string()).await);
            let workers = Workers::start(&client, &book);
            tokio::time::sleep(Duration::from_millis(fastrand::u64(20..500))).await;
            let panics = broker.panics();
            broker.kill();
            assert_eq!(panics, Vec::<String>::new());
            workers.stop().await;
        }
        let broker = Process::start_small(&data, &[]);
        let client = connect(&broker.name_server).await;
        finish(&client, &book, &sent, "kill -9").await;
        broker.kill();
    });
}

fn actors_panic(flush: Flush) {
    capture_panics();
    let seed = number("CASTMQ_CRASH_SEED", fastrand::u64(..));
    println!("seed {seed}");
    fastrand::seed(seed);
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = settings(folder.path());
        settings.store.flush = flush;
        let node = start(&settings).await;
        let name_server = node.name_server_address().expect("a name server");
        let client = connect(&name_server.to_string()).await;
        let book = Book::default();
        let mut sent = Vec::new();
        for actor in [
            "broker/delivery/popper",
            "broker/storage/log-writer",
            "broker/delivery/popper",
            "broker/storage/cold-reader",
            "broker/storage/dispatcher",
        ] {
            sent.extend(send(&client, &sent.len().to_string()).await);
            let workers = Workers::start(&client, &book);
            tokio::time::sleep(Duration::from_millis(fastrand::u64(5..100))).await;
            let restarts = async || {
                let tree = node.tree().snapshot().await;
                let found = tree.find(actor).expect("it is there");
                (found.restarts, found.status)
            };
            let (before, _) = restarts().await;
            assert!(node.tree().poison(actor), "{actor} is there");
            while !matches!(restarts().await, (now, Status::Running) if now > before) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(5..100))).await;
            workers.stop().await;
        }
        finish(&client, &book, &sent, "panics").await;
        stop(node).await;
    });
}

#[test]
fn messages_survive_panics_and_are_acknowledged_once() {
    actors_panic(Flush::Async);
}

#[test]
fn messages_survive_panics_and_are_acknowledged_once_under_synchronous_flush() {
    actors_panic(Flush::Sync);
}
