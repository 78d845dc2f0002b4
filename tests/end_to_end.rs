//! Producers and consumers against a real broker, over real sockets and files.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use castmq_client::{Client, Filter, Message, PushConsumer, SeekTo, StartFrom};
use tokio::sync::mpsc;
use tokio::time::timeout;

use support::{client, run, settings, start, started, stop, until};

type Bodies = mpsc::UnboundedReceiver<String>;

async fn produce(client: &Client, topic: &str, count: usize) {
    let producer = client.producer().build();
    let messages = (0..count).map(|n| Message::new(topic, format!("message {n}")));
    let receipts = producer.send_all(messages).await;
    let stored: Result<Vec<_>, _> = receipts.into_iter().collect();
    assert_eq!(stored.expect("all are stored").len(), count);
    producer.close().await;
}

async fn consume(client: &Client, group: &str, topic: &str) -> (PushConsumer, Bodies) {
    let (sender, bodies) = mpsc::unbounded_channel();
    let consumer = client
        .push_consumer(group)
        .subscribe(topic, Filter::All)
        .from(StartFrom::Earliest)
        .handler(move |message| {
            let sender = sender.clone();
            async move {
                let body = message.body().expect("a body that can be read");
                let text = String::from_utf8(body.to_vec()).expect("text");
                let _ = sender.send(text);
            }
        })
        .start()
        .await
        .expect("the consumer starts");
    (consumer, bodies)
}

async fn take(bodies: &mut Bodies, count: usize) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for _ in 0..count {
        let body = bodies.recv().await.expect("the consumer lives");
        *seen.entry(body).or_default() += 1;
    }
    seen
}

fn each_once(count: usize) -> BTreeMap<String, usize> {
    (0..count).map(|n| (format!("message {n}"), 1)).collect()
}

#[test]
fn every_group_gets_every_message_once() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        produce(&client, "orders", 1000).await;
        for group in ["billing", "shipping"] {
            let (consumer, mut bodies) = consume(&client, group, "orders").await;
            assert_eq!(take(&mut bodies, 1000).await, each_once(1000));
            consumer.shutdown().await.unwrap();
        }
        stop(node).await;
    });
}

/// Otherwise each start would read the log for keys from the last message on that has one.
#[test]
fn messages_without_keys_do_not_leave_the_index_behind() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        produce(&client, "orders", 1000).await;
        let behind = async || {
            let tree = node.tree().snapshot().await;
            let indexer = tree.find("broker/storage/indexer").expect("it is there");
            indexer.state["behind_bytes"].as_u64().expect("a number")
        };
        until(async || behind().await == 0).await;
        stop(node).await;
    });
}

#[test]
fn messages_and_progress_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    run(async {
        let (node, client) = started(&settings).await;
        produce(&client, "orders", 100).await;
        let (consumer, mut bodies) = consume(&client, "billing", "orders").await;
        take(&mut bodies, 100).await;
        consumer.shutdown().await.unwrap();
        drop(client);
        stop(node).await;
    });
    run(async {
        let node = start(&settings).await;
        assert!(node.open_report().unwrap().was_clean);
        let client = client(&node).await;
        let (late, mut of_late) = consume(&client, "late", "orders").await;
        assert_eq!(take(&mut of_late, 100).await, each_once(100));
        late.shutdown().await.unwrap();
        let (consumer, mut bodies) = consume(&client, "billing", "orders").await;
        let producer = client.producer().build();
        producer
            .send(Message::new("orders", "after"))
            .await
            .unwrap();
        assert_eq!(bodies.recv().await.as_deref(), Some("after"));
        consumer.shutdown().await.unwrap();
        stop(node).await;
    });
}

#[test]
fn members_share_a_topic_and_what_one_leaves_the_other_gets() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let node = start(&settings(folder.path())).await;
        let (one, two) = (client(&node).await, client(&node).await);
        produce(&one, "orders", 8).await;
        let (first, mut of_first) = consume(&one, "billing", "orders").await;
        take(&mut of_first, 8).await;
        let (second, mut of_second) = consume(&two, "billing", "orders").await;
        // The second member gets its share once the first has given it up; then messages arrive at both.
        let producer = one.producer().build();
        let mut got = Vec::new();
        let mut sent = 8;
        while got.is_empty() {
            let body = format!("message {sent}");
            producer.send(Message::new("orders", body)).await.unwrap();
            sent += 1;
            let arrival = timeout(Duration::from_millis(20), of_second.recv()).await;
            got.extend(arrival.ok().flatten());
        }
        first.shutdown().await.unwrap();
        while let Ok(body) = of_first.try_recv() {
            got.push(body);
        }
        // What the first one left, and what comes now, is all the second one's.
        got.sort();
        got.dedup();
        let expected: Vec<_> = (8..sent).map(|n| format!("message {n}")).collect();
        while expected.iter().any(|body| !got.contains(body)) {
            got.push(of_second.recv().await.unwrap());
        }
        second.shutdown().await.unwrap();
        stop(node).await;
    });
}

#[test]
fn a_pull_consumer_reads_where_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let (node, client) = started(&settings(folder.path())).await;
        produce(&client, "orders", 40).await;
        let mut consumer = client.pull_consumer("audit").build().unwrap();
        let queues = consumer.queues("orders").await.unwrap();
        assert_eq!(queues.len(), 4);
        consumer.assign(queues.clone()).await.unwrap();
        for queue in &queues {
            consumer.seek(queue, SeekTo::Earliest).await.unwrap();
        }
        let mut read = 0;
        while read < 40 {
            read += consumer.poll(Duration::from_secs(5)).await.unwrap().len();
        }
        assert_eq!(read, 40);
        stop(node).await;
    });
}
