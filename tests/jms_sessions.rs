//! Sessions of JMS's model over a real broker: the ways to acknowledge, transactions, listeners, starting and closing.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use castmq_client::jms::{Acknowledge, Error};
use castmq_client::model::{TopicConfig, permission};
use tokio::sync::mpsc;

use support::jms::{
    broker, connected, consumer, factory, next, queue, send, session, settled, text, texts, topic,
};
use support::{client, run, stop};

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
fn a_listener_gets_messages_one_by_one_and_again_when_it_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 4).await;
        let connection = connected(factory(&node)).await;
        let (failures, mut failed) = mpsc::unbounded_channel();
        connection.set_exception_listener(move |error| {
            let _ = failures.send(error.to_string());
        });
        let session = session(&connection, Acknowledge::Auto);
        for destination in [queue("jobs"), topic("news")] {
            let consumer = consumer(&session, &destination).await;
            let (seen, mut seeing) = mpsc::unbounded_channel();
            let running = Arc::new(AtomicU32::new(0));
            let listening = consumer.set_listener(move |message| {
                let (seen, running) = (seen.clone(), running.clone());
                async move {
                    assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
                    tokio::task::yield_now().await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    let text = text(&message);
                    let attempt = message.delivery_count();
                    let _ = seen.send((text.clone(), attempt));
                    match (text.as_str(), attempt) {
                        ("fails", 1) => Err("not now"),
                        ("panics", 1) => panic!("a bug"),
                        _ => Ok(()),
                    }
                }
            });
            listening.expect("it listens");
            let refused = consumer.receive_no_wait().await;
            assert!(matches!(refused, Err(Error::IllegalState(_))));
            send(&session, &destination, &["good", "fails", "panics"]).await;
            let mut all = Vec::new();
            for _ in 0..5 {
                all.push(seeing.recv().await.expect("it is delivered"));
            }
            all.sort();
            let all: Vec<_> = all.iter().map(|(text, n)| (text.as_str(), *n)).collect();
            assert_eq!(
                all,
                [
                    ("fails", 1),
                    ("fails", 2),
                    ("good", 1),
                    ("panics", 1),
                    ("panics", 2)
                ]
            );
            for reason in ["not now", "it panicked"] {
                let failure = failed.recv().await.expect("it is told");
                assert!(failure.contains(reason), "{failure}");
                assert!(failure.contains(destination.name()), "{failure}");
            }
            consumer.close().await.expect("it closes");
        }
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

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
fn a_listener_cannot_close_what_runs_it() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let connection = connected(factory(&node)).await;
        let closing = session(&connection, Acknowledge::Auto);
        let orders = queue("orders");
        let consumer = consumer(&closing, &orders).await;
        let (results, mut result) = mpsc::unbounded_channel();
        let (inner_session, inner_connection) = (closing.clone(), connection.clone());
        let listening = consumer.set_listener(move |_| {
            let (session, connection) = (inner_session.clone(), inner_connection.clone());
            let results = results.clone();
            async move {
                let _ = results.send(session.close().await);
                let _ = results.send(connection.close().await);
                Ok::<_, Error>(())
            }
        });
        listening.expect("it listens");
        send(&closing, &orders, &["1"]).await;
        for _ in 0..2 {
            let refused = result.recv().await.expect("it is delivered");
            assert!(
                matches!(refused, Err(Error::IllegalState(_))),
                "{refused:?}"
            );
        }
        connection.close().await.expect("it closes");
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
fn a_listener_of_a_topic_that_fails_gets_the_message_again_after_the_delay() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let delay = Duration::from_secs(1);
        let connection = connected(factory(&node).redelivery_delay(delay)).await;
        let session = session(&connection, Acknowledge::Auto);
        let news = topic("news");
        let consumer = consumer(&session, &news).await;
        let (seen, mut seeing) = mpsc::unbounded_channel();
        let listening = consumer.set_listener(move |message| {
            let _ = seen.send((Instant::now(), text(&message), message.delivery_count()));
            let fails = text(&message) == "fails" && message.delivery_count() < 3;
            async move { if fails { Err("not now") } else { Ok(()) } }
        });
        listening.expect("it listens");
        send(&session, &news, &["fails", "good"]).await;
        let mut all = Vec::new();
        for _ in 0..4 {
            all.push(seeing.recv().await.expect("it is delivered"));
        }
        // Others do not wait for it.
        let order: Vec<_> = all.iter().map(|(_, text, n)| (text.as_str(), *n)).collect();
        assert_eq!(
            order,
            [("fails", 1), ("good", 1), ("fails", 2), ("fails", 3)]
        );
        let at: Vec<_> = all.iter().map(|(at, ..)| *at).collect();
        assert!(at[2] - at[0] >= delay && at[3] - at[2] >= delay, "{at:?}");
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
        let (failures, mut failed) = mpsc::unbounded_channel();
        connection.set_exception_listener(move |error| {
            let _ = failures.send(error.to_string());
        });
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
        let (failures, mut failed) = mpsc::unbounded_channel();
        connection.set_exception_listener(move |error| {
            let _ = failures.send(error.to_string());
        });
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
