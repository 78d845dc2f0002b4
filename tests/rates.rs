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
use support::{client, run, settings, start, stop};

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
        let node = start(&settings).await;
        let client = client(&node).await;
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
const SENDS: usize = 200_000;

const ROUNDS: usize = 5;

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

/// Seconds that so many take, many at once.
async fn seconds(connection: &Rc<Connection>, phase: TransactionPhase) -> f64 {
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
    began.elapsed().as_secs_f64()
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
        let mut ratios = Vec::new();
        for _ in 0..ROUNDS {
            let plain = seconds(&connection, TransactionPhase::None).await;
            let transactions = seconds(&connection, TransactionPhase::Prepare).await;
            println!(
                "{:.0} sends a second, {:.0} transactions",
                SENDS as f64 / plain,
                SENDS as f64 / transactions
            );
            ratios.push(transactions / plain);
        }
        ratios.sort_by(f64::total_cmp);
        println!("a transaction takes {:.2} times a send", ratios[ROUNDS / 2]);
        stop(node).await;
    });
}
