//! Membership: joining, sharing queues, losing connections.

use super::*;

#[tokio::test(start_paused = true)]
async fn members_share_the_queues_and_take_over_from_one_that_leaves() {
    let cluster = stored(4, 0);
    let (first_seen, second_seen) = (Seen::default(), Seen::default());
    let first = group(&cluster)
        .await
        .handler(collecting(&first_seen))
        .start()
        .await
        .unwrap();
    until("the first has all", || first.assignment().len() == 4).await;
    let second = group(&cluster)
        .await
        .handler(collecting(&second_seen))
        .start()
        .await
        .unwrap();
    until("both have two", || {
        first.assignment().len() == 2 && second.assignment().len() == 2
    })
    .await;
    for queue in 0..4 {
        cluster.store("a", "orders", queue, queue * 10..(queue + 1) * 10);
    }
    first_seen.count(20).await;
    second_seen.count(20).await;
    second.shutdown().await.unwrap();
    until("the first has all again", || first.assignment().len() == 4).await;
    for queue in 0..4 {
        cluster.store("a", "orders", queue, 40 + queue * 10..40 + (queue + 1) * 10);
    }
    first_seen.count(60).await;
    first.shutdown().await.unwrap();
    let mut all = first_seen.sorted();
    all.extend(second_seen.sorted());
    all.sort_unstable();
    assert_eq!(all, (0..80).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_given_up_only_after_its_running_handlers_and_its_commit() {
    let cluster = stored(2, 5);
    let seen = Seen::default();
    let noted = seen.clone();
    let first = group(&cluster)
        .await
        .order(Order::PerQueue)
        .handler(move |message| {
            let seen = noted.clone();
            async move {
                sleep(Duration::from_secs(2)).await;
                seen.note(&message);
            }
        })
        .start()
        .await
        .unwrap();
    sleep(Duration::from_secs(1)).await;
    let second = group(&cluster)
        .await
        .handler(collecting(&seen))
        .start()
        .await
        .unwrap();
    seen.count(10).await;
    // The message that ran when the queue moved was finished and committed before the other member got the queue.
    assert_eq!(seen.sorted(), (0..10).collect::<Vec<_>>());
    second.shutdown().await.unwrap();
    first.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_consumer_is_a_member_at_every_broker_and_finds_new_ones() {
    let cluster = FakeCluster::start(&["a", "b"]);
    for (number, broker) in (0..).zip(["a", "b"]) {
        cluster.topic(broker, "orders", 1);
        cluster.store(broker, "orders", 0, number * 10..(number + 1) * 10);
    }
    let seen = Seen::default();
    let consumer = group(&cluster)
        .await
        .handler(collecting(&seen))
        .start()
        .await
        .unwrap();
    seen.count(20).await;
    cluster.start_broker("c");
    cluster.topic("c", "orders", 1);
    cluster.store("c", "orders", 0, 20..30);
    seen.count(30).await;
    consumer.shutdown().await.unwrap();
    assert_eq!(seen.sorted(), (0..30).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_consumer_joins_again_after_its_broker_restarted() {
    let cluster = stored(2, 10);
    let seen = Seen::default();
    let consumer = group(&cluster)
        .await
        .handler(collecting(&seen))
        .start()
        .await
        .unwrap();
    seen.count(20).await;
    sleep(Duration::from_secs(6)).await;
    cluster.stop_broker("a");
    until("it has no queue", || consumer.assignment().is_empty()).await;
    sleep(Duration::from_secs(20)).await;
    cluster.start_broker("a");
    cluster.store("a", "orders", 0, 20..30);
    seen.count(30).await;
    consumer.shutdown().await.unwrap();
    assert_eq!(seen.sorted(), (0..30).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn what_was_done_before_a_lost_connection_is_not_done_again() {
    let cluster = stored(2, 50);
    let seen = Seen::default();
    let consumer = group(&cluster)
        .await
        .handler(collecting(&seen))
        .start()
        .await
        .unwrap();
    seen.count(100).await;
    // Nothing was committed yet.
    cluster.stop_broker("a");
    cluster.start_broker("a");
    cluster.store("a", "orders", 0, 100..110);
    seen.count(110).await;
    consumer.shutdown().await.unwrap();
    assert_eq!(seen.sorted(), (0..110).collect::<Vec<_>>());
    assert_eq!(cluster.committed("g", "orders", "a", 1), Some(50));
}

#[tokio::test(start_paused = true)]
async fn in_order_a_queue_that_comes_back_waits_for_the_handler_of_its_first_life() {
    let cluster = stored(1, 3);
    let seen = Seen::default();
    let noted = seen.clone();
    let running = Arc::new(AtomicUsize::new(0));
    let consumer = group(&cluster)
        .await
        .order(Order::PerQueue)
        .handler(move |message| {
            let (seen, running) = (noted.clone(), running.clone());
            async move {
                assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                sleep(Duration::from_secs(10)).await;
                seen.note(&message);
                running.fetch_sub(1, Ordering::SeqCst);
            }
        })
        .start()
        .await
        .unwrap();
    sleep(Duration::from_secs(1)).await;
    cluster.stop_broker("a");
    cluster.start_broker("a");
    seen.count(4).await;
    consumer.shutdown().await.unwrap();
    // What ran when the connection was lost comes again, and nothing overtakes.
    assert_eq!(seen.bodies(), ["0", "0", "1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_refused_because_of_one_queue_still_commits_the_others() {
    let cluster = stored(2, 5);
    let seen = Seen::default();
    let consumer = group(&cluster)
        .await
        .handler(collecting(&seen))
        .start()
        .await
        .unwrap();
    seen.count(10).await;
    let failure = || Failure::never(ErrorCode::NotOwner, "another's");
    cluster.fault("a", "commit offsets", Fault::Refuse(failure()));
    cluster.fault("a", "commit offsets", Fault::Refuse(failure()));
    sleep(Duration::from_secs(6)).await;
    assert_eq!(consumer.assignment().len(), 1);
    let committed = (0..2).filter_map(|queue| cluster.committed("g", "orders", "a", queue));
    assert_eq!(committed.collect::<Vec<_>>(), [5]);
    drop(consumer);
}

#[tokio::test(start_paused = true)]
async fn broadcasting_gives_every_member_everything_and_keeps_offsets_here() {
    let cluster = stored(2, 10);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("offsets.json");
    let (one, two) = (Seen::default(), Seen::default());
    let start = async |seen: &Seen, file: Option<std::path::PathBuf>| {
        let mut builder = group(&cluster).await.broadcasting();
        if let Some(file) = file {
            builder = builder.offset_file(file);
        }
        builder.handler(collecting(seen)).start().await.unwrap()
    };
    let first = start(&one, Some(file.clone())).await;
    let second = start(&two, None).await;
    one.count(20).await;
    two.count(20).await;
    first.shutdown().await.unwrap();
    second.shutdown().await.unwrap();
    assert_eq!(cluster.asked("a", "commit offsets"), 0);
    cluster.store("a", "orders", 0, 20..25);
    let first = start(&one, Some(file)).await;
    one.count(25).await;
    first.shutdown().await.unwrap();
    assert_eq!(one.sorted(), (0..25).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn what_a_broker_refuses_for_good_is_an_error_at_start() {
    let cluster = stored(1, 0);
    let failure = Failure::never(ErrorCode::GroupDisabled, "switched off");
    cluster.fault("a", "join group", Fault::Refuse(failure));
    let handler = |_: ReceivedMessage| async {};
    let error = group(&cluster)
        .await
        .handler(handler)
        .start()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::GroupDisabled));
    let builder = cluster.client().await.push_consumer("g");
    let error = builder.handler(handler).start().await.unwrap_err();
    assert!(matches!(error, Error::Setting(_)), "{error}");
    cluster.stop_broker("a");
    let error = group(&cluster)
        .await
        .handler(handler)
        .start()
        .await
        .unwrap_err();
    assert!(error.is_retry_safe(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_does_not_exist_yet_is_waited_for() {
    let cluster = FakeCluster::start(&["a"]);
    let seen = Seen::default();
    let consumer = group(&cluster)
        .await
        .handler(collecting(&seen))
        .start()
        .await
        .unwrap();
    sleep(Duration::from_secs(60)).await;
    cluster.topic("a", "orders", 1);
    cluster.store("a", "orders", 0, 0..5);
    seen.count(5).await;
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_consumers_of_one_client_in_one_group_are_two_members() {
    let cluster = stored(2, 0);
    let client = cluster.client().await;
    let start = async || {
        let builder = client.push_consumer("g").subscribe("orders", Filter::All);
        builder.handler(|_| async {}).start().await.unwrap()
    };
    let (first, second) = (start().await, start().await);
    until("both have one", || {
        first.assignment().len() == 1 && second.assignment().len() == 1
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_queue_that_cannot_be_committed_does_not_keep_the_others_from_it() {
    let cluster = stored(3, 5);
    let seen = Seen::default();
    let consumer = group(&cluster)
        .await
        .handler(collecting(&seen))
        .start()
        .await
        .unwrap();
    seen.count(15).await;
    let failure = || Failure::never(ErrorCode::TopicNotFound, "deleted");
    cluster.fault("a", "commit offsets", Fault::Refuse(failure()));
    cluster.fault("a", "commit offsets", Fault::Refuse(failure()));
    let error = consumer.shutdown().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::TopicNotFound));
    let committed = (0..3).filter_map(|queue| cluster.committed("g", "orders", "a", queue));
    assert_eq!(committed.collect::<Vec<_>>(), [5, 5]);
}

#[tokio::test(start_paused = true)]
async fn shutting_down_without_the_broker_says_what_could_not_be_committed() {
    let cluster = stored(1, 10);
    let seen = Seen::default();
    let consumer = group(&cluster)
        .await
        .handler(collecting(&seen))
        .start()
        .await
        .unwrap();
    seen.count(10).await;
    cluster.stop_broker("a");
    sleep(Duration::from_secs(1)).await;
    assert!(consumer.shutdown().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn shutting_down_without_the_broker_keeps_a_broadcasting_consumers_offsets() {
    let cluster = stored(1, 10);
    let directory = tempfile::tempdir().unwrap();
    let seen = Seen::default();
    let start = async || {
        let builder = group(&cluster).await.broadcasting();
        let builder = builder.offset_file(directory.path().join("offsets.json"));
        builder.handler(collecting(&seen)).start().await.unwrap()
    };
    let consumer = start().await;
    seen.count(10).await;
    cluster.stop_broker("a");
    sleep(Duration::from_secs(1)).await;
    consumer.shutdown().await.unwrap();
    cluster.start_broker("a");
    cluster.store("a", "orders", 0, 10..15);
    let consumer = start().await;
    seen.count(15).await;
    consumer.shutdown().await.unwrap();
    assert_eq!(seen.sorted(), (0..15).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn nothing_that_was_handled_comes_again_after_a_shutdown_under_load() {
    let cluster = stored(4, 2000);
    let seen = Seen::default();
    let mut runs = 0;
    while seen.bodies().len() < 8000 {
        let noted = seen.clone();
        let builder = group(&cluster).await.window(100, 1 << 20);
        let consumer = builder
            .handler(move |message| {
                let seen = noted.clone();
                async move {
                    if message.offset().0.is_multiple_of(3) {
                        sleep(Duration::from_millis(fastrand::u64(0..4))).await;
                    }
                    seen.note(&message);
                }
            })
            .start()
            .await
            .unwrap();
        sleep(Duration::from_millis(50)).await;
        consumer.shutdown().await.unwrap();
        runs += 1;
    }
    assert!(runs > 3, "only {runs} runs");
    assert_eq!(seen.sorted(), (0..8000).collect::<Vec<_>>());
}
