//! Connections and sessions before the start, while stopped, and after the end.

use std::time::Duration;

use castmq_client::jms::{Acknowledge, Error};

use super::support::jms::{
    broker, connected, consumer, factory, next, queue, send, session, text, texts,
};
use super::support::{run, stop};

#[test]
fn nothing_is_delivered_before_a_connection_starts_nor_while_it_is_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let connection = factory(&node).create_connection().await;
        let connection = connection.expect("a connection");
        let session = session(&connection, Acknowledge::Auto);
        let orders = queue("orders");
        // Sending needs no start.
        send(&session, &orders, &["1", "2"]).await;
        let consumer = consumer(&session, &orders).await;
        let patience = Duration::from_millis(50);
        let none = consumer.receive_timeout(patience).await.expect("an answer");
        assert!(none.is_none());
        let (received, ()) = tokio::join!(next(&consumer), async {
            tokio::task::yield_now().await;
            connection.start().expect("it starts");
        });
        assert_eq!(text(&received), "1");
        connection.stop().expect("it stops");
        let none = consumer.receive_no_wait().await.expect("an answer");
        assert!(none.is_none());
        connection.start().expect("it starts");
        assert_eq!(text(&next(&consumer).await), "2");
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn what_is_closed_says_so_and_lets_go_of_what_it_had() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let connection = connected(factory(&node).prefetch(10)).await;
        let orders = queue("orders");
        let plain = session(&connection, Acknowledge::Auto);
        send(&plain, &orders, &["1", "2", "3"]).await;
        let holding = session(&connection, Acknowledge::Client);
        let holder = consumer(&holding, &orders).await;
        let first = next(&holder).await;
        // What it has taken and not delivered goes to others; what it has delivered stays with the session.
        holder.close().await.expect("it closes");
        let refused = holder.receive_no_wait().await;
        assert!(
            matches!(refused, Err(Error::IllegalState(_))),
            "{refused:?}"
        );
        let other = consumer(&plain, &orders).await;
        assert_eq!(texts(&other, 2).await, ["2", "3"]);
        holding.close().await.expect("it closes");
        let late = first.acknowledge().await;
        assert!(matches!(late, Err(Error::IllegalState(_))), "{late:?}");
        let again = next(&other).await;
        assert_eq!((text(&again).as_str(), again.redelivered()), ("1", true));

        // Whoever waits is told that there is nothing more to wait for.
        let (received, closed) = tokio::join!(other.receive(), async {
            tokio::task::yield_now().await;
            connection.close().await
        });
        assert!(received.expect("an answer").is_none());
        closed.expect("it closes");
        connection.close().await.expect("again, which is harmless");
        assert!(matches!(connection.start(), Err(Error::IllegalState(_))));
        let session = connection.create_session(Acknowledge::Auto);
        assert!(matches!(session, Err(Error::IllegalState(_))));
        let producer = plain.create_producer(&orders);
        assert!(matches!(producer, Err(Error::IllegalState(_))));
        stop(node).await;
    });
}

#[test]
fn a_client_id_is_set_first_and_once() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let fresh = factory(&node).create_connection().await.expect("one");
        fresh.set_client_id("app").expect("it is set");
        assert_eq!(fresh.client_id().as_deref(), Some("app"));
        let again = fresh.set_client_id("other");
        assert!(matches!(again, Err(Error::IllegalState(_))));
        let used = connected(factory(&node)).await;
        let late = used.set_client_id("app");
        assert!(matches!(late, Err(Error::IllegalState(_))));
        let empty = factory(&node).client_id("").create_connection().await;
        assert!(matches!(empty, Err(Error::InvalidClientId(_))));
        fresh.close().await.expect("it closes");
        used.close().await.expect("it closes");
        stop(node).await;
    });
}
