//! Asking for messages.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_pull_consumer_reads_everything_commits_and_goes_on_there() {
    let cluster = stored(3, 100);
    let client = cluster.client().await;
    let build = || {
        client
            .pull_consumer("g")
            .from(StartFrom::Earliest)
            .batch(30)
            .build()
            .unwrap()
    };
    let mut consumer = build();
    let queues = consumer.queues("orders").await.unwrap();
    assert_eq!(queues.len(), 3);
    consumer.assign(queues.clone()).await.unwrap();
    let mut seen = Vec::new();
    loop {
        let messages = consumer.poll(Duration::from_secs(1)).await.unwrap();
        if messages.is_empty() {
            break;
        }
        seen.extend(
            messages
                .iter()
                .map(|m| String::from_utf8_lossy(m.body().unwrap()).into_owned()),
        );
    }
    assert_eq!(seen.len(), 300);
    assert_eq!(cluster.committed("g", "orders", "a", 1), None);
    consumer.commit().await.unwrap();
    assert_eq!(cluster.committed("g", "orders", "a", 1), Some(100));
    cluster.store("a", "orders", 1, 300..305);
    let mut again = build();
    again.assign(queues.clone()).await.unwrap();
    assert_eq!(again.position(&queues[1]), Some(QueueOffset(100)));
    let messages = again.poll(Duration::from_secs(1)).await.unwrap();
    assert_eq!(messages.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_waits_is_woken_by_a_message_and_a_dropped_one_loses_nothing() {
    let cluster = stored(2, 0);
    let mut consumer = cluster.client().await.pull_consumer("g").build().unwrap();
    consumer
        .assign(consumer.queues("orders").await.unwrap())
        .await
        .unwrap();
    let dropped = timeout(
        Duration::from_secs(1),
        consumer.poll(Duration::from_secs(60)),
    )
    .await;
    assert!(dropped.is_err());
    cluster.store("a", "orders", 1, 0..3);
    let began = Instant::now();
    let messages = consumer.poll(Duration::from_secs(60)).await.unwrap();
    assert_eq!(messages.len(), 3);
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn seeking_goes_anywhere_and_what_was_asked_before_is_forgotten() {
    let cluster = stored(1, 100);
    let mut consumer = cluster
        .client()
        .await
        .pull_consumer("g")
        .batch(10)
        .build()
        .unwrap();
    let queue = Queue::new("orders", "a", 0);
    assert!(consumer.seek(&queue, SeekTo::Earliest).await.is_err());
    consumer.assign([queue.clone()]).await.unwrap();
    assert_eq!(consumer.position(&queue), Some(QueueOffset(100)));
    assert!(
        consumer
            .poll(Duration::from_secs(1))
            .await
            .unwrap()
            .is_empty()
    );
    for (to, first) in [
        (SeekTo::Earliest, 0),
        (SeekTo::Offset(QueueOffset(40)), 40),
        (SeekTo::Time(70), 70),
        (SeekTo::Offset(QueueOffset(7)), 7),
    ] {
        consumer.seek(&queue, to).await.unwrap();
        let messages = consumer.poll(Duration::from_secs(1)).await.unwrap();
        assert_eq!(messages[0].offset(), QueueOffset(first));
        assert_eq!(messages.len(), 10);
    }
    consumer.seek(&queue, SeekTo::Latest).await.unwrap();
    assert_eq!(consumer.position(&queue), Some(QueueOffset(100)));
    consumer
        .seek(&queue, SeekTo::Offset(QueueOffset(5000)))
        .await
        .unwrap();
    assert!(
        consumer
            .poll(Duration::from_secs(1))
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        consumer.position(&queue),
        Some(QueueOffset(100)),
        "the broker says where the queue ends"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pull_consumer_survives_its_brokers_restart() {
    let cluster = stored(1, 10);
    let client = cluster.client().await;
    let mut consumer = client
        .pull_consumer("g")
        .from(StartFrom::Earliest)
        .build()
        .unwrap();
    consumer
        .assign([Queue::new("orders", "a", 0)])
        .await
        .unwrap();
    assert_eq!(
        consumer.poll(Duration::from_secs(1)).await.unwrap().len(),
        10
    );
    cluster.stop_broker("a");
    let error = consumer.poll(Duration::from_secs(5)).await.unwrap_err();
    assert!(error.is_retry_safe(), "{error}");
    cluster.start_broker("a");
    cluster.store("a", "orders", 0, 10..15);
    assert_eq!(
        consumer.poll(Duration::from_secs(30)).await.unwrap().len(),
        5
    );
}

#[tokio::test(start_paused = true)]
async fn a_pull_consumer_goes_on_while_no_name_server_can_be_reached() {
    let cluster = stored(1, 10);
    let builder = cluster.client().await.pull_consumer("g");
    let mut consumer = builder.from(StartFrom::Earliest).build().unwrap();
    let queue = Queue::new("orders", "a", 0);
    consumer.assign([queue]).await.unwrap();
    let first = consumer.poll(Duration::from_secs(1)).await.unwrap();
    assert_eq!(first.len(), 10);
    cluster.stop_name_server(NAME_SERVER);
    sleep(Duration::from_secs(300)).await;
    cluster.store("a", "orders", 0, 10..15);
    let more = consumer.poll(Duration::from_secs(30)).await.unwrap();
    assert_eq!(more.len(), 5);
    consumer.commit().await.unwrap();
}
