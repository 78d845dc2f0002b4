//! The ways to acknowledge.

use std::time::Duration;

use castmq_client::jms::{Acknowledge, Error};

use super::support::jms::{
    broker, connected, consumer, factory, next, queue, send, session, settled, text, texts, topic,
};
use super::support::{run, stop};

#[test]
fn a_client_acknowledges_all_it_has_consumed_or_has_it_delivered_again() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let connection = connected(factory(&node)).await;
        let (orders, prices) = (queue("orders"), topic("prices"));
        let plain = session(&connection, Acknowledge::Auto);
        let acknowledging = session(&connection, Acknowledge::Client);
        // A queue pops, and a topic's consumer reads by itself: both deliver again.
        for destination in [&orders, &prices] {
            let consumer = consumer(&acknowledging, destination).await;
            send(&plain, destination, &["1", "2", "3"]).await;
            assert_eq!(texts(&consumer, 2).await, ["1", "2"]);
            acknowledging.recover().await.expect("it recovers");
            let first = next(&consumer).await;
            assert_eq!(text(&first), "1");
            assert_eq!((first.redelivered(), first.delivery_count()), (true, 2));
            let second = next(&consumer).await;
            assert_eq!((text(&second).as_str(), second.redelivered()), ("2", true));
            // The earlier one acknowledges the later one too.
            first.acknowledge().await.expect("it is acknowledged");
            acknowledging.recover().await.expect("it recovers");
            let third = next(&consumer).await;
            assert_eq!((text(&third).as_str(), third.redelivered()), ("3", false));
            third.acknowledge().await.expect("it is acknowledged");
        }
        assert_eq!(settled(&node, &orders).await, 3);
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn single_messages_are_acknowledged_one_by_one() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let connection = connected(factory(&node).prefetch(10)).await;
        let orders = queue("orders");
        let session = session(&connection, Acknowledge::Individual);
        send(&session, &orders, &["1", "2", "3", "4"]).await;
        let consumer = consumer(&session, &orders).await;
        let _first = next(&consumer).await;
        let second = next(&consumer).await;
        let third = next(&consumer).await;
        second.acknowledge().await.expect("it is acknowledged");
        third.acknowledge().await.expect("it is acknowledged");
        third.acknowledge().await.expect("again, which is harmless");
        session.recover().await.expect("it recovers");
        // The fourth was taken with the others, and waits here.
        let fourth = next(&consumer).await;
        let again = next(&consumer).await;
        assert_eq!((text(&fourth).as_str(), fourth.redelivered()), ("4", false));
        assert_eq!((text(&again).as_str(), again.redelivered()), ("1", true));
        again.acknowledge().await.expect("it is acknowledged");
        assert_eq!(settled(&node, &orders).await, 3);
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn messages_that_sessions_acknowledge_by_themselves_do_not_come_again() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let connection = connected(factory(&node)).await;
        let mut count = 0;
        for mode in [Acknowledge::Auto, Acknowledge::DupsOk] {
            let orders = queue("orders");
            let session = session(&connection, mode);
            send(&session, &orders, &["1", "2", "3"]).await;
            let receiving = consumer(&session, &orders).await;
            assert_eq!(texts(&receiving, 3).await, ["1", "2", "3"]);
            session.close().await.expect("it closes");
            count += 3;
            assert_eq!(settled(&node, &orders).await, count, "{mode:?}");
        }
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn an_acknowledgement_that_nobody_waited_for_to_its_end_is_made_by_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let connection = connected(factory(&node)).await;
        let orders = queue("orders");
        let session = session(&connection, Acknowledge::Client);
        send(&session, &orders, &["1"]).await;
        let message = next(&consumer(&session, &orders).await).await;
        stop(node).await;
        let dropped = tokio::time::timeout(Duration::ZERO, message.acknowledge()).await;
        assert!(dropped.is_err(), "{dropped:?}");
        let acknowledged = message.acknowledge().await;
        assert!(
            matches!(acknowledged, Err(Error::Client(_))),
            "{acknowledged:?}"
        );
    });
}
