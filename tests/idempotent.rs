//! A send that is repeated is stored once: over the wire, with everything that a message can be, and through restarts.
//!
//! What happens when the broker is killed under load is in `crash_idempotent.rs`, what happens when the power goes in
//! `power_cut.rs`.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use castmq_actors::Node;
use castmq_client::model::QueueId;
use castmq_client::raw::request::{EndTransaction, Resolution, SendExtras, TransactionPhase};
use castmq_client::raw::response::Sent;
use castmq_client::raw::{ErrorCode, Payload, Request, Retry};
use castmq_client::{Error, Message, ReceivedMessage};
use castmq_config::Flush;

use support::numbered::{Number, NumberedSender, sent};
use support::{client, now_ms, read_until, run, start, stop, text, with_queues};

const TOPIC: &str = "orders";

async fn sender(node: &Node) -> NumberedSender {
    let address = node.broker_address().expect("a broker").to_string();
    NumberedSender::open(&address, TOPIC).await
}

/// Sends a last message, and reads the topic up to it: all that is there but such last ones.
async fn bodies(node: &Node) -> Vec<String> {
    let client = client(node).await;
    let last = format!("last {}", fastrand::u64(..));
    let message = Message::new(TOPIC, last.clone());
    let sent = client.producer().build().send(message).await;
    sent.expect("it is stored");
    let is_last = |message: &ReceivedMessage| text(message) == last;
    let read = read_until(&client, TOPIC, |read| read.iter().any(is_last)).await;
    let mut bodies: Vec<_> = read.iter().map(text).collect();
    bodies.retain(|body| !body.starts_with("last"));
    bodies
}

fn code(error: &Error) -> ErrorCode {
    error.code().expect("an answer of the broker")
}

#[test]
fn a_repeated_send_is_stored_once_and_answered_with_the_first_place() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = start(&with_queues(folder.path(), 1)).await;
        let first = sender(&node).await;
        let stored = first.send(Number::new(7, 1), "one").await.expect("stored");
        let between = first.send(Number::new(7, 3), "three").await;
        between.expect("stored");
        // From another connection, with another body: what counts is the number.
        let second = sender(&node).await;
        for body in ["one", "another"] {
            let again = second.send(Number::new(7, 1), body).await;
            assert_eq!(again.expect("answered"), stored);
        }
        let late = second.send(Number::new(7, 2), "two").await.expect("stored");
        assert_eq!(late.queue_offset.0, 2);
        let other = second.send(Number::new(8, 1), "eight").await;
        assert_eq!(other.expect("stored").queue_offset.0, 3);
        assert_eq!(bodies(&node).await, ["one", "three", "two", "eight"]);
        stop(node).await;
    });
}

#[test]
fn many_repeats_that_arrive_together_with_the_first_are_one_message() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        for flush in [Flush::Async, Flush::Sync] {
            let data = folder.path().join(format!("{flush:?}"));
            let mut settings = with_queues(&data, 1);
            settings.store.flush = flush;
            let node = start(&settings).await;
            let sender = sender(&node).await;
            let answers: Vec<_> = (0..100)
                .map(|round| {
                    let extras = Number::new(7, 1 + round % 5).extras();
                    sender.begin(QueueId(0), extras, "", &format!("{}", 1 + round % 5))
                })
                .collect();
            let mut places = Vec::new();
            for answer in answers {
                places.push(sent(answer.await).expect("stored"));
            }
            for place in places.chunks(5) {
                assert_eq!(place, &places[..5]);
            }
            assert_eq!(bodies(&node).await, ["1", "2", "3", "4", "5"]);
            stop(node).await;
        }
    });
}

#[test]
fn a_batch_is_repeated_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let settings = with_queues(folder.path(), 1);
        let node = start(&settings).await;
        let sender1 = sender(&node).await;
        let batch = ["a", "b", "c"];
        let stored = sender1.send_batch(Number::new(7, 1), &batch).await;
        let stored = stored.expect("stored");
        let single = sender1.send(Number::new(7, 2), "d").await;
        single.expect("stored");
        let again = sender1.send_batch(Number::new(7, 1), &batch).await;
        assert_eq!(again.expect("answered"), stored);
        stop(node).await;
        let node = start(&settings).await;
        let again = sender(&node).await;
        let again = again.send_batch(Number::new(7, 1), &batch).await;
        assert_eq!(again.expect("answered"), stored);
        assert_eq!(bodies(&node).await, ["a", "b", "c", "d"]);
        stop(node).await;
    });
}

#[test]
fn what_is_too_far_back_is_refused_because_nobody_knows_any_more() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = start(&with_queues(folder.path(), 1)).await;
        let sender = sender(&node).await;
        for sequence in 1..=3 {
            let stored = sender.send(Number::new(7, sequence), "x").await;
            stored.expect("stored");
        }
        let settled = Number::new(7, 4).settled_below(3);
        sender.send(settled, "x").await.expect("stored");
        let known = sender.send(Number::new(7, 3), "x").await;
        assert_eq!(known.expect("answered").queue_offset.0, 2);
        let forgotten = sender.send(Number::new(7, 2), "x").await;
        let error = forgotten.expect_err("nobody knows");
        assert_eq!(code(&error), ErrorCode::SequenceForgotten);
        assert_eq!(error.retry(), Retry::MayDuplicate);
        assert!(error.to_string().contains("not known any more"), "{error}");
        assert_eq!(bodies(&node).await.len(), 4);
        stop(node).await;
    });
}

