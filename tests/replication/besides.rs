//! What a master knows besides the log, and what waits in the log, goes on at the slave that takes over.

use std::collections::BTreeMap;
use std::time::Duration;

use castmq_actors::Parts;
use castmq_client::model::{GroupConfig, QueueId, QueueOffset, TopicConfig};
use castmq_client::raw::admin::ResetTo;
use castmq_client::raw::request::Resolution;
use castmq_client::{BrokerAdmin, Client, Message, SeekTo, TransactionProducer};
use castmq_config::{Role, Settings};
use tempfile::TempDir;

use crate::set::{Pair, Running, admin, client, in_step, promoted, send};
use crate::support::{now_ms, pop, read_until, run, set_retry_max, stored, text, until};

/// A pair whose topics have two queues.
async fn pair(change: impl Fn(&mut Settings)) -> Pair {
    let change = |settings: &mut Settings| {
        settings.broker.default_topic_queues = 2;
        change(settings);
    };
    Pair::start(Role::SyncMaster, change).await
}

impl Pair {
    /// Waits until the slave has been told all that is known of topics, groups and offsets.
    async fn told(&self) {
        in_step(&self.at_master, &self.at_slave).await;
        let marker = format!("told-{}", fastrand::u64(..));
        let config = GroupConfig::default();
        let put = self.at_master.put_group(&marker, config).await;
        put.expect("a group");
        until(async || {
            let groups = self.at_slave.list_groups().await;
            groups.expect("groups").contains(&marker)
        })
        .await;
    }

    /// The master goes, and its slave is the master.
    async fn take_over(self) -> Promoted {
        self.master.stop().await;
        promoted(&self.client, &self.at_slave).await;
        Promoted {
            name_server: self.name_server,
            master: self.slave,
            client: self.client,
            at: self.at_slave,
            _folder: self.folder,
        }
    }
}

struct Promoted {
    name_server: Running,
    master: Running,
    client: Client,
    at: BrokerAdmin,
    _folder: TempDir,
}

impl Promoted {
    async fn stop(self) {
        self.master.stop().await;
        self.name_server.stop().await;
    }
}

/// How far a group is, by topic and queue.
async fn progress(at: &BrokerAdmin, group: &str) -> BTreeMap<(String, u32), u64> {
    let group = at.show_group(group).await.expect("a group");
    let known = group.progress.into_iter().filter_map(|progress| {
        let queue = progress.queue;
        Some(((queue.topic, queue.queue.0), progress.committed?.0))
    });
    known.collect()
}

#[test]
fn topics_groups_and_offsets_are_the_masters_however_they_changed() {
    run(async {
        let pair = pair(|_| ()).await;
        let at = &pair.at_master;
        for topic in ["kept", "deleted", "again"] {
            send(&pair.client, topic, 0..10).await;
        }
        at.put_group("kept", GroupConfig::default()).await.unwrap();
        at.put_group("deleted", GroupConfig::default())
            .await
            .unwrap();
        set_retry_max(at, "kept", 3).await;
        pair.told().await;
        at.delete_topic("deleted").await.unwrap();
        at.delete_topic("again").await.unwrap();
        at.delete_group("deleted", true).await.unwrap();
        let config = TopicConfig::with_queues(2);
        at.create_topic("again", config).await.unwrap();
        // A client that knows nothing of the one that was deleted.
        let other = client(&pair.name_server).await;
        send(&other, "again", 10..14).await;
        let to = |offset| ResetTo::Offset(QueueOffset(offset));
        for (queue, offset) in [(0, 5), (1, 4), (0, 2)] {
            let queue = Some(QueueId(queue));
            let reset = at.reset_offsets("kept", "kept", queue, to(offset)).await;
            reset.unwrap();
        }
        pair.told().await;
        let before = (
            progress(at, "kept").await,
            at.show_topic("again").await.unwrap(),
            stored(at, "kept").await,
        );
        let promoted = pair.take_over().await;
        let at = &promoted.at;
        let after = (
            progress(at, "kept").await,
            at.show_topic("again").await.unwrap(),
            stored(at, "kept").await,
        );
        assert_eq!(before, after);
        assert_eq!(after.0.len(), 2);
        assert!(at.show_topic("deleted").await.is_err());
        let groups = at.list_groups().await.unwrap();
        assert!(!groups.contains(&"deleted".to_owned()), "{groups:?}");
        assert_eq!(at.show_group("kept").await.unwrap().config.retry_max, 3);
        // What was deleted does not come back, and offsets go on.
        let read = read_until(&promoted.client, "again", |read| read.len() >= 4).await;
        assert_eq!(read.len(), 4);
        send(&promoted.client, "again", 14..16).await;
        send(&promoted.client, "deleted", 0..2).await;
        assert_eq!(stored(at, "deleted").await, 12);
        promoted.stop().await;
    });
}

#[test]
fn a_topic_that_its_slave_was_not_told_of_is_there_when_the_slave_takes_over() {
    run(async {
        let pair = pair(|_| ()).await;
        pair.told().await;
        let sent = send(&pair.client, "newborn", 0..10).await;
        assert!(
            sent.iter()
                .all(|r| r.status == castmq_client::SendStatus::Stored)
        );
        let promoted = pair.take_over().await;
        let read = read_until(&promoted.client, "newborn", |read| read.len() >= 10).await;
        assert_eq!(read.len(), 10);
        promoted.stop().await;
    });
}

/// How long what waits does so at least.
const DELAY_MS: u64 = 3_000;

async fn transactions(client: &Client) -> TransactionProducer {
    let transactions = client
        .transaction_producer("payments")
        .topic("due")
        .checker(|_| async { Resolution::Commit })
        .start();
    transactions.await.expect("a producer")
}

