//! Messages that have to be stored once, whatever has to be sent again.

use super::*;

async fn producer(cluster: &FakeCluster) -> Producer {
    let producer = cluster.client().await.producer().idempotent(true).build();
    producer.prepare("orders").await.unwrap();
    // All brokers are reached.
    tokio::time::sleep(Duration::from_millis(10)).await;
    producer
}

fn busy() -> Fault {
    Fault::Refuse(Failure::safe(ErrorCode::Busy, "busy"))
}

fn unknown() -> Fault {
    Fault::Refuse(Failure::unknown(ErrorCode::OutcomeUnknown, "?"))
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_answer_is_lost_is_stored_once_and_acknowledged_where_it_is() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let producer = producer(&cluster).await;
    producer.send(Message::new("orders", "0")).await.unwrap();
    for _ in 0..5 {
        // More often than a message is sent again otherwise.
        cluster.fault("a", "send", Fault::DoneThenClose);
    }
    let receipt = producer.send(Message::new("orders", "1")).await.unwrap();
    assert_eq!(receipt.offset.0, 1);
    producer.send(Message::new("orders", "2")).await.unwrap();
    assert_eq!(cluster.bodies("a", "orders", 0), ["0", "1", "2"]);
    let sequences = cluster.sequences("a");
    assert_eq!(sequences[0], (1, 1));
    assert!(sequences[1..7].iter().all(|numbers| *numbers == (2, 2)));
    assert_eq!(sequences[7..], [(3, 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_may_be_stored_stays_with_its_broker_and_others_do_not_wait_for_it() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 1);
    cluster.topic("b", "orders", 1);
    let producer = producer(&cluster).await;
    cluster.fault("a", "send", Fault::DoneThenClose);
    cluster.fault("b", "send", Fault::DoneThenClose);
    let deliveries: Vec<_> = numbered(0..20).map(|m| producer.enqueue(m)).collect();
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    assert_stored_once(&cluster, &["a", "b"], 0..20);

    cluster.fault("a", "send", Fault::DoneThenClose);
    let first = producer.enqueue(Message::new("orders", "20"));
    let second = producer.enqueue(Message::new("orders", "21"));
    tokio::time::sleep(Duration::from_millis(1)).await;
    cluster.stop_broker("a");
    producer.send(Message::new("orders", "22")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    cluster.start_broker("a");
    first.await.unwrap();
    second.await.unwrap();
    assert_stored_once(&cluster, &["a", "b"], 0..23);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_certain_goes_elsewhere_and_what_may_be_stored_does_not() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 1);
    cluster.topic("b", "orders", 1);
    let producer = producer(&cluster).await;
    for broker in ["a", "b"] {
        cluster.fault(broker, "send", busy());
    }
    let began = Instant::now();
    producer.send(Message::new("orders", "0")).await.unwrap();
    producer.send(Message::new("orders", "1")).await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(40));
    for broker in ["a", "b"] {
        // The broker that does not know what it did, and is busy then, is asked once more.
        cluster.fault(broker, "send", unknown());
        cluster.fault(broker, "send", busy());
    }
    producer.send(Message::new("orders", "2")).await.unwrap();
    producer.send(Message::new("orders", "3")).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_stored_once(&cluster, &["a", "b"], 0..4);
}

#[tokio::test(start_paused = true)]
async fn when_its_broker_stays_away_the_error_says_that_the_message_may_be_stored() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 1);
    cluster.topic("b", "orders", 1);
    let producer = producer(&cluster).await;
    cluster.fault("a", "send", Fault::DoneThenClose);
    let deliveries: Vec<_> = numbered(0..2).map(|m| producer.enqueue(m)).collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    cluster.stop_broker("a");
    let mut failed = Vec::new();
    for delivery in deliveries {
        failed.extend(delivery.await.err());
    }
    let [error] = &failed[..] else {
        panic!("{failed:?}");
    };
    assert_eq!(error.retry(), Retry::MayDuplicate);
    assert!(error.to_string().contains("but may be stored"), "{error}");
    assert_stored_once(&cluster, &["a", "b"], 0..2);
    // What was given up holds up nothing.
    producer.send(Message::new("orders", "2")).await.unwrap();
    let last = cluster.sequences("b").last().copied();
    assert_eq!(last, Some((3, 3)));
}

