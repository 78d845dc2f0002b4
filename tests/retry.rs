//! Messages that a group cannot process: they come again, later each time, and end among the dead letters.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use std::time::Duration;

use castmq_client::model::{GroupConfig, group_attributes};
use castmq_client::{
    Ack, Client, Filter, Message, Order, PushConsumer, ReceivedMessage, StartFrom,
};
use castmq_config::Settings;
use tokio::sync::mpsc;

use support::{admin, read_until, reader, run, settings, started, stop, text, with_queues};

/// The third level is the first that a retry waits.
const LEVELS: &str = "1ms 1ms 10ms 20ms 30ms 40ms 50ms 60ms";

fn quick(data: &std::path::Path) -> Settings {
    let mut settings = settings(data);
    settings.broker.delay_levels = LEVELS.to_owned();
    settings
}

type Tries = mpsc::UnboundedReceiver<ReceivedMessage>;

/// A consumer whose handler says of each message what `judge` does.
async fn consume(
    client: &Client,
    order: Order,
    max_attempts: Option<u32>,
    judge: impl Fn(&ReceivedMessage) -> Ack + Send + Sync + 'static,
) -> (PushConsumer, Tries) {
    let (sender, tries) = mpsc::unbounded_channel();
    let mut consumer = client
        .push_consumer("billing")
        .subscribe("orders", Filter::All)
        .order(order)
        .from(StartFrom::Earliest);
    if let Some(attempts) = max_attempts {
        consumer = consumer.max_attempts(attempts);
    }
    let consumer = consumer.handler(move |message| {
        let ack = judge(&message);
        let _ = sender.send(message);
        async move { ack }
    });
    (consumer.start().await.expect("a consumer"), tries)
}

async fn send(client: &Client, body: &'static str) {
    let producer = client.producer().build();
    let message = Message::builder("orders", body).tag("red").key("k1");
    let message = message.build().expect("a message");
    producer.send(message).await.expect("it is stored");
    producer.close().await;
}

/// The first dead letter; its topic comes with it, and has one queue.
async fn first_letter(client: &Client) -> ReceivedMessage {
    let mut letters = read_until(client, "%DLQ%billing", |read| !read.is_empty()).await;
    let queues = reader(client, "%DLQ%billing").await.assignment();
    assert_eq!(queues.len(), 1);
    letters.remove(0)
}

#[test]
fn a_message_is_retried_until_it_works() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&quick(folder.path())).await;
        send(&client, "pay").await;
        let (consumer, mut tries) = consume(&client, Order::None, None, |message| {
            match message.attempts() < 4 {
                true => Ack::Retry,
                false => Ack::Done,
            }
        })
        .await;
        let mut last_stored_ms = 0;
        for attempt in 1..=4 {
            let message = tries.recv().await.expect("a try");
            assert_eq!(message.attempts(), attempt);
            assert_eq!(message.topic(), "orders");
            assert_eq!(message.body().expect("a body"), b"pay");
            assert_eq!(message.tag(), Some("red"));
            assert_eq!(message.keys().collect::<Vec<_>>(), ["k1"]);
            let stored_ms = message.store_timestamp_ms();
            // Each retry waits a level longer.
            let least_ms = 10 * (i64::from(attempt) - 1);
            if attempt > 1 {
                assert!(stored_ms - last_stored_ms >= least_ms, "{attempt}");
            }
            last_stored_ms = stored_ms;
        }
        consumer.shutdown().await.expect("a shutdown");
        assert!(tries.recv().await.is_none(), "it was done");
        stop(node).await;
    });
}

