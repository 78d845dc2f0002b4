//! A slave becomes the master, and the master of before its slave.

use std::fs;

use castmq_actors::Parts;
use castmq_client::{BrokerAdmin, Client, ErrorCode, SendStatus};
use castmq_config::Role;

use crate::set::{Running, admin, broker, client, in_step, name_server, send, standing};
use crate::support::{read_until, run, text, until};

/// Waits until a broker is this.
async fn becomes(at: &BrokerAdmin, role: &str, epoch: u32) {
    until(async || {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let standing = standing(at).await;
        standing.role == role && standing.epoch == epoch
    })
    .await;
}

/// All that a topic has, by number.
async fn numbers(client: &Client, topic: &str, count: usize) -> Vec<u64> {
    let read = read_until(client, topic, |read| read.len() >= count).await;
    let number = |text: String| text.trim_start_matches("message ").parse();
    let numbers: Result<Vec<u64>, _> = read.iter().map(text).map(number).collect();
    let mut numbers = numbers.expect("numbers");
    numbers.sort_unstable();
    numbers
}

#[test]
fn the_old_masters_tail_is_cut_and_kept_and_it_follows_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let name_server = name_server(folder.path()).await;
        let first = broker(folder.path(), 0, Role::SyncMaster, &[&name_server]);
        let second = broker(folder.path(), 1, Role::Slave, &[&name_server]);
        let master = Running::start(&first, Parts::Broker).await;
        let slave = Running::start(&second, Parts::Broker).await;
        let client = client(&name_server).await;
        let at_master = admin(&client, &master.address);
        let at_slave = admin(&client, &slave.address);
        send(&client, "orders", 0..1000).await;
        in_step(&at_master, &at_slave).await;

        // While its master lives it does not become one by mistake.
        let refused = at_slave.promote(false).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::Conflict), "{refused}");
        assert!(refused.to_string().contains("lives"), "{refused}");
        let refused = at_master.promote(true).await.unwrap_err();
        assert!(refused.to_string().contains("already"), "{refused}");

        // The tail that nobody copies.
        slave.stop().await;
        let alone = send(&client, "orders", 1000..1100).await;
        let last = alone.last().unwrap();
        assert_eq!(last.status, SendStatus::SlaveNotAvailable);
        master.stop().await;

        let slave = Running::start(&second, Parts::Broker).await;
        let at_slave = admin(&client, &slave.address);
        assert_eq!(at_slave.promote(false).await.unwrap(), 2);
        becomes(&at_slave, "sync_master", 2).await;
        until(async || {
            let brokers = client.admin().masters().await;
            brokers.is_ok_and(|all| all.iter().any(|b| b.address() == &*slave.address))
        })
        .await;
        send(&client, "orders", 2000..2050).await;

        // It was the master, and its configuration says so still.
        let old = Running::start(&first, Parts::Broker).await;
        let at_old = admin(&client, &old.address);
        becomes(&at_old, "slave", 2).await;
        in_step(&at_slave, &at_old).await;
        let expected: Vec<u64> = (0..1000).chain(2000..2050).collect();
        assert_eq!(numbers(&client, "orders", 1050).await, expected);
        let kept = fs::read_dir(folder.path().join("broker-0/commitlog.cut")).unwrap();
        let kept: Vec<_> = kept
            .map(|file| file.unwrap().metadata().unwrap().len())
            .collect();
        assert!(matches!(kept[..], [bytes] if bytes > 10_000), "{kept:?}");

        // And back again.
        slave.stop().await;
        assert_eq!(at_old.promote(false).await.unwrap(), 3);
        becomes(&at_old, "sync_master", 3).await;
        let again = Running::start(&second, Parts::Broker).await;
        let at_again = admin(&client, &again.address);
        becomes(&at_again, "slave", 3).await;
        in_step(&at_old, &at_again).await;
        assert_eq!(numbers(&client, "orders", 1050).await, expected);
        old.stop().await;
        again.stop().await;
        name_server.stop().await;
    });
}
