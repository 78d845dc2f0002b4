//! Messages that travel together.

use super::*;

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
