//! JMS's model over a real broker: queues and topics, subscriptions, selectors, and what messages carry.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod subscriptions;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use castmq_client::jms::{
    Acknowledge, BodyKind, ConnectionFactory, DeliveryMode, Error, Message, Value,
};

use support::jms::{
    LONG, broker, connected, consumer, factory, next, queue, send, session, text, texts, topic,
};
use support::{client, now_ms, run, settings, start, stop, until_ms};

#[test]
fn each_message_of_a_queue_goes_to_one_of_its_consumers_however_many_there_are() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let connection = connected(factory(&node)).await;
        let orders = queue("orders");
        // Sent before anybody consumes: a queue keeps them.
        send(
            &session(&connection, Acknowledge::Auto),
            &orders,
            &["1", "2", "3", "4", "5", "6"],
        )
        .await;
        let mut all = Vec::new();
        for _ in 0..3 {
            let session = session(&connection, Acknowledge::Client);
            let consumer = consumer(&session, &orders).await;
            // What one has, and has not acknowledged, is with nobody else.
            all.extend(texts(&consumer, 2).await);
        }
        assert_eq!(all, ["1", "2", "3", "4", "5", "6"]);
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn headers_properties_and_all_kinds_of_bodies_come_as_they_were_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let connection = connected(factory(&node)).await;
        let session = session(&connection, Acknowledge::Auto);
        let destination = queue("kinds");
        let mut producer = session.create_producer(&destination).expect("a producer");
        producer.set_priority(7).expect("a priority");
        assert!(producer.set_priority(10).is_err());
        producer.set_time_to_live(LONG);
        let consumer = consumer(&session, &destination).await;

        let mut map = Message::map();
        map.map_mut().expect("a map").set("a", 1_i8).expect("set");
        let mut stream = Message::stream();
        let values = stream.stream_mut().expect("a stream");
        values.write(1.5_f32).expect("written");
        values.write("x").expect("written");
        let mut bytes = Message::bytes();
        let body = bytes.bytes_mut().expect("bytes");
        body.write_i64(-1).expect("written");
        let object = Message::object(&(1, "two")).expect("an object");
        let sent = [
            Message::new(),
            Message::text("größe"),
            map,
            stream,
            bytes,
            object,
        ];
        let mut received = Vec::new();
        for mut message in sent {
            message.set_message_type("sample");
            message.set_correlation_id("c-1");
            message.set_reply_to(&topic("answers"));
            for (name, value) in [
                ("bool", Value::from(true)),
                ("byte", 1_i8.into()),
                ("short", 2_i16.into()),
                ("int", 3.into()),
                ("long", 4_i64.into()),
                ("float", 5.5_f32.into()),
                ("double", 6.5.into()),
                ("string", "seven".into()),
                ("empty", "".into()),
            ] {
                message.set_property(name, value).expect("a property");
            }
            producer.send(&mut message).await.expect("it is sent");
            let again = next(&consumer).await;
            assert_eq!(again.kind(), message.kind());
            assert_eq!(again.message_id(), message.message_id());
            assert!(again.message_id().is_some_and(|id| id.starts_with("ID:")));
            assert_eq!(again.destination(), Some(&destination));
            assert_eq!(again.reply_to(), Some(&topic("answers")));
            assert_eq!(again.correlation_id(), Some("c-1"));
            assert_eq!(again.message_type(), Some("sample"));
            assert_eq!(again.delivery_mode(), DeliveryMode::Persistent);
            assert_eq!((again.priority(), again.redelivered()), (7, false));
            assert_eq!(again.delivery_count(), 1);
            assert_eq!(again.expiration_ms(), message.expiration_ms());
            assert!(again.expiration_ms() > again.timestamp_ms());
            let properties: Vec<_> = again.properties().collect();
            assert_eq!(properties, message.properties().collect::<Vec<_>>());
            received.push(again);
        }
        let [plain, text, map, stream, bytes, object] = &mut received[..] else {
            panic!("six were sent")
        };
        assert_eq!(plain.kind(), BodyKind::Plain);
        assert_eq!(text.as_text().expect("a text"), "größe");
        let map = map.as_map().expect("a map");
        assert_eq!(map.get::<i64>("a").expect("a number"), Some(1));
        let stream = stream.stream_mut().expect("a stream");
        assert_eq!(stream.read::<f64>().expect("a number"), 1.5);
        assert_eq!(stream.read::<String>().expect("a text"), "x");
        assert!(matches!(stream.read::<String>(), Err(Error::MessageEof)));
        let bytes = bytes.bytes_mut().expect("bytes");
        assert_eq!(bytes.read_i64().expect("a number"), -1);
        let (one, two): (i32, String) = object.as_object().expect("an object");
        assert_eq!((one, two.as_str()), (1, "two"));
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn what_other_producers_send_is_received_as_bytes_and_what_jms_sends_is_read_by_other_consumers() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let plain = client(&node).await;
        let producer = plain.producer().build();
        let message = castmq_client::Message::new("mixed", "raw");
        producer.send(message).await.expect("it is stored");
        producer.close().await;
        let connection = connected(ConnectionFactory::from_client(&plain).lease(LONG)).await;
        let session = session(&connection, Acknowledge::Auto);
        let mixed = queue("mixed");
        let mut received = next(&consumer(&session, &mixed).await).await;
        assert_eq!(received.bytes_mut().expect("bytes").as_slice(), b"raw");
        send(&session, &mixed, &["plain text"]).await;
        let mut reader = support::reader(&plain, "mixed").await;
        let read = reader.poll(LONG).await.expect("messages");
        assert_eq!(
            read.last().expect("one").body().expect("a body"),
            b"plain text"
        );
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn selectors_choose_by_headers_and_typed_properties_at_the_broker() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let connection = connected(factory(&node).client_id("app")).await;
        let session = session(&connection, Acknowledge::Auto);
        let cars = topic("cars");
        let selecting = async |selector| {
            let consumer = session.create_consumer(&cars, Some(selector)).await;
            consumer.expect("a consumer")
        };
        let by_property = selecting("weight > 2000 AND color IN ('blue', 'red')").await;
        let by_type = selecting("JMSType = 'car' AND JMSPriority >= 8").await;
        let by_kind = selecting("weight = '2500'").await;
        let by_mode = selecting("JMSDeliveryMode = 'PERSISTENT' AND JMSTimestamp > 5 AND JMSMessageID LIKE 'ID:%' AND JMSCorrelationID = 'last'").await;
        let durable = session.create_durable_consumer(&cars, "heavy", Some("weight > 2000"));
        let durable = durable.await.expect("a consumer");

        let mut producer = session.create_producer(&cars).expect("a producer");
        for (name, weight, color) in [
            ("heavy", 2500, "blue"),
            ("light", 900, "blue"),
            ("green", 3000, "green"),
        ] {
            let mut message = Message::text(name);
            message.set_property("weight", weight).expect("a property");
            message.set_property("color", color).expect("a property");
            producer.send(&mut message).await.expect("it is sent");
        }
        producer.set_priority(9).expect("a priority");
        let mut last = Message::text("last");
        last.set_message_type("car");
        last.set_correlation_id("last");
        // A string, which is no number.
        last.set_property("weight", "2500").expect("a property");
        producer.send(&mut last).await.expect("it is sent");

        assert_eq!(texts(&by_type, 1).await, ["last"]);
        assert_eq!(texts(&by_kind, 1).await, ["last"]);
        assert_eq!(texts(&by_mode, 1).await, ["last"]);
        assert_eq!(texts(&durable, 2).await, ["heavy", "green"]);
        assert_eq!(texts(&by_property, 1).await, ["heavy"]);
        let mut again = Message::text("again");
        again.set_property("weight", 2001_i64).expect("a property");
        again.set_property("color", "red").expect("a property");
        producer.send(&mut again).await.expect("it is sent");
        assert_eq!(texts(&by_property, 1).await, ["again"]);

        let wrong = session.create_consumer(&cars, Some("weight > ")).await;
        let wrong = wrong.expect_err("that is no selector");
        assert!(matches!(wrong, Error::InvalidSelector { .. }), "{wrong}");
        assert!(wrong.to_string().contains("character 10"), "{wrong}");
        let shared = session.create_consumer(&queue("jobs"), Some("a = 1")).await;
        let shared = shared.expect_err("others would lose messages");
        assert!(
            matches!(shared, Error::InvalidDestination { .. }),
            "{shared}"
        );
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn messages_whose_time_is_over_are_not_delivered_and_delayed_ones_later() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let connection = connected(factory(&node)).await;
        let session = session(&connection, Acknowledge::Auto);
        for destination in [queue("orders"), topic("prices")] {
            let consumer = consumer(&session, &destination).await;
            let mut producer = session.create_producer(&destination).expect("a producer");
            producer.set_time_to_live(Duration::from_millis(1));
            let mut brief = Message::text("brief");
            producer.send(&mut brief).await.expect("it is sent");
            producer.set_time_to_live(LONG);
            producer.set_delivery_delay(Duration::from_millis(300));
            let mut delayed = Message::text("delayed");
            producer.send(&mut delayed).await.expect("it is sent");
            until_ms(brief.expiration_ms()).await;
            let received = next(&consumer).await;
            assert_eq!(text(&received), "delayed");
            assert!(delayed.delivery_time_ms() <= now_ms());
        }
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn a_request_is_answered_through_a_temporary_queue_which_goes_with_its_connection() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 4).await;
        let asking = connected(factory(&node)).await;
        let answering = connected(factory(&node)).await;
        let requests = queue("requests");
        let asker = session(&asking, Acknowledge::Auto);
        let answerer = session(&answering, Acknowledge::Auto);

        let answers = asker.create_temporary_queue().await.expect("a queue");
        let from_answers = consumer(&asker, &answers).await;
        let mut request = Message::text("2 + 2");
        request.set_reply_to(&answers);
        let producer = asker.create_producer(&requests).expect("a producer");
        producer.send(&mut request).await.expect("it is sent");

        let received = next(&consumer(&answerer, &requests).await).await;
        let reply_to = received.reply_to().expect("somebody waits").clone();
        assert_eq!(reply_to, answers);
        let stolen = answerer.create_consumer(&reply_to, None).await;
        assert!(
            matches!(stolen, Err(Error::InvalidDestination { .. })),
            "{stolen:?}"
        );
        let mut answer = Message::text("4");
        answer.set_correlation_id(received.message_id().expect("an id"));
        let replier = answerer.create_any_producer().expect("a producer");
        replier.send_to(&reply_to, &mut answer).await.expect("sent");

        let answer = next(&from_answers).await;
        assert_eq!(text(&answer), "4");
        assert_eq!(answer.correlation_id(), request.message_id());

        let admin = client(&node).await.admin();
        let broker = admin.masters().await.expect("brokers").remove(0);
        let is_there = async || {
            let topics = broker.list_topics().await.expect("topics");
            topics.iter().any(|topic| topic == answers.name())
        };
        assert!(is_there().await);
        asking.close().await.expect("it closes");
        assert!(!is_there().await);
        // Name servers are told a moment later.
        while admin
            .topics()
            .await
            .expect("topics")
            .iter()
            .any(|topic| topic == answers.name())
        {
            tokio::task::yield_now().await;
        }
        // It does not come again because somebody answers late, who answered before or not.
        let again = replier.send_to(&reply_to, &mut Message::text("5")).await;
        assert!(
            matches!(again, Err(Error::InvalidDestination { .. })),
            "{again:?}"
        );
        let late = connected(factory(&node)).await;
        let late_session = session(&late, Acknowledge::Auto);
        let late_producer = late_session.create_producer(&answers).expect("a producer");
        let refused = late_producer.send(&mut Message::text("late")).await;
        assert!(
            matches!(refused, Err(Error::InvalidDestination { .. })),
            "{refused:?}"
        );
        assert!(!is_there().await);
        late.close().await.expect("it closes");
        answering.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn a_browser_shows_what_is_not_consumed_and_consumes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 2).await;
        let connection = connected(factory(&node)).await;
        let session = session(&connection, Acknowledge::Auto);
        let orders = queue("orders");
        let browse = async |selector| {
            let browser = session.create_browser(&orders, selector).await;
            let mut browser = browser.expect("a browser");
            let mut seen = Vec::new();
            while let Some(message) = browser.next().await.expect("an answer") {
                seen.push(text(&message));
            }
            seen
        };
        let producer = session.create_producer(&orders).expect("a producer");
        for number in 1..=5 {
            let mut message = Message::text(number.to_string());
            message.set_property("number", number).expect("a property");
            producer.send(&mut message).await.expect("it is sent");
        }
        assert_eq!(browse(None).await, ["1", "2", "3", "4", "5"]);
        let consumer = consumer(&session, &orders).await;
        assert_eq!(texts(&consumer, 2).await, ["1", "2"]);
        assert_eq!(browse(None).await, ["3", "4", "5"]);
        assert_eq!(browse(Some("number = 4 OR number < 3")).await, ["4"]);
        assert_eq!(texts(&consumer, 3).await, ["3", "4", "5"]);
        assert_eq!(browse(None).await, [""; 0]);
        let topic = session.create_browser(&topic("prices"), None).await;
        assert!(matches!(topic, Err(Error::InvalidDestination { .. })));
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn messages_that_need_not_survive_are_sent_without_an_answer_and_arrive() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 4).await;
        let connection = connected(factory(&node).prefetch(100)).await;
        let session = session(&connection, Acknowledge::DupsOk);
        let orders = queue("orders");
        let mut producer = session.create_producer(&orders).expect("a producer");
        producer.set_delivery_mode(DeliveryMode::NonPersistent);
        for number in 0..200 {
            let mut message = Message::text(number.to_string());
            producer.send(&mut message).await.expect("it is sent");
        }
        let consumer = consumer(&session, &orders).await;
        for number in 0..200 {
            let message = next(&consumer).await;
            assert_eq!(text(&message), number.to_string());
            assert_eq!(message.delivery_mode(), DeliveryMode::NonPersistent);
        }
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn messages_of_one_session_and_of_one_group_keep_their_order() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 8).await;
        let connection = connected(factory(&node)).await;
        let orders = queue("orders");
        let sending = session(&connection, Acknowledge::Auto);
        let numbers: Vec<_> = (0..50).map(|number| number.to_string()).collect();
        let numbers: Vec<_> = numbers.iter().map(String::as_str).collect();
        send(&sending, &orders, &numbers).await;
        let receiving = consumer(&sending, &orders).await;
        assert_eq!(texts(&receiving, 50).await, numbers);
        for sequence in 0..20 {
            // Whichever session sends them.
            let sending = session(&connection, Acknowledge::Auto);
            let producer = sending.create_producer(&orders).expect("a producer");
            let mut message = Message::new();
            message.set_group("g", sequence);
            producer.send(&mut message).await.expect("it is sent");
        }
        for sequence in 0..20 {
            let message = next(&receiving).await;
            assert_eq!(message.group_id(), Some("g"));
            assert_eq!(message.group_sequence(), Some(sequence));
        }
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn a_destination_that_is_not_there_is_refused_when_brokers_make_none() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = settings(folder.path());
        settings.broker.auto_create_topics = false;
        let node = start(&settings).await;
        let connection = connected(factory(&node)).await;
        let session = session(&connection, Acknowledge::Auto);
        let nowhere = queue("nowhere");
        let consumer = session.create_consumer(&nowhere, None).await;
        assert!(
            matches!(consumer, Err(Error::InvalidDestination { .. })),
            "{consumer:?}"
        );
        let producer = session.create_producer(&nowhere).expect("a producer");
        let refused = producer.send(&mut Message::new()).await;
        assert!(
            matches!(refused, Err(Error::InvalidDestination { .. })),
            "{refused:?}"
        );
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}

#[test]
fn a_topic_that_is_to_be_browsed_is_refused_and_not_made() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let node = broker(folder.path(), 1).await;
        let connection = connected(factory(&node)).await;
        let session = session(&connection, Acknowledge::Auto);
        let refused = session.create_browser(&topic("prices"), None).await;
        assert!(
            matches!(refused, Err(Error::InvalidDestination { .. })),
            "{refused:?}"
        );
        let admin = client(&node).await.admin();
        let broker = admin.masters().await.expect("brokers").remove(0);
        let topics = broker.list_topics().await.expect("topics");
        assert!(!topics.iter().any(|topic| topic == "prices"), "{topics:?}");
        connection.close().await.expect("it closes");
        stop(node).await;
    });
}
