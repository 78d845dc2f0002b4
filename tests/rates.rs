//! What the ways to deliver cost: `cargo test --release --test rates -- --ignored --nocapture`.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use castmq_client::raw::request::{
    ANY_QUEUE, Acknowledge, EndTransaction, Pop, PopReceipt, Resolution, Send, SendExtras,
    TransactionPhase,
};
use castmq_client::raw::{Connection, Payload, Request, Response, Role};
use castmq_client::{Filter, Message, MessageBuilder, PopOrder, StartFrom};

use support::load::open;
use support::{run, settings, start, started, stop};

const MESSAGES: usize = 1_000_000;

/// Messages of a pop, and receipts of an acknowledgement.
const BATCH: u32 = 32;

/// Pops, each followed by its acknowledgement, that are under way at once.
const LANES: usize = 16;

async fn pop(connection: &Connection, order: PopOrder) -> Vec<PopReceipt> {
    let pop = Request::Pop(Pop {
        group: 0,
        topic: 0,
        queue: ANY_QUEUE,
        max_messages: BATCH,
        invisible_ms: 60_000,
        wait_ms: 100,
        from: StartFrom::Earliest,
        filter: Filter::All,
        order,
        attempt_id: None,
    });
    let answer = connection.request(pop, Payload::none()).await;
    match answer.expect("an answer").header.response {
        Response::Popped(popped) => popped.receipts,
        other => panic!("a pop is answered with {other:?}"),
    }
}

async fn acknowledge(connection: &Connection, receipts: Vec<PopReceipt>) -> usize {
    let count = receipts.len();
    let ack = Request::Acknowledge(Acknowledge {
        group: 0,
        topic: 0,
        receipts,
    });
    let answer = connection.request(ack, Payload::none()).await;
    match answer.expect("an answer").header.response {
        Response::Acknowledged(answer) if answer.refused.is_empty() => count,
        other => panic!("an acknowledgement is answered with {other:?}"),
    }
}

#[test]
#[ignore = "a measurement"]
fn acknowledgements_a_second() {
    let plain = |number: usize| Message::builder("jobs", format!("{number:0128}"));
    let keyed = |number: usize| plain(number).ordering_key(&format!("key {}", number % 10_000));
    let expiring = |number: usize| plain(number).expires_after(Duration::from_secs(86_400));
    acknowledgements("in no order", PopOrder::Any, plain);
    acknowledgements("in the order of 10,000 keys", PopOrder::Key, keyed);
    acknowledgements("that expire", PopOrder::Any, expiring);
}

fn acknowledgements(what: &str, order: PopOrder, message: impl Fn(usize) -> MessageBuilder) {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = settings(folder.path());
        settings.store.commit_log_segment_bytes = 256 << 20;
        let (node, client) = started(&settings).await;
        let producer = client.producer().build();
        for number in 0..MESSAGES {
            producer.ready().await.expect("there is room");
            let message = message(number).build().expect("a message");
            drop(producer.enqueue(message));
        }
        producer.flush().await;
        let address = node.broker_address().expect("a broker").to_string();
        let connection = open(&address, Role::Consumer, "worker").await;
        let connection = Rc::new(connection.expect("a connection"));
        let (alias, topic, group) = (0, "jobs".to_owned(), "workers".to_owned());
        for announce in [
            Request::AnnounceTopic { alias, topic },
            Request::AnnounceGroup { alias, group },
        ] {
            let announced = connection.request(announce, Payload::none()).await;
            announced.expect("it is announced");
        }
        let began = Instant::now();
        let done = Rc::new(Cell::new(0));
        let lanes: Vec<_> = (0..LANES)
            .map(|_| {
                let (connection, done) = (connection.clone(), done.clone());
                actix_rt::spawn(async move {
                    while done.get() < MESSAGES {
                        let receipts = pop(&connection, order).await;
                        if !receipts.is_empty() {
                            let acknowledged = acknowledge(&connection, receipts).await;
                            done.set(done.get() + acknowledged);
                        }
                    }
                })
            })
            .collect();
        for lane in lanes {
            lane.await.expect("no lane panics");
        }
        assert_eq!(done.get(), MESSAGES, "each is acknowledged once");
        let seconds = began.elapsed().as_secs_f64();
        let rate = MESSAGES as f64 / seconds;
        println!("{rate:.0} acknowledgements a second of messages {what}");
        stop(node).await;
    });
}

