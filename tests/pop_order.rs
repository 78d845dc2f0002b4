//! Messages that are acknowledged one by one and keep an order: of their queues, or of their keys.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use castmq_client::raw::request::{Pop, PopReceipt};
use castmq_client::{
    Client, ErrorCode, Message, PopConsumer, PopConsumerBuilder, PopOrder, PoppedMessage, tags,
};

use support::pop::{
    GROUP, acknowledge, built, connection, consumer, next, numbers, one, pop, send,
};
use support::{
    admin, client, read_until, run, set_retry_max, start, started, stop, text, with_queues,
};

#[test]
fn in_order_nobody_gets_a_message_while_an_earlier_one_is_out() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_queues(folder.path(), 1)).await;
        send(&client, numbers(40)).await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let worker = |name: u32| {
            let ordered = consumer(&client).in_order(PopOrder::Queue).max_messages(3);
            let mut consumer = built(ordered.wait(Duration::from_secs(3600)));
            let seen = seen.clone();
            async move {
                loop {
                    let messages = consumer.receive().await.expect("messages");
                    let failed = messages.len() > 1 && fastrand::u8(..3) == 0;
                    let kept = if failed { 1 } else { messages.len() };
                    let bodies = messages.iter().take(kept).map(|message| text(message));
                    seen.lock().expect("no worker panics").extend(bodies);
                    let (done, again) = messages.split_at(kept);
                    for message in again {
                        message.nack(Duration::ZERO).await.expect("it failed");
                    }
                    PoppedMessage::ack_all(done).await.expect("an answer");
                    if seen.lock().expect("no worker panics").len() >= 40 {
                        return name;
                    }
                }
            }
        };
        tokio::select! {
            _ = worker(1) => {}
            _ = worker(2) => {}
            _ = worker(3) => {}
        }
        let seen = seen.lock().expect("no worker panics").clone();
        assert_eq!(seen, numbers(40).collect::<Vec<_>>());
        stop(node).await;
    });
}

#[test]
fn an_ordered_pop_whose_answer_was_lost_is_repeated_by_its_attempt_id() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_queues(folder.path(), 1)).await;
        send(&client, numbers(3)).await;
        let address = node.broker_address().expect("a broker").to_string();
        let connection = connection(&address).await;
        let ordered = |attempt_id| Pop {
            order: PopOrder::Queue,
            attempt_id,
            max_messages: 2,
            ..one()
        };
        let first = pop(&connection, ordered(Some(1))).await;
        assert_eq!(pop(&connection, ordered(Some(2))).await, []);
        let again = pop(&connection, ordered(Some(1))).await;
        let offsets = |receipts: &[PopReceipt]| {
            let each = receipts.iter().map(|one| (one.offset.0, one.attempt));
            each.collect::<Vec<_>>()
        };
        assert_eq!(offsets(&first), [(0, 1), (1, 1)]);
        assert_eq!(offsets(&again), offsets(&first));
        assert_eq!(acknowledge(&connection, again).await, []);
        let last = pop(&connection, ordered(Some(2))).await;
        assert_eq!(offsets(&last), [(2, 1)]);
        stop(node).await;
    });
}

/// Sends messages of some keys; a body is its key and a number.
async fn send_keyed(client: &Client, bodies: &[&str]) {
    let producer = client.producer().build();
    for body in bodies {
        let message = Message::builder(support::pop::TOPIC, (*body).to_owned());
        let message = match body.split_at(1) {
            ("-", _) => message,
            (key, _) => message.ordering_key(key),
        };
        let message = message.build().expect("a message");
        producer.send(message).await.expect("it is stored");
    }
    producer.close().await;
}

fn by_key(client: &Client) -> PopConsumerBuilder {
    consumer(client)
        .in_order(PopOrder::Key)
        .wait(Duration::from_millis(20))
}

async fn receive(consumer: &mut PopConsumer) -> Vec<PoppedMessage> {
    consumer.receive().await.expect("an answer")
}

fn bodies(messages: &[PoppedMessage]) -> Vec<String> {
    messages.iter().map(|message| text(message)).collect()
}

