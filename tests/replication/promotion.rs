//! A slave becomes the master, and the master of before its slave.

use std::fs;
use std::time::Duration;

use castmq_actors::Parts;
use castmq_client::model::{QueueId, QueueOffset};
use castmq_client::raw::request::{Filter, Pop, Pull};
use castmq_client::raw::{Connection, Options, Payload, Reply, Request, Role as As};
use castmq_client::{BrokerAdmin, Client, ErrorCode, Message, Result, SendStatus};
use castmq_config::{Role, Settings, WithoutSlaves};
use tempfile::TempDir;

use crate::set::{Pair, Running, admin, broker, details, in_step, promoted, send, standing};
use crate::support::load::{Traffic, open};
use crate::support::{pop, read_until, reader, run, text, until};

/// Waits until a broker is this.
async fn becomes(at: &BrokerAdmin, role: &str, epoch: u32) {
    until(async || {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let standing = standing(at).await;
        standing.role == role && standing.epoch == epoch
    })
    .await;
}

/// All that a topic has, by number.
async fn numbers(client: &Client, topic: &str, count: usize) -> Vec<u64> {
    let read = read_until(client, topic, |read| read.len() >= count).await;
    let number = |text: String| text.trim_start_matches("message ").parse();
    let numbers: std::result::Result<Vec<u64>, _> = read.iter().map(text).map(number).collect();
    let mut numbers = numbers.expect("numbers");
    numbers.sort_unstable();
    numbers
}

#[test]
fn the_old_masters_tail_is_cut_and_kept_and_it_follows_the_new_one() {
    run(async {
        let pair = Pair::start(Role::SyncMaster, |_| ()).await;
        let client = &pair.client;
        send(client, "orders", 0..1000).await;
        in_step(&pair.at_master, &pair.at_slave).await;

        // While its master lives it does not become one by mistake.
        let refused = pair.at_slave.promote(false).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::Conflict), "{refused}");
        assert!(refused.to_string().contains("lives"), "{refused}");
        let refused = pair.at_master.promote(true).await.unwrap_err();
        assert!(refused.to_string().contains("already"), "{refused}");

        // The tail that nobody copies.
        pair.slave.stop().await;
        let alone = send(client, "orders", 1000..1100).await;
        let last = alone.last().unwrap();
        assert_eq!(last.status, SendStatus::SlaveNotAvailable);
        pair.master.stop().await;

        let slave = Running::start(&pair.of_slave, Parts::Broker).await;
        let at_slave = admin(client, &slave.address);
        assert_eq!(at_slave.promote(false).await.unwrap(), 2);
        becomes(&at_slave, "sync_master", 2).await;
        until(async || {
            let brokers = client.admin().masters().await;
            brokers.is_ok_and(|all| all.iter().any(|b| b.address() == &*slave.address))
        })
        .await;
        send(client, "orders", 2000..2050).await;

        // It was the master, and its configuration says so still.
        let old = Running::start(&pair.of_master, Parts::Broker).await;
        let at_old = admin(client, &old.address);
        becomes(&at_old, "slave", 2).await;
        in_step(&at_slave, &at_old).await;
        let expected: Vec<u64> = (0..1000).chain(2000..2050).collect();
        assert_eq!(numbers(client, "orders", 1050).await, expected);
        let kept = fs::read_dir(pair.folder.path().join("broker-0/commitlog.cut")).unwrap();
        let kept: Vec<_> = kept
            .map(|file| file.unwrap().metadata().unwrap().len())
            .collect();
        assert!(matches!(kept[..], [bytes] if bytes > 10_000), "{kept:?}");

        // And back again.
        slave.stop().await;
        assert_eq!(at_old.promote(false).await.unwrap(), 3);
        becomes(&at_old, "sync_master", 3).await;
        let again = Running::start(&pair.of_slave, Parts::Broker).await;
        let at_again = admin(client, &again.address);
        becomes(&at_again, "slave", 3).await;
        in_step(&at_old, &at_again).await;
        assert_eq!(numbers(client, "orders", 1050).await, expected);
        old.stop().await;
        again.stop().await;
        pair.name_server.stop().await;
    });
}

