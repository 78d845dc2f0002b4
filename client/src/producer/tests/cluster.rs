//! Producers among masters and slaves that change, and slow brokers.

use super::*;

/// A master `a` with a slave `a-1`, and other masters beside it, each with a queue.
fn set_with(others: &[&str]) -> FakeCluster {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    cluster.start_slave("a-1", "a");
    for broker in others {
        cluster.start_broker(broker);
        cluster.topic(broker, "orders", 1);
    }
    cluster
}

async fn prepared(cluster: &FakeCluster) -> Producer {
    let producer = cluster.client().await.producer().build();
    producer.prepare("orders").await.unwrap();
    // All brokers are reached.
    tokio::time::sleep(Duration::from_millis(10)).await;
    producer
}

#[tokio::test(start_paused = true)]
async fn a_master_that_became_a_slave_is_left_for_the_new_one_at_once() {
    let cluster = set_with(&[]);
    let producer = cluster.client().await.producer().retries(0).build();
    producer.send(Message::new("orders", "0")).await.unwrap();
    cluster.copy("a", "a-1");
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster.promote("a-1");
    let began = Instant::now();
    let deliveries: Vec<_> = numbered(1..50)
        .map(|message| producer.enqueue(message))
        .collect();
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_stored_once(&cluster, &["a-1"], 0..50);
    assert_eq!(cluster.bodies("a", "orders", 0), ["0"]);
}

#[tokio::test(start_paused = true)]
async fn messages_wait_for_name_servers_to_hear_of_the_new_master() {
    let cluster = set_with(&[]);
    let producer = cluster.client().await.producer().build();
    producer.send(Message::new("orders", "0")).await.unwrap();
    cluster.copy("a", "a-1");
    cluster.promote("a-1");
    cluster.list("a-1", false);
    let ordered = Message::builder("orders", "1").ordering_key("k");
    let deliveries = [
        producer.enqueue(ordered.build().unwrap()),
        producer.enqueue(Message::new("orders", "2")),
    ];
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // What has refused is not asked over and over.
    let refused = cluster.asked("a", "send");
    assert!(refused < 20, "{refused}");
    cluster.list("a-1", true);
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    assert_stored_once(&cluster, &["a-1"], 0..3);
}

#[tokio::test(start_paused = true)]
async fn a_set_without_a_master_is_passed_over_until_it_has_one() {
    let cluster = set_with(&["b"]);
    let producer = prepared(&cluster).await;
    cluster.stop_broker("a");
    cluster.list("a", false);
    for message in numbered(0..10) {
        producer.send(message).await.unwrap();
    }
    assert_eq!(cluster.bodies("b", "orders", 0).len(), 10);
    // It is known by then that there is none.
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster.promote("a-1");
    tokio::time::sleep(Duration::from_secs(2)).await;
    for message in numbered(10..20) {
        producer.send(message).await.unwrap();
    }
    assert_eq!(cluster.bodies("a-1", "orders", 0).len(), 5);
    assert_stored_once(&cluster, &["a-1", "b"], 0..20);
}

#[tokio::test(start_paused = true)]
async fn a_slave_that_took_over_from_a_dead_host_is_found_within_two_seconds() {
    for is_hushed in [false, true] {
        let cluster = set_with(&[]);
        let producer = prepared(&cluster).await;
        match is_hushed {
            true => cluster.hush_broker("a"),
            false => cluster.stop_broker("a"),
        }
        // It is looked for a long time already.
        tokio::time::sleep(Duration::from_secs(100)).await;
        cluster.promote("a-1");
        let began = Instant::now();
        producer.send(Message::new("orders", "0")).await.unwrap();
        let took = began.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert_stored_once(&cluster, &["a-1"], 0..1);
    }
}

#[tokio::test(start_paused = true)]
async fn while_something_is_missing_routes_are_asked_for_every_second_and_not_more() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 1);
    cluster.topic("b", "orders", 1);
    let producer = prepared(&cluster).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(cluster.routes_asked(NAME_SERVER) <= 3);
    cluster.stop_broker("a");
    let before = cluster.routes_asked(NAME_SERVER);
    for number in 0..60_u32 {
        producer
            .send(Message::new("orders", number.to_string()))
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let asked = cluster.routes_asked(NAME_SERVER) - before;
    assert!((50..=120).contains(&asked), "{asked}");
    let before = cluster.routes_asked(NAME_SERVER);
    // Messages that wait are no reason to ask more often.
    cluster.stop_broker("b");
    let timeout = Duration::from_secs(60);
    let waiting = cluster.client().await.producer().send_timeout(timeout);
    let waiting = waiting.build();
    waiting.send(Message::new("orders", "x")).await.unwrap_err();
    let asked = cluster.routes_asked(NAME_SERVER) - before;
    // Two clients.
    assert!((100..=250).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn a_master_without_slaves_in_step_leaves_its_messages_to_others_for_a_while() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 1);
    cluster.topic("b", "orders", 1);
    let producer = prepared(&cluster).await;
    let failure = Failure::safe(ErrorCode::SlaveNotAvailable, "none in step");
    cluster.fault("a", "send", Fault::Refuse(failure));
    for message in numbered(0..20) {
        producer.send(message).await.unwrap();
    }
    assert_eq!(cluster.bodies("b", "orders", 0).len(), 20);
    assert_eq!(cluster.asked("a", "send"), 1);
    tokio::time::sleep(Duration::from_secs(11)).await;
    for message in numbered(20..40) {
        producer.send(message).await.unwrap();
    }
    assert_eq!(cluster.bodies("a", "orders", 0).len(), 10);
}

