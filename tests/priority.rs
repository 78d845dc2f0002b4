//! Priorities within a topic: of a backlog the higher ones come first.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use std::time::Duration;

use castmq_client::model::{PRIORITY_TYPE, TYPE_ATTRIBUTE, TopicConfig};
use castmq_client::raw::request::{ANY_QUEUE, Send, SendExtras};
use castmq_client::raw::{Payload, Request, Response, Role};
use castmq_client::{
    BrokerAdmin, Client, Error, ErrorCode, Filter, Message, ReceivedMessage, StartFrom,
};
use tokio::sync::{mpsc, watch};

use support::load::open;
use support::pop::{GROUP, TOPIC, built, consumer, next};
use support::{admin, reader, run, settings, started, stop, text, until};

async fn topic(client: &Client, queues: u32) -> BrokerAdmin {
    let admin = admin(client).await;
    let attribute = (TYPE_ATTRIBUTE.to_owned(), PRIORITY_TYPE.to_owned());
    let config = TopicConfig {
        attributes: [attribute].into(),
        ..TopicConfig::with_queues(queues)
    };
    admin.put_topic(TOPIC, config).await.expect("a topic");
    admin
}

/// Every priority several times, in no order: a body is a priority and a number.
fn mixed(each: u32) -> Vec<(u8, String)> {
    let mut all: Vec<(u8, String)> = (0..each)
        .flat_map(|number| (0..10).map(move |priority| (priority, format!("{priority} {number}"))))
        .collect();
    // Within a priority numbers rise; their neighbors are others each time.
    all.sort_by_key(|(priority, body)| {
        let number: u32 = body[2..].parse().expect("a number");
        (number, priority.wrapping_mul(7) % 10)
    });
    all
}

async fn send(client: &Client, messages: &[(u8, String)]) {
    let producer = client.producer().build();
    for (priority, body) in messages {
        let message = Message::builder(TOPIC, body.clone()).priority(*priority);
        let message = message.build().expect("a message");
        producer.send(message).await.expect("it is stored");
    }
    producer.close().await;
}

/// Highest first, and those of one queue as they were sent.
fn by_queue(mut messages: Vec<(u8, String)>, queue: impl Fn(u8) -> u8) -> Vec<String> {
    messages.sort_by_key(|(priority, _)| std::cmp::Reverse(queue(*priority)));
    messages.into_iter().map(|(_, body)| body).collect()
}

#[test]
fn poppers_get_a_backlog_from_the_highest_priority_down() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        topic(&client, 10).await;
        send(&client, &mixed(4)).await;
        let mut popper = built(consumer(&client).max_messages(3));
        let expected = by_queue(mixed(4), |priority| priority);
        let mut popped = Vec::new();
        // One that comes later and is higher overtakes all that wait.
        while popped.len() < 21 {
            for message in popper.receive().await.expect("messages") {
                popped.push(text(&message));
                message.ack().await.expect("it is acknowledged");
            }
        }
        assert_eq!(popped, expected[..21]);
        send(&client, &[(9, "late".to_owned())]).await;
        let mut one_by_one = built(consumer(&client).max_messages(1));
        let late = next(&mut one_by_one).await;
        assert_eq!(text(&late), "late");
        let mut rest = Vec::new();
        while rest.len() < expected.len() - 21 {
            let message = next(&mut one_by_one).await;
            rest.push(text(&message));
        }
        assert_eq!(rest, expected[21..]);
        stop(node).await;
    });
}

#[test]
fn priorities_share_the_queues_of_a_topic_that_has_few() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        topic(&client, 4).await;
        send(&client, &mixed(2)).await;
        let mut popper = built(consumer(&client).max_messages(100));
        let messages = popper.receive().await.expect("messages");
        for message in &messages {
            let priority: u8 = text(message)[..1].parse().expect("a priority");
            assert_eq!(message.queue_id().0, u32::from(priority * 4 / 10));
            assert_eq!(
                message.property("_SYS_MSG_PRIORITY_"),
                Some(&text(message)[..1])
            );
        }
        let bodies: Vec<_> = messages.iter().map(|message| text(message)).collect();
        assert_eq!(bodies, by_queue(mixed(2), |priority| priority * 4 / 10));
        stop(node).await;
    });
}