#[tokio::test(start_paused = true)]
async fn what_may_be_stored_is_not_sent_again_when_its_time_was_over_before_anybody_looked() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let producer = producer(&cluster).await;
    cluster.fault("a", "send", unknown());
    let delivery = producer.enqueue(Message::new("orders", "0"));
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert_eq!(cluster.asked("a", "send"), 1);
    // The process stands still until the next attempt is long due.
    tokio::time::advance(Duration::from_secs(60)).await;
    let error = delivery.await.unwrap_err();
    assert_eq!(error.retry(), Retry::MayDuplicate);
    assert_eq!(cluster.asked("a", "send"), 1);
    // What was given up holds up nothing.
    producer.send(Message::new("orders", "1")).await.unwrap();
    assert_eq!(cluster.bodies("a", "orders", 0), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_broker_does_not_know_any_more_is_given_up_at_once() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let producer = producer(&cluster).await;
    let forgotten = Failure::unknown(ErrorCode::SequenceForgotten, "nobody knows");
    cluster.fault("a", "send", Fault::Refuse(forgotten));
    let error = producer.send(Message::new("orders", "0")).await;
    let error = error.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::SequenceForgotten));
    assert_eq!(error.retry(), Retry::MayDuplicate);
    assert_eq!(cluster.asked("a", "send"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_may_be_stored_is_sent_again_as_it_was() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 2);
    cluster.topic("b", "orders", 2);
    let producer = producer(&cluster).await;
    let mut next = 0;
    for fault in [Fault::DoneThenClose, Fault::Close, unknown(), busy()] {
        for broker in ["a", "b"] {
            for _ in 0..3 {
                cluster.fault(broker, "send batch", fault.clone());
            }
        }
        let results = producer.send_all(numbered(next..next + 2000)).await;
        for result in results {
            result.unwrap();
        }
        next += 2000;
    }
    assert_stored_once(&cluster, &["a", "b"], 0..next);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_refused_for_certain_is_sent_apart() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let producer = producer(&cluster).await;
    let never = Failure::never(ErrorCode::MessageTooLarge, "no");
    cluster.fault("a", "send batch", Fault::Refuse(never.clone()));
    for result in producer.send_all(numbered(0..10)).await {
        result.unwrap();
    }
    assert_stored_once(&cluster, &["a"], 0..10);
    // Not so when an earlier attempt may have stored it: then nobody knows.
    cluster.fault("a", "send batch", unknown());
    cluster.fault("a", "send batch", Fault::Refuse(never));
    for result in producer.send_all(numbered(10..20)).await {
        assert_eq!(result.unwrap_err().retry(), Retry::MayDuplicate);
    }
    assert_stored_once(&cluster, &["a"], 0..10);
}

#[tokio::test(start_paused = true)]
async fn ordered_messages_are_stored_once_and_in_order_through_lost_connections() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let producer = producer(&cluster).await;
    let mut deliveries = Vec::new();
    for round in 0..20_u32 {
        let request = if round % 2 == 0 { "send batch" } else { "send" };
        let fault = match round % 3 {
            0 | 1 => Fault::DoneThenClose,
            _ => Fault::Close,
        };
        cluster.fault("a", request, fault);
        for number in round * 50..(round + 1) * 50 {
            let message = Message::builder("orders", number.to_string()).ordering_key("customer");
            deliveries.push(producer.enqueue(message.build().unwrap()));
        }
        tokio::time::sleep(Duration::from_millis(u64::from(round) * 7)).await;
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    let stored = as_numbers(&cluster.bodies("a", "orders", 0));
    assert_eq!(stored, (0..1000).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn numbers_are_one_producers_own_and_plain_messages_have_none() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let client = cluster.client().await;
    for _ in 0..2 {
        let producer = client.producer().idempotent(true).build();
        let twin = producer.clone();
        producer.send(Message::new("orders", "0")).await.unwrap();
        twin.send(Message::new("orders", "0")).await.unwrap();
    }
    let plain = client.producer().build();
    plain.send(Message::new("orders", "0")).await.unwrap();
    let sequences = cluster.sequences("a");
    assert_eq!(sequences, [(1, 1), (2, 2), (1, 1), (2, 2)]);
    assert_eq!(cluster.bodies("a", "orders", 0).len(), 5);
}