/// Sends until the broker `a` has been slow once, then ten messages; how many of those it got.
async fn sent_to_a_slow_broker(producer: &Producer, cluster: &FakeCluster) -> usize {
    let late = Duration::from_millis(600);
    cluster.fault("a", "send", Fault::Slow(late));
    for message in numbered(0..2) {
        producer.send(message).await.unwrap();
    }
    let before = cluster.bodies("a", "orders", 0).len();
    for message in numbered(2..12) {
        producer.send(message).await.unwrap();
    }
    cluster.bodies("a", "orders", 0).len() - before
}

#[tokio::test(start_paused = true)]
async fn a_slow_broker_gets_no_messages_for_two_seconds_unless_it_is_wished_for() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 1);
    cluster.topic("b", "orders", 1);
    let producer = prepared(&cluster).await;
    assert_eq!(sent_to_a_slow_broker(&producer, &cluster).await, 0);
    let queue = Queue::new("orders", "a", 0);
    let message = Message::builder("orders", "12").queue(&queue);
    let receipt = producer.send(message.build().unwrap()).await.unwrap();
    assert_eq!(receipt.queue, queue);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = cluster.bodies("a", "orders", 0).len();
    for message in numbered(13..23) {
        producer.send(message).await.unwrap();
    }
    assert_eq!(cluster.bodies("a", "orders", 0).len() - before, 5);
    assert_stored_once(&cluster, &["a", "b"], 0..23);
}

#[tokio::test(start_paused = true)]
async fn slow_brokers_are_not_avoided_where_that_is_not_wanted() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 1);
    cluster.topic("b", "orders", 1);
    let producer = cluster.client().await.producer().avoid_slow_brokers(false);
    let producer = producer.build();
    producer.prepare("orders").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(sent_to_a_slow_broker(&producer, &cluster).await, 5);
}

#[tokio::test(start_paused = true)]
async fn time_that_a_message_waited_here_is_not_held_against_its_broker() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 1);
    cluster.topic("b", "orders", 1);
    cluster.stop_broker("a");
    cluster.stop_broker("b");
    let timeout = Duration::from_secs(10);
    let producer = cluster.client().await.producer().send_timeout(timeout);
    let producer = producer.build();
    let waiting: Vec<_> = numbered(0..8)
        .map(|message| producer.enqueue(message))
        .collect();
    // As an answer, that would cost the broker six seconds.
    tokio::time::sleep(Duration::from_secs(4)).await;
    cluster.start_broker("a");
    for delivery in waiting {
        delivery.await.unwrap();
    }
    cluster.start_broker("b");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = cluster.bodies("a", "orders", 0).len();
    for message in numbered(8..18) {
        producer.send(message).await.unwrap();
    }
    assert_eq!(cluster.bodies("a", "orders", 0).len() - before, 5);
}

#[tokio::test(start_paused = true)]
async fn two_retries_find_the_one_broker_of_three_that_takes_the_message() {
    let cluster = FakeCluster::start(&["a", "b", "c"]);
    for broker in ["a", "b", "c"] {
        cluster.topic(broker, "orders", 1);
    }
    let producer = prepared(&cluster).await;
    cluster.stop_broker("a");
    for number in 0..30_u32 {
        let failure = Failure::safe(ErrorCode::Busy, "busy");
        cluster.fault("b", "send", Fault::Refuse(failure));
        producer
            .send(Message::new("orders", number.to_string()))
            .await
            .unwrap();
    }
    assert_stored_once(&cluster, &["b", "c"], 0..30);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_name_servers_that_are_gone_when_the_route_is_known() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let client = cluster.client().await;
    let producer = client.producer().build();
    producer.send(Message::new("orders", "0")).await.unwrap();
    let transactions = client.transaction_producer("payments").topic("orders");
    let transactions = transactions.start().await.unwrap();
    let begin = || transactions.begin(Message::new("orders", "x"));
    begin().await.unwrap().commit().await.unwrap();
    cluster.hush_name_server(NAME_SERVER);
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_secs(7)).await;
        let began = Instant::now();
        producer.send(Message::new("orders", "1")).await.unwrap();
        begin().await.unwrap().commit().await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
    // A broker that starts again meanwhile is found where it was.
    cluster.stop_broker("a");
    tokio::time::sleep(Duration::from_secs(10)).await;
    cluster.start_broker("a");
    producer.send(Message::new("orders", "2")).await.unwrap();
    begin().await.unwrap().commit().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_name_servers_have_forgotten_is_not_made_again_elsewhere() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.create_topics();
    cluster.topic("a", "orders", 1);
    let producer = prepared(&cluster).await;
    cluster.list("a", false);
    for message in numbered(0..10) {
        producer.send(message).await.unwrap();
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    assert_stored_once(&cluster, &["a"], 0..10);
    assert!(cluster.all_bodies("b", "orders").is_empty());
}
