//! Who reads where.

use castmq_actors::Parts;
use castmq_client::{ErrorCode, Filter, StartFrom};
use castmq_config::Role;

use crate::set::{Running, admin, broker, client, in_step, name_server, send};
use crate::support::{read_until, run, until};

#[test]
fn who_is_far_behind_pulls_from_the_slave_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let name_server = name_server(folder.path()).await;
        let mut first = broker(folder.path(), 0, Role::AsyncMaster, &[&name_server]);
        let mut second = broker(folder.path(), 1, Role::Slave, &[&name_server]);
        for settings in [&mut first, &mut second] {
            settings.broker.default_topic_queues = 1;
            settings.replication.slave_read_enabled = true;
            // Whoever is behind at all is far behind.
            settings.replication.slave_read_memory_percent = 0;
        }
        let master = Running::start(&first, Parts::Broker).await;
        let slave = Running::start(&second, Parts::Broker).await;
        let client = client(&name_server).await;
        let at_master = admin(&client, &master.address);
        let at_slave = admin(&client, &slave.address);
        send(&client, "orders", 0..20_000).await;
        in_step(&at_master, &at_slave).await;
        until(async || at_slave.show_topic("orders").await.is_ok()).await;
        until(async || {
            let details = at_master.show_broker().await.expect("it is there");
            details
                .replication
                .slaves
                .iter()
                .any(|slave| slave.is_in_step)
        })
        .await;
        let read = read_until(&client, "orders", |read| read.len() >= 20_000).await;
        assert_eq!(read.len(), 20_000);
        let by_master = at_master.show_broker().await.unwrap().messages_out;
        let by_slave = at_slave.show_broker().await.unwrap().messages_out;
        assert_eq!(by_master + by_slave, 20_000);
        assert!(by_slave > by_master, "{by_master} and {by_slave}");
        slave.stop().await;
        master.stop().await;
        name_server.stop().await;
    });
}

#[test]
fn a_slave_serves_nobody_while_its_master_is_there_unless_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let name_server = name_server(folder.path()).await;
        let first = broker(folder.path(), 0, Role::AsyncMaster, &[&name_server]);
        let second = broker(folder.path(), 1, Role::Slave, &[&name_server]);
        let master = Running::start(&first, Parts::Broker).await;
        let slave = Running::start(&second, Parts::Broker).await;
        let client = client(&name_server).await;
        let at_master = admin(&client, &master.address);
        let at_slave = admin(&client, &slave.address);
        send(&client, "orders", 0..100).await;
        in_step(&at_master, &at_slave).await;
        until(async || at_slave.show_topic("orders").await.is_ok()).await;

        // What only a master does, by a client that asks the wrong one.
        let refused = at_slave.delete_topic("orders").await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::NotMaster), "{refused}");

        read_until(&client, "orders", |read| read.len() >= 100).await;
        until(async || at_slave.show_group("reader").await.is_ok()).await;
        master.stop().await;
        let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
        let consumer = client
            .push_consumer("billing")
            .subscribe("orders", Filter::All)
            .from(StartFrom::Earliest)
            .handler(move |_| {
                let _ = sender.send(());
                async {}
            })
            .start();
        // The group was never known: a slave makes none.
        assert!(consumer.await.is_err());
        assert!(received.try_recv().is_err());
        // Those that are known are served.
        let read = read_until(&client, "orders", |read| read.len() >= 100).await;
        assert_eq!(read.len(), 100);
        slave.stop().await;
        name_server.stop().await;
    });
}
