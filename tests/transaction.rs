//! Transactions: nobody sees a message before it is committed, nor ever when it is rolled back, whatever happens.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]

mod support;

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use castmq_actors::supervision::capture_panics;
use castmq_client::{
    Client, Message, ReceivedMessage, Resolution, Transaction, TransactionProducer,
};
use castmq_config::{Flush, Settings};

use support::process::Process;
use support::{
    admin, client, number, read_all, read_until, run, seed, settings, start, started, stop, text,
    with_queues,
};

const TOPIC: &str = "paid";

/// Where messages go that nobody ends.
const ASIDE: &str = "TRANS_CHECK_MAX_TIME_TOPIC";

fn quick(data: &Path) -> Settings {
    let mut settings = settings(data);
    settings.broker.transaction_timeout_ms = 50;
    settings.broker.transaction_check_interval_ms = 20;
    settings.broker.transaction_check_max = 5;
    settings
}

/// What the application knows of its transactions, by the body of their messages.
type Book = Arc<Mutex<HashMap<String, Resolution>>>;

fn note(book: &Book, body: &str, resolution: Resolution) {
    let mut book = book.lock().expect("no checker panics");
    book.insert(body.to_owned(), resolution);
}

async fn producer(client: &Client, book: &Book) -> TransactionProducer {
    let book = book.clone();
    let producer = client
        .transaction_producer("payments")
        .topic(TOPIC)
        .checker(move |message| {
            assert_eq!(message.topic(), TOPIC);
            let book = book.lock().expect("no checker panics");
            let known = book.get(&text(&message)).copied();
            async move { known.unwrap_or(Resolution::Unknown) }
        })
        .start();
    producer.await.expect("a producer")
}

async fn begin(producer: &TransactionProducer, body: &str) -> Transaction {
    let message = Message::builder(TOPIC, body.to_owned()).tag("green");
    let begun = producer.begin(message.build().expect("a message")).await;
    begun.expect("it is stored")
}

/// Whether a message with this body was read.
fn has(body: &str) -> impl Fn(&[ReceivedMessage]) -> bool {
    move |read| read.iter().any(|message| text(message) == body)
}

fn bodies(messages: &[ReceivedMessage]) -> Vec<String> {
    let mut bodies: Vec<_> = messages.iter().map(text).collect();
    bodies.sort();
    bodies
}

#[test]
fn a_message_is_seen_when_it_is_committed_and_never_when_it_is_rolled_back() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = with_queues(folder.path(), 1);
        settings.broker.transaction_timeout_ms = 60_000;
        let (node, client) = started(&settings).await;
        let producer = producer(&client, &Book::default()).await;
        let first = begin(&producer, "first").await;
        let second = begin(&producer, "second").await;
        let third = begin(&producer, "third").await;
        second.rollback().await.expect("a rollback");
        let id = third.id().to_owned();
        third.commit().await.expect("a commit");
        let read = read_until(&client, TOPIC, has("third")).await;
        assert_eq!(bodies(&read), ["third"]);
        assert_eq!(read[0].unique_id(), Some(&*id));
        assert_eq!(read[0].tag(), Some("green"));
        assert_eq!(read[0].property("REAL_TOPIC"), None);
        first.commit().await.expect("a commit");
        let read = read_until(&client, TOPIC, has("first")).await;
        assert_eq!(bodies(&read), ["first", "third"]);
        stop(node).await;
    });
}

#[test]
fn what_nobody_ends_is_asked_about_and_put_aside_in_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&quick(folder.path())).await;
        let book = Book::default();
        let producer = producer(&client, &book).await;
        for (body, resolution) in [
            ("kept", Some(Resolution::Commit)),
            ("dropped", Some(Resolution::Rollback)),
            ("forgotten", None),
        ] {
            if let Some(resolution) = resolution {
                note(&book, body, resolution);
            }
            drop(begin(&producer, body).await);
        }
        let aside = read_until(&client, ASIDE, has("forgotten")).await;
        assert_eq!(bodies(&aside), ["forgotten"]);
        assert_eq!(aside[0].property("REAL_TOPIC"), Some(TOPIC));
        let last = begin(&producer, "last").await;
        last.commit().await.expect("a commit");
        let read = read_until(&client, TOPIC, has("last")).await;
        assert_eq!(bodies(&read), ["kept", "last"]);
        stop(node).await;
    });
}

#[test]
fn questions_go_on_being_counted_when_the_broker_starts_again() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = quick(folder.path());
        settings.broker.transaction_check_max = 1000;
        let asked = Arc::new(AtomicU32::new(0));
        let asking = |client: Client| {
            let asked = asked.clone();
            let producer = client.transaction_producer("payments").topic(TOPIC);
            let producer = producer.checker(move |_| {
                asked.fetch_add(1, Ordering::Relaxed);
                async { Resolution::Unknown }
            });
            producer.start()
        };
        let node = start(&settings).await;
        let producer = asking(client(&node).await).await.expect("a producer");
        drop(begin(&producer, "forgotten").await);
        while asked.load(Ordering::Relaxed) < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(producer);
        stop(node).await;
        // All the questions that there may be were asked before the stop.
        let before = asked.load(Ordering::Relaxed);
        settings.broker.transaction_check_max = before;
        let (node, client) = started(&settings).await;
        let _producer = asking(client.clone()).await.expect("a producer");
        let aside = read_until(&client, ASIDE, has("forgotten")).await;
        assert_eq!(bodies(&aside), ["forgotten"]);
        assert_eq!(asked.load(Ordering::Relaxed), before);
        stop(node).await;
    });
}

