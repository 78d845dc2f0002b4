//! How waiting ends when there is nothing more to wait for.

use super::*;

async fn within_a_minute(delivery: Delivery) -> Result<SendReceipt> {
    let minute = Duration::from_secs(60);
    timeout(minute, delivery).await.expect("it ends")
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_outlives_its_producer_ends_when_its_connection_is_lost() {
    for key in [None, Some("customer")] {
        let cluster = FakeCluster::start(&["a"]);
        cluster.topic("a", "orders", 1);
        let producer = cluster.client().await.producer().build();
        producer.prepare("orders").await.unwrap();
        cluster.fault("a", "send", Fault::Ignore);
        let mut deliveries = Vec::new();
        for number in 0..3 {
            let mut builder = Message::builder("orders", number.to_string());
            if let Some(key) = key {
                builder = builder.ordering_key(key);
            }
            deliveries.push(producer.enqueue(builder.build().unwrap()));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(producer);
        tokio::time::sleep(Duration::from_millis(10)).await;
        cluster.stop_broker("a");
        let mut deliveries = deliveries.into_iter();
        let first = within_a_minute(deliveries.next().unwrap()).await;
        assert_eq!(first.unwrap_err().retry(), Retry::MayDuplicate);
        for delivery in deliveries {
            let _ = within_a_minute(delivery).await;
        }
    }
}

#[test]
fn a_delivery_that_outlives_the_clients_runtime_ends() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let first = runtime();
    let (cluster, producer) = first.block_on(async {
        let cluster = FakeCluster::start(&["a"]);
        cluster.topic("a", "orders", 1);
        let producer = cluster.client().await.producer().build();
        producer.prepare("orders").await.unwrap();
        (cluster, producer)
    });
    cluster.fault("a", "send", Fault::Ignore);
    let on_its_way = producer.enqueue(Message::new("orders", "x"));
    drop(first);
    let second = runtime();
    for delivery in [
        on_its_way,
        producer.enqueue(Message::new("orders", "known")),
        producer.enqueue(Message::new("new", "x")),
    ] {
        let ended = second.block_on(async { timeout(Duration::from_secs(10), delivery).await });
        assert!(ended.expect("it ends").is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn preparing_looks_again_for_a_topic_that_was_not_there() {
    let cluster = FakeCluster::start(&["a"]);
    let producer = cluster.client().await.producer().build();
    // Long enough for searches to have become rare.
    let missing = producer.prepare("orders").await;
    assert!(matches!(missing, Err(Error::TopicNotFound { .. })));
    tokio::time::sleep(Duration::from_secs(60)).await;
    cluster.topic("a", "orders", 1);
    producer.prepare("orders").await.unwrap();
    producer.send(Message::new("orders", "x")).await.unwrap();
}
