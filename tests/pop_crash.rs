//! Messages that are acknowledged one by one, while brokers are killed and actors panic: each is acknowledged in the end,
//! none comes again after that, nor before its invisible time has ended; by key, none comes before those that were sent before.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_rt::task::JoinHandle;
use castmq_actors::supervision::capture_panics;
use castmq_client::{
    Client, ErrorCode, Message, PopConsumer, PopConsumerBuilder, PopOrder, PoppedMessage, StartFrom,
};
use castmq_config::Flush;

use support::process::Process;
use support::{
    number, panics, read_all, run, seed, set_retry_max, settings, start, started, stop, text,
    until_ms,
};

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

/// Keys of messages that keep an order.
const KEYS: u32 = 25;

/// The key of a message.
fn key_of(number: u32) -> String {
    format!("key {}", number % KEYS)
}

/// The messages of its key that were sent before, newest first. Bodies are cycle and number.
fn sent_before(body: &str) -> impl Iterator<Item = String> {
    let (cycle, number) = body.split_once('/').expect("a slash");
    let cycle: u32 = cycle.parse().expect("a cycle");
    let number: u32 = number.parse().expect("a number");
    let of_cycle = move |cycle: u32, below: u32| {
        let numbers = (0..below).rev();
        let of_key = numbers.filter(move |other| other % KEYS == number % KEYS);
        of_key.map(move |other| format!("{cycle}/{other}"))
    };
    let earlier = (0..cycle).rev();
    of_cycle(cycle, number).chain(earlier.flat_map(move |cycle| of_cycle(cycle, MESSAGES)))
}

