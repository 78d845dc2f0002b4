//! The order of messages with one ordering key, whatever fails.

use super::*;

fn keyed(number: u32) -> Message {
    let builder = Message::builder("orders", number.to_string());
    builder.ordering_key("customer").build().unwrap()
}

fn enqueue(producer: &Producer, numbers: std::ops::Range<u32>) -> Vec<Delivery> {
    numbers.map(|n| producer.enqueue(keyed(n))).collect()
}

/// Bodies of the only queue, each where it was stored first.
fn first_stored(cluster: &FakeCluster) -> Vec<u32> {
    let mut seen = BTreeSet::new();
    let mut bodies = as_numbers(&cluster.bodies("a", "orders", 0));
    bodies.retain(|number| seen.insert(*number));
    bodies
}

async fn one_queue() -> (FakeCluster, Producer) {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let producer = cluster.client().await.producer().build();
    producer.prepare("orders").await.unwrap();
    (cluster, producer)
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_refused_for_now_is_stored_before_those_behind_it() {
    let (cluster, producer) = one_queue().await;
    let busy = || Fault::Refuse(Failure::safe(ErrorCode::Busy, "busy"));
    cluster.fault("a", "send", busy());
    cluster.fault("a", "send batch", busy());
    for delivery in enqueue(&producer, 0..100) {
        delivery.await.unwrap();
    }
    assert_eq!(
        as_numbers(&cluster.bodies("a", "orders", 0)),
        (0..100).collect::<Vec<_>>()
    );
}

#[tokio::test(start_paused = true)]
async fn order_is_kept_through_lost_connections_while_more_is_sent() {
    let (cluster, producer) = one_queue().await;
    let mut deliveries = Vec::new();
    for round in 0..20 {
        let request = if round % 2 == 0 { "send batch" } else { "send" };
        let fault = match round % 4 {
            0 | 1 => Fault::DoneThenClose,
            _ => Fault::Close,
        };
        cluster.fault("a", request, fault);
        deliveries.extend(enqueue(&producer, round * 50..(round + 1) * 50));
        tokio::time::sleep(Duration::from_millis(u64::from(round) * 7)).await;
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    assert_eq!(first_stored(&cluster), (0..1000).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn order_is_kept_through_a_restart_of_the_broker() {
    let (cluster, producer) = one_queue().await;
    let mut deliveries = enqueue(&producer, 0..100);
    cluster.stop_broker("a");
    deliveries.extend(enqueue(&producer, 100..200));
    tokio::time::sleep(Duration::from_millis(700)).await;
    deliveries.extend(enqueue(&producer, 200..300));
    cluster.start_broker("a");
    deliveries.extend(enqueue(&producer, 300..400));
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    assert_eq!(first_stored(&cluster), (0..400).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_may_be_stored_stays_before_those_behind_it_while_its_set_has_no_master() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    cluster.start_slave("a-1", "a");
    let producer = cluster.client().await.producer().idempotent(true);
    let producer = producer.send_timeout(Duration::from_secs(20)).build();
    producer.send(keyed(0)).await.unwrap();
    cluster.copy("a", "a-1");
    cluster.fault("a", "send", Fault::Close);
    let deliveries = enqueue(&producer, 1..20);
    tokio::time::sleep(Duration::from_millis(1)).await;
    cluster.stop_broker("a");
    cluster.list("a", false);
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster.promote("a-1");
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    let stored = as_numbers(&cluster.bodies("a-1", "orders", 0));
    assert_eq!(stored, (0..20).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_an_answer_goes_in_one_batch_after_it() {
    let (cluster, producer) = one_queue().await;
    for delivery in enqueue(&producer, 0..500) {
        delivery.await.unwrap();
    }
    assert_eq!(cluster.asked("a", "send"), 1);
    assert_eq!(cluster.asked("a", "send batch"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_refused_for_good_does_not_hold_up_the_others() {
    let (cluster, producer) = one_queue().await;
    let never = || Fault::Refuse(Failure::never(ErrorCode::NotSupported, "no"));
    // First for the batch as a whole, then for one of its messages.
    cluster.fault("a", "send batch", never());
    let mut deliveries = enqueue(&producer, 0..10);
    tokio::time::sleep(Duration::from_millis(1)).await;
    cluster.fault("a", "send", never());
    deliveries.extend(enqueue(&producer, 10..12));
    let mut refused = Vec::new();
    for (number, delivery) in (0..).zip(deliveries) {
        if delivery.await.is_err() {
            refused.push(number);
        }
    }
    assert_eq!(refused, [10]);
    let rest: Vec<_> = (0..12).filter(|number| *number != 10).collect();
    assert_eq!(as_numbers(&cluster.bodies("a", "orders", 0)), rest);
}

#[tokio::test(start_paused = true)]
async fn messages_that_travel_alone_keep_their_places_too() {
    let (cluster, producer) = one_queue().await;
    let deliveries = enqueue(&producer, 0..3);
    producer.send_one_way(keyed(3)).await.unwrap();
    let delayed = Message::builder("orders", "4").ordering_key("customer");
    let with_extras = producer.enqueue(delayed.delay_level(1).build().unwrap());
    let rest = enqueue(&producer, 5..8);
    for delivery in deliveries.into_iter().chain([with_extras]).chain(rest) {
        delivery.await.unwrap();
    }
    assert_eq!(
        as_numbers(&cluster.bodies("a", "orders", 0)),
        (0..8).collect::<Vec<_>>()
    );
    assert_eq!(cluster.one_way("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn ordered_messages_end_with_their_time_when_the_broker_stays_away() {
    let (cluster, producer) = one_queue().await;
    producer.send(keyed(0)).await.unwrap();
    cluster.stop_broker("a");
    tokio::time::sleep(Duration::from_secs(20)).await;
    let began = Instant::now();
    for delivery in enqueue(&producer, 1..10) {
        let error = delivery.await.unwrap_err();
        assert!(error.is_retry_safe(), "{error}");
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(4));
    assert_eq!(producer.inner.shared.budget.bytes().0, 0);
}

#[tokio::test(start_paused = true)]
async fn keys_of_a_broker_that_is_away_do_not_hold_up_others() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 4);
    cluster.topic("b", "orders", 4);
    let producer = cluster.client().await.producer().build();
    producer.prepare("orders").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    cluster.stop_broker("a");
    let send = |key: u32| {
        let builder = Message::builder("orders", "x").ordering_key(&key.to_string());
        producer.enqueue(builder.build().unwrap())
    };
    let deliveries: Vec<_> = (0..100).map(send).collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let stored: usize = cluster.all_bodies("b", "orders").iter().map(Vec::len).sum();
    assert!(stored > 0 && stored < 100);
    cluster.start_broker("a");
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    let on_a: usize = cluster.all_bodies("a", "orders").iter().map(Vec::len).sum();
    assert_eq!(stored + on_a, 100);
}

#[tokio::test(start_paused = true)]
async fn messages_with_one_ordering_key_go_to_one_queue_in_order() {
    let cluster = FakeCluster::start(&["a", "b"]);
    cluster.topic("a", "orders", 4);
    cluster.topic("b", "orders", 4);
    let producer = cluster.client().await.producer().build();
    let message = |key: u32, number: u32| {
        let builder = Message::builder("orders", format!("{key}-{number}"));
        builder
            .ordering_key(&format!("customer-{key}"))
            .build()
            .unwrap()
    };
    let deliveries: Vec<_> = (0..20)
        .flat_map(|number| (0..5).map(move |key| (key, number)))
        .map(|(key, number)| producer.enqueue(message(key, number)))
        .collect();
    let mut queues = BTreeSet::new();
    for (index, delivery) in deliveries.into_iter().enumerate() {
        queues.insert((index % 5, delivery.await.unwrap().queue));
    }
    assert_eq!(queues.len(), 5);
    for (key, queue) in queues {
        let bodies = cluster.bodies(&queue.broker, "orders", queue.id.0 as usize);
        let own: Vec<_> = bodies
            .iter()
            .filter(|body| body.starts_with(&format!("{key}-")))
            .collect();
        let expected: Vec<_> = (0..20).map(|number| format!("{key}-{number}")).collect();
        assert_eq!(own, expected.iter().collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_keys_keep_their_order_and_acknowledged_messages_are_stored() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let cluster = FakeCluster::start(&["a", "b"]);
        cluster.topic("a", "orders", 2);
        cluster.topic("b", "orders", 1);
        let client = cluster.client().await;
        let linger = Duration::from_millis(random.u64(0..3));
        let producer = client.producer().retries(9).linger(linger).build();
        let mut deliveries = Vec::new();
        for number in 0..300_u32 {
            let key = random.u32(0..5);
            let message = Message::builder("orders", format!("{key} {number}"));
            let message = message.ordering_key(&format!("customer-{key}"));
            deliveries.push((number, producer.enqueue(message.build().unwrap())));
            let broker = random.choice(["a", "b"]).unwrap();
            let request = random.choice(["send", "send batch"]).unwrap();
            match random.u32(0..60) {
                0 => cluster.fault(broker, request, Fault::Close),
                1 => cluster.fault(broker, request, Fault::DoneThenClose),
                2 => {
                    let busy = Failure::safe(ErrorCode::Busy, "busy");
                    cluster.fault(broker, request, Fault::Refuse(busy));
                }
                3 => {
                    let never = Failure::never(ErrorCode::InvalidRequest, "no");
                    cluster.fault(broker, request, Fault::Refuse(never));
                }
                4 => {
                    cluster.stop_broker(broker);
                    tokio::time::sleep(Duration::from_millis(random.u64(0..300))).await;
                    cluster.start_broker(broker);
                }
                5..15 => tokio::time::sleep(Duration::from_millis(random.u64(0..20))).await,
                _ => {}
            }
        }
        let mut acknowledged = BTreeSet::new();
        for (number, delivery) in deliveries {
            if delivery.await.is_ok() {
                acknowledged.insert(number);
            }
        }
        let mut seen = BTreeSet::new();
        let queues = ["a", "b"].map(|broker| cluster.all_bodies(broker, "orders"));
        for queue in queues.iter().flatten() {
            let mut last = std::collections::BTreeMap::new();
            for body in queue {
                let (key, number) = body.split_once(' ').unwrap();
                let number: u32 = number.parse().unwrap();
                if seen.insert(number) {
                    let before = last.insert(key, number);
                    assert!(before < Some(number), "seed {seed}: {before:?} {number}");
                }
            }
        }
        assert!(acknowledged.len() > 250, "seed {seed}");
        assert!(acknowledged.is_subset(&seen), "seed {seed}");
    }
}
