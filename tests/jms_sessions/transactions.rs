//! What is committed or rolled back.

use std::time::Duration;

use castmq_client::jms::{Acknowledge, Error};
use castmq_client::model::{TopicConfig, permission};

use super::support::jms::{
    broker, connected, consumer, factory, next, queue, send, session, settled, text, texts,
};
use super::support::{client, run, stop};

#[test]
fn a_transaction_is_seen_when_it_is_committed_and_comes_again_when_it_is_rolled_back() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let connection = connected(factory(&node)).await;
        let (orders, bills) = (queue("orders"), queue("bills"));
        let plain = session(&connection, Acknowledge::Auto);
        send(&plain, &orders, &["1", "2", "3"]).await;
        let transacted = session(&connection, Acknowledge::Transacted);
        let from_orders = consumer(&transacted, &orders).await;
        let from_bills = consumer(&plain, &bills).await;

        assert_eq!(texts(&from_orders, 2).await, ["1", "2"]);
        send(&transacted, &bills, &["dropped"]).await;
        transacted.rollback().await.expect("it is rolled back");
        for expected in ["1", "2"] {
            let again = next(&from_orders).await;
            assert_eq!(text(&again), expected);
            assert!(again.redelivered());
            assert_eq!(again.delivery_count(), 2);
        }
        send(&transacted, &bills, &["for 1", "for 2"]).await;
        // Behind what is not committed, and seen before it.
        send(&plain, &bills, &["other"]).await;
        assert_eq!(texts(&from_bills, 1).await, ["other"]);
        transacted.commit().await.expect("it is committed");
        assert_eq!(texts(&from_bills, 2).await, ["for 1", "for 2"]);
        let third = next(&from_orders).await;
        assert_eq!((text(&third).as_str(), third.redelivered()), ("3", false));
        transacted.close().await.expect("it closes");

        // What was committed is done, what was open when the session closed comes again.
        let other = consumer(&plain, &orders).await;
        let third = next(&other).await;
        assert_eq!((text(&third).as_str(), third.redelivered()), ("3", true));
        assert_eq!(settled(&node, &orders).await, 3);
        assert!(matches!(plain.commit().await, Err(Error::IllegalState(_))));
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn a_commit_whose_messages_are_refused_is_rolled_back() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let connection = connected(factory(&node)).await;
        let (orders, bills) = (queue("orders"), queue("bills"));
        let transacted = session(&connection, Acknowledge::Transacted);
        send(&session(&connection, Acknowledge::Auto), &orders, &["1"]).await;
        let from_orders = consumer(&transacted, &orders).await;
        assert_eq!(texts(&from_orders, 1).await, ["1"]);
        send(&transacted, &bills, &["for 1"]).await;
        let admin = client(&node).await.admin();
        let broker = admin.masters().await.expect("brokers").remove(0);
        let closed = TopicConfig {
            permission: permission::READ,
            ..TopicConfig::with_queues(1)
        };
        broker.put_topic("bills", closed).await.expect("closed");
        let error = transacted
            .commit()
            .await
            .expect_err("nobody takes the bill");
        assert!(matches!(error, Error::TransactionRolledBack(_)), "{error}");
        let open = TopicConfig::with_queues(1);
        broker.put_topic("bills", open).await.expect("opened");
        // Until name servers and the producer know of it.
        loop {
            assert!(next(&from_orders).await.redelivered());
            send(&transacted, &bills, &["for 1, again"]).await;
            match transacted.commit().await {
                Ok(()) => break,
                Err(Error::TransactionRolledBack(_)) => {}
                Err(other) => panic!("nobody knows what became of it: {other}"),
            }
        }
        let from_bills = consumer(&transacted, &bills).await;
        assert_eq!(texts(&from_bills, 1).await, ["for 1, again"]);
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn a_transaction_whose_broker_stopped_before_it_was_committed_did_not_happen() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (orders, bills) = (queue("orders"), queue("bills"));
        let node = broker(folder.path(), 1).await;
        let connection = connected(factory(&node).lease(Duration::from_secs(1))).await;
        let transacted = session(&connection, Acknowledge::Transacted);
        let plain = session(&connection, Acknowledge::Auto);
        send(&plain, &orders, &["1"]).await;
        send(&plain, &bills, &["before"]).await;
        let from_orders = consumer(&transacted, &orders).await;
        assert_eq!(texts(&from_orders, 1).await, ["1"]);
        send(&transacted, &bills, &["for 1"]).await;
        stop(node).await;
        let error = transacted.commit().await.expect_err("nobody is there");
        assert!(matches!(error, Error::TransactionRolledBack(_)), "{error}");
        drop(connection);

        let node = broker(folder.path(), 1).await;
        let connection = connected(factory(&node)).await;
        let plain = session(&connection, Acknowledge::Auto);
        // When the lease of the one who had it is over.
        assert!(next(&consumer(&plain, &orders).await).await.redelivered());
        send(&plain, &bills, &["after"]).await;
        let from_bills = consumer(&plain, &bills).await;
        assert_eq!(texts(&from_bills, 2).await, ["before", "after"]);
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}
