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

#[tokio::test(start_paused = true)]
async fn a_half_message_that_a_slave_refuses_goes_to_the_new_master_and_is_ended_there() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    cluster.start_slave("a-1", "a");
    let producer = producer(&cluster).await;
    let open = producer.begin(Message::new("orders", "0")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster.promote("a-1");
    let began = Instant::now();
    open.commit().await.unwrap();
    begin(&producer, 1).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(cluster.bodies("a-1", "orders", 0), ["0"]);
    let ended = |node| cluster.asked(node, "end transaction");
    assert_eq!((ended("a"), ended("a-1")), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_transaction_whose_broker_has_died_is_ended_at_the_one_that_took_over() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    cluster.start_slave("a-1", "a");
    let producer = producer(&cluster).await;
    let open = || producer.begin(Message::new("orders", "0"));
    let (first, second) = (open().await.unwrap(), open().await.unwrap());
    cluster.stop_broker("a");
    // Nobody takes over in time.
    let began = Instant::now();
    first.commit().await.unwrap_err();
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    cluster.promote("a-1");
    second.commit().await.unwrap();
    assert_eq!(cluster.asked("a-1", "end transaction"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_refuses_a_half_message_for_now_leaves_it_to_another() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 1);
    cluster.topic("b", "orders", 1);
    let producer = producer(&cluster).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let lacking = || {
        let failure = Failure::safe(ErrorCode::SlaveNotAvailable, "none in step");
        Fault::Refuse(failure)
    };
    cluster.fault("a", "send", lacking());
    begin(&producer, 2).await;
    assert_eq!(cluster.asked("a", "send") + cluster.asked("b", "send"), 3);
    // Three times in all, and no more.
    for broker in ["a", "b"] {
        cluster.fault(broker, "send", lacking());
        cluster.fault(broker, "send", lacking());
    }
    let error = producer
        .begin(Message::new("orders", "x"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::SlaveNotAvailable));
    assert_eq!(cluster.asked("a", "send") + cluster.asked("b", "send"), 6);
}

#[tokio::test(start_paused = true)]
async fn nobody_connects_any_more_to_where_a_broker_was() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let producer = producer(&cluster).await;
    begin(&producer, 1).await;
    cluster.move_broker("a", "a:2");
    cluster.stop_broker("a");
    begin(&producer, 1).await;
    // Somebody else listens there by now.
    cluster.start_broker("b");
    cluster.move_broker("b", "a:1");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(cluster.asked("b", "join producers"), 0);
}
