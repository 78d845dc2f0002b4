//! Messages that expire: nobody gets them after that, they count as consumed, and nothing is left of them elsewhere.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use castmq_actors::{Node, Parts, Surroundings};
use castmq_client::model::{TTL_ATTRIBUTE, TopicConfig};
use castmq_client::{
    Ack, BrokerAdmin, Client, ErrorCode, Filter, Message, MessageBuilder, PoppedMessage,
    PushConsumer, ReceivedMessage, StartFrom,
};
use castmq_config::Settings;
use tokio::sync::{mpsc, watch};

use support::pop::{GROUP, TOPIC, built, committed, consumer, next};
use support::process::Process;
use support::{
    admin, client, now_ms, read_all, read_until, reader, run, set_retry_max, start, started, stop,
    stored, text, until, until_ms, with_queues,
};

fn with_one_queue(data: &Path) -> Settings {
    let mut settings = with_queues(data, 1);
    settings.broker.delay_levels = "20ms 20ms 20ms".to_owned();
    settings
}

fn message(body: &str) -> MessageBuilder {
    Message::builder(TOPIC, body.to_owned())
}

/// A message that nobody gets.
fn expired(body: &str) -> MessageBuilder {
    message(body).expires_at_ms(now_ms() - 1)
}

/// A message that outlives any test.
fn lasting(body: &str) -> MessageBuilder {
    message(body).expires_after(Duration::from_secs(86_400))
}

async fn send(client: &Client, messages: impl IntoIterator<Item = MessageBuilder>) {
    let producer = client.producer().build();
    for message in messages {
        let message = message.build().expect("a message");
        producer.send(message).await.expect("it is stored");
    }
    producer.close().await;
}

fn some() -> [MessageBuilder; 5] {
    [
        expired("1"),
        message("2"),
        expired("3"),
        lasting("4"),
        expired("5"),
    ]
}

/// How often messages were passed over because they had expired.
async fn passed_over(admin: &BrokerAdmin) -> u64 {
    let details = admin.show_broker().await.expect("details");
    details.messages_expired
}

/// The bodies of the topic up to this one.
async fn bodies_until(client: &Client, last: &str) -> Vec<String> {
    let is_last = |message: &ReceivedMessage| text(message) == last;
    let read = read_until(client, TOPIC, |read| read.last().is_some_and(is_last)).await;
    read.iter().map(text).collect()
}

type Tries = mpsc::UnboundedReceiver<ReceivedMessage>;

/// A consumer whose handler does with a message what `judge` says, when that has come to it.
async fn push<F: Future<Output = Ack> + Send>(
    client: &Client,
    judge: impl Fn(ReceivedMessage) -> F + Send + Sync + 'static,
) -> (PushConsumer, Tries) {
    let (sender, tries) = mpsc::unbounded_channel();
    let consumer = client
        .push_consumer(GROUP)
        .subscribe(TOPIC, Filter::All)
        .from(StartFrom::Earliest)
        .commit_every(Duration::from_millis(20))
        .handler(move |message| {
            let _ = sender.send(message.clone());
            judge(message)
        });
    (consumer.start().await.expect("a consumer"), tries)
}

/// A broker whose clock is set an hour ahead when it is told to.
async fn start_with_clock(settings: &Settings) -> (Node, Arc<AtomicI64>) {
    let ahead_ms = Arc::new(AtomicI64::new(0));
    let ahead = ahead_ms.clone();
    let surroundings =
        Surroundings::default().clock(move || now_ms() + ahead.load(Ordering::SeqCst));
    let node = Node::start_in(surroundings, settings, Parts::Standalone).await;
    (node.expect("the node starts"), ahead_ms)
}

const HOUR_MS: i64 = 3_600_000;

/// Longer than that.
const DAY: Duration = Duration::from_secs(86_400);

async fn try_next(tries: &mut Tries) -> ReceivedMessage {
    tries.recv().await.expect("the consumer lives")
}