fn spawn(data: &Path) -> Process {
    let settings = [
        ("broker.transaction_timeout_ms", "200"),
        ("broker.transaction_check_interval_ms", "50"),
        ("broker.transaction_check_max", "100000"),
    ];
    Process::start_small(data, &settings)
}

/// Begins transactions and ends them at random, until one of them fails or it is over.
async fn work(producer: TransactionProducer, book: Book, name: String, is_over: Rc<Cell<bool>>) {
    for number in 0.. {
        if is_over.get() {
            return;
        }
        let body = format!("{name}/{number}");
        let message = Message::new(TOPIC, body.clone());
        let Ok(transaction) = producer.begin(message).await else {
            // It may be stored: then it is rolled back when the broker asks, since nothing was booked.
            note(&book, &body, Resolution::Rollback);
            return;
        };
        let resolution = match fastrand::u8(..3) {
            0 => Resolution::Rollback,
            _ => Resolution::Commit,
        };
        note(&book, &body, resolution);
        let ended = match (fastrand::u8(..4), resolution) {
            // Left to the checker.
            (0, _) => continue,
            (_, Resolution::Commit) => transaction.commit().await,
            _ => transaction.rollback().await,
        };
        if ended.is_err() {
            return;
        }
    }
}

/// Reads until everything that was committed is there: once, and nothing else.
async fn each_is_seen_once_or_never(client: &Client, producer: &TransactionProducer, book: &Book) {
    let wanted: HashSet<_> = {
        let book = book.lock().expect("no checker panics");
        let commits = book.iter().filter(|(_, end)| **end == Resolution::Commit);
        commits.map(|(body, _)| body.clone()).collect()
    };
    for round in 0.. {
        let last = format!("last {round}");
        let committed = begin(producer, &last).await.commit().await;
        committed.expect("a commit");
        let read = read_until(client, TOPIC, has(&last)).await;
        let seen: HashSet<_> = read.iter().map(text).collect();
        if wanted.is_subset(&seen) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut read = bodies(&read_all(client, &admin(client).await, TOPIC).await);
    read.retain(|body| !body.starts_with("last"));
    let seen: HashSet<_> = read.iter().cloned().collect();
    assert_eq!(seen.len(), read.len(), "some came twice: {read:?}");
    let rolled_back: Vec<_> = seen.difference(&wanted).collect();
    assert!(rolled_back.is_empty(), "{rolled_back:?}");
    let all = book.lock().expect("no checker panics").len();
    println!("{} committed of {all} transactions", wanted.len());
}

#[test]
fn transactions_survive_kill_9_and_are_seen_once_or_never() {
    seed("CASTMQ_CRASH_SEED");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    run(async {
        let book = Book::default();
        for cycle in 0..number("CASTMQ_CRASH_CYCLES", 8) {
            let broker = spawn(&data);
            let client = broker.client().await;
            let producer = producer(&client, &book).await;
            let tasks: Vec<_> = (0..8)
                .map(|task| {
                    let name = format!("{cycle}/{task}");
                    let working = work(producer.clone(), book.clone(), name, Rc::default());
                    actix_rt::spawn(working)
                })
                .collect();
            tokio::time::sleep(Duration::from_millis(fastrand::u64(20..400))).await;
            let panics = broker.panics();
            broker.kill();
            assert_eq!(panics, Vec::<String>::new());
            drop(producer);
            for task in tasks {
                task.await.expect("no task panics");
            }
        }
        let broker = spawn(&data);
        let client = broker.client().await;
        let producer = producer(&client, &book).await;
        each_is_seen_once_or_never(&client, &producer, &book).await;
        broker.kill();
    });
}

/// Actors that have transactions in hand panic, one after the other and again.
fn actors_panic(flush: Flush) {
    capture_panics();
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = quick(folder.path());
        settings.store.flush = flush;
        settings.broker.transaction_check_max = 100_000;
        let (node, client) = started(&settings).await;
        let book = Book::default();
        let producer = producer(&client, &book).await;
        let is_over = Rc::new(Cell::new(false));
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let (producer, book, is_over) = (producer.clone(), book.clone(), is_over.clone());
                actix_rt::spawn(async move {
                    for life in 0.. {
                        let name = format!("{task}/{life}");
                        work(producer.clone(), book.clone(), name, is_over.clone()).await;
                        if is_over.get() {
                            return;
                        }
                    }
                })
            })
            .collect();
        let known = || book.lock().expect("no checker panics").len();
        for _ in 0..4 {
            for actor in [
                "broker/delivery/transactions",
                "broker/storage/log-writer",
                "broker/storage/dispatcher",
            ] {
                let wanted = known() + 50;
                while known() < wanted {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                assert!(node.tree().poison(actor), "{actor} is there");
            }
        }
        is_over.set(true);
        for task in tasks {
            task.await.expect("no task panics");
        }
        each_is_seen_once_or_never(&client, &producer, &book).await;
        stop(node).await;
    });
}

#[test]
fn transactions_survive_panics_and_are_seen_once_or_never() {
    actors_panic(Flush::Async);
}

#[test]
fn transactions_survive_panics_and_are_seen_once_or_never_under_synchronous_flush() {
    actors_panic(Flush::Sync);
}