#[test]
fn a_master_that_had_slaves_takes_nothing_before_a_name_server_says_that_it_still_is_one() {
    run(async {
        let pair = Pair::start(Role::AsyncMaster, |_| ()).await;
        send(&pair.client, "orders", 0..10).await;
        in_step(&pair.at_master, &pair.at_slave).await;
        // The client knows where the topic is from here on.
        numbers(&pair.client, "orders", 10).await;
        pair.slave.stop().await;
        pair.master.stop().await;
        pair.name_server.stop().await;

        let master = Running::start(&pair.of_master, Parts::Broker).await;
        let producer = pair.client.producer().retries(0).build();
        let refused = producer
            .send(Message::new("orders", "x"))
            .await
            .unwrap_err();
        assert!(
            refused.to_string().contains("no name server has said"),
            "{refused}"
        );
        master.stop().await;
    });
}

/// A set whose slave was promoted while its master was away.
struct PromotedWithout {
    first: Settings,
    second: Settings,
    promoted: Running,
    client: Client,
    name_server: Running,
    _folder: TempDir,
}

impl PromotedWithout {
    async fn start() -> Self {
        let pair = Pair::start(Role::SyncMaster, |_| ()).await;
        let (client, at_slave) = (pair.client, pair.at_slave);
        send(&client, "orders", 0..100).await;
        in_step(&pair.at_master, &at_slave).await;
        until(async || at_slave.show_topic("orders").await.is_ok()).await;
        pair.slave.stop().await;
        send(&client, "orders", 100..200).await;
        pair.master.stop().await;
        let promoted = Running::start(&pair.of_slave, Parts::Broker).await;
        let epoch = at_slave.promote(false).await.expect("it is promoted");
        assert_eq!(epoch, 2);
        becomes(&at_slave, "sync_master", 2).await;
        Self {
            first: pair.of_master,
            second: pair.of_slave,
            promoted,
            client,
            name_server: pair.name_server,
            _folder: pair.folder,
        }
    }
}

#[test]
fn a_master_that_comes_back_welcomes_nobody_before_it_is_a_slave() {
    run(async {
        let set = PromotedWithout::start().await;
        let registered = set.promoted.address.clone();
        until(async || {
            let brokers = set.client.admin().masters().await;
            brokers.is_ok_and(|all| all.iter().any(|broker| broker.address() == registered))
        })
        .await;
        let old = Running::start(&set.first, Parts::Broker).await;
        let options = Options::new(As::Consumer, "early");
        let opened = loop {
            // It starts anew meanwhile.
            if let Ok((connection, _)) = Connection::open(&old.address, &options).await {
                break connection;
            }
        };
        assert_eq!(opened.welcome().broker_id, 1);
        opened.close();
        old.stop().await;
        set.promoted.stop().await;
        set.name_server.stop().await;
    });
}

/// Asks a broker for the first messages of a queue.
async fn pull(address: &str) -> Result<Reply> {
    let connection = open(address, As::Consumer, "reader").await?;
    let topic = "orders".to_owned();
    let announce = Request::AnnounceTopic { alias: 0, topic };
    connection.request(announce, Payload::none()).await?;
    let pull = Request::Pull(Pull {
        topic: 0,
        queue: QueueId(0),
        offset: QueueOffset(0),
        max_messages: 1,
        max_bytes: 1024,
        wait_ms: 0,
        filter: Filter::All,
    });
    connection.request(pull, Payload::none()).await
}

#[test]
fn a_slave_that_has_not_followed_the_master_of_its_epoch_yet_shows_nothing() {
    run(async {
        let set = PromotedWithout::start().await;
        set.promoted.stop().await;
        let old = Running::start(&set.first, Parts::Broker).await;
        let at_old = admin(&set.client, &old.address);
        becomes(&at_old, "slave", 2).await;
        let refused = pull(&old.address).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::NotMaster), "{refused}");
        assert!(refused.to_string().contains("epoch 2"), "{refused}");

        // Once it has, it does without its master.
        let promoted = Running::start(&set.second, Parts::Broker).await;
        in_step(&admin(&set.client, &promoted.address), &at_old).await;
        promoted.stop().await;
        until(async || pull(&old.address).await.is_ok()).await;
        let traffic = Traffic::new(&["orders"]);
        let stored = traffic.read_all(&old.address).await.unwrap();
        assert_eq!(stored.values().map(Vec::len).sum::<usize>(), 100);
        old.stop().await;
        set.name_server.stop().await;
    });
}

