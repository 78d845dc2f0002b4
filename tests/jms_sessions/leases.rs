//! How long a message stays with whom it was delivered to, and what becomes of one that was lost.

use std::time::Duration;

use castmq_client::jms::{Acknowledge, Error};

use super::support::jms::{
    broker, connected, consumer, factory, failures, next, queue, send, session, settled, text,
    topic,
};
use super::support::{run, stop};

#[test]
fn a_message_stays_with_a_consumer_as_long_as_that_lives_and_comes_again_when_it_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let lease = Duration::from_secs(3);
        let connection = connected(factory(&node).lease(lease)).await;
        let orders = queue("orders");
        let holding = session(&connection, Acknowledge::Client);
        send(&holding, &orders, &["1"]).await;
        let holder = consumer(&holding, &orders).await;
        let held = next(&holder).await;
        let waiting = session(&connection, Acknowledge::Auto);
        let waiting = consumer(&waiting, &orders).await;
        let none = waiting.receive_timeout(lease * 2).await;
        assert!(none.expect("an answer").is_none());
        // Its process dies, as far as the broker can tell.
        drop((held, holder, holding));
        assert!(next(&waiting).await.redelivered());
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn a_message_that_comes_longer_than_a_lease_after_it_was_waited_for_is_delivered_the_first_time() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let lease = Duration::from_secs(2);
        let connection = connected(factory(&node).lease(lease)).await;
        let orders = queue("orders");
        let plain = session(&connection, Acknowledge::Auto);
        let waiting = consumer(&plain, &orders).await;
        let late = async {
            tokio::time::sleep(lease * 3 / 2).await;
            send(&plain, &orders, &["late"]).await;
        };
        let (received, ()) = tokio::join!(next(&waiting), late);
        assert_eq!(
            (text(&received).as_str(), received.delivery_count()),
            ("late", 1)
        );
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn a_message_that_lay_unread_for_longer_than_its_lease_is_with_whoever_got_it_then() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let lease = Duration::from_secs(5);
        let connection = connected(factory(&node).lease(lease)).await;
        let orders = queue("orders");
        let first = session(&connection, Acknowledge::Client);
        let idle = consumer(&first, &orders).await;
        // It stops waiting, and the broker does not know.
        let none = tokio::time::timeout(Duration::from_millis(100), idle.receive()).await;
        assert!(none.is_err());
        send(&first, &orders, &["1"]).await;
        let second = session(&connection, Acknowledge::Client);
        let busy = consumer(&second, &orders).await;
        let received = next(&busy).await;
        assert_eq!(
            (text(&received).as_str(), received.delivery_count()),
            ("1", 2)
        );
        let none = idle.receive_no_wait().await.expect("an answer");
        assert!(none.is_none(), "{none:?}");
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn what_is_settled_or_given_back_is_kept_no_longer_though_the_application_has_it() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let lease = Duration::from_secs(2);
        let connection = connected(factory(&node).lease(lease)).await;
        let mut failed = failures(&connection);
        let (orders, bills) = (queue("orders"), queue("bills"));
        let session = session(&connection, Acknowledge::Individual);
        send(&session, &orders, &["settled"]).await;
        send(&session, &bills, &["given back"]).await;
        let settled = next(&consumer(&session, &orders).await).await;
        settled.acknowledge().await.expect("it is acknowledged");
        let _given_back = next(&consumer(&session, &bills).await).await;
        session.recover().await.expect("it recovers");
        // Two thirds of the lease are over, and whoever still had them would ask for more.
        tokio::time::sleep(lease).await;
        let told = failed.try_recv();
        assert!(told.is_err(), "{told:?}");
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn that_a_message_was_lost_is_told_once() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let lease = Duration::from_secs(1);
        let connection = connected(factory(&node).lease(lease)).await;
        let mut failed = failures(&connection);
        let orders = queue("orders");
        send(&session(&connection, Acknowledge::Auto), &orders, &["1"]).await;
        let session = session(&connection, Acknowledge::Transacted);
        let consumer = consumer(&session, &orders).await;
        let _held = next(&consumer).await;
        // The program hangs, and what keeps leases with it.
        std::thread::sleep(lease * 3 / 2);
        let told = failed.recv().await.expect("it is told");
        assert!(told.contains("has expired"), "{told}");
        tokio::time::sleep(lease).await;
        let again = failed.try_recv();
        assert!(again.is_err(), "{again:?}");
        let refused = session.commit().await;
        assert!(
            matches!(refused, Err(Error::TransactionRolledBack(_))),
            "{refused:?}"
        );
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn a_message_that_was_lost_fails_one_acknowledgement_and_none_that_follows() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let lease = Duration::from_secs(1);
        let connection = connected(factory(&node).lease(lease)).await;
        let orders = queue("orders");
        let losing = session(&connection, Acknowledge::Client);
        send(&losing, &orders, &["1"]).await;
        let loser = consumer(&losing, &orders).await;
        let _lost = next(&loser).await;
        // The program hangs, and what keeps leases with it.
        std::thread::sleep(lease * 3 / 2);
        let finding = session(&connection, Acknowledge::Client);
        let found = next(&consumer(&finding, &orders).await).await;
        assert_eq!((text(&found).as_str(), found.delivery_count()), ("1", 2));
        send(&losing, &orders, &["2"]).await;
        let second = next(&loser).await;
        let told = second.acknowledge().await;
        assert!(matches!(told, Err(Error::Client(_))), "{told:?}");
        send(&losing, &orders, &["3"]).await;
        let third = next(&loser).await;
        assert_eq!(text(&third), "3");
        third.acknowledge().await.expect("it is acknowledged");
        found.acknowledge().await.expect("it is acknowledged");
        assert_eq!(settled(&node, &orders).await, 3);
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn times_that_no_clock_can_reach_are_as_long_as_can_be() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let longest = factory(&node)
            .lease(Duration::MAX)
            .redelivery_delay(Duration::MAX);
        let connection = connected(longest).await;
        let session = session(&connection, Acknowledge::Client);
        for destination in [queue("orders"), topic("news")] {
            let consumer = consumer(&session, &destination).await;
            send(&session, &destination, &["1"]).await;
            let received = consumer.receive_timeout(Duration::MAX).await;
            assert!(received.expect("an answer").is_some());
            session.recover().await.expect("it recovers");
            let none = consumer.receive_no_wait().await.expect("an answer");
            assert!(none.is_none(), "{none:?}");
        }
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}
