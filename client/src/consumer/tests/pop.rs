//! How messages are popped.

use castmq_protocol::native::request::PopOrder;

use super::*;

/// Receives for so long that nothing comes.
async fn receive_nothing(consumer: &mut PopConsumer, seconds: u64) {
    let received = timeout(Duration::from_secs(seconds), consumer.receive()).await;
    assert!(received.is_err(), "{received:?}");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_has_moved_is_asked_once_at_a_time() {
    let cluster = stored(1, 1);
    for _ in 0..3 {
        cluster.fault("a", "pop", Fault::Ignore);
    }
    let client = cluster.client().await;
    let builder = client.pop_consumer("g").topic("orders");
    let builder = builder.in_order(PopOrder::Queue);
    let mut consumer = builder.wait(Duration::from_secs(60)).build().unwrap();
    receive_nothing(&mut consumer, 31).await;
    cluster.move_broker("a", "a:2");
    receive_nothing(&mut consumer, 10).await;
    assert_eq!(cluster.asked("a", "pop"), 2);
    // What was asked at the old address ends meanwhile, and what was asked at the new one does not.
    receive_nothing(&mut consumer, 40).await;
    receive_nothing(&mut consumer, 1).await;
    assert_eq!(cluster.asked("a", "pop"), 2);
}

async fn popping(cluster: &FakeCluster) -> PopConsumer {
    let builder = cluster.client().await.pop_consumer("g").topic("orders");
    builder.wait(Duration::from_secs(15)).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn messages_are_popped_and_acknowledged_at_the_new_master() {
    let cluster = stored(1, 3);
    cluster.start_slave("a-1", "a");
    let mut consumer = popping(&cluster).await;
    let messages = consumer.receive().await.unwrap();
    assert_eq!(messages.len(), 3);
    cluster.promote("a-1");
    // The old one says that it is no master any more.
    messages[0].ack().await.unwrap();
    cluster.stop_broker("a");
    let refused = PoppedMessage::ack_all(&messages[1..]).await.unwrap();
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(cluster.acknowledged("a-1"), [0, 1, 2]);
    assert!(cluster.acknowledged("a").is_empty());
    let began = Instant::now();
    let messages = consumer.receive().await.unwrap();
    assert_eq!(messages.len(), 3);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slave_is_not_popped_and_its_master_is_waited_for() {
    let cluster = stored(1, 3);
    cluster.start_slave("a-1", "a");
    cluster.stop_broker("a");
    cluster.list("a", false);
    let mut consumer = popping(&cluster).await;
    let error = consumer.receive().await.unwrap_err();
    assert!(matches!(error, Error::NoQueue { .. }), "{error}");
    let come_back = async {
        sleep(Duration::from_secs(10)).await;
        cluster.start_broker("a");
        cluster.list("a", true);
    };
    let began = Instant::now();
    let (messages, ()) = tokio::join!(consumer.receive(), come_back);
    assert_eq!(messages.unwrap().len(), 3);
    assert!(began.elapsed() < Duration::from_secs(12));
    assert_eq!(cluster.asked("a-1", "pop"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_is_looked_for_while_others_are_waited_for() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 1);
    cluster.topic("b", "orders", 1);
    cluster.stop_broker("b");
    let mut consumer = popping(&cluster).await;
    let come_back = async {
        sleep(Duration::from_secs(5)).await;
        cluster.store("b", "orders", 0, 0..3);
        cluster.start_broker("b");
    };
    let began = Instant::now();
    let (messages, ()) = tokio::join!(consumer.receive(), come_back);
    assert_eq!(messages.unwrap().len(), 3);
    assert!(began.elapsed() < Duration::from_secs(7));
    assert_eq!(cluster.asked("a", "pop"), 1);
}

#[tokio::test(start_paused = true)]
async fn popping_goes_on_without_name_servers_and_does_not_wait_for_them() {
    let cluster = stored(1, 0);
    let mut consumer = popping(&cluster).await;
    receive_nothing(&mut consumer, 1).await;
    cluster.hush_name_server(NAME_SERVER);
    for number in 0..10 {
        sleep(Duration::from_secs(60)).await;
        cluster.store("a", "orders", 0, number..number + 1);
        // The pop that waited is over by now.
        let mut received = Vec::new();
        while received.is_empty() {
            received = consumer.receive().await.unwrap_or_default();
        }
        let began = Instant::now();
        received[0].ack().await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