#[test]
fn nobody_gets_an_expired_message_and_all_count_as_consumed() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_one_queue(folder.path())).await;
        send(&client, some()).await;
        let admin = admin(&client).await;
        assert_eq!(passed_over(&admin).await, 0);

        let (pushed, mut tries) = push(&client, async |_| Ack::Done).await;
        for body in ["2", "4"] {
            assert_eq!(text(&try_next(&mut tries).await), body);
        }
        until(async || committed(&client, 0).await == Some(5)).await;
        pushed.shutdown().await.expect("it leaves");
        assert!(tries.recv().await.is_none(), "there were no others");
        assert_eq!(passed_over(&admin).await, 3);

        let mut popper = built(
            client
                .pop_consumer("poppers")
                .topic(TOPIC)
                .from(StartFrom::Earliest),
        );
        let messages = popper.receive().await.expect("messages");
        let bodies: Vec<_> = messages.iter().map(|message| text(message)).collect();
        assert_eq!(bodies, ["2", "4"]);
        PoppedMessage::ack_all(&messages).await.expect("an answer");
        let group = admin.show_group("poppers").await.expect("a group");
        let progress = group.progress.first().expect("its queue");
        assert_eq!(progress.committed.map(|offset| offset.0), Some(5));
        assert_eq!(passed_over(&admin).await, 6);

        send(&client, [message("last")]).await;
        assert_eq!(bodies_until(&client, "last").await, ["2", "4", "last"]);
        assert_eq!(passed_over(&admin).await, 9);
        stop(node).await;
    });
}

#[test]
fn many_expired_messages_are_passed_over_in_steps_by_whoever_waits() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_one_queue(folder.path())).await;
        let producer = client.producer().build();
        let messages = (0..20_000).map(|number| expired(&number.to_string()).build());
        for sent in producer
            .send_all(messages.map(|message| message.expect("a message")))
            .await
        {
            sent.expect("it is stored");
        }
        let mut waiting = built(
            consumer(&client)
                .wait(Duration::from_secs(3600))
                .max_messages(1),
        );
        let (pushed, mut tries) = push_as(&client, "pushers").await;
        let (popped, pushed_message, ()) = tokio::join!(
            next(&mut waiting),
            try_next(&mut tries),
            send(&client, [lasting("last")])
        );
        assert_eq!(
            (text(&popped), text(&pushed_message)),
            ("last".into(), "last".into())
        );
        popped.ack().await.expect("it is acknowledged");
        assert_eq!(committed(&client, 0).await, Some(20_001));
        pushed.shutdown().await.expect("it leaves");
        stop(node).await;
    });
}

async fn push_as(client: &Client, group: &str) -> (PushConsumer, Tries) {
    let (sender, tries) = mpsc::unbounded_channel();
    let consumer = client
        .push_consumer(group)
        .subscribe(TOPIC, Filter::All)
        .from(StartFrom::Earliest)
        .handler(move |message| {
            let _ = sender.send(message);
            async {}
        });
    (consumer.start().await.expect("a consumer"), tries)
}

#[test]
fn a_popped_message_that_expires_while_it_is_out_neither_comes_again_nor_dies() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, ahead_ms) = start_with_clock(&with_one_queue(folder.path())).await;
        let client = client(&node).await;
        let admin = admin(&client).await;
        set_retry_max(&admin, GROUP, 1).await;
        let soon_ms = now_ms() + HOUR_MS;
        let messages = [
            message("once").expires_at_ms(soon_ms),
            message("twice").expires_at_ms(soon_ms),
        ];
        send(&client, messages).await;
        let mut consumer = built(
            consumer(&client)
                .max_messages(1)
                .invisible(DAY)
                .wait(Duration::from_millis(20)),
        );
        let first = next(&mut consumer).await;
        let second = next(&mut consumer).await;
        second.nack(Duration::ZERO).await.expect("it failed");
        let second = next(&mut consumer).await;
        assert_eq!((text(&second), second.attempts()), ("twice".into(), 2));
        ahead_ms.store(HOUR_MS, Ordering::SeqCst);
        first.nack(Duration::ZERO).await.expect("it failed");
        second
            .nack(Duration::ZERO)
            .await
            .expect("it failed, for the last time");
        let none = consumer.receive().await.expect("an answer");
        assert!(none.is_empty(), "{none:?}");
        until(async || committed(&client, 0).await == Some(2)).await;
        assert_eq!(passed_over(&admin).await, 2);
        assert_eq!(stored(&admin, &format!("%DLQ%{GROUP}")).await, 0);
        stop(node).await;
    });
}

