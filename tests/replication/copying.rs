//! The log, and what is known besides, goes from the master to its slave.

use castmq_actors::Parts;
use castmq_client::SendStatus;
use castmq_config::Role;

use crate::set::{Running, admin, broker, client, in_step, name_server, send};
use crate::support::{run, until};

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
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let name_server = name_server(folder.path()).await;
        let first = broker(folder.path(), 0, Role::SyncMaster, &[&name_server]);
        let second = broker(folder.path(), 1, Role::Slave, &[&name_server]);
        let master = Running::start(&first, Parts::Broker).await;
        let slave = Running::start(&second, Parts::Broker).await;
        let client = client(&name_server).await;
        let at_slave = admin(&client, &slave.address);
        in_step(&admin(&client, &master.address), &at_slave).await;
        master.stop().await;
        let master = Running::start(&first, Parts::Broker).await;
        in_step(&admin(&client, &master.address), &at_slave).await;
        slave.stop().await;
        master.stop().await;
        name_server.stop().await;
    });
}
