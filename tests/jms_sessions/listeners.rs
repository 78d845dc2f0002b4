//! What runs when messages come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use castmq_client::jms::{Acknowledge, Error};
use tokio::sync::mpsc;

use super::support::jms::{
    broker, connected, consumer, factory, failures, queue, send, session, text, topic,
};
use super::support::{run, stop};

#[test]
fn a_listener_gets_messages_one_by_one_and_again_when_it_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 4).await;
        let connection = connected(factory(&node)).await;
        let mut failed = failures(&connection);
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
