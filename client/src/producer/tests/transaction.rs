//! Where half messages go, and when they cannot.

use super::*;
use crate::routes::REFRESH;

async fn producer(cluster: &FakeCluster) -> TransactionProducer {
    let client = cluster.client().await;
    let producer = client.transaction_producer("payments").topic("orders");
    producer.start().await.unwrap()
}

/// Begins this many transactions, one after the other.
async fn begin(producer: &TransactionProducer, count: u32) {
    for message in numbered(0..count) {
        producer
            .begin(message)
            .await
            .unwrap()
            .commit()
            .await
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn brokers_get_half_messages_in_turn_from_the_first_on() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 1);
    cluster.topic("b", "orders", 1);
    let producer = producer(&cluster).await;
    // All brokers are reached.
    tokio::time::sleep(Duration::from_millis(10)).await;
    begin(&producer, 10).await;
    assert_eq!(cluster.asked("a", "send"), 5);
    assert_eq!(cluster.asked("b", "send"), 5);
}

#[tokio::test(start_paused = true)]
async fn whichever_broker_can_be_reached_first_gets_the_half_message() {
    for (away, there) in [("a", "b"), ("b", "a")] {
        let cluster = FakeCluster::start(&["a", "b"]);
        cluster.topic("a", "orders", 1);
        cluster.topic("b", "orders", 1);
        cluster.stop_broker(away);
        let producer = producer(&cluster).await;
        begin(&producer, 1).await;
        assert_eq!(cluster.asked(there, "send"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_has_said_that_it_closes_gets_no_half_message() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 1);
    cluster.topic("b", "orders", 1);
    let producer = producer(&cluster).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    begin(&producer, 2).await;
    let before = cluster.asked("a", "send");
    cluster.announce_end("a");
    tokio::time::sleep(Duration::from_millis(10)).await;
    begin(&producer, 4).await;
    assert_eq!(cluster.asked("a", "send"), before);
}

#[tokio::test(start_paused = true)]
async fn a_half_message_for_a_queue_of_one_broker_goes_there_or_nowhere() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 2);
    cluster.topic("b", "orders", 2);
    let producer = producer(&cluster).await;
    let to = |broker: &str| {
        let queue = Queue::new("orders", broker, 1);
        let message = Message::builder("orders", "x").queue(&queue);
        producer.begin(message.build().unwrap())
    };
    for _ in 0..4 {
        to("b").await.unwrap().rollback().await.unwrap();
    }
    assert_eq!(cluster.bodies("b", "orders", 1).len(), 4);
    let error = to("c").await.unwrap_err();
    assert!(matches!(error, Error::NoQueue { .. }), "{error}");
    cluster.stop_broker("b");
    // The producer has heard of it.
    tokio::time::sleep(Duration::from_millis(10)).await;
    let error = to("b").await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert_eq!(cluster.asked("a", "send"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_nobody_may_write_is_not_said_to_be_missing() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    cluster.read_only("orders");
    let error = producer(&cluster)
        .await
        .begin(Message::new("orders", "x"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoQueue { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_topic_is_created_on_one_broker() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.create_topics();
    let producer = producer(&cluster).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    begin(&producer, 4).await;
    let sent = [cluster.asked("a", "send"), cluster.asked("b", "send")];
    assert!(sent == [4, 0] || sent == [0, 4], "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn a_route_is_at_most_half_a_minute_old() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 1);
    let client = cluster.client().await;
    let start = || {
        client
            .transaction_producer("payments")
            .topic("orders")
            .start()
    };
    // Somebody asks for the route a while before the producer does.
    start().await.unwrap();
    tokio::time::sleep(REFRESH / 2 - Duration::from_secs(1)).await;
    let producer = start().await.unwrap();
    cluster.topic("b", "orders", 1);
    tokio::time::sleep(REFRESH / 2 + Duration::from_secs(1)).await;
    // The first has it asked for, and waits for nobody; the second has the new broker connected to.
    for _ in 0..2 {
        begin(&producer, 1).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(cluster.asked("b", "send"), 0);
    begin(&producer, 2).await;
    assert_eq!(cluster.asked("b", "send"), 1);
}