#[test]
fn handlers_get_what_their_consumer_holds_from_the_highest_priority_down() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        let admin = topic(&client, 10).await;
        send(&client, &[(0, "gate".to_owned())]).await;
        let (open, is_open) = watch::channel(false);
        let (sender, mut handled) = mpsc::unbounded_channel::<ReceivedMessage>();
        let pushed = client
            .push_consumer(GROUP)
            .subscribe(TOPIC, Filter::All)
            .from(StartFrom::Earliest)
            .concurrency(1)
            .handler(move |message| {
                let _ = sender.send(message);
                let mut is_open = is_open.clone();
                async move {
                    let _ = is_open.wait_for(|is_open| *is_open).await;
                    // The worker goes back to the queues after each.
                    tokio::task::yield_now().await;
                }
            });
        let pushed = pushed.start().await.expect("a consumer");
        let gate = handled.recv().await.expect("a message");
        assert_eq!(text(&gate), "gate");
        send(&client, &mixed(3)).await;
        // Until the broker has sent all of them. Nothing says when the consumer holds them, and nothing orders what comes over
        // two connections: a few answers later it does, but for the luck of a very busy machine.
        let all = 1 + mixed(3).len() as u64;
        until(async || admin.show_broker().await.expect("details").messages_out >= all).await;
        for _ in 0..10 {
            admin.show_broker().await.expect("details");
        }
        open.send(true).expect("the handler waits");
        let mut bodies = Vec::new();
        while bodies.len() < mixed(3).len() {
            bodies.push(text(&handled.recv().await.expect("a message")));
        }
        assert_eq!(bodies, by_queue(mixed(3), |priority| priority));
        pushed.shutdown().await.expect("it leaves");
        stop(node).await;
    });
}

#[test]
fn a_message_that_names_a_queue_goes_there_and_one_that_waits_goes_to_that_of_its_priority() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = settings(folder.path());
        settings.broker.delay_levels = "10ms".to_owned();
        let (node, client) = started(&settings).await;
        topic(&client, 10).await;
        let producer = client.producer().build();
        let named = Message::builder(TOPIC, "named").priority(9).queue(2);
        let waits = Message::builder(TOPIC, "waits").priority(7).delay_level(1);
        for message in [named, waits] {
            let message = message.build().expect("a message");
            producer.send(message).await.expect("it is stored");
        }
        let mut popper = built(consumer(&client).max_messages(1));
        let mut places = Vec::new();
        for _ in 0..2 {
            let message = next(&mut popper).await;
            places.push((text(&message), message.queue_id().0));
        }
        places.sort();
        assert_eq!(places, [("named".to_owned(), 2), ("waits".to_owned(), 7)]);
        stop(node).await;
    });
}

#[test]
fn topics_of_other_types_store_the_priority_and_that_is_all() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        let sent: Vec<_> = (0..8).map(|number| (9, number.to_string())).collect();
        send(&client, &sent).await;
        let mut reader = reader(&client, TOPIC).await;
        let mut queues = Vec::new();
        while queues.len() < 8 {
            for message in reader.poll(Duration::from_secs(5)).await.expect("a poll") {
                assert_eq!(message.property("_SYS_MSG_PRIORITY_"), Some("9"));
                queues.push(message.queue_id().0);
            }
        }
        queues.sort_unstable();
        assert_eq!(queues, [0, 0, 1, 1, 2, 2, 3, 3], "in turn");
        stop(node).await;
    });
}

#[test]
fn a_priority_that_a_producer_only_asks_for_is_stored_and_one_there_is_not_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        topic(&client, 10).await;
        let address = node.broker_address().expect("a broker").to_string();
        let connection = open(&address, Role::Producer, "raw").await;
        let connection = connection.expect("a connection");
        let (alias, topic) = (0, TOPIC.to_owned());
        let announce = Request::AnnounceTopic { alias, topic };
        let announced = connection.request(announce, Payload::none()).await;
        announced.expect("it is announced");
        let send = async |priority| {
            let send = Request::Send(Send {
                topic: 0,
                queue: ANY_QUEUE,
                flags: 0,
                flag: 0,
                sys_flag: 0,
                born_timestamp_ms: 1,
                properties_bytes: 0,
                extras: Some(Box::new(SendExtras {
                    priority,
                    ..SendExtras::default()
                })),
            });
            let answer = connection.request(send, Payload::none()).await;
            answer.map(|reply| reply.header.response)
        };
        let Ok(Response::Sent(sent)) = send(6).await else {
            panic!("it is not stored");
        };
        assert_eq!(sent.queue.0, 6);
        let refused: Error = send(10).await.expect_err("there is none such");
        assert_eq!(refused.code(), Some(ErrorCode::InvalidRequest));
        assert!(refused.to_string().contains("0 to 9"), "{refused}");
        let mut popper = built(consumer(&client).max_messages(10));
        let messages = popper.receive().await.expect("messages");
        let [message] = &messages[..] else {
            panic!("one is stored: {messages:?}");
        };
        assert_eq!(message.property("_SYS_MSG_PRIORITY_"), Some("6"));
        stop(node).await;
    });
}