#[test]
fn a_message_that_has_expired_is_there_again_when_the_clock_is_set_back() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, ahead_ms) = start_with_clock(&with_one_queue(folder.path())).await;
        let client = client(&node).await;
        send(&client, [message("back").expires_at_ms(now_ms() + HOUR_MS)]).await;
        ahead_ms.store(2 * HOUR_MS, Ordering::SeqCst);
        let mut early = reader(&client, TOPIC).await;
        let none = early.poll(Duration::from_millis(100)).await;
        assert_eq!(none.expect("a poll").len(), 0);
        send(&client, [message("later")]).await;
        ahead_ms.store(0, Ordering::SeqCst);
        send(&client, [message("last")]).await;
        let read = read_until(&client, TOPIC, |read| read.len() >= 3).await;
        let bodies: Vec<_> = read.iter().map(text).collect();
        assert_eq!(bodies, ["back", "later", "last"]);
        // What is stored later has no earlier time.
        assert!(read[2].store_timestamp_ms() >= read[1].store_timestamp_ms());
        assert!(read[1].store_timestamp_ms() > now_ms() + HOUR_MS);
        stop(node).await;
    });
}

#[test]
fn a_message_that_expires_in_its_handler_is_neither_tried_again_nor_dies() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, ahead_ms) = start_with_clock(&with_one_queue(folder.path())).await;
        let client = client(&node).await;
        let admin = admin(&client).await;
        let soon_ms = now_ms() + HOUR_MS;
        let fails = [
            message("again").expires_at_ms(soon_ms),
            message("dead").expires_at_ms(soon_ms),
        ];
        send(&client, fails).await;
        let (over, is_over) = watch::channel(false);
        let (consumer, mut tries) = push(&client, move |message| {
            let mut is_over = is_over.clone();
            async move {
                let _ = is_over.wait_for(|is_over| *is_over).await;
                match text(&message).as_str() {
                    "again" => Ack::RetryAfter(Duration::ZERO),
                    "dead" => Ack::DeadLetter,
                    _ => Ack::Done,
                }
            }
        })
        .await;
        let bodies = [
            text(&try_next(&mut tries).await),
            text(&try_next(&mut tries).await),
        ];
        assert_eq!(bodies, ["again", "dead"]);
        ahead_ms.store(HOUR_MS, Ordering::SeqCst);
        over.send(true).expect("handlers wait");
        until(async || committed(&client, 0).await == Some(2)).await;
        assert_eq!(passed_over(&admin).await, 2);
        for topic in [format!("%RETRY%{GROUP}"), format!("%DLQ%{GROUP}")] {
            assert_eq!(stored(&admin, &topic).await, 0, "{topic}");
        }
        consumer.shutdown().await.expect("it leaves");
        stop(node).await;
    });
}

#[test]
fn a_retry_expires_when_its_message_does_and_a_dead_letter_never() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_one_queue(folder.path())).await;
        let admin = admin(&client).await;
        put_topic(&admin, Some("3600000")).await.expect("a topic");
        let sent = [
            lasting("by topic"),
            message("by itself").expires_at_ms(now_ms() + 60_000),
        ];
        send(&client, sent).await;
        let (consumer, mut tries) = push(&client, async |message| match message.attempts() {
            1 => Ack::RetryAfter(Duration::ZERO),
            _ => Ack::DeadLetter,
        })
        .await;
        let mut firsts = Vec::new();
        while firsts.len() < 2 {
            firsts.push(try_next(&mut tries).await);
        }
        for _ in 0..2 {
            let retry = try_next(&mut tries).await;
            let first = firsts.iter().find(|first| text(first) == text(&retry));
            let first = first.expect("it was tried before");
            let expected = match text(first).as_str() {
                "by topic" => Some(first.store_timestamp_ms() + 3_600_000),
                _ => first.expires_at_ms(),
            };
            assert_eq!((retry.attempts(), retry.expires_at_ms()), (2, expected));
        }
        let letters = format!("%DLQ%{GROUP}");
        until(async || stored(&admin, &letters).await == 2).await;
        let found = read_all(&client, &admin, &letters).await;
        assert!(found.iter().all(|letter| letter.expires_at_ms().is_none()));
        consumer.shutdown().await.expect("it leaves");
        stop(node).await;
    });
}