#[test]
fn numbers_without_a_producer_and_producers_without_a_number_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = start(&with_queues(folder.path(), 1)).await;
        let sender = sender(&node).await;
        for number in [Number::new(0, 1), Number::new(7, 0), Number::new(0, 0)] {
            let error = sender.send(number, "x").await.expect_err("it is refused");
            assert_eq!(code(&error), ErrorCode::InvalidRequest);
            assert_eq!(error.retry(), Retry::Never);
        }
        assert!(bodies(&node).await.is_empty());
        stop(node).await;
    });
}

#[test]
fn a_producer_too_many_is_refused_with_the_name_of_the_limit_and_others_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = with_queues(folder.path(), 1);
        settings.broker.idempotent_producers_max = 2;
        let node = start(&settings).await;
        let sender = sender(&node).await;
        for id in [7, 8] {
            sender.send(Number::new(id, 1), "x").await.expect("stored");
        }
        let error = sender.send(Number::new(9, 1), "x").await;
        let error = error.expect_err("it is refused");
        assert_eq!(code(&error), ErrorCode::LimitReached);
        assert!(error.is_retry_safe());
        let names_it = error
            .to_string()
            .contains("broker.idempotent_producers_max");
        assert!(names_it, "{error}");
        sender.send(Number::new(7, 2), "x").await.expect("stored");
        assert_eq!(bodies(&node).await.len(), 3);
        stop(node).await;
    });
}

#[test]
fn what_was_stored_before_a_restart_is_known_after_it() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = with_queues(folder.path(), 1);
        // What is repeated has nothing to wait for: it is durable.
        settings.store.flush = Flush::Sync;
        let mut stored: Vec<Sent> = Vec::new();
        for round in 0..3 {
            let node = start(&settings).await;
            let sender = sender(&node).await;
            for sequence in 1..=100 * (round + 1) {
                let sent = sender.send(Number::new(7, sequence), "x").await;
                let sent = sent.expect("stored");
                match stored.get(sequence as usize - 1) {
                    Some(first) => assert_eq!(sent, *first),
                    None => stored.push(sent),
                }
            }
            assert_eq!(bodies(&node).await.len(), stored.len());
            stop(node).await;
        }
    });
}

/// Sends twice with these extras, and waits until the topic has so many messages.
async fn twice(node: &Node, extras: SendExtras, count: usize) {
    let sender = sender(node).await;
    let first = sender.send_with(extras.clone(), "once").await;
    let again = sender.send_with(extras, "once").await;
    assert_eq!(again.expect("answered"), first.expect("stored"));
    while bodies(node).await.len() < count {}
}

#[test]
fn delayed_and_timed_messages_are_stored_once_and_delivered_once() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = with_queues(folder.path(), 1);
        settings.broker.delay_levels = "20ms".to_owned();
        let node = start(&settings).await;
        let level = SendExtras {
            delay_level: 1,
            ..Number::new(7, 1).extras()
        };
        twice(&node, level, 1).await;
        let until = SendExtras {
            deliver_at_ms: now_ms() + 300,
            ..Number::new(7, 2).extras()
        };
        twice(&node, until.clone(), 2).await;
        // It is due by now, and would go to its topic at once.
        let sender = sender(&node).await;
        let again = sender.send_with(until, "once").await;
        again.expect("answered");
        stop(node).await;
        // The copies that were delivered keep the number, and are no sends.
        let node = start(&settings).await;
        assert_eq!(bodies(&node).await, ["once", "once"]);
        stop(node).await;
    });
}

#[test]
fn a_half_message_is_stored_once_and_committed_once() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = start(&with_queues(folder.path(), 1)).await;
        let sender = sender(&node).await;
        let join = Request::JoinProducers {
            group: "payments".to_owned(),
        };
        let joined = sender.connection.request(join, Payload::none()).await;
        joined.expect("it has joined");
        let half = SendExtras {
            transaction: TransactionPhase::Prepare,
            ..Number::new(7, 1).extras()
        };
        let stored = sender.send_with(half.clone(), "paid").await;
        let stored = stored.expect("stored");
        let again = sender.send_with(half, "paid").await;
        assert_eq!(again.expect("answered"), stored);
        for _ in 0..2 {
            let end = Request::EndTransaction(EndTransaction {
                half: stored.queue_offset,
                place: stored.physical_offset,
                resolution: Resolution::Commit,
            });
            let ended = sender.connection.request(end, Payload::none()).await;
            ended.expect("it has ended");
        }
        // The committed message keeps the number: the next one is another.
        let next = sender.send(Number::new(7, 2), "next").await;
        next.expect("stored");
        assert_eq!(bodies(&node).await, ["paid", "next"]);
        stop(node).await;
    });
}

#[test]
fn a_property_alone_makes_no_numbered_send() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let settings = with_queues(folder.path(), 1);
        let node = start(&settings).await;
        let sender1 = sender(&node).await;
        // As one who sends on what it received does.
        let copied = sender1.begin(
            QueueId(0),
            SendExtras::default(),
            "PSEQ\x017-1-0\x02",
            "copy",
        );
        sent(copied.await).expect("stored");
        stop(node).await;
        let node = start(&settings).await;
        let sender = sender(&node).await;
        let own = sender.begin(
            QueueId(0),
            Number::new(7, 1).extras(),
            "PSEQ\x017-9-0\x02",
            "own",
        );
        let own = sent(own.await).expect("stored");
        assert_eq!(own.queue_offset.0, 1);
        stop(node).await;
        let node = start(&settings).await;
        assert_eq!(bodies(&node).await, ["copy", "own"]);
        stop(node).await;
    });
}
