//! How a producer behaves, against a cluster in memory.

mod batching;
mod cluster;
mod ending;
mod failing;
mod idempotent;
mod order;
mod request;
mod transaction;

use std::collections::BTreeSet;
use std::time::Duration;

use castmq_protocol::native::{ErrorCode, Failure, Retry};
use tokio::time::{Instant, timeout};

use super::*;
use crate::message::Queue;
use crate::testing::{FakeCluster, Fault, NAME_SERVER};

fn numbered(numbers: std::ops::Range<u32>) -> impl Iterator<Item = Message> {
    numbers.map(|number| Message::new("orders", number.to_string()))
}

fn as_numbers(bodies: &[String]) -> Vec<u32> {
    bodies.iter().map(|body| body.parse().unwrap()).collect()
}

/// Every number once, over all queues of these brokers.
fn assert_stored_once(cluster: &FakeCluster, brokers: &[&str], numbers: std::ops::Range<u32>) {
    let queues = brokers
        .iter()
        .flat_map(|broker| cluster.all_bodies(broker, "orders"));
    let mut stored: Vec<_> = queues.flat_map(|bodies| as_numbers(&bodies)).collect();
    stored.sort_unstable();
    assert_eq!(stored, numbers.collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_message_is_stored_and_its_receipt_says_where() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let producer = cluster.client().await.producer().build();
    producer
        .send(Message::new("orders", "first"))
        .await
        .unwrap();
    let message = Message::builder("orders", "second")
        .tag("t")
        .build()
        .unwrap();
    let receipt = producer.send(message).await.unwrap();
    assert_eq!(receipt.to_string(), "orders@a/0#1");
    assert_eq!(receipt.queue, Queue::new("orders", "a", 0));
    assert_eq!(receipt.status, SendStatus::Stored);
    let id = receipt.id.unwrap();
    assert_eq!(id.store_host.to_string(), "10.0.0.1:10911");
    assert!(id.physical_offset.0 > 0);
    assert_eq!(cluster.bodies("a", "orders", 0), ["first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn messages_spread_evenly_over_all_queues_of_all_brokers() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 3);
    cluster.topic("b", "orders", 1);
    let producer = cluster.client().await.producer().build();
    producer.prepare("orders").await.unwrap();
    // Both brokers are reached before the first message, so that the count is exact.
    tokio::time::sleep(Duration::from_millis(10)).await;
    for message in numbered(0..40) {
        producer.send(message).await.unwrap();
    }
    for queue in cluster
        .all_bodies("a", "orders")
        .iter()
        .chain(&cluster.all_bodies("b", "orders"))
    {
        assert_eq!(queue.len(), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn messages_enqueued_before_anything_is_connected_keep_their_order() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let producer = cluster.client().await.producer().build();
    let deliveries: Vec<_> = numbered(0..500)
        .map(|message| producer.enqueue(message))
        .collect();
    for (number, delivery) in (0..).zip(deliveries) {
        assert_eq!(delivery.await.unwrap().offset.0, number);
    }
    assert_eq!(
        as_numbers(&cluster.bodies("a", "orders", 0)),
        (0..500).collect::<Vec<_>>()
    );
    assert_eq!(cluster.asked("a", "announce topic"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_for_a_queue_of_its_own_goes_there_or_nowhere() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 2);
    cluster.topic("b", "orders", 2);
    let producer = cluster.client().await.producer().build();
    let to = |queue: &Queue| {
        Message::builder("orders", "x")
            .queue(queue)
            .build()
            .unwrap()
    };
    let queue = Queue::new("orders", "b", 1);
    assert_eq!(producer.send(to(&queue)).await.unwrap().queue, queue);
    let error = producer
        .send(to(&Queue::new("orders", "b", 7)))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoQueue { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_topic_is_created_where_a_broker_creates_topics() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.create_topics();
    let producer = cluster.client().await.producer().build();
    for number in 0..8 {
        producer
            .send(Message::new("fresh", number.to_string()))
            .await
            .unwrap();
    }
    let counts = |broker| {
        cluster
            .all_bodies(broker, "fresh")
            .iter()
            .map(Vec::len)
            .collect::<Vec<_>>()
    };
    let (a, b) = (counts("a"), counts("b"));
    // One of the two has it, with its own number of queues.
    assert!(
        a == [2, 2, 2, 2] && b.is_empty() || b == [2, 2, 2, 2] && a.is_empty(),
        "{a:?} {b:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unknown_topic_is_an_error_at_once_where_no_broker_creates_topics() {
    let cluster = FakeCluster::start(&["a"]);
    let producer = cluster.client().await.producer().build();
    let began = Instant::now();
    let error = producer.send(Message::new("fresh", "x")).await.unwrap_err();
    assert!(matches!(error, Error::TopicNotFound { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(matches!(
        producer.prepare("fresh").await,
        Err(Error::TopicNotFound { .. })
    ));
    assert!(matches!(
        producer.send(Message::new("a b", "x")).await,
        Err(Error::Name(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn one_way_messages_arrive_without_an_answer() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 2);
    let producer = cluster.client().await.producer().build();
    for message in numbered(0..100) {
        producer.send_one_way(message).await.unwrap();
    }
    producer.close().await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(cluster.one_way("a"), 100);
    assert_stored_once(&cluster, &["a"], 0..100);
}

#[tokio::test(start_paused = true)]
async fn long_bodies_are_compressed_and_short_ones_are_not() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let producer = cluster.client().await.producer().build();
    let long = "again and again ".repeat(1000);
    producer
        .send(Message::new("orders", long.clone()))
        .await
        .unwrap();
    producer
        .send(Message::new("orders", "short"))
        .await
        .unwrap();
    let stored = cluster.bodies("a", "orders", 0);
    assert!(stored[0].len() < 1000);
    assert_eq!(stored[1], "short");
}

#[tokio::test(start_paused = true)]
async fn a_message_longer_than_the_broker_takes_is_refused_here() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let builder = cluster.client().await.producer();
    let producer = builder.compress_above_bytes(usize::MAX).build();
    let error = producer
        .send(Message::new("orders", vec![0; 600_000]))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::TooLarge { limit: 524_288, .. }),
        "{error}"
    );
    assert_eq!(cluster.asked("a", "send"), 0);
}

#[tokio::test(start_paused = true)]
async fn senders_wait_for_room_instead_of_filling_memory() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let builder = cluster.client().await.producer();
    let producer = builder
        .max_buffered_bytes(4000)
        .compress_above_bytes(usize::MAX)
        .build();
    let first = producer.enqueue(Message::new("orders", vec![0; 5000]));
    let error = producer
        .enqueue(Message::new("orders", "x"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::BufferFull { limit: 4000, .. }),
        "{error}"
    );
    assert!(error.is_retry_safe());
    producer.ready().await.unwrap();
    first.await.unwrap();
    producer.send(Message::new("orders", "x")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_delivery_stops_nothing_and_closing_waits_for_all() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let producer = cluster
        .client()
        .await
        .producer()
        .linger(Duration::from_secs(60))
        .build();
    for message in numbered(0..50) {
        drop(producer.enqueue(message));
    }
    producer.close().await;
    assert_stored_once(&cluster, &["a"], 0..50);
    assert!(matches!(
        producer.send(Message::new("orders", "x")).await,
        Err(Error::Closed { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_producer_still_sends_what_it_was_given() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let producer = cluster
        .client()
        .await
        .producer()
        .linger(Duration::from_secs(60))
        .build();
    producer.prepare("orders").await.unwrap();
    let delivery = producer.enqueue(Message::new("orders", "0"));
    drop(producer);
    timeout(Duration::from_secs(1), delivery)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn unique_ids_are_given_on_demand_and_survive_retries() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let producer = cluster.client().await.producer().unique_ids(true).build();
    cluster.fault("a", "send", Fault::DoneThenClose);
    producer.send(Message::new("orders", "x")).await.unwrap();
    let ids: BTreeSet<_> = cluster.properties("a", "orders", 0).into_iter().collect();
    assert_eq!(ids.len(), 1);
    assert!(ids.first().unwrap().starts_with("UNIQ_KEY\u{1}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_share_one_producer() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 3);
    let producer = cluster.client().await.producer().build();
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let producer = producer.clone();
            tokio::spawn(async move {
                for message in numbered(task * 200..(task + 1) * 200) {
                    producer.send(message).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_stored_once(&cluster, &["a"], 0..1600);
}

#[test]
fn handles_may_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<Producer>();
    crosses::<Delivery>();
    crosses::<Client>();
    crosses::<Error>();
}