async fn put_topic(admin: &BrokerAdmin, ttl: Option<&str>) -> castmq_client::Result<()> {
    let attributes = ttl.map(|ttl| (TTL_ATTRIBUTE.to_owned(), ttl.to_owned()));
    let config = TopicConfig {
        attributes: attributes.into_iter().collect(),
        ..TopicConfig::with_queues(1)
    };
    admin.put_topic(TOPIC, config).await
}

#[test]
fn a_topic_lets_all_its_messages_expire_after_a_time_that_can_be_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_one_queue(folder.path())).await;
        let admin = admin(&client).await;
        for bad in ["0", "-1", "1h", "", "9223372036854775808"] {
            let refused = put_topic(&admin, Some(bad)).await.expect_err("no time");
            assert_eq!(refused.code(), Some(ErrorCode::InvalidRequest));
            let said = format!("message.ttl={bad}: it takes milliseconds, from 1");
            assert!(refused.to_string().contains(&said), "{refused}");
        }
        put_topic(&admin, Some("1")).await.expect("a topic");
        send(&client, [message("1"), lasting("2")]).await;
        let sent_ms = now_ms() + 1;
        until_ms(sent_ms).await;
        let mut popper = built(consumer(&client).wait(Duration::from_millis(1)));
        assert_eq!(popper.receive().await.expect("an answer").len(), 0);
        assert_eq!(committed(&client, 0).await, Some(2));
        put_topic(&admin, Some("3600000")).await.expect("a topic");
        send(&client, [message("3"), expired("4"), message("5")]).await;
        assert_eq!(bodies_until(&client, "5").await, ["1", "2", "3", "5"]);
        put_topic(&admin, None).await.expect("a topic");
        assert_eq!(bodies_until(&client, "5").await, ["1", "2", "3", "5"]);
        stop(node).await;
    });
}

#[test]
fn a_message_that_has_expired_when_it_is_due_is_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let (node, client) = started(&with_one_queue(folder.path())).await;
        let admin = admin(&client).await;
        let due_ms = now_ms() + 1_500;
        let waiting = [
            message("level").expires_at_ms(now_ms() + 1).delay_level(3),
            message("time")
                .expires_at_ms(due_ms - 1)
                .deliver_at_ms(due_ms),
            // Later than the others in both ways of waiting.
            lasting("last level").delay_level(3),
            lasting("last time").deliver_at_ms(due_ms + 1_000),
        ];
        send(&client, waiting).await;
        assert_eq!(
            bodies_until(&client, "last time").await,
            ["last level", "last time"]
        );
        assert_eq!(stored(&admin, TOPIC).await, 2, "they were not stored again");
        assert_eq!(passed_over(&admin).await, 2);
        stop(node).await;
    });
}

#[test]
fn what_expires_stays_expired_across_clean_stops_and_kill_9() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    run(async {
        let settings = with_one_queue(&data);
        let queues = [("broker.default_topic_queues", "1")];
        let mut expected = Vec::new();
        for cycle in 0..3 {
            let last = format!("last {cycle}");
            expected.extend(["2".to_owned(), "4".to_owned(), last.clone()]);
            // A clean stop has all that was written down; after a kill the log is looked through.
            let node = start(&settings).await;
            let by_node = client(&node).await;
            send(&by_node, some()).await;
            stop(node).await;
            let broker = Process::start_small(&data, &queues);
            let client = broker.client().await;
            send(&client, [message(&last)]).await;
            assert_eq!(bodies_until(&client, &last).await, expected);
            send(&client, [expired("killed"), lasting("kept")]).await;
            expected.push("kept".to_owned());
            broker.kill();
            let broker = Process::start_small(&data, &queues);
            let client = broker.client().await;
            let again = bodies_until(&client, "kept").await;
            // The first "kept" of earlier cycles ends it, too.
            assert_eq!(again, expected[..again.len()]);
            let end = format!("end {cycle}");
            send(&client, [message(&end)]).await;
            expected.push(end.clone());
            assert_eq!(bodies_until(&client, &end).await, expected);
            broker.kill();
        }
    });
}
