//! How a producer behaves, against a cluster in memory.

mod ending;
mod order;

use std::collections::BTreeSet;
use std::time::Duration;

use castmq_protocol::native::{ErrorCode, Failure, Retry};
use tokio::time::{Instant, timeout};

use super::*;
use crate::message::Queue;
use crate::testing::{FakeCluster, Fault};

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
async fn messages_with_one_ordering_key_go_to_one_queue_in_order() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 4);
    cluster.topic("b", "orders", 4);
    let producer = cluster.client().await.producer().build();
    let message = |key: u32, number: u32| {
        let builder = Message::builder("orders", format!("{key}-{number}"));
        builder
            .ordering_key(&format!("customer-{key}"))
            .build()
            .unwrap()
    };
    let deliveries: Vec<_> = (0..20)
        .flat_map(|number| (0..5).map(move |key| (key, number)))
        .map(|(key, number)| producer.enqueue(message(key, number)))
        .collect();
    let mut queues = BTreeSet::new();
    for (index, delivery) in deliveries.into_iter().enumerate() {
        queues.insert((index % 5, delivery.await.unwrap().queue));
    }
    assert_eq!(queues.len(), 5);
    for (key, queue) in queues {
        let bodies = cluster.bodies(&queue.broker, "orders", queue.id.0 as usize);
        let own: Vec<_> = bodies
            .iter()
            .filter(|body| body.starts_with(&format!("{key}-")))
            .collect();
        let expected: Vec<_> = (0..20).map(|number| format!("{key}-{number}")).collect();
        assert_eq!(own, expected.iter().collect::<Vec<_>>());
    }
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
async fn a_refusal_that_is_safe_is_tried_on_another_broker() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 1);
    cluster.topic("b", "orders", 1);
    let producer = cluster.client().await.producer().build();
    producer.prepare("orders").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let began = Instant::now();
    for broker in ["a", "b"] {
        cluster.fault(
            broker,
            "send",
            Fault::Refuse(Failure::safe(ErrorCode::Busy, "busy")),
        );
    }
    let receipts = [
        producer.send(Message::new("orders", "0")).await.unwrap(),
        producer.send(Message::new("orders", "1")).await.unwrap(),
    ];
    assert!(
        began.elapsed() < Duration::from_millis(200),
        "{:?}",
        began.elapsed()
    );
    assert_stored_once(&cluster, &["a", "b"], 0..2);
    assert_eq!(
        cluster.asked("a", "send") + cluster.asked("b", "send"),
        4,
        "{receipts:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn retries_end_after_two_and_the_error_tells_the_whole_story() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let producer = cluster.client().await.producer().build();
    for _ in 0..3 {
        cluster.fault(
            "a",
            "send",
            Fault::Refuse(Failure::safe(ErrorCode::Busy, "busy")),
        );
    }
    let error = producer
        .send(Message::new("orders", "x"))
        .await
        .unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Unacknowledged {
                attempts: 3,
                maybe_stored: false,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.is_retry_safe());
    assert_eq!(error.code(), Some(ErrorCode::Busy));
    producer.send(Message::new("orders", "y")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_that_may_be_stored_is_sent_again_only_when_duplicates_are_allowed() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let client = cluster.client().await;
    let twice = client.producer().build();
    cluster.fault("a", "send", Fault::DoneThenClose);
    twice.send(Message::new("orders", "x")).await.unwrap();
    assert_eq!(cluster.bodies("a", "orders", 0), ["x", "x"]);
    let once = client.producer().allow_duplicates(false).build();
    cluster.fault("a", "send", Fault::DoneThenClose);
    let error = once.send(Message::new("orders", "y")).await.unwrap_err();
    assert_eq!(error.retry(), Retry::MayDuplicate);
    assert_eq!(cluster.bodies("a", "orders", 0), ["x", "x", "y"]);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_restarts_is_waited_for_and_nothing_is_lost() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 2);
    let producer = cluster.client().await.producer().build();
    producer.send(Message::new("orders", "0")).await.unwrap();
    cluster.stop_broker("a");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let deliveries: Vec<_> = numbered(1..100)
        .map(|message| producer.enqueue(message))
        .collect();
    tokio::time::sleep(Duration::from_millis(1000)).await;
    cluster.start_broker("a");
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    assert_stored_once(&cluster, &["a"], 0..100);
}

#[tokio::test(start_paused = true)]
async fn while_a_broker_is_down_the_others_take_its_share() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 2);
    cluster.topic("b", "orders", 2);
    let producer = cluster.client().await.producer().build();
    producer.send(Message::new("orders", "0")).await.unwrap();
    cluster.stop_broker("a");
    for message in numbered(1..50) {
        producer.send(message).await.unwrap();
    }
    assert_stored_once(&cluster, &["a", "b"], 0..50);
}

