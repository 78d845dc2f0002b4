//! Traces: what happened to a message, and nothing of what nobody asked for.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use std::path::Path;
use std::time::Duration;

use castmq_client::model::{TopicConfig, topic_attributes};
use castmq_client::trace_format::{
    Acknowledged, Consumed, Delivered, MessageKind, Produced, TraceRecord, TransactionEnded, decode,
};
use castmq_client::{
    Ack, Client, Filter, Message, MessageId, PopConsumer, Resolution, StartFrom, Trace,
};
use castmq_config::Settings;
use tokio::sync::mpsc;

use support::process::Process;
use support::shell::Broker;
use support::{client, reader, run, settings, start, started, stop, text};

const TOPIC: &str = "orders";
const TRACES: &str = "RMQ_SYS_TRACE_TOPIC";

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

fn quick(data: &Path) -> Settings {
    let mut settings = settings(data);
    settings.broker.transaction_timeout_ms = 50;
    settings.broker.transaction_check_interval_ms = 20;
    settings
}

/// Makes a topic that is traced or not, and waits until name servers know.
async fn make(client: &Client, topic: &str, trace: &str) {
    let mut config = TopicConfig::with_queues(1);
    let attributes = &mut config.attributes;
    attributes.insert(topic_attributes::TRACE.to_owned(), trace.to_owned());
    let broker = client.admin().broker("broker-a").await.expect("a broker");
    broker.put_topic(topic, config).await.expect("a topic");
    let is_traced = trace == "on";
    loop {
        match client.admin().route(topic).await {
            Ok(route) if route.queues.iter().all(|q| q.is_traced == is_traced) => return,
            _ => tokio::task::yield_now().await,
        }
    }
}

/// All that is traced of one message, in the order in which it happened.
async fn traces(client: &Client, id: &str) -> Vec<TraceRecord> {
    client.flush_traces().await;
    assert_eq!(client.traces_dropped(), 0);
    let broker = client.admin().broker("broker-a").await.expect("a broker");
    let found = broker.messages_by_key(TRACES, id, 64, 0..=i64::MAX).await;
    let found = found.expect("the trace topic");
    let mut records = Vec::new();
    // The newest is first.
    for message in found.iter().rev() {
        let keys: Vec<_> = message.keys().collect();
        assert!(keys.contains(&id), "{keys:?}");
        let read: Result<Vec<_>, _> = decode(&text(message)).collect();
        records.extend(read.expect("each record can be read"));
    }
    records.retain(|record| record.message_id() == id);
    records
}

/// The index learns of messages a moment after they are stored.
async fn traces_of(client: &Client, id: &str, count: usize) -> Vec<TraceRecord> {
    loop {
        let records = traces(client, id).await;
        if records.len() >= count {
            assert_eq!(records.len(), count, "{records:#?}");
            return records;
        }
        tokio::task::yield_now().await;
    }
}

fn produced(record: &TraceRecord) -> &Produced {
    match record {
        TraceRecord::Produced(record) => record,
        other => panic!("{other:?}"),
    }
}

fn delivered(record: &TraceRecord) -> &Delivered {
    match record {
        TraceRecord::Delivered(record) => record,
        other => panic!("{other:?}"),
    }
}

fn acknowledged(record: &TraceRecord) -> &Acknowledged {
    match record {
        TraceRecord::Acknowledged(record) => record,
        other => panic!("{other:?}"),
    }
}

