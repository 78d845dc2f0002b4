//! What a request is sent with.

use castmq_protocol::model::keys;

use super::*;

/// Asks, and waits for a second for a reply that does not come.
async fn ask(producer: &Producer, message: Message) {
    let reply = producer.request(message, Duration::from_secs(1)).await;
    let error = reply.unwrap_err();
    assert!(
        matches!(
            error,
            Error::NoReply {
                is_stored: true,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_takes_no_number_from_the_messages_that_have_to_be_stored_once() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let client = cluster.client().await;
    let producer = client.producer().idempotent(true).build();
    producer.send(Message::new("orders", "0")).await.unwrap();
    ask(&producer, Message::new("orders", "1")).await;
    producer.send(Message::new("orders", "2")).await.unwrap();
    assert_eq!(cluster.sequences("a"), [(1, 1), (2, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_request_says_once_of_which_cluster_its_broker_is() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let producer = cluster.client().await.producer().build();
    let message = Message::builder("orders", "0").property(keys::CLUSTER, "another");
    ask(&producer, message.build().unwrap()).await;
    let properties = &cluster.properties("a", "orders", 0)[0];
    let clusters = properties
        .split('\x02')
        .filter(|pair| pair.starts_with("CLUSTER\x01"));
    assert_eq!(clusters.collect::<Vec<_>>(), ["CLUSTER\x01c"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_a_slave_refuses_goes_to_the_new_master() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    cluster.start_slave("a-1", "a");
    let producer = cluster.client().await.producer().build();
    ask(&producer, Message::new("orders", "0")).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster.promote("a-1");
    ask(&producer, Message::new("orders", "1")).await;
    assert_eq!(cluster.bodies("a", "orders", 0), ["0"]);
    assert_eq!(cluster.bodies("a-1", "orders", 0), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn a_reply_goes_to_the_new_master_of_its_requests_broker() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let request = "CORRELATION_ID\u{1}c\u{2}REPLY_TO_CLIENT\u{1}r\u{2}CLUSTER\u{1}c\u{2}";
    cluster.store_one("a", "orders", "0", request);
    cluster.start_slave("a-1", "a");
    let client = cluster.client().await;
    let mut consumer = client.pull_consumer("g").build().unwrap();
    let queue = Queue::new("orders", "a", 0);
    consumer.assign([queue.clone()]).await.unwrap();
    let earliest = crate::SeekTo::Earliest;
    consumer.seek(&queue, earliest).await.unwrap();
    let requests = consumer.poll(Duration::from_secs(1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster.promote("a-1");
    let producer = client.producer().build();
    producer.reply(&requests[0], "1").await.unwrap();
    let sent = |node| cluster.asked(node, "send reply");
    assert_eq!((sent("a"), sent("a-1")), (1, 1));
}
