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