#[tokio::test(start_paused = true)]
async fn known_brokers_are_used_while_no_name_server_can_be_reached() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let producer = cluster.client().await.producer().build();
    producer.send(Message::new("orders", "0")).await.unwrap();
    cluster.stop_name_server();
    cluster.stop_broker("a");
    cluster.start_broker("a");
    tokio::time::sleep(Duration::from_secs(60)).await;
    producer.send(Message::new("orders", "1")).await.unwrap();
    assert_stored_once(&cluster, &["a"], 0..2);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_a_broker_has_lost_is_announced_to_it_again() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let producer = cluster.client().await.producer().build();
    producer.send(Message::new("orders", "0")).await.unwrap();
    let failure = Failure::never(ErrorCode::TopicNotFound, "deleted");
    cluster.fault("a", "send", Fault::Refuse(failure));
    let error = producer
        .send(Message::new("orders", "x"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::TopicNotFound));
    tokio::time::sleep(Duration::from_secs(1)).await;
    producer.send(Message::new("orders", "1")).await.unwrap();
    assert_eq!(cluster.asked("a", "announce topic"), 2);
    assert_stored_once(&cluster, &["a"], 0..2);
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_longer_than_the_send_timeout() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let client = cluster.client().await;
    cluster.stop_broker("a");
    let producer = client
        .producer()
        .send_timeout(Duration::from_millis(700))
        .build();
    let began = Instant::now();
    let error = producer
        .send(Message::new("orders", "x"))
        .await
        .unwrap_err();
    assert_eq!(began.elapsed().as_millis(), 700);
    assert!(error.is_retry_safe());
    assert!(
        error.to_string().contains("cannot connect to a:1"),
        "{error}"
    );

    cluster.start_broker("a");
    tokio::time::sleep(Duration::from_secs(20)).await;
    cluster.fault("a", "send", Fault::Ignore);
    let began = Instant::now();
    let error = producer
        .send(Message::new("orders", "x"))
        .await
        .unwrap_err();
    assert_eq!(began.elapsed().as_millis(), 700);
    assert_eq!(error.retry(), Retry::MayDuplicate);
}

#[tokio::test(start_paused = true)]
async fn batches_keep_the_order_and_lose_nothing() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 2);
    cluster.topic("b", "orders", 2);
    let builder = cluster.client().await.producer();
    let producer = builder
        .linger(Duration::from_millis(3))
        .batch_messages(16)
        .build();
    let deliveries: Vec<_> = numbered(0..1000)
        .map(|message| producer.enqueue(message))
        .collect();
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    assert_stored_once(&cluster, &["a", "b"], 0..1000);
    for broker in ["a", "b"] {
        for bodies in cluster.all_bodies(broker, "orders") {
            let numbers = as_numbers(&bodies);
            assert!(numbers.is_sorted(), "{numbers:?}");
        }
    }
    let requests = cluster.asked("a", "send batch") + cluster.asked("b", "send batch");
    assert!((60..70).contains(&requests), "{requests}");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_lingers_goes_when_its_time_is_over_or_at_a_flush() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let producer = cluster
        .client()
        .await
        .producer()
        .linger(Duration::from_secs(1))
        .build();
    producer.prepare("orders").await.unwrap();
    let began = Instant::now();
    producer.send(Message::new("orders", "0")).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 1);
    let delivery = producer.enqueue(Message::new("orders", "1"));
    let began = Instant::now();
    producer.flush().await;
    assert!(began.elapsed() < Duration::from_millis(100));
    assert_eq!(delivery.await.unwrap().offset.0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_refused_as_a_whole_is_sent_message_by_message() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let producer = cluster.client().await.producer().build();
    let failure = Failure::never(ErrorCode::NotSupported, "no batches");
    cluster.fault("a", "send batch", Fault::Refuse(failure));
    let results = producer.send_all(numbered(0..10)).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_stored_once(&cluster, &["a"], 0..10);
    assert_eq!(cluster.asked("a", "send"), 10);
}

#[tokio::test(start_paused = true)]
async fn send_all_travels_in_batches_and_answers_in_order() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 4);
    let producer = cluster.client().await.producer().build();
    let results = producer.send_all(numbered(0..1000)).await;
    assert_eq!(results.len(), 1000);
    for (number, result) in results.into_iter().enumerate() {
        let receipt = result.unwrap();
        let stored = cluster.bodies("a", "orders", receipt.queue.id.0 as usize);
        assert_eq!(stored[receipt.offset.0 as usize], number.to_string());
    }
    assert!(
        cluster.asked("a", "send batch") <= 8,
        "{}",
        cluster.asked("a", "send batch")
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_lost_on_the_way_is_sent_again() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let producer = cluster.client().await.producer().build();
    cluster.fault("a", "send batch", Fault::Close);
    let results = producer.send_all(numbered(0..100)).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_stored_once(&cluster, &["a"], 0..100);
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
