//! The log, and what is known besides, goes from the master to its slave.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use castmq_actors::Parts;
use castmq_client::{Message, SendStatus};
use castmq_config::Role;

use crate::set::{
    Pair, Running, admin, broker, client, details, in_step, name_server, patient, promoted, send,
    step,
};
use crate::support::{read_until, run, until};

#[test]
fn a_slave_has_what_its_master_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let name_server = name_server(folder.path()).await;
        let settings = broker(folder.path(), 0, Role::SyncMaster, &[&name_server]);
        let master = Running::start(&settings, Parts::Broker).await;
        let client = client(&name_server).await;
        let alone = send(&client, "orders", 0..100).await;
        assert!(
            alone
                .iter()
                .all(|r| r.status == SendStatus::SlaveNotAvailable)
        );

        let settings = broker(folder.path(), 1, Role::Slave, &[&name_server]);
        let slave = Running::start(&settings, Parts::Broker).await;
        let at_master = admin(&client, &master.address);
        let at_slave = admin(&client, &slave.address);
        in_step(&at_master, &at_slave).await;
        until(async || {
            let sent = send(&client, "orders", 100..101).await;
            sent[0].status == SendStatus::Stored
        })
        .await;
        let sent = send(&client, "orders", 101..20_000).await;
        assert!(sent.iter().all(|r| r.status == SendStatus::Stored));
        in_step(&at_master, &at_slave).await;
        until(async || at_slave.show_topic("orders").await.is_ok()).await;
        let of_master = at_master.show_topic("orders").await.unwrap();
        let of_slave = at_slave.show_topic("orders").await.unwrap();
        assert_eq!(of_master.queues, of_slave.queues);
        let standing = at_slave.show_broker().await.unwrap().replication;
        assert_eq!((standing.role.as_str(), standing.epoch), ("slave", 1));
        slave.stop().await;
        master.stop().await;
        name_server.stop().await;
    });
}

#[test]
fn a_slave_that_has_nothing_yet_follows_its_master_after_that_was_started_anew() {
    run(async {
        let mut pair = Pair::start(Role::SyncMaster, |_| ()).await;
        in_step(&pair.at_master, &pair.at_slave).await;
        pair.master.stop().await;
        pair.master = Running::start(&pair.of_master, Parts::Broker).await;
        in_step(&pair.at_master, &pair.at_slave).await;
        pair.stop().await;
    });
}

#[test]
fn a_slave_that_was_away_for_longer_than_messages_are_kept_begins_anew() {
    run(async {
        let pair = Pair::start(Role::SyncMaster, |settings| {
            settings.store.commit_log_segment_bytes = 1 << 20;
            settings.limits.max_message_bytes = 100_000;
            settings.retention.check_interval_ms = 100;
        })
        .await;
        let (client, at_master, at_slave) = (&pair.client, &pair.at_master, &pair.at_slave);
        let fill = async |bytes: usize| {
            let body = std::iter::repeat_with(|| fastrand::u8(..)).take(bytes);
            let body: Vec<_> = body.collect();
            let producer = patient(client);
            let messages = (0..60).map(|_| Message::new("orders", body.clone()));
            for sent in producer.send_all(messages).await {
                sent.expect("it is stored");
            }
            producer.close().await;
        };
        fill(20_000).await;
        in_step(at_master, at_slave).await;
        pair.slave.stop().await;
        fill(50_000).await;
        pair.master.stop().await;

        // Nothing was written for days.
        for file in fs::read_dir(pair.folder.path().join("broker-0/commitlog")).unwrap() {
            let file = File::options().write(true).open(file.unwrap().path());
            let days = SystemTime::now() - Duration::from_secs(30 * 86_400);
            file.unwrap().set_modified(days).unwrap();
        }
        let mut anytime = pair.of_master;
        anytime.retention.delete_hours = (0..24).collect();
        let master = Running::start(&anytime, Parts::Broker).await;
        until(async || details(at_master).await.log_begin.0 > 2 << 20).await;
        send(client, "orders", 0..10).await;
        let slave = Running::start(&pair.of_slave, Parts::Broker).await;
        step(at_master, 1, true).await;
        in_step(at_master, at_slave).await;
        let begins = (details(at_master).await, details(at_slave).await);
        assert_eq!(begins.0.log_begin, begins.1.log_begin);
        let queues = async |at: &castmq_client::BrokerAdmin| {
            let details = at.show_topic("orders").await.expect("the topic");
            details
                .queues
                .into_iter()
                .map(|q| (q.min_offset, q.max_offset))
                .collect::<Vec<_>>()
        };
        assert_eq!(queues(at_master).await, queues(at_slave).await);
        master.stop().await;
        promoted(client, at_slave).await;
        let read = read_until(client, "orders", |read| read.len() >= 10).await;
        assert!(read.len() >= 10);
        slave.stop().await;
        pair.name_server.stop().await;
    });
}