/// Sends at once, or transactions.
const IN_FLIGHT: usize = 256;

/// Of each kind in a round.
const SENDS: usize = 100_000;

/// Of which the median is taken: whatever else the machine does falls on single ones.
const ROUNDS: usize = 15;

async fn send(connection: &Connection, phase: TransactionPhase) {
    let extras = SendExtras {
        transaction: phase,
        ..SendExtras::default()
    };
    let is_plain = phase == TransactionPhase::None;
    let request = Request::Send(Send {
        topic: 0,
        queue: ANY_QUEUE,
        flags: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 1,
        properties_bytes: 0,
        extras: (!is_plain).then(|| Box::new(extras)),
    });
    let answer = connection
        .request(request, Payload::new(b"", vec![b'x'; 128].into()))
        .await;
    let sent = match answer.expect("an answer").header.response {
        Response::Sent(sent) => sent,
        other => panic!("a send is answered with {other:?}"),
    };
    if is_plain {
        return;
    }
    let commit = Request::EndTransaction(EndTransaction {
        half: sent.queue_offset,
        place: sent.physical_offset,
        resolution: Resolution::Commit,
    });
    let answer = connection.request(commit, Payload::none()).await;
    assert!(matches!(
        answer.expect("an answer").header.response,
        Response::Done
    ));
}

/// What so many cost.
struct Cost {
    /// By the clock.
    seconds: f64,
    /// Of the threads that messages pass through in the broker.
    broker_seconds: f64,
}

/// Seconds for which the broker's data threads had a processor, as Linux counts them; 0 elsewhere.
fn broker_seconds() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let nanoseconds = threads.flatten().filter_map(|thread| {
        let name = std::fs::read_to_string(thread.path().join("comm")).ok()?;
        let is_data = name.starts_with("actix-rt");
        let spent = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let spent: u64 = spent.split(' ').next()?.parse().ok()?;
        is_data.then_some(spent)
    });
    nanoseconds.sum::<u64>() as f64 / 1e9
}

/// What so many cost, many at once.
async fn cost(connection: &Rc<Connection>, phase: TransactionPhase) -> Cost {
    let broker = broker_seconds();
    let began = Instant::now();
    let lanes: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let connection = connection.clone();
            actix_rt::spawn(async move {
                for _ in 0..SENDS / IN_FLIGHT {
                    send(&connection, phase).await;
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await.expect("no lane panics");
    }
    Cost {
        seconds: began.elapsed().as_secs_f64(),
        broker_seconds: broker_seconds() - broker,
    }
}

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

/// Transactions of the client's own producer, many at once.
#[test]
#[ignore = "a measurement"]
fn transactions_of_a_producer() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = settings(folder.path());
        settings.store.commit_log_segment_bytes = 256 << 20;
        let (node, client) = started(&settings).await;
        let producer = client.transaction_producer("payments").topic("paid");
        let producer = producer.start().await.expect("a producer");
        let body = "x".repeat(128);
        let began = Instant::now();
        let lanes: Vec<_> = (0..IN_FLIGHT)
            .map(|_| {
                let (producer, body) = (producer.clone(), body.clone());
                actix_rt::spawn(async move {
                    for _ in 0..5 * SENDS / IN_FLIGHT {
                        let begun = producer.begin(Message::new("paid", body.clone())).await;
                        let ended = begun.expect("it is stored").commit().await;
                        ended.expect("it is committed");
                    }
                })
            })
            .collect();
        for lane in lanes {
            lane.await.expect("no lane panics");
        }
        let seconds = began.elapsed().as_secs_f64();
        println!("{:.0} transactions a second", (5 * SENDS) as f64 / seconds);
        stop(node).await;
    });
}

