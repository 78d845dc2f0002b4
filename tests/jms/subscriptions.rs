//! Topics: who gets what is published, and from when on.

use castmq_client::jms::{Acknowledge, Error, Session};

use super::support::jms::{
    broker, connected, consumer, factory, next, send, session, text, texts, topic,
};
use super::support::{run, stop};

#[test]
fn a_topics_subscriptions_get_each_message_that_is_published_after_they_began() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 4).await;
        let connection = connected(factory(&node)).await;
        let session = session(&connection, Acknowledge::Auto);
        let prices = topic("prices");
        send(&session, &prices, &["before"]).await;
        let first = consumer(&session, &prices).await;
        let second = consumer(&session, &prices).await;
        send(&session, &prices, &["1", "2", "3"]).await;
        assert_eq!(texts(&first, 3).await, ["1", "2", "3"]);
        let third = consumer(&session, &prices).await;
        send(&session, &prices, &["4"]).await;
        assert_eq!(texts(&second, 4).await, ["1", "2", "3", "4"]);
        assert_eq!(texts(&third, 1).await, ["4"]);
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn a_durable_subscription_keeps_what_is_published_while_it_has_no_consumer() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 4).await;
        let prices = topic("prices");
        let publisher = connected(factory(&node)).await;
        let publishing = session(&publisher, Acknowledge::Auto);
        send(&publishing, &prices, &["before"]).await;

        let app = connected(factory(&node).client_id("app")).await;
        let subscribed = session(&app, Acknowledge::Auto);
        let durable = subscribed.create_durable_consumer(&prices, "all", None);
        let durable = durable.await.expect("a consumer");
        let twice = subscribed
            .create_durable_consumer(&prices, "all", None)
            .await;
        assert!(matches!(twice, Err(Error::IllegalState(_))), "{twice:?}");
        send(&publishing, &prices, &["1"]).await;
        assert_eq!(texts(&durable, 1).await, ["1"]);
        durable.close().await.expect("it closes");
        send(&publishing, &prices, &["2"]).await;
        app.close().await.expect("it closes");
        send(&publishing, &prices, &["3"]).await;

        let app = connected(factory(&node).client_id("app")).await;
        let subscribed = session(&app, Acknowledge::Auto);
        let durable = subscribed.create_durable_consumer(&prices, "all", None);
        assert_eq!(
            texts(&durable.await.expect("a consumer"), 2).await,
            ["2", "3"]
        );

        let nameless = publishing
            .create_durable_consumer(&prices, "all", None)
            .await;
        assert!(
            matches!(nameless, Err(Error::InvalidClientId(_))),
            "{nameless:?}"
        );
        app.close().await.expect("it closes");
        publisher.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn a_subscription_that_ended_keeps_nothing_and_begins_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let prices = topic("prices");
        let node = broker(folder.path(), 1).await;
        let connection = connected(factory(&node).client_id("app")).await;
        let acknowledging = session(&connection, Acknowledge::Client);
        let subscribe = async |session: &Session| {
            let consumer = session.create_durable_consumer(&prices, "all", None);
            consumer.await.expect("a consumer")
        };
        let durable = subscribe(&acknowledging).await;
        send(&acknowledging, &prices, &["1", "2"]).await;
        // One is with the session, the other one waits.
        assert_eq!(texts(&durable, 1).await, ["1"]);
        let consumed = acknowledging.unsubscribe("all").await;
        assert!(
            matches!(consumed, Err(Error::IllegalState(_))),
            "{consumed:?}"
        );
        durable.close().await.expect("it closes");
        let other = acknowledging.unsubscribe("other").await;
        assert!(
            matches!(other, Err(Error::InvalidDestination { .. })),
            "{other:?}"
        );
        acknowledging.unsubscribe("all").await.expect("it ends");
        send(&acknowledging, &prices, &["3"]).await;
        let durable = subscribe(&acknowledging).await;
        send(&acknowledging, &prices, &["4"]).await;
        let fourth = next(&durable).await;
        assert_eq!((text(&fourth).as_str(), fourth.redelivered()), ("4", false));
        fourth.acknowledge().await.expect("it is acknowledged");
        durable.close().await.expect("it closes");
        acknowledging.unsubscribe("all").await.expect("it ends");
        connection.close().await.expect("it closes");
        stop(node).await;

        // Nor does a broker that starts again remember it.
        let node = broker(folder.path(), 1).await;
        let connection = connected(factory(&node).client_id("app")).await;
        let plain = session(&connection, Acknowledge::Auto);
        let durable = subscribe(&plain).await;
        send(&plain, &prices, &["5"]).await;
        assert_eq!(texts(&durable, 1).await, ["5"]);
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn consumers_of_a_shared_subscription_share_its_messages() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let prices = topic("prices");
        let connection = connected(factory(&node)).await;
        let publishing = session(&connection, Acknowledge::Auto);
        let holding = session(&connection, Acknowledge::Client);
        for is_durable in [true, false] {
            let subscribe = async || match is_durable {
                true => {
                    holding
                        .create_shared_durable_consumer(&prices, "team", None)
                        .await
                }
                false => holding.create_shared_consumer(&prices, "team", None).await,
            };
            let first = subscribe().await.expect("a consumer");
            let second = subscribe().await.expect("another consumer");
            send(&publishing, &prices, &["1", "2", "3", "4"]).await;
            // Nobody acknowledges, so what one has the other has not.
            assert_eq!(texts(&first, 1).await, ["1"]);
            assert_eq!(texts(&second, 2).await, ["2", "3"]);
            assert_eq!(texts(&first, 1).await, ["4"]);
        }
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}