fn ended(record: &TraceRecord) -> &TransactionEnded {
    match record {
        TraceRecord::TransactionEnded(record) => record,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_that_a_push_consumer_retries_is_traced_from_its_producer_to_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&quick(folder.path())).await;
        make(&client, TOPIC, "on").await;
        let producer = client.producer().build();
        producer.prepare(TOPIC).await.expect("a topic");
        let message = Message::builder(TOPIC, "3 apples")
            .tag("red")
            .key("k1")
            .key("k2");
        let message = message.build().expect("a message");
        let receipt = producer.send(message).await.expect("it is stored");
        let stored_id = receipt.id.expect("an id").to_string();

        let (sender, mut done) = mpsc::unbounded_channel();
        let consumer = client
            .push_consumer("billing")
            .subscribe(TOPIC, Filter::All)
            .from(StartFrom::Earliest)
            .handler(move |message| {
                let attempts = message.attempts();
                if attempts == 3 {
                    let id = message.unique_id().map(str::to_owned);
                    // The test listens until then.
                    let _ = sender.send(id.expect("a traced message has an id"));
                }
                async move {
                    match attempts {
                        3 => Ack::Done,
                        _ => Ack::RetryAfter(Duration::from_millis(1)),
                    }
                }
            })
            .start()
            .await
            .expect("a consumer");
        let id = done.recv().await.expect("the third attempt");
        consumer.shutdown().await.expect("a clean end");

        let records = traces_of(&client, &id, 7).await;
        let sent = produced(&records[0]);
        assert_eq!(
            (&*sent.topic, &*sent.group, &*sent.region),
            (TOPIC, "DEFAULT_PRODUCER", "DefaultRegion")
        );
        assert_eq!(sent.tag.as_deref(), Some("red"));
        assert_eq!(sent.keys.as_deref(), Some("k1 k2"));
        assert_eq!((sent.kind, sent.body_bytes), (MessageKind::Normal, 8));
        assert!(sent.is_success);
        assert_eq!(sent.stored_id.as_deref(), Some(&*stored_id));
        let broker = node.broker_address().expect("a broker").to_string();
        assert_eq!(sent.store_host.as_deref(), Some(&*broker));
        for (attempt, pair) in records[1..].chunks(2).enumerate() {
            let (begun, done) = (delivered(&pair[0]), acknowledged(&pair[1]));
            assert_eq!(begun.retries as usize, attempt);
            assert_eq!(begun.request_id, done.request_id);
            assert_eq!((&*begun.group, &*done.group), ("billing", "billing"));
            assert!(begun.timestamp_ms >= sent.timestamp_ms);
            assert!(done.timestamp_ms >= begun.timestamp_ms);
            assert_eq!(done.is_success, attempt == 2);
            assert_eq!(done.outcome == Consumed::Success, attempt == 2);
            assert_eq!(done.keys.as_deref(), Some("k1 k2"));
        }
        // It is found by its keys, too, as RocketMQ's tools look for it.
        let broker = client.admin().broker("broker-a").await.expect("a broker");
        let found = broker.messages_by_key(TRACES, "k2", 64, 0..=i64::MAX).await;
        assert!(!found.expect("the trace topic").is_empty());
        producer.close().await;
        stop(node).await;
    });
}

async fn pop(consumer: &mut PopConsumer) -> castmq_client::PoppedMessage {
    loop {
        let messages = consumer.receive().await.expect("a pop");
        if let Some(message) = messages.into_iter().next() {
            return message;
        }
    }
}

#[test]
fn popped_messages_are_traced_when_they_are_received_and_when_they_are_settled() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&quick(folder.path())).await;
        make(&client, TOPIC, "on").await;
        let producer = client.producer().unique_ids(true).build();
        producer
            .send(Message::new(TOPIC, "job"))
            .await
            .expect("it is stored");
        let consumer = client.pop_consumer("workers").topic(TOPIC);
        let consumer = consumer.from(StartFrom::Earliest).max_messages(1).build();
        let mut consumer = consumer.expect("a consumer");
        let first = pop(&mut consumer).await;
        let id = first.unique_id().expect("an id").to_owned();
        first.nack(Duration::ZERO).await.expect("it comes again");
        let second = pop(&mut consumer).await;
        second.ack().await.expect("it is settled");
        // Saying it again is harmless, and no other end.
        second.ack().await.expect("it is settled");
        let records = traces_of(&client, &id, 5).await;
        assert!(produced(&records[0]).is_success);
        assert_eq!(delivered(&records[1]).retries, 0);
        assert_eq!(acknowledged(&records[2]).outcome, Consumed::Failed);
        assert_eq!(delivered(&records[3]).retries, 1);
        assert_eq!(acknowledged(&records[4]).outcome, Consumed::Success);
        stop(node).await;
    });
}