#[test]
fn by_key_a_message_waits_for_the_earlier_ones_of_its_key_and_others_pass_it() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_queues(folder.path(), 1)).await;
        send_keyed(&client, &["a1", "a2", "b1", "-1", "a3", "b2", "-2"]).await;
        let mut one = built(by_key(&client));
        let mut other = built(by_key(&client));
        let first = receive(&mut one).await;
        assert_eq!(bodies(&first), ["a1", "b1", "-1", "-2"]);
        assert_eq!(bodies(&receive(&mut other).await), [""; 0]);
        // One that comes again is before its followers, too.
        first[0].nack(Duration::ZERO).await.expect("it failed");
        first[1].ack().await.expect("it is acknowledged");
        let second = receive(&mut other).await;
        assert_eq!(bodies(&second), ["a1", "b2"]);
        second[0].ack().await.expect("it is acknowledged");
        let third = receive(&mut one).await;
        assert_eq!(bodies(&third), ["a2"]);
        third[0].ack().await.expect("it is acknowledged");
        assert_eq!(bodies(&receive(&mut other).await), ["a3"]);
        stop(node).await;
    });
}

#[test]
fn by_key_a_dead_letter_makes_way_for_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_queues(folder.path(), 1)).await;
        send_keyed(&client, &["a1", "a2"]).await;
        set_retry_max(&admin(&client).await, GROUP, 1).await;
        let mut consumer = built(by_key(&client));
        for _ in 0..2 {
            let message = next(&mut consumer).await;
            assert_eq!(text(&message), "a1");
            message.nack(Duration::ZERO).await.expect("it failed");
        }
        let follower = next(&mut consumer).await;
        assert_eq!(text(&follower), "a2");
        let letters = format!("%DLQ%{GROUP}");
        let letters = read_until(&client, &letters, |read| !read.is_empty()).await;
        let letter = &letters[0];
        assert_eq!(text(letter), "a1");
        stop(node).await;
    });
}

#[test]
fn by_key_many_workers_handle_each_key_in_order() {
    const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
    const EACH: usize = 30;
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_queues(folder.path(), 2)).await;
        let sent: Vec<_> = (0..EACH)
            .flat_map(|number| KEYS.map(|key| format!("{key}{number}")))
            .collect();
        send_keyed(
            &client,
            &sent.iter().map(String::as_str).collect::<Vec<_>>(),
        )
        .await;
        let seen: Arc<Mutex<BTreeMap<String, Vec<String>>>> = Arc::default();
        let worker = || {
            let consumer = by_key(&client).max_messages(3);
            let mut consumer = built(consumer.wait(Duration::from_secs(3600)));
            let seen = seen.clone();
            async move {
                loop {
                    for message in receive(&mut consumer).await {
                        if fastrand::u8(..4) == 0 {
                            message.nack(Duration::ZERO).await.expect("it failed");
                            continue;
                        }
                        let body = text(&message);
                        let key = body.chars().take(1).collect();
                        let count = {
                            let mut all = seen.lock().expect("no worker panics");
                            all.entry(key).or_default().push(body);
                            all.values().map(Vec::len).sum::<usize>()
                        };
                        message.ack().await.expect("it is acknowledged");
                        if count == KEYS.len() * EACH {
                            return;
                        }
                    }
                }
            }
        };
        tokio::select! {
            () = worker() => {}
            () = worker() => {}
            () = worker() => {}
            () = worker() => {}
        }
        for (key, seen) in seen.lock().expect("no worker panics").iter() {
            let expected: Vec<_> = (0..EACH).map(|number| format!("{key}{number}")).collect();
            assert_eq!(*seen, expected);
        }
        stop(node).await;
    });
}

