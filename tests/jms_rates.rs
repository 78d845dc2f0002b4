//! What JMS's delivery modes cost: `cargo test --release --test jms_rates -- --ignored --nocapture`.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]

mod support;

use std::time::Instant;

use castmq_client::jms::{
    Acknowledge, ConnectionFactory, DeliveryMode, Destination, Message, Session,
};
use castmq_config::Flush;

use support::{run, settings, started, stop};

const ROUNDS: usize = 5;

/// Messages a second that one session sends, each when the one before has returned.
async fn rate(session: &Session, mode: DeliveryMode, messages: u32) -> f64 {
    let destination = Destination::topic("rates").expect("a topic");
    let mut producer = session.create_producer(&destination).expect("a producer");
    producer.set_delivery_mode(mode);
    let body = "x".repeat(128);
    let began = Instant::now();
    for _ in 0..messages {
        let mut message = Message::text(body.as_str());
        producer.send(&mut message).await.expect("it is sent");
    }
    // What is told and not answered has arrived when what is sent behind it is answered.
    producer.set_delivery_mode(DeliveryMode::Persistent);
    let mut last = Message::text(body.as_str());
    producer.send(&mut last).await.expect("it is sent");
    f64::from(messages) / began.elapsed().as_secs_f64()
}

#[test]
#[ignore = "a measurement"]
fn what_sending_without_an_answer_saves() {
    for (flush, persistent, non_persistent) in [
        (Flush::Async, 20_000, 200_000),
        (Flush::Sync, 1_000, 200_000),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        run(async {
            let mut settings = settings(folder.path());
            settings.store.commit_log_segment_bytes = 256 << 20;
            settings.store.flush = flush;
            let (node, client) = started(&settings).await;
            let factory = ConnectionFactory::from_client(&client);
            let connection = factory.create_connection().await.expect("a connection");
            let session = connection.create_session(Acknowledge::Auto);
            let session = session.expect("a session");
            let mut ratios = Vec::new();
            for _ in 0..ROUNDS {
                let answered = rate(&session, DeliveryMode::Persistent, persistent).await;
                let told = rate(&session, DeliveryMode::NonPersistent, non_persistent).await;
                println!(
                    "{flush:?} flush: {answered:.0} persistent and {told:.0} other messages a second"
                );
                ratios.push(told / answered);
            }
            ratios.sort_by(f64::total_cmp);
            println!("{flush:?} flush: {:.1} times as many", ratios[ROUNDS / 2]);
            connection.close().await.expect("it closes");
            stop(node).await;
        });
    }
}

#[test]
#[ignore = "a measurement"]
fn what_consuming_in_each_mode_yields() {
    const MESSAGES: u32 = 50_000;
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = settings(folder.path());
        settings.store.commit_log_segment_bytes = 256 << 20;
        let (node, client) = started(&settings).await;
        let modes = [
            (Acknowledge::Auto, 1),
            (Acknowledge::Auto, 64),
            (Acknowledge::DupsOk, 64),
            (Acknowledge::Client, 64),
        ];
        for (mode, prefetch) in modes {
            let factory = ConnectionFactory::from_client(&client).prefetch(prefetch);
            let connection = factory.create_connection().await.expect("a connection");
            connection.start().expect("it starts");
            let session = connection.create_session(mode).expect("a session");
            let queue = Destination::queue("consumed").expect("a queue");
            let mut producer = session.create_producer(&queue).expect("a producer");
            producer.set_delivery_mode(DeliveryMode::NonPersistent);
            let consumer = session.create_consumer(&queue, None).await;
            let consumer = consumer.expect("a consumer");
            for _ in 0..MESSAGES {
                let mut message = Message::text("x".repeat(128));
                producer.send(&mut message).await.expect("it is sent");
            }
            let began = Instant::now();
            for number in 1..=MESSAGES {
                let message = consumer.receive().await.expect("an answer");
                let message = message.expect("the consumer is open");
                if mode == Acknowledge::Client && number % 100 == 0 {
                    message.acknowledge().await.expect("it is acknowledged");
                }
            }
            let seconds = began.elapsed().as_secs_f64();
            println!(
                "{mode:?}, {prefetch} at once: {:.0} messages a second",
                f64::from(MESSAGES) / seconds
            );
            connection.close().await.expect("it closes");
        }
        stop(node).await;
    });
}