#[test]
fn transactions_are_traced_with_how_they_were_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&quick(folder.path())).await;
        make(&client, TOPIC, "on").await;
        let producer = client
            .transaction_producer("payments")
            .topic(TOPIC)
            .checker(|message| {
                let is_left = message.body().is_ok_and(|body| body == b"left");
                async move {
                    match is_left {
                        true => Resolution::Commit,
                        false => Resolution::Unknown,
                    }
                }
            })
            .start()
            .await
            .expect("a producer");
        let begin = async |body: &'static str| {
            let begun = producer.begin(Message::new(TOPIC, body)).await;
            begun.expect("it is stored")
        };
        let dropped = begin("dropped").await;
        let dropped_id = dropped.id().to_owned();
        dropped.rollback().await.expect("it is");
        let left = begin("left").await;
        let left_id = left.id().to_owned();
        drop(left);

        for (id, resolution, from_check) in [
            (&dropped_id, Resolution::Rollback, false),
            (&left_id, Resolution::Commit, true),
        ] {
            // Slow machines are asked meanwhile, and more than once.
            let end = loop {
                let records = traces(&client, id).await;
                if let Some(half) = records.first() {
                    let half = produced(half);
                    assert_eq!((half.kind, half.is_success), (MessageKind::Half, true));
                    assert_eq!(&*half.group, "payments");
                }
                let mut ends = records.iter().skip(1).map(ended);
                let is_it = |end: &&TransactionEnded| {
                    (end.resolution, end.from_check) == (resolution, from_check)
                };
                match ends.find(is_it) {
                    Some(end) => break end.clone(),
                    None => tokio::task::yield_now().await,
                }
            };
            assert_eq!(end.kind, MessageKind::Committed);
            assert_eq!(&end.transaction_id, id);
        }
        stop(node).await;
    });
}

#[test]
fn what_does_not_say_so_is_not_traced_and_a_client_may_decide_for_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = start(&quick(folder.path())).await;
        let usual = client(&node).await;
        let address = node.name_server_address().expect("a name server");
        let builder = Client::builder().name_servers([address.to_string()]);
        let off = builder.clone().trace(Trace::Off).build().await;
        let all = builder.trace(Trace::All).build().await;
        let (off, all) = (off.expect("a client"), all.expect("a client"));
        make(&usual, TOPIC, "on").await;
        make(&usual, "quiet", "off").await;
        let broker = usual.admin().broker("broker-a").await.expect("a broker");
        let mut wrong = TopicConfig::with_queues(1);
        let attributes = &mut wrong.attributes;
        attributes.insert(topic_attributes::TRACE.to_owned(), "maybe".to_owned());
        let refused = broker.put_topic("wrong", wrong).await;
        let refused = refused.expect_err("it is neither").to_string();
        assert!(refused.contains("on or off"), "{refused}");

        for (client, topic, is_traced) in [
            (&off, TOPIC, false),
            (&usual, "quiet", false),
            (&usual, TOPIC, true),
            (&all, "quiet", true),
        ] {
            let producer = client.producer().build();
            producer.prepare(topic).await.expect("a topic");
            let key = format!("{topic}-{is_traced}");
            let message = Message::builder(topic, "x").key(&key).build();
            let sent = producer.send(message.expect("a message")).await;
            let id = sent.expect("it is stored").id.expect("an id");
            let stored = client.admin().message(id).await.expect("the message");
            // What is not traced is stored as it was given.
            assert_eq!(stored.unique_id().is_some(), is_traced);
            if is_traced {
                let id = stored.unique_id().expect("an id");
                let records = traces_of(client, id, 1).await;
                assert_eq!(produced(&records[0]).keys.as_deref(), Some(&*key));
            }
            client.flush_traces().await;
        }
        let mut consumer = reader(&usual, TRACES).await;
        let mut traced = 0;
        while traced < 2 {
            for message in consumer.poll(LONG).await.expect("a poll") {
                traced += decode(&text(&message)).count();
            }
        }
        let more = consumer.poll(Duration::ZERO).await.expect("a poll");
        assert_eq!((traced, more.len()), (2, 0));
        stop(node).await;
    });
}