/// Notes a delivery; it must not be one that cannot be.
fn deliver(book: &Book, message: &PoppedMessage, order: PopOrder) {
    let body = text(message);
    let mut book = book.lock().expect("no worker panics");
    if order == PopOrder::Key {
        for before in sent_before(&body) {
            let fate = book.get(&before);
            let is_over = fate.is_some_and(|fate| fate.is_acknowledged || fate.is_doubtful);
            assert!(is_over, "{body} came before {before} was settled: {fate:?}");
        }
    }
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
async fn work(mut consumer: PopConsumer, book: Book, order: PopOrder, is_reliable: bool) {
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
            deliver(&book, &message, order);
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

async fn connect(name_server: &str) -> Client {
    // With patience: what is tested are not timeouts.
    let client = Client::builder()
        .name_servers([name_server])
        .request_timeout(Duration::from_secs(60));
    client.build().await.expect("a client")
}

fn consumer(client: &Client, order: PopOrder) -> PopConsumerBuilder {
    client
        .pop_consumer(GROUP)
        .topic(TOPIC)
        .in_order(order)
        .from(StartFrom::Earliest)
}

/// Messages sent at once.
const MESSAGES: u32 = 300;

/// Sends messages, and returns their bodies.
async fn send(client: &Client, cycle: u64, order: PopOrder) -> Vec<String> {
    let producer = client.producer().build();
    let mut bodies = Vec::new();
    for number in 0..MESSAGES {
        let body = format!("{cycle}/{number}");
        let message = Message::builder(TOPIC, body.clone());
        let message = match order {
            PopOrder::Key => message.ordering_key(&key_of(number)),
            _ => message,
        };
        let message = message.build().expect("a message");
        producer.send(message).await.expect("it is stored");
        bodies.push(body);
    }
    producer.close().await;
    bodies
}

/// Workers that often fail, until they are stopped.
struct Workers(Vec<JoinHandle<()>>);

impl Workers {
    fn start(client: &Client, book: &Book, order: PopOrder) -> Self {
        let start = |_| {
            let invisible = Duration::from_millis(fastrand::u64(100..600));
            let consumer = consumer(client, order)
                .invisible(invisible)
                .max_messages(fastrand::u32(1..6))
                .build();
            let consumer = consumer.expect("a consumer");
            actix_rt::spawn(work(consumer, book.clone(), order, false))
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
async fn finish(client: &Client, book: &Book, sent: &[String], order: PopOrder, what: &str) {
    let is_over = || {
        let book = book.lock().expect("no worker panics");
        let is_done = |fate: &Fate| fate.is_acknowledged || fate.is_doubtful;
        sent.iter().all(|body| book.get(body).is_some_and(is_done))
    };
    loop {
        let consumer = consumer(client, order)
            .invisible(Duration::from_millis(700))
            .wait(Duration::from_millis(1500))
            .build();
        work(consumer.expect("a consumer"), book.clone(), order, true).await;
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
        let (node, client) = started(&settings).await;
        let producer = client.producer().build();
        let sent = producer.send(Message::new(TOPIC, "job")).await;
        sent.expect("it is stored");
        stop(node).await;
        let (node, client) = started(&settings).await;
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

fn brokers_are_killed(order: PopOrder) {
    seed("CASTMQ_CRASH_SEED");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    run(async {
        let book = Book::default();
        let mut sent = Vec::new();
        for cycle in 0..number("CASTMQ_CRASH_CYCLES", 8) {
            let broker = Process::start_small(&data, &[]);
            let client = connect(&broker.name_server).await;
            sent.extend(send(&client, cycle, order).await);
            let workers = Workers::start(&client, &book, order);
            tokio::time::sleep(Duration::from_millis(fastrand::u64(20..500))).await;
            let panics = broker.panics();
            broker.kill();
            assert_eq!(panics, Vec::<String>::new());
            workers.stop().await;
        }
        let broker = Process::start_small(&data, &[]);
        let client = connect(&broker.name_server).await;
        finish(&client, &book, &sent, order, &format!("kill -9, {order:?}")).await;
        broker.kill();
    });
}

#[test]
fn messages_survive_kill_9_and_are_acknowledged_once() {
    brokers_are_killed(PopOrder::Any);
}

#[test]
fn messages_survive_kill_9_and_each_key_stays_in_order() {
    brokers_are_killed(PopOrder::Key);
}

fn actors_panic(flush: Flush) {
    capture_panics();
    seed("CASTMQ_CRASH_SEED");
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = settings(folder.path());
        settings.store.flush = flush;
        let node = start(&settings).await;
        let name_server = node.name_server_address().expect("a name server");
        let client = connect(&name_server.to_string()).await;
        let book = Book::default();
        let mut sent = Vec::new();
        for (cycle, actor) in (0..).zip([
            "broker/delivery/popper",
            "broker/storage/log-writer",
            "broker/delivery/popper",
            "broker/storage/cold-reader",
            "broker/storage/dispatcher",
        ]) {
            sent.extend(send(&client, cycle, PopOrder::Any).await);
            let workers = Workers::start(&client, &book, PopOrder::Any);
            tokio::time::sleep(Duration::from_millis(fastrand::u64(5..100))).await;
            panics(&node, actor).await;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(5..100))).await;
            workers.stop().await;
        }
        finish(&client, &book, &sent, PopOrder::Any, "panics").await;
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

#[test]
fn a_message_is_one_dead_letter_whenever_the_broker_is_killed() {
    seed("CASTMQ_CRASH_SEED");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    run(async {
        let mut sent = Vec::new();
        for cycle in 0..number("CASTMQ_CRASH_CYCLES", 8) {
            let broker = Process::start_small(&data, &[]);
            let client = connect(&broker.name_server).await;
            let admin = client.admin().at(&broker.broker);
            // The first attempt is the last.
            set_retry_max(&admin, GROUP, 0).await;
            sent.extend(send(&client, cycle, PopOrder::Any).await);
            let consumer = consumer(&client, PopOrder::Any)
                .invisible(Duration::from_millis(400))
                .max_messages(MESSAGES);
            let mut consumer = consumer.build().expect("a consumer");
            let mut popped = Vec::new();
            while popped.len() < MESSAGES as usize {
                popped.extend(consumer.receive().await.expect("messages"));
            }
            // In the midst of their burial.
            let last_ms = popped.iter().map(PoppedMessage::visible_at_ms).max();
            let kill_at_ms = last_ms.expect("messages") + fastrand::i64(0..30);
            until_ms(kill_at_ms).await;
            broker.kill();
        }
        let broker = Process::start_small(&data, &[]);
        let client = connect(&broker.name_server).await;
        let admin = client.admin().at(&broker.broker);
        loop {
            let group = admin.show_group(GROUP).await.expect("a group");
            let committed = group.progress.iter().filter_map(|queue| queue.committed);
            if committed.map(|offset| offset.0).sum::<u64>() == sent.len() as u64 {
                break;
            }
            // What a kill kept from being popped.
            let consumer = consumer(&client, PopOrder::Any)
                .invisible(Duration::from_millis(1))
                .wait(Duration::from_millis(50));
            let mut consumer = consumer.build().expect("a consumer");
            consumer.receive().await.expect("an answer");
        }
        let letters = read_all(&client, &admin, &format!("%DLQ%{GROUP}")).await;
        let mut bodies: Vec<_> = letters.iter().map(text).collect();
        println!("{} dead letters of {} messages", bodies.len(), sent.len());
        bodies.sort_unstable();
        sent.sort_unstable();
        assert_eq!(bodies, sent);
        broker.kill();
    });
}