#[test]
fn after_the_last_try_a_message_is_a_dead_letter_that_says_where_it_comes_from() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&quick(folder.path())).await;
        send(&client, "never").await;
        let judge = |_: &ReceivedMessage| Ack::Retry;
        let (consumer, mut tries) = consume(&client, Order::None, Some(3), judge).await;
        let mut first_id = None;
        for attempt in 1..=3 {
            let message = tries.recv().await.expect("a try");
            assert_eq!(message.attempts(), attempt);
            first_id.get_or_insert_with(|| message.id().to_string());
        }
        consumer.shutdown().await.expect("a shutdown");
        assert!(tries.recv().await.is_none(), "there is no fourth");
        let letter = first_letter(&client).await;
        assert_eq!(letter.body().expect("a body"), b"never");
        assert_eq!(letter.topic(), "orders");
        assert_eq!(letter.reconsume_times(), 3);
        assert_eq!(letter.property("DLQ_ORIGIN_TOPIC"), Some("orders"));
        assert_eq!(
            letter.property("DLQ_ORIGIN_MESSAGE_ID"),
            first_id.as_deref()
        );
        stop(node).await;
    });
}

#[test]
fn a_handler_may_say_when_to_try_again_or_that_it_is_no_use() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&quick(folder.path())).await;
        send(&client, "poison").await;
        let (consumer, mut tries) = consume(&client, Order::None, None, |message| {
            match message.attempts() {
                1 => Ack::RetryAtLevel(8),
                2 => Ack::RetryAfter(Duration::from_millis(123)),
                _ => Ack::DeadLetter,
            }
        })
        .await;
        let first = tries.recv().await.expect("a try");
        let second = tries.recv().await.expect("a try");
        assert!(second.store_timestamp_ms() - first.store_timestamp_ms() >= 60);
        let third = tries.recv().await.expect("a try");
        assert!(third.store_timestamp_ms() - second.store_timestamp_ms() >= 123);
        let letter = first_letter(&client).await;
        assert_eq!(letter.body().expect("a body"), b"poison");
        consumer.shutdown().await.expect("a shutdown");
        stop(node).await;
    });
}

#[test]
fn a_group_may_have_times_of_its_own_between_tries() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        // The broker's own levels are far shorter: who goes by them is too early.
        let (node, client) = started(&quick(folder.path())).await;
        let mut config = GroupConfig {
            retry_max: 3,
            ..GroupConfig::default()
        };
        let delays = group_attributes::RETRY_DELAYS.to_owned();
        config.attributes.insert(delays, "200ms 600ms".to_owned());
        let set = admin(&client).await.put_group("billing", config).await;
        set.expect("it is set");
        send(&client, "pay").await;
        let (consumer, mut tries) = consume(&client, Order::None, None, |_| Ack::Retry).await;
        let mut last_ms = 0;
        for (attempt, least_ms) in [(1, 0), (2, 200), (3, 600), (4, 600)] {
            let message = tries.recv().await.expect("a try");
            assert_eq!(message.attempts(), attempt);
            let stored_ms = message.store_timestamp_ms();
            assert!(stored_ms - last_ms >= least_ms, "{attempt}");
            last_ms = stored_ms;
        }
        let dead = first_letter(&client).await;
        assert_eq!(dead.body().expect("a body"), b"pay");
        consumer.shutdown().await.expect("a shutdown");
        stop(node).await;
    });
}

#[test]
fn an_ordered_queue_waits_for_its_message_and_goes_on_when_it_is_given_up() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let mut settings = with_queues(folder.path(), 1);
        settings.broker.delay_levels = LEVELS.to_owned();
        let (node, client) = started(&settings).await;
        send(&client, "first").await;
        send(&client, "second").await;
        let (consumer, mut tries) = consume(&client, Order::PerQueue, Some(2), |message| {
            match message.body() {
                Ok(b"first") => Ack::Retry,
                _ => Ack::Done,
            }
        })
        .await;
        let mut seen = Vec::new();
        for _ in 0..3 {
            let message = tries.recv().await.expect("a try");
            seen.push(text(&message));
        }
        assert_eq!(seen, ["first", "first", "second"]);
        let letter = first_letter(&client).await;
        assert_eq!(letter.body().expect("a body"), b"first");
        consumer.shutdown().await.expect("a shutdown");
        stop(node).await;
    });
}