#[test]
fn attempts_that_failed_are_traced_with_the_one_that_did_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    run(async {
        let broker = Process::start_small(&data, &[("limits.max_message_bytes", "1000")]);
        let client = broker.client().await;
        make(&client, TOPIC, "on").await;
        let producer = client.producer().unique_ids(true).build();
        producer.prepare(TOPIC).await.expect("a topic");
        let long = Message::builder(TOPIC, vec![7; 2000]).property("UNIQ_KEY", "too-long");
        let long = producer.send(long.build().expect("a message")).await;
        long.expect_err("it is too long");
        let records = traces_of(&client, "too-long", 1).await;
        let failed = produced(&records[0]);
        assert!(!failed.is_success);
        assert_eq!((failed.body_bytes, &failed.stored_id), (2000, &None));
        // Many that travel together are traced one by one.
        let messages = (0..50).map(|n| {
            let message = Message::builder(TOPIC, "x").property("UNIQ_KEY", &format!("n{n}"));
            message.build().expect("a message")
        });
        for sent in producer.send_all(messages).await {
            sent.expect("it is stored");
        }
        for n in [0, 7, 49] {
            let records = traces_of(&client, &format!("n{n}"), 1).await;
            assert!(produced(&records[0]).is_success);
        }
        broker.kill();
    });
}

#[test]
fn traces_never_hold_up_what_they_are_about() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = quick(folder.path());
        settings.broker.trace_topic = false;
        settings.broker.auto_create_topics = false;
        let (node, client) = started(&settings).await;
        make(&client, TOPIC, "on").await;
        let producer = client.producer().build();
        producer.prepare(TOPIC).await.expect("a topic");
        let messages = (0..5000).map(|number: i32| Message::new(TOPIC, number.to_string()));
        for sent in producer.send_all(messages).await {
            sent.expect("it is stored, traced or not");
        }
        client.flush_traces().await;
        assert_eq!(client.traces_dropped(), 5000);
        stop(node).await;
    });
}

#[test]
fn an_operator_switches_traces_on_and_reads_the_way_of_a_message() {
    let broker = Broker::start();
    let admin = |args: &[&str]| broker.run(&[&["admin"], args].concat());
    let create = ["topic", "create", TOPIC, "--queues", "1"];
    admin(&create).well();
    let set = ["topic", "set", TOPIC, "--trace", "on"];
    assert_eq!(admin(&set).well().out, "topic orders set on broker-a\n");
    admin(&["topic", "set", "nothing", "--trace", "on"]).fails(1, &["nothing does not exist"]);
    let shown = admin(&["topic", "show", TOPIC, "--json"]).well().json();
    assert_eq!(shown[0]["config"]["attributes"]["trace"], "on");
    assert_eq!(shown[0]["config"]["write_queues"], 1);
    let unknown = admin(&["trace", "0123"]);
    unknown.fails(1, &["no trace of message 0123", "--trace on"]);

    let (id, stored_id) = run(async {
        let connected = Client::connect(&broker.process.name_server).await;
        let client = connected.expect("a client");
        make(&client, TOPIC, "on").await;
        let producer = client.producer().build();
        producer.prepare(TOPIC).await.expect("a topic");
        let sent = producer.send(Message::new(TOPIC, "3 apples")).await;
        let stored_id: MessageId = sent.expect("it is stored").id.expect("an id");
        let consumer = client.pop_consumer("workers").topic(TOPIC);
        let consumer = consumer.from(StartFrom::Earliest).build();
        let message = pop(&mut consumer.expect("a consumer")).await;
        message.ack().await.expect("it is settled");
        let id = message.unique_id().expect("an id").to_owned();
        traces_of(&client, &id, 3).await;
        (id, stored_id.to_string())
    });
    // By either id.
    for id in [&id, &stored_id] {
        let steps = admin(&["trace", id, "--json"]).well().json();
        let events: Vec<_> = steps.as_array().expect("steps").iter().collect();
        assert_eq!(events.len(), 3, "{steps}");
        assert_eq!(events[0]["event"], "produced");
        assert_eq!(events[0]["stored_id"], stored_id);
        assert_eq!(events[1]["event"], "delivered");
        assert_eq!(events[2]["event"], "acknowledged");
        assert_eq!(events[2]["outcome"], "done");
        assert!(
            events[2]["client"]
                .as_str()
                .expect("text")
                .contains("127.0.0.1")
        );
    }
    let table = admin(&["trace", &id]).well().out;
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    for (line, words) in lines.iter().zip([
        ["TIME", "EVENT", "OUTCOME"],
        ["produced", "DEFAULT_PRODUCER", "stored"],
        ["delivered", "workers", "1"],
        ["acknowledged", "workers", "done"],
    ]) {
        for word in words {
            assert!(line.contains(word), "{table}");
        }
    }
}
