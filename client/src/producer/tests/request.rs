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