#[test]
fn a_master_that_waits_for_slaves_shows_nothing_after_a_start_that_they_may_lack() {
    run(async {
        let pair = Pair::start(Role::SyncMaster, |settings| {
            settings.replication.without_slaves = WithoutSlaves::Wait;
            settings.replication.slave_timeout_ms = 200;
            settings.broker.default_topic_queues = 1;
        })
        .await;
        let (client, at_master) = (&pair.client, &pair.at_master);
        send(client, pop::TOPIC, 0..100).await;
        assert_eq!(numbers(client, pop::TOPIC, 100).await.len(), 100);
        pair.slave.stop().await;
        // Only the master has these.
        send(client, pop::TOPIC, 100..150).await;
        let of_all = details(at_master).await.log_appended;
        pair.master.stop().await;

        let master = Running::start(&pair.of_master, Parts::Broker).await;
        let begun = details(at_master).await;
        assert_eq!(begun.log_appended, of_all);
        assert!(begun.log_committed < of_all, "{begun:?}");
        // What slaves have is seen meanwhile, and nothing else.
        let mut reader = reader(client, pop::TOPIC).await;
        const WAIT: Duration = Duration::from_millis(100);
        let mut seen = 0;
        while seen < 100 {
            seen += reader.poll(WAIT).await.expect("a poll").len();
        }
        for _ in 0..20 {
            let more = reader.poll(WAIT).await.expect("a poll");
            assert!(more.is_empty(), "{more:?}");
        }
        let connection = pop::connection(&master.address).await;
        let many = || Pop {
            max_messages: 1000,
            ..pop::one()
        };
        let mut popped = 0;
        while popped < 100 {
            popped += pop::pop(&connection, many()).await.len();
        }
        assert_eq!(pop::pop(&connection, many()).await, []);

        let slave = Running::start(&pair.of_slave, Parts::Broker).await;
        while seen < 150 {
            seen += reader.poll(WAIT).await.expect("a poll").len();
        }
        assert_eq!(seen, 150);
        while popped < 150 {
            popped += pop::pop(&connection, many()).await.len();
        }
        assert_eq!(popped, 150);
        slave.stop().await;
        master.stop().await;
        pair.name_server.stop().await;
    });
}

#[test]
fn the_other_slave_follows_the_new_master_and_loses_what_that_one_never_had() {
    run(async {
        let pair = Pair::start(Role::AsyncMaster, |_| ()).await;
        let client = &pair.client;
        let of_other = broker(pair.folder.path(), 2, Role::Slave, &[&pair.name_server]);
        let other = Running::start(&of_other, Parts::Broker).await;
        let at_other = admin(client, &other.address);
        send(client, "orders", 0..100).await;
        in_step(&pair.at_master, &pair.at_slave).await;
        in_step(&pair.at_master, &at_other).await;
        until(async || pair.at_slave.show_topic("orders").await.is_ok()).await;

        // Only the other slave copies these.
        pair.slave.stop().await;
        send(client, "orders", 100..150).await;
        in_step(&pair.at_master, &at_other).await;
        pair.master.stop().await;
        let slave = Running::start(&pair.of_slave, Parts::Broker).await;
        let at_slave = admin(client, &slave.address);
        promoted(client, &at_slave).await;
        send(client, "orders", 200..260).await;
        becomes(&at_other, "slave", 2).await;
        in_step(&at_slave, &at_other).await;

        let old = Running::start(&pair.of_master, Parts::Broker).await;
        let at_old = admin(client, &old.address);
        becomes(&at_old, "slave", 2).await;
        in_step(&at_slave, &at_old).await;
        let expected: Vec<u64> = (0..100).chain(200..260).collect();
        assert_eq!(numbers(client, "orders", 160).await, expected);
        slave.stop().await;
        // Both have it as the master had.
        for address in [&other.address, &old.address] {
            until(async || pull(address).await.is_ok()).await;
            let traffic = Traffic::new(&["orders"]);
            let stored = traffic.read_all(address).await.expect("it is read");
            assert_eq!(stored.values().map(Vec::len).sum::<usize>(), 160);
        }
        other.stop().await;
        old.stop().await;
        pair.name_server.stop().await;
    });
}
