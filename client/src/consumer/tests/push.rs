//! Handling messages.

use super::*;

#[tokio::test(start_paused = true)]
async fn every_message_is_handled_once_and_all_are_committed_at_shutdown() {
    let cluster = stored(4, 500);
    let seen = Seen::default();
    let consumer = group(&cluster)
        .await
        .handler(collecting(&seen))
        .start()
        .await
        .unwrap();
    seen.count(2000).await;
    assert_eq!(consumer.assignment().len(), 4);
    consumer.shutdown().await.unwrap();
    assert_eq!(seen.sorted(), (0..2000).collect::<Vec<_>>());
    for queue in 0..4 {
        assert_eq!(cluster.committed("g", "orders", "a", queue), Some(500));
    }
    assert_eq!(cluster.members("a", "g"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_consumer_goes_on_where_it_was() {
    let cluster = stored(1, 100);
    let seen = Seen::default();
    let consumer = group(&cluster)
        .await
        .handler(collecting(&seen))
        .start()
        .await
        .unwrap();
    seen.count(100).await;
    consumer.shutdown().await.unwrap();
    cluster.store("a", "orders", 0, 100..150);
    let consumer = group(&cluster)
        .await
        .handler(collecting(&seen))
        .start()
        .await
        .unwrap();
    seen.count(150).await;
    consumer.shutdown().await.unwrap();
    assert_eq!(seen.sorted(), (0..150).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_group_that_begins_at_the_latest_message_misses_nothing_after_that() {
    let cluster = stored(1, 10);
    let seen = Seen::default();
    let builder = group(&cluster).await.from(StartFrom::Latest);
    let consumer = builder.handler(collecting(&seen)).start().await.unwrap();
    until("its start is committed", || {
        cluster.committed("g", "orders", "a", 0) == Some(10)
    })
    .await;
    consumer.shutdown().await.unwrap();
    cluster.store("a", "orders", 0, 10..20);
    let builder = group(&cluster).await.from(StartFrom::Latest);
    let consumer = builder.handler(collecting(&seen)).start().await.unwrap();
    seen.count(10).await;
    consumer.shutdown().await.unwrap();
    assert_eq!(seen.sorted(), (10..20).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_expires_on_its_way_to_the_handler_counts_as_consumed() {
    let cluster = stored(1, 2);
    cluster.store_one("a", "orders", "expired", "EXPIRES_AT\x011\x02");
    let later = format!("EXPIRES_AT\x01{}\x02", i64::MAX);
    cluster.store_one("a", "orders", "2", &later);
    let seen = Seen::default();
    let consumer = group(&cluster)
        .await
        .handler(collecting(&seen))
        .start()
        .await
        .unwrap();
    seen.count(3).await;
    consumer.shutdown().await.unwrap();
    assert_eq!(seen.sorted(), [0, 1, 2]);
    assert_eq!(cluster.committed("g", "orders", "a", 0), Some(4));
}

#[tokio::test(start_paused = true)]
async fn offsets_are_committed_every_few_seconds() {
    let cluster = stored(1, 10);
    let seen = Seen::default();
    let consumer = group(&cluster)
        .await
        .handler(collecting(&seen))
        .start()
        .await
        .unwrap();
    seen.count(10).await;
    assert_eq!(cluster.committed("g", "orders", "a", 0), None);
    sleep(Duration::from_millis(5100)).await;
    assert_eq!(cluster.committed("g", "orders", "a", 0), Some(10));
    let commits = cluster.asked("a", "commit offsets");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(
        cluster.asked("a", "commit offsets"),
        commits,
        "nothing moved"
    );
    drop(consumer);
}

#[tokio::test(start_paused = true)]
async fn in_order_each_queue_is_handled_one_by_one_while_queues_run_side_by_side() {
    let cluster = stored(3, 50);
    let seen = Seen::default();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (noted, counter, peak) = (seen.clone(), running.clone(), most.clone());
    let builder = group(&cluster).await.order(Order::PerQueue).concurrency(10);
    let consumer = builder
        .handler(move |message| {
            let (seen, running, most) = (noted.clone(), counter.clone(), peak.clone());
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(Duration::from_millis(fastrand::u64(1..20))).await;
                seen.note(&message);
                running.fetch_sub(1, Ordering::SeqCst);
            }
        })
        .start()
        .await
        .unwrap();
    seen.count(150).await;
    consumer.shutdown().await.unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 3);
    for (queue, numbers) in seen.by_queue() {
        let first = queue.id.0 * 50;
        assert_eq!(numbers, (first..first + 50).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_handlers_run_at_once_than_the_concurrency_allows() {
    let cluster = stored(4, 100);
    let seen = Seen::default();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (noted, counter, peak) = (seen.clone(), running.clone(), most.clone());
    let consumer = group(&cluster)
        .await
        .concurrency(7)
        .handler(move |message| {
            let (seen, running, most) = (noted.clone(), counter.clone(), peak.clone());
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(Duration::from_millis(3)).await;
                seen.note(&message);
                running.fetch_sub(1, Ordering::SeqCst);
            }
        })
        .start()
        .await
        .unwrap();
    seen.count(400).await;
    consumer.shutdown().await.unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 7);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_fails_or_panics_comes_again_and_holds_the_offset_until_it_is_done() {
    let cluster = stored(1, 10);
    let seen = Seen::default();
    let (noted, healthy) = (seen.clone(), Arc::new(AtomicUsize::new(0)));
    let switch = healthy.clone();
    let consumer = group(&cluster)
        .await
        .handler(move |message| {
            let (seen, healthy) = (noted.clone(), switch.clone());
            async move {
                let sick = healthy.load(Ordering::SeqCst) == 0;
                match message.offset().0 {
                    3 if sick => Err("not now"),
                    5 if sick => panic!("handlers may panic"),
                    _ => {
                        seen.note(&message);
                        Ok(())
                    }
                }
            }
        })
        .start()
        .await
        .unwrap();
    seen.count(8).await;
    sleep(Duration::from_secs(6)).await;
    assert_eq!(cluster.committed("g", "orders", "a", 0), Some(3));
    healthy.store(1, Ordering::SeqCst);
    seen.count(10).await;
    consumer.shutdown().await.unwrap();
    assert_eq!(cluster.committed("g", "orders", "a", 0), Some(10));
    assert_eq!(seen.sorted(), (0..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_queue_holds_no_more_than_its_window() {
    let cluster = stored(1, 500);
    let (release, gate) = tokio::sync::watch::channel(false);
    let seen = Seen::default();
    let noted = seen.clone();
    let consumer = group(&cluster)
        .await
        .window(50, 1 << 20)
        .concurrency(1000)
        .handler(move |message| {
            let (seen, mut gate) = (noted.clone(), gate.clone());
            async move {
                seen.note(&message);
                gate.wait_for(|open| *open).await.unwrap();
            }
        })
        .start()
        .await
        .unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(seen.bodies().len(), 50);
    release.send_replace(true);
    seen.count(500).await;
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_does_not_filter_yet_is_filtered_here() {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", 1);
    let client = cluster.client().await;
    let producer = client.producer().build();
    for number in 0..30 {
        let tag = ["red", "green", "blue"][number % 3];
        let message = Message::builder("orders", number.to_string()).tag(tag);
        producer.send(message.build().unwrap()).await.unwrap();
    }
    let failure = || Failure::never(ErrorCode::NotSupported, "no filters yet");
    cluster.fault("a", "join group", Fault::Refuse(failure()));
    let seen = Seen::default();
    let consumer = client
        .push_consumer("g")
        .subscribe("orders", tags(["red", "blue"]))
        .from(StartFrom::Earliest)
        .handler(collecting(&seen))
        .start()
        .await
        .unwrap();
    seen.count(20).await;
    consumer.shutdown().await.unwrap();
    assert!(seen.sorted().iter().all(|number| number % 3 != 1));
    assert_eq!(cluster.committed("g", "orders", "a", 0), Some(30));

    cluster.fault("a", "pull", Fault::Refuse(failure()));
    let builder = client.pull_consumer("h").from(StartFrom::Earliest);
    let mut consumer = builder.filter(tags(["green"])).build().unwrap();
    consumer
        .assign([Queue::new("orders", "a", 0)])
        .await
        .unwrap();
    let messages = consumer.poll(Duration::from_secs(5)).await.unwrap();
    assert_eq!(messages.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_running_handlers_but_not_for_ever() {
    let cluster = stored(1, 2);
    let seen = Seen::default();
    let noted = seen.clone();
    let consumer = group(&cluster)
        .await
        .drain_timeout(Duration::from_secs(10))
        .handler(move |message| {
            let seen = noted.clone();
            async move {
                let seconds = if message.offset().0 == 0 { 3 } else { 10_000 };
                sleep(Duration::from_secs(seconds)).await;
                seen.note(&message);
            }
        })
        .start()
        .await
        .unwrap();
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    consumer.shutdown().await.unwrap();
    assert!(
        (9..12).contains(&began.elapsed().as_secs()),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(seen.bodies(), ["0"]);
    assert_eq!(cluster.committed("g", "orders", "a", 0), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_consumer_commits_and_leaves_in_the_background() {
    let cluster = stored(1, 10);
    let seen = Seen::default();
    let consumer = group(&cluster)
        .await
        .handler(collecting(&seen))
        .start()
        .await
        .unwrap();
    seen.count(10).await;
    drop(consumer);
    until("it has left", || cluster.members("a", "g") == 0).await;
    assert_eq!(cluster.committed("g", "orders", "a", 0), Some(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_run_on_a_runtime_with_many_threads() {
    let cluster = stored(4, 2000);
    let seen = Seen::default();
    let consumer = group(&cluster)
        .await
        .handler(collecting(&seen))
        .start()
        .await
        .unwrap();
    seen.count(8000).await;
    consumer.shutdown().await.unwrap();
    assert_eq!(seen.sorted(), (0..8000).collect::<Vec<_>>());
}

#[test]
fn handles_may_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<PushConsumer>();
    crosses::<PullConsumer>();
    crosses::<ReceivedMessage>();
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_waits_does_not_hold_up_messages_behind_it() {
    let cluster = stored(1, 500);
    let (release, gate) = tokio::sync::watch::channel(false);
    let seen = Seen::default();
    let noted = seen.clone();
    let consumer = group(&cluster)
        .await
        .concurrency(2)
        .handler(move |message| {
            let (seen, mut gate) = (noted.clone(), gate.clone());
            async move {
                if message.offset().0 == 100 {
                    gate.wait_for(|open| *open).await.unwrap();
                }
                seen.note(&message);
            }
        })
        .start()
        .await
        .unwrap();
    seen.count(499).await;
    release.send_replace(true);
    consumer.shutdown().await.unwrap();
    assert_eq!(seen.sorted(), (0..500).collect::<Vec<_>>());
}
