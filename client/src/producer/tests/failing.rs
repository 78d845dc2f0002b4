//! What happens to messages when brokers refuse them, or go away.

use super::*;

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
    cluster.stop_name_server(NAME_SERVER);
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
async fn nothing_is_sent_again_when_its_time_was_over_before_anybody_looked() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let producer = cluster.client().await.producer().build();
    producer.prepare("orders").await.unwrap();
    cluster.fault(
        "a",
        "send",
        Fault::Refuse(Failure::safe(ErrorCode::Busy, "busy")),
    );
    let delivery = producer.enqueue(Message::new("orders", "late"));
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert_eq!(cluster.asked("a", "send"), 1);
    // The process stands still until the next attempt is long due.
    tokio::time::advance(Duration::from_secs(60)).await;
    let error = delivery.await.unwrap_err();
    let Error::Unacknowledged {
        maybe_stored, last, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert!(!maybe_stored, "{error}");
    assert!(last.to_string().contains("busy"), "{error}");
    assert_eq!(cluster.asked("a", "send"), 1);
}