#[test]
fn by_key_a_restart_changes_nothing_of_who_waits_for_whom() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let settings = with_queues(folder.path(), 1);
        let keyed = |max_messages| Pop {
            order: PopOrder::Key,
            max_messages,
            ..one()
        };
        let node = start(&settings).await;
        let receipts = {
            let client = client(&node).await;
            send_keyed(&client, &["a1", "a2", "b1", "b2", "a3"]).await;
            let address = node.broker_address().expect("a broker").to_string();
            pop(&connection(&address).await, keyed(10)).await
        };
        stop(node).await;
        let offsets = |receipts: &[PopReceipt]| {
            let offsets = receipts.iter().map(|receipt| receipt.offset.0);
            offsets.collect::<Vec<_>>()
        };
        assert_eq!(offsets(&receipts), [0, 2]);
        let node = start(&settings).await;
        let address = node.broker_address().expect("a broker").to_string();
        let connection = connection(&address).await;
        assert_eq!(
            pop(&connection, keyed(10)).await,
            [],
            "their firsts are out"
        );
        assert_eq!(acknowledge(&connection, receipts).await, []);
        let seconds = pop(&connection, keyed(10)).await;
        assert_eq!(offsets(&seconds), [1, 3]);
        assert_eq!(acknowledge(&connection, seconds).await, []);
        assert_eq!(offsets(&pop(&connection, keyed(10)).await), [4]);
        stop(node).await;
    });
}

#[test]
fn by_key_others_go_on_behind_a_key_that_is_stuck_as_far_as_a_group_may_look_ahead() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = with_queues(folder.path(), 1);
        settings.broker.pop_max_outstanding = 1_000;
        let (node, client) = started(&settings).await;
        let producer = client.producer().build();
        let keys = (0..2_000).map(|number| match number {
            0..900 => "stuck".to_owned(),
            number => format!("key {number}"),
        });
        let messages = keys.map(|key| {
            let message = Message::builder(support::pop::TOPIC, key.clone()).ordering_key(&key);
            message.build().expect("a message")
        });
        for sent in producer.send_all(messages.collect::<Vec<_>>()).await {
            sent.expect("it is stored");
        }
        let mut consumer = built(by_key(&client).max_messages(50));
        let stuck = receive(&mut consumer).await;
        let mut others = Vec::new();
        let first = stuck.first().expect("messages");
        assert_eq!(text(first), "stuck");
        loop {
            let messages = receive(&mut consumer).await;
            if messages.is_empty() {
                break;
            }
            PoppedMessage::ack_all(&messages).await.expect("an answer");
            others.extend(bodies(&messages));
        }
        others.extend(bodies(&stuck[1..]));
        assert_eq!(others.len(), 100, "{others:?}");
        assert!(others.iter().all(|body| body != "stuck"));
        first.ack().await.expect("it is acknowledged");
        let next = first_of_next(&mut consumer).await;
        assert_eq!(text(&next), "stuck");
        stop(node).await;
    });
}

/// The first of the next messages.
async fn first_of_next(consumer: &mut PopConsumer) -> PoppedMessage {
    loop {
        if let Some(message) = receive(consumer).await.into_iter().next() {
            return message;
        }
    }
}

#[test]
fn consumers_of_a_group_that_pop_otherwise_than_the_others_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_queues(folder.path(), 1)).await;
        send(&client, numbers(1)).await;
        let brief = |consumer: PopConsumerBuilder| built(consumer.wait(Duration::from_millis(1)));
        let filtered = consumer(&client).filter(tags(["red", "green"]));
        let mut first = brief(filtered);
        assert_eq!(receive(&mut first).await.len(), 0);
        let alike = consumer(&client).filter(tags(["green", "red"]));
        assert_eq!(receive(&mut brief(alike)).await.len(), 0);
        let others = [
            (consumer(&client), "all messages in no order"),
            (
                consumer(&client)
                    .filter(tags(["red", "green"]))
                    .in_order(PopOrder::Key),
                "green || red in the order of keys",
            ),
        ];
        for (other, said) in others {
            let refused = brief(other).receive().await.expect_err("it is refused");
            assert_eq!(refused.code(), Some(ErrorCode::Conflict));
            let text = refused.to_string();
            assert!(
                text.contains("others pop messages with tags green || red"),
                "{text}"
            );
            assert!(text.contains(said), "{text}");
        }
        // Other groups have nothing to do with it.
        let other_group = client.pop_consumer("others").topic(support::pop::TOPIC);
        assert_eq!(receive(&mut brief(other_group)).await.len(), 0);
        assert_eq!(receive(&mut first).await.len(), 0, "nor has this one");
        stop(node).await;
    });
}
