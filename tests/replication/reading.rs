//! Who reads where.

use castmq_client::{ErrorCode, Filter, StartFrom};
use castmq_config::Role;

use crate::set::{Pair, details, in_step, send, step};
use crate::support::{read_until, run, until};

#[test]
fn who_is_far_behind_pulls_from_the_slave_and_comes_back() {
    run(async {
        let pair = Pair::start(Role::AsyncMaster, |settings| {
            settings.broker.default_topic_queues = 1;
            settings.replication.slave_read_enabled = true;
            // Whoever is behind at all is far behind.
            settings.replication.slave_read_memory_percent = 0;
        })
        .await;
        send(&pair.client, "orders", 0..20_000).await;
        in_step(&pair.at_master, &pair.at_slave).await;
        until(async || pair.at_slave.show_topic("orders").await.is_ok()).await;
        step(&pair.at_master, 1, true).await;
        let read = read_until(&pair.client, "orders", |read| read.len() >= 20_000).await;
        assert_eq!(read.len(), 20_000);
        let by_master = details(&pair.at_master).await.messages_out;
        let by_slave = details(&pair.at_slave).await.messages_out;
        assert_eq!(by_master + by_slave, 20_000);
        assert!(by_slave > by_master, "{by_master} and {by_slave}");
        pair.stop().await;
    });
}

#[test]
fn a_slave_serves_nobody_while_its_master_is_there_unless_it_is_told_to() {
    run(async {
        let pair = Pair::start(Role::AsyncMaster, |_| ()).await;
        send(&pair.client, "orders", 0..100).await;
        in_step(&pair.at_master, &pair.at_slave).await;
        until(async || pair.at_slave.show_topic("orders").await.is_ok()).await;

        // What only a master does, by a client that asks the wrong one.
        let refused = pair.at_slave.delete_topic("orders").await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::NotMaster), "{refused}");

        read_until(&pair.client, "orders", |read| read.len() >= 100).await;
        until(async || pair.at_slave.show_group("reader").await.is_ok()).await;
        pair.master.stop().await;
        let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
        let consumer = pair
            .client
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
        let read = read_until(&pair.client, "orders", |read| read.len() >= 100).await;
        assert_eq!(read.len(), 100);
        pair.slave.stop().await;
        pair.name_server.stop().await;
    });
}
