//! The real binary, killed at random moments under load, with producers that number their sends and repeat what they heard
//! nothing of: everything that was sent is there, once.
//!
//! `CASTMQ_CRASH_CYCLES` says how often it is killed; `CASTMQ_CRASH_SEED` repeats the choices of an earlier run, as far as
//! threads let it.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use castmq_client::{Client, Message, Producer, SendReceipt};

use support::load::Traffic;
use support::process::{Process, SMALL_FILES, address_of};
use support::shell::Server;
use support::{admin, number, reader, run, seed, stored, text};

const PRODUCERS: usize = 4;

/// A life of the broker under load, to its sudden end.
async fn live(traffic: &Rc<Traffic>, data: &Path, settings: &[(&str, &str)]) {
    let broker = Process::start_small(data, settings);
    let tasks: Vec<_> = (0..PRODUCERS)
        .map(|_| {
            let (traffic, address) = (traffic.clone(), broker.broker.clone());
            actix_rt::spawn(async move {
                let end = traffic.produce_numbered(&address).await;
                assert!(end.is_err(), "a producer ends when its broker does");
            })
        })
        .collect();
    let more = fastrand::usize(..500);
    traffic.reach(traffic.acknowledged() + more).await;
    let panics = broker.panics();
    // By another thread, so that the load goes on: the broker is to be in the middle of something.
    let moment = Duration::from_micros(fastrand::u64(..20_000));
    let killer = std::thread::spawn(move || {
        std::thread::sleep(moment);
        broker.kill();
    });
    for task in tasks {
        task.await.expect("a producer without a panic");
    }
    killer.join().expect("it is killed");
    assert_eq!(panics, Vec::<String>::new());
    traffic.numbered.borrow_mut().disconnect();
}

#[test]
fn what_is_sent_until_it_is_acknowledged_is_there_once_through_kill_9() {
    seed("CASTMQ_CRASH_SEED");
    for flush in ["sync", "async"] {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let settings = [("store.flush", flush)];
        let traffic = Traffic::new(&["orders", "payments"]);
        run(async {
            let mut repeated = 0;
            for _ in 0..number("CASTMQ_CRASH_CYCLES", 8) {
                live(&traffic, &data, &settings).await;
                repeated += traffic.numbered.borrow().unsettled();
            }
            let broker = Process::start_small(&data, &settings);
            traffic.settle_all(&broker.broker).await;
            let figures = traffic.verify(&broker.broker).await;
            println!("{flush} flush, {repeated} sends repeated: {figures:?}");
            assert!(repeated > 0, "nothing was repeated");
            assert_eq!(figures.acknowledged, figures.attempted);
            assert_eq!(figures.stored, figures.attempted);
            broker.kill();
        });
    }
}

const TOPIC: &str = "orders";

/// A name server that stays, and its address.
fn start_name_server(data: &Path) -> (Server, String) {
    let data = data.to_str().expect("a path of text");
    let args = ["namesrv", "--data", data, "--namesrv-listen", "127.0.0.1:0"];
    let (server, line) = Server::start(&args, &[]);
    let address = address_of(&line, "name server");
    (server, address.expect("an address"))
}

fn start_broker(data: &Path, name_server: &str) -> Server {
    let data = data.to_str().expect("a path of text");
    let args = ["broker", "--data", data, "--listen", "127.0.0.1:0"];
    let args = [&args[..], &["-n", name_server]].concat();
    let settings = [&SMALL_FILES[..], &[("broker.delay_levels", "20ms")]];
    Server::start(&args, &settings.concat()).0
}

/// How messages are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Together,
    Ordered,
    Delayed,
}

const KINDS: [Kind; 4] = [Kind::Plain, Kind::Together, Kind::Ordered, Kind::Delayed];

fn message(kind: Kind, body: String) -> Message {
    let message = Message::builder(TOPIC, body);
    let message = match kind {
        Kind::Plain | Kind::Together => message,
        Kind::Ordered => message.ordering_key("customer"),
        Kind::Delayed => message.delay_level(1),
    };
    message.build().expect("a message")
}

/// Sends until it is told to stop; returns how many messages. All of them are acknowledged.
async fn work(producer: Producer, kind: Kind, is_over: Rc<std::cell::Cell<bool>>) -> u32 {
    let mut sent = 0;
    while !is_over.get() {
        let round = sent..sent + 100;
        sent += 100;
        let bodies = round.map(|number| format!("{kind:?} {number}"));
        let messages = bodies.map(|body| message(kind, body));
        let receipts: Vec<castmq_client::Result<SendReceipt>> = match kind {
            Kind::Together => producer.send_all(messages).await,
            _ => {
                let deliveries: Vec<_> = messages.map(|m| producer.enqueue(m)).collect();
                let mut receipts = Vec::new();
                for delivery in deliveries {
                    receipts.push(delivery.await);
                }
                receipts
            }
        };
        for receipt in receipts {
            receipt.expect("it is acknowledged in the end");
        }
    }
    sent
}

#[test]
fn the_clients_idempotent_producer_has_every_message_stored_once_through_kill_9() {
    seed("CASTMQ_CRASH_SEED");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    run(async {
        let (_names, address) = start_name_server(&folder.path().join("names"));
        let mut broker = start_broker(&data, &address);
        support::shell::until_registered(&address, 1);
        let client = Client::connect(&address).await.expect("a client");
        let producer = client
            .producer()
            .idempotent(true)
            .send_timeout(Duration::from_secs(120))
            .build();
        let is_over = Rc::new(std::cell::Cell::new(false));
        let tasks =
            KINDS.map(|kind| actix_rt::spawn(work(producer.clone(), kind, is_over.clone())));
        for _ in 0..number("CASTMQ_CRASH_CYCLES", 8) {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(50..300))).await;
            drop(broker);
            broker = start_broker(&data, &address);
        }
        is_over.set(true);
        let mut wanted = HashMap::new();
        for (kind, task) in KINDS.into_iter().zip(tasks) {
            wanted.insert(format!("{kind:?}"), task.await.expect("no task panics"));
        }
        let last = message(Kind::Delayed, "last 0".to_owned());
        producer.send(last).await.expect("it is acknowledged");
        println!("{wanted:?}");
        check(&client, &wanted).await;
        drop(broker);
    });
}

/// Reads until the last message, and all others, are there. There are no more.
async fn check(client: &Client, wanted: &HashMap<String, u32>) {
    let mut consumer = reader(client, TOPIC).await;
    let mut seen: HashMap<String, Vec<u32>> = HashMap::new();
    let total = u64::from(wanted.values().sum::<u32>()) + 1;
    let mut count = 0;
    while !seen.contains_key("last") || count < total {
        for message in consumer.poll(Duration::from_secs(5)).await.expect("a poll") {
            let body = text(&message);
            let (kind, number) = body.split_once(' ').expect("a kind");
            let number = number.parse().expect("a number");
            seen.entry(kind.to_owned()).or_default().push(number);
            count += 1;
        }
    }
    let stored = stored(&admin(client).await, TOPIC).await;
    assert_eq!(stored, total, "in all queues");
    for (kind, sent) in wanted {
        let numbers = seen.entry(kind.clone()).or_default();
        if kind != "Ordered" {
            numbers.sort_unstable();
        }
        assert!(
            numbers.iter().copied().eq(0..*sent),
            "{kind}: {} of {sent}: {numbers:?}",
            numbers.len()
        );
    }
}