#[test]
fn what_waits_comes_once_and_not_early_after_a_change_of_masters() {
    run(async {
        let pair = pair(|settings| {
            settings.broker.delay_levels = format!("{DELAY_MS}ms");
            settings.broker.transaction_timeout_ms = 1_000;
            settings.broker.transaction_check_interval_ms = 50;
            settings.broker.transaction_check_max = 100_000;
        })
        .await;
        let producer = pair.client.producer().build();
        let begun_ms = now_ms();
        let due_ms = begun_ms + DELAY_MS as i64;
        let message = |body: &'static str| Message::builder("due", body);
        let gone_ms = begun_ms + 50;
        for message in [
            message("early").deliver_at_ms(gone_ms),
            message("level").delay_level(1),
            message("timed").deliver_at_ms(due_ms),
        ] {
            let sent = producer.send(message.build().expect("a message")).await;
            sent.expect("it is stored");
        }
        let asked = transactions(&pair.client).await;
        for (body, resolution) in [
            ("committed", Some(Resolution::Commit)),
            ("rolled back", Some(Resolution::Rollback)),
            ("open", None),
        ] {
            let half = message(body).build().expect("a message");
            let half = asked.begin(half).await.expect("it is stored");
            match resolution {
                Some(Resolution::Commit) => half.commit().await.expect("committed"),
                Some(_) => half.rollback().await.expect("rolled back"),
                None => drop(half),
            }
        }
        let read = read_until(&pair.client, "due", |read| read.len() >= 2).await;
        let bodies: Vec<_> = read.iter().map(text).collect();
        assert!(bodies.contains(&"early".to_owned()), "{bodies:?}");
        pair.told().await;
        let promoted = pair.take_over().await;
        let read = read_until(&promoted.client, "due", |read| read.len() >= 5).await;
        let mut bodies: Vec<_> = read.iter().map(text).collect();
        bodies.sort();
        assert_eq!(bodies, ["committed", "early", "level", "open", "timed"]);
        for message in &read {
            let is_delayed = matches!(&*text(message), "level" | "timed");
            let stored_ms = message.store_timestamp_ms();
            assert!(!is_delayed || stored_ms >= due_ms, "{message:?}");
        }
        // Nothing comes twice: what is stored last would come behind it.
        let last = Message::builder("due", "last").deliver_at_ms(now_ms() + 1_000);
        let producer = promoted.client.producer().build();
        let last = producer.send(last.build().expect("a message")).await;
        last.expect("it is stored");
        let is_last = |read: &[_]| read.iter().any(|message| text(message) == "last");
        let read = read_until(&promoted.client, "due", is_last).await;
        assert_eq!(read.len(), 6);
        drop(asked);
        promoted.stop().await;
    });
}

#[test]
fn who_has_what_is_known_after_a_change_of_masters() {
    run(async {
        let pair = pair(|settings| settings.broker.default_topic_queues = 1).await;
        pop::send(&pair.client, pop::numbers(6)).await;
        let worker = pop::connection(&pair.master.address).await;
        let mut receipts = Vec::new();
        for _ in 0..3 {
            receipts.extend(pop::pop(&worker, pop::one()).await);
        }
        // The first is done, the third too, and the second is out.
        let done = vec![receipts[0], receipts[2]];
        assert_eq!(pop::acknowledge(&worker, done).await, []);
        pair.told().await;
        drop(worker);
        let promoted = pair.take_over().await;
        let worker = pop::connection(&promoted.master.address).await;
        let second = vec![receipts[1]];
        assert_eq!(pop::acknowledge(&worker, second).await, []);
        let mut places = Vec::new();
        for _ in 0..3 {
            let popped = pop::pop(&worker, pop::one()).await;
            places.extend(popped.iter().map(|receipt| receipt.offset.0));
            assert_eq!(pop::acknowledge(&worker, popped).await, []);
        }
        assert_eq!(places, [3, 4, 5]);
        assert_eq!(pop::pop(&worker, pop::one()).await.len(), 0);
        drop(worker);
        promoted.stop().await;
    });
}

#[test]
fn offsets_committed_at_a_slave_reach_the_master_that_comes_back() {
    run(async {
        let pair = pair(|settings| settings.broker.default_topic_queues = 1).await;
        send(&pair.client, "orders", 0..100).await;
        let group = GroupConfig::default();
        pair.at_master.put_group("reader", group).await.unwrap();
        pair.told().await;
        pair.master.stop().await;
        let consumer = pair.client.pull_consumer("reader").build();
        let mut consumer = consumer.expect("a consumer");
        until(async || consumer.queues("orders").await.is_ok()).await;
        let queues = consumer.queues("orders").await.expect("queues");
        consumer.assign(queues.clone()).await.expect("assigned");
        let sought = consumer.seek(&queues[0], SeekTo::Earliest).await;
        sought.expect("sought");
        let mut read = 0;
        while read < 100 {
            let messages = consumer.poll(Duration::from_secs(5)).await;
            read += messages.map_or(0, |messages| messages.len());
        }
        while consumer.commit().await.is_err() {}
        let at_slave = progress(&pair.at_slave, "reader").await;
        assert_eq!(at_slave.into_values().collect::<Vec<_>>(), [100]);
        drop(consumer);
        let master = Running::start(&pair.of_master, Parts::Broker).await;
        let at_master = admin(&pair.client, &master.address);
        until(async || {
            let told = progress(&at_master, "reader").await;
            told.into_values().collect::<Vec<_>>() == [100]
        })
        .await;
        pair.slave.stop().await;
        master.stop().await;
        pair.name_server.stop().await;
    });
}
