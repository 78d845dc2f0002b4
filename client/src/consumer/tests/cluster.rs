//! Consumers whose master goes away and comes back.

use super::*;

/// A master `a` with two queues of ten messages each, and a slave `a-1` that has them.
fn set() -> FakeCluster {
    let cluster = stored(2, 10);
    cluster.start_slave("a-1", "a");
    cluster
}

/// The master dies, and name servers have heard of it.
fn lose_master(cluster: &FakeCluster) {
    cluster.stop_broker("a");
    cluster.list("a", false);
}

/// The master is there again.
fn bring_back_master(cluster: &FakeCluster) {
    cluster.start_broker("a");
    cluster.list("a", true);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_goes_on_at_the_slave_and_comes_back_and_sees_each_message_once() {
    let cluster = set();
    let seen = Seen::default();
    let builder = group(&cluster).await.handler(collecting(&seen));
    let consumer = builder.start().await.unwrap();
    seen.count(20).await;
    // The slave has what was stored since, and the master has not heard of a commit.
    cluster.copy("a", "a-1");
    lose_master(&cluster);
    cluster.store("a-1", "orders", 0, 20..30);
    let began = Instant::now();
    seen.count(30).await;
    assert!(began.elapsed() < Duration::from_secs(2));
    until("it has committed there", || {
        cluster.committed("g", "orders", "a-1", 0) == Some(20)
    })
    .await;
    cluster.copy("a-1", "a");
    bring_back_master(&cluster);
    until("it is back", || cluster.members("a", "g") == 1).await;
    assert_eq!(cluster.members("a-1", "g"), 0);
    cluster.store("a", "orders", 1, 30..40);
    seen.count(40).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(seen.sorted(), (0..40).collect::<Vec<_>>());
    // Told at once, and not only when something is done again.
    assert_eq!(cluster.committed("g", "orders", "a", 0), Some(20));
    consumer.shutdown().await.unwrap();
    assert_eq!(cluster.committed("g", "orders", "a", 1), Some(20));
}

#[tokio::test(start_paused = true)]
async fn what_runs_at_the_slave_ends_and_is_committed_there_before_the_master_is_joined() {
    let cluster = set();
    lose_master(&cluster);
    let seen = Seen::default();
    let noted = seen.clone();
    let builder = group(&cluster).await.handler(move |message| {
        let seen = noted.clone();
        async move {
            sleep(Duration::from_secs(3)).await;
            seen.note(&message);
        }
    });
    let consumer = builder.start().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    bring_back_master(&cluster);
    seen.count(20).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(seen.sorted(), (0..20).collect::<Vec<_>>());
    assert_eq!(cluster.committed("g", "orders", "a-1", 0), Some(10));
    assert_eq!(cluster.committed("g", "orders", "a", 0), Some(10));
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slave_that_ends_memberships_because_its_master_is_back_is_left_for_it() {
    let cluster = set();
    let seen = Seen::default();
    let builder = group(&cluster).await.handler(collecting(&seen));
    let consumer = builder.start().await.unwrap();
    seen.count(20).await;
    lose_master(&cluster);
    until("it is at the slave", || cluster.members("a-1", "g") == 1).await;
    bring_back_master(&cluster);
    cluster.restart_broker("a-1");
    until("it is back", || cluster.members("a", "g") == 1).await;
    cluster.store("a", "orders", 0, 20..30);
    seen.count(30).await;
    assert_eq!(seen.sorted(), (0..30).collect::<Vec<_>>());
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_master_that_cannot_be_reached_yet_does_not_end_reading_from_the_slave() {
    let cluster = set();
    let seen = Seen::default();
    let builder = group(&cluster).await.handler(collecting(&seen));
    let consumer = builder.start().await.unwrap();
    seen.count(20).await;
    lose_master(&cluster);
    until("it is at the slave", || cluster.members("a-1", "g") == 1).await;
    cluster.list("a", true);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(cluster.members("a-1", "g"), 1);
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slave_that_took_over_without_the_end_of_the_log_says_itself_how_far_the_group_is() {
    let cluster = set();
    let seen = Seen::default();
    let builder = group(&cluster).await.handler(collecting(&seen));
    let consumer = builder.start().await.unwrap();
    // Ten messages that the slave never gets, and that are done.
    cluster.store("a", "orders", 0, 20..30);
    seen.count(30).await;
    sleep(Duration::from_secs(6)).await;
    cluster.with_offset("g", "orders", "a-1", 0, 8);
    lose_master(&cluster);
    cluster.promote("a-1");
    // Others are at their places by the time it joins, and more.
    cluster.store("a-1", "orders", 0, 30..50);
    until("all came", || {
        let came = seen.bodies();
        (30..50).all(|number: u32| came.contains(&number.to_string()))
    })
    .await;
    consumer.shutdown().await.unwrap();
    let twice: Vec<_> = seen.sorted();
    let again = twice.windows(2).filter(|pair| pair[0] == pair[1]).count();
    // From where the new master says on: two of queue 0, and all of the queue of which it knows nothing.
    assert_eq!(again, 2 + 10);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_processes_in_order_waits_for_the_master() {
    let cluster = set();
    let seen = Seen::default();
    let builder = group(&cluster).await.order(Order::PerQueue);
    let builder = builder.handler(collecting(&seen));
    let consumer = builder.start().await.unwrap();
    seen.count(20).await;
    lose_master(&cluster);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(cluster.members("a-1", "g"), 0);
    let began = Instant::now();
    bring_back_master(&cluster);
    cluster.store("a", "orders", 0, 20..25);
    seen.count(25).await;
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(seen.sorted(), (0..25).collect::<Vec<_>>());
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_that_a_slave_does_not_take_back_stays_until_the_master_does() {
    let cluster = set();
    cluster.take_back("a");
    lose_master(&cluster);
    let seen = Seen::default();
    let noted = seen.clone();
    let builder = group(&cluster).await.max_attempts(2);
    let consumer = builder
        .handler(move |message| {
            let fails = message.queue_id().0 == 0 && message.offset() == QueueOffset(4);
            noted.note(&message);
            std::future::ready(match fails {
                true => Ack::Retry,
                false => Ack::Done,
            })
        })
        .start()
        .await
        .unwrap();
    // Tried more often than it may be.
    sleep(Duration::from_secs(60)).await;
    let tries = || seen.bodies().iter().filter(|body| *body == "4").count();
    assert!(tries() > 2, "{} tries", tries());
    assert_eq!(cluster.committed("g", "orders", "a-1", 0), Some(4));
    assert_eq!(cluster.committed("g", "orders", "a-1", 1), Some(10));
    bring_back_master(&cluster);
    until("the master has it", || cluster.sent_back("a") == [4]).await;
    sleep(Duration::from_secs(6)).await;
    assert_eq!(cluster.committed("g", "orders", "a", 0), Some(10));
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn while_a_membership_is_missing_new_brokers_are_found_within_two_seconds() {
    let cluster = stored(1, 0);
    let seen = Seen::default();
    let builder = group(&cluster).await.handler(collecting(&seen));
    let consumer = builder.start().await.unwrap();
    cluster.stop_broker("a");
    sleep(Duration::from_secs(100)).await;
    cluster.start_broker("b");
    cluster.topic("b", "orders", 1);
    cluster.store("b", "orders", 0, 0..5);
    let began = Instant::now();
    seen.count(5).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    let asked = cluster.routes_asked(NAME_SERVER);
    assert!(asked < 220, "{asked}");
    drop(consumer);
}

#[tokio::test(start_paused = true)]
async fn a_broadcasting_consumer_keeps_its_place_at_the_slave_and_back() {
    let cluster = set();
    let seen = Seen::default();
    let builder = group(&cluster).await.broadcasting();
    let builder = builder.handler(collecting(&seen));
    let consumer = builder.start().await.unwrap();
    seen.count(20).await;
    lose_master(&cluster);
    cluster.store("a-1", "orders", 0, 20..25);
    seen.count(25).await;
    cluster.copy("a-1", "a");
    bring_back_master(&cluster);
    until("it is back", || cluster.members("a", "g") == 1).await;
    cluster.store("a", "orders", 0, 25..30);
    seen.count(30).await;
    assert_eq!(seen.sorted(), (0..30).collect::<Vec<_>>());
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn consumers_go_on_without_name_servers_for_as_long_as_it_takes() {
    let cluster = set();
    let seen = Seen::default();
    let builder = group(&cluster).await.handler(collecting(&seen));
    let consumer = builder.start().await.unwrap();
    seen.count(20).await;
    cluster.hush_name_server(NAME_SERVER);
    sleep(Duration::from_secs(3600)).await;
    cluster.stop_broker("a");
    sleep(Duration::from_secs(60)).await;
    cluster.start_broker("a");
    cluster.store("a", "orders", 0, 20..25);
    let began = Instant::now();
    seen.count(25).await;
    assert!(began.elapsed() < Duration::from_secs(3));
    consumer.shutdown().await.unwrap();
}

/// A pull consumer of all queues, and what it has read so far.
async fn pulling(cluster: &FakeCluster) -> (PullConsumer, Seen) {
    let builder = cluster.client().await.pull_consumer("g");
    let mut consumer = builder.from(StartFrom::Earliest).build().unwrap();
    let queues = consumer.queues("orders").await.unwrap();
    consumer.assign(queues).await.unwrap();
    (consumer, Seen::default())
}

async fn pull(consumer: &mut PullConsumer, seen: &Seen, count: usize) {
    while seen.bodies().len() < count {
        let messages = consumer.poll(Duration::from_secs(60)).await.unwrap();
        assert!(!messages.is_empty(), "{} came", seen.bodies().len());
        messages.iter().for_each(|message| seen.note(message));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pull_consumer_goes_on_at_the_slave_and_comes_back_where_it_was() {
    let cluster = set();
    let (mut consumer, seen) = pulling(&cluster).await;
    pull(&mut consumer, &seen, 20).await;
    consumer.commit().await.unwrap();
    lose_master(&cluster);
    cluster.store("a-1", "orders", 0, 20..25);
    let began = Instant::now();
    pull(&mut consumer, &seen, 25).await;
    assert!(began.elapsed() < Duration::from_secs(2));
    // All of them, whether they have moved since or not.
    consumer.commit().await.unwrap();
    assert_eq!(cluster.committed("g", "orders", "a-1", 0), Some(15));
    assert_eq!(cluster.committed("g", "orders", "a-1", 1), Some(10));
    cluster.copy("a-1", "a");
    bring_back_master(&cluster);
    cluster.store("a", "orders", 1, 25..30);
    let began = Instant::now();
    pull(&mut consumer, &seen, 30).await;
    assert!(began.elapsed() < Duration::from_secs(4));
    consumer.commit().await.unwrap();
    assert_eq!(cluster.committed("g", "orders", "a", 0), Some(15));
    assert_eq!(seen.sorted(), (0..30).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_pull_consumer_stays_with_a_master_that_name_servers_have_forgotten() {
    let cluster = set();
    let (mut consumer, seen) = pulling(&cluster).await;
    pull(&mut consumer, &seen, 20).await;
    cluster.list("a", false);
    let nothing = consumer.poll(Duration::from_secs(60)).await.unwrap();
    assert!(nothing.is_empty());
    cluster.list("a-1", false);
    let nothing = consumer.poll(Duration::from_secs(60)).await.unwrap();
    assert!(nothing.is_empty());
    cluster.store("a", "orders", 0, 20..25);
    pull(&mut consumer, &seen, 25).await;
    assert_eq!(cluster.asked("a-1", "pull"), 0);
}