#[test]
#[ignore = "a measurement"]
fn transactions_beside_plain_sends() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = settings(folder.path());
        settings.store.commit_log_segment_bytes = 256 << 20;
        let node = start(&settings).await;
        let address = node.broker_address().expect("a broker").to_string();
        let connection = open(&address, Role::Producer, "payer").await;
        let connection = Rc::new(connection.expect("a connection"));
        for prepare in [
            Request::AnnounceTopic {
                alias: 0,
                topic: "paid".to_owned(),
            },
            Request::JoinProducers {
                group: "payments".to_owned(),
            },
        ] {
            let prepared = connection.request(prepare, Payload::none()).await;
            prepared.expect("it is done");
        }
        let (mut ratios, mut broker_ratios) = (Vec::new(), Vec::new());
        let mut fastest = (f64::MAX, f64::MAX);
        for _ in 0..ROUNDS {
            let plain = cost(&connection, TransactionPhase::None).await;
            let transactions = cost(&connection, TransactionPhase::Prepare).await;
            let each = |cost: &Cost| {
                (
                    SENDS as f64 / cost.seconds,
                    cost.broker_seconds * 1e6 / SENDS as f64,
                )
            };
            let ((sends, send_us), (ended, end_us)) = (each(&plain), each(&transactions));
            println!(
                "{sends:.0} sends a second, {ended:.0} transactions; {send_us:.2} and {end_us:.2} µs of the broker's time"
            );
            fastest.0 = fastest.0.min(plain.seconds);
            fastest.1 = fastest.1.min(transactions.seconds);
            ratios.push(transactions.seconds / plain.seconds);
            broker_ratios.push(transactions.broker_seconds / plain.broker_seconds);
        }
        println!(
            "a transaction takes {:.2} times a send, {:.2} times of the broker's time; {:.2} times in the fastest rounds",
            median(ratios),
            median(broker_ratios),
            fastest.1 / fastest.0
        );
        stop(node).await;
    });
}

/// Sends messages one by one, many at once, numbered or not; returns the seconds.
async fn seconds_of_sends(
    connection: &Rc<Connection>,
    numbers: Option<(u64, Rc<Cell<u64>>)>,
) -> f64 {
    let began = Instant::now();
    let lanes: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (connection, numbers) = (connection.clone(), numbers.clone());
            actix_rt::spawn(async move {
                for _ in 0..SENDS / IN_FLIGHT {
                    let extras = numbers.as_ref().map(|(id, next)| {
                        let sequence = next.replace(next.get() + 1);
                        // Requests are answered in their order: what is further back than all lanes is settled.
                        let settled_below = sequence.saturating_sub(IN_FLIGHT as u64).max(1);
                        Box::new(SendExtras {
                            producer_id: *id,
                            producer_sequence: sequence,
                            settled_below,
                            ..SendExtras::default()
                        })
                    });
                    let request = Request::Send(Send {
                        topic: 0,
                        queue: ANY_QUEUE,
                        flags: 0,
                        flag: 0,
                        sys_flag: 0,
                        born_timestamp_ms: 1,
                        properties_bytes: 0,
                        extras,
                    });
                    let payload = Payload::new(b"", vec![b'x'; 128].into());
                    let answer = connection.request(request, payload).await;
                    match answer.expect("an answer").header.response {
                        Response::Sent(_) => {}
                        other => panic!("a send is answered with {other:?}"),
                    }
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await.expect("no lane panics");
    }
    began.elapsed().as_secs_f64()
}

#[test]
#[ignore = "a measurement"]
fn numbered_sends_beside_plain_sends() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = settings(folder.path());
        settings.store.commit_log_segment_bytes = 256 << 20;
        let node = start(&settings).await;
        let address = node.broker_address().expect("a broker").to_string();
        let connection = open(&address, Role::Producer, "numbers").await;
        let connection = Rc::new(connection.expect("a connection"));
        let announce = Request::AnnounceTopic {
            alias: 0,
            topic: "orders".to_owned(),
        };
        let announced = connection.request(announce, Payload::none()).await;
        announced.expect("it is announced");
        let next = Rc::new(Cell::new(1));
        let mut ratios = Vec::new();
        for _ in 0..ROUNDS {
            let plain = seconds_of_sends(&connection, None).await;
            let numbers = Some((fastrand::u64(1..), next.clone()));
            let numbered = seconds_of_sends(&connection, numbers).await;
            println!(
                "{:.0} sends a second, {:.0} numbered",
                SENDS as f64 / plain,
                SENDS as f64 / numbered
            );
            ratios.push(numbered / plain);
        }
        ratios.sort_by(f64::total_cmp);
        println!(
            "a numbered send takes {:.2} times a plain one",
            ratios[ROUNDS / 2]
        );
        stop(node).await;
    });
}
