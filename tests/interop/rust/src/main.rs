//! Checks with the crate `rocketmq-client-rust`, against the name server of NAMESRV_ADDR.
//!
//! Its filter by tags is not checked: in this release it names the tags by hashes that are not Java's, and RocketMQ finds none.

#![recursion_limit = "512"]

mod scene;

use std::any::Any;
use std::collections::BTreeSet;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rocketmq_client_rust::{
    LocalTransactionState, MessageSelector, PullStatus, SendStatus, TransactionListener,
    TransactionMQProducer,
};
use rocketmq_model::common::message::message_ext::MessageExt;
use rocketmq_model::common::message::message_single::Message;
use rocketmq_model::common::message::MessageTrait;
use scene::{Answer, Received, Scene};

pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// Fails the check with what is said, unless the condition holds.
macro_rules! expect {
    ($condition:expr, $($said:tt)*) => {
        if !$condition {
            return Err(format!($($said)*).into());
        }
    };
}

type Check = for<'a> fn(&'a mut Scene) -> Pin<Box<dyn Future<Output = Outcome> + 'a>>;

const CHECKS: &[(&str, Check)] = &[
    ("send, and a push consumer takes it", |scene| {
        Box::pin(send(scene))
    }),
    ("one-way sends arrive", |scene| Box::pin(one_way(scene))),
    ("a batch arrives as its messages", |scene| {
        Box::pin(batch(scene))
    }),
    ("a big body arrives as it was", |scene| Box::pin(big(scene))),
    ("an SQL92 expression filters", |scene| Box::pin(sql(scene))),
    (
        "ordered sends come in order to an orderly consumer",
        |scene| Box::pin(ordered(scene)),
    ),
    (
        "a committed transaction comes, one rolled back does not",
        |scene| Box::pin(transactions(scene)),
    ),
    (
        "an open transaction comes once the check says commit",
        |scene| Box::pin(checked_transaction(scene)),
    ),
    ("a delay level delays", |scene| Box::pin(delay_level(scene))),
    ("a delay in milliseconds delays", |scene| {
        Box::pin(delay_time(scene))
    }),
    ("a message given back comes again", |scene| {
        Box::pin(retry(scene))
    }),
    (
        "after its retries a message goes to the dead letters",
        |scene| Box::pin(dead_letter(scene)),
    ),
    ("a group goes on where it left off", |scene| {
        Box::pin(goes_on(scene))
    }),
    ("two consumers share a topic", |scene| {
        Box::pin(shared(scene))
    }),
    (
        "the broker assigns queues where the client asks it to",
        |scene| Box::pin(assigned_by_broker(scene)),
    ),
    ("a consumer set to POP takes each message once", |scene| {
        Box::pin(pop(scene))
    }),
    ("a pull consumer pulls by offset", |scene| {
        Box::pin(pull(scene))
    }),
    ("a lite pull consumer takes all of a topic", |scene| {
        Box::pin(lite_pull(scene))
    }),
];

fn bodies(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{prefix} {i}")).collect()
}

fn message(topic: &str, body: &str) -> Message {
    Message::builder()
        .topic(topic)
        .body_slice(body.as_bytes())
        .build_unchecked()
}

fn tagged(topic: &str, tag: &str, body: &str) -> Message {
    Message::builder()
        .topic(topic)
        .tags(tag)
        .body_slice(body.as_bytes())
        .build_unchecked()
}

async fn send(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    let bodies = bodies("message", 10);
    let producer = scene.producer().await?;
    for body in &bodies {
        let sent = producer
            .send(tagged(&topic, "tag", body))
            .await?
            .ok_or("no answer")?;
        expect!(
            sent.send_status == SendStatus::SendOk,
            "status {:?}",
            sent.send_status
        );
    }
    let received = scene.receive(&topic).await?;
    received.exactly(&bodies).await?;
    let seen = received.messages();
    expect!(
        seen[0].get_tags().as_deref() == Some("tag"),
        "tags {:?}",
        seen[0].get_tags()
    );
    Ok(())
}

async fn one_way(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    let producer = scene.producer().await?;
    producer.send(message(&topic, "first")).await?;
    let mut all = bodies("one-way", 5);
    for body in &all {
        producer.send_oneway(message(&topic, body)).await?;
    }
    all.push("first".into());
    scene.receive(&topic).await?.exactly(&all).await
}

async fn batch(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    let bodies = bodies("batch", 5);
    let producer = scene.producer().await?;
    producer.send(message(&topic, "first")).await?;
    let batch = bodies
        .iter()
        .map(|body| tagged(&topic, "tag", body))
        .collect();
    let sent = producer.send_batch(batch).await?;
    expect!(
        sent.send_status == SendStatus::SendOk,
        "status {:?}",
        sent.send_status
    );
    let all = [bodies, vec!["first".into()]].concat();
    scene.receive(&topic).await?.exactly(&all).await
}

async fn big(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    let body = "compress me ".repeat(5_000);
    scene.producer().await?.send(message(&topic, &body)).await?;
    scene.receive(&topic).await?.exactly(&[body]).await
}

async fn sql(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    let producer = scene.producer().await?;
    for n in 0..5 {
        let message = Message::builder()
            .topic(&*topic)
            .raw_property("n", n.to_string())?
            .body_slice(format!("n{n}").as_bytes())
            .build_unchecked();
        producer.send(message).await?;
    }
    let received = scene
        .start_push(
            &topic,
            MessageSelector::by_sql("n > 2"),
            &scene.fresh("group"),
            Answer::Take,
        )
        .await?;
    received.exactly(&["n3".into(), "n4".into()]).await
}

async fn ordered(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    let producer = scene.producer().await?;
    for step in 0..10 {
        for key in 0..3_usize {
            let choose =
                |queues: &[rocketmq_model::common::message::message_queue::MessageQueue],
                 _: &Message,
                 key: &usize| { Some(queues[key % queues.len()].clone()) };
            producer
                .send_with_selector(message(&topic, &format!("{key}:{step}")), choose, key)
                .await?;
        }
    }
    let received = scene.start_orderly(&topic).await?;
    received.at_least(30).await?;
    for key in 0..3 {
        let steps: Vec<_> = received
            .bodies()
            .into_iter()
            .filter(|body| body.starts_with(&format!("{key}:")))
            .collect();
        let expected: Vec<_> = (0..10).map(|step| format!("{key}:{step}")).collect();
        expect!(steps == expected, "key {key} came as {steps:?}");
    }
    Ok(())
}

/// Says one thing at the sending, and another when asked.
struct Decider {
    at_send: LocalTransactionState,
    at_check: LocalTransactionState,
    checks: Arc<AtomicUsize>,
}

impl TransactionListener for Decider {
    fn execute_local_transaction(
        &self,
        _: &dyn MessageTrait,
        _: Option<&(dyn Any + Send + Sync)>,
    ) -> LocalTransactionState {
        self.at_send
    }

    fn check_local_transaction(&self, _: &MessageExt) -> LocalTransactionState {
        self.checks.fetch_add(1, Ordering::Relaxed);
        self.at_check
    }
}

async fn send_in_transaction(
    scene: &mut Scene,
    topic: &str,
    body: &str,
    decider: Decider,
) -> Result<TransactionMQProducer, Box<dyn Error + Send + Sync>> {
    let mut producer = TransactionMQProducer::builder(scene.runtime())
        .client_options(scene.options())
        .producer_group(scene.fresh("transactions"))
        .topics(vec![topic.to_string()])
        .transaction_listener(decider)
        .build();
    producer.start().await?;
    producer
        .send_message_in_transaction::<(), _>(tagged(topic, "tag", body), None)
        .await?;
    Ok(producer)
}

async fn transactions(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    let checks = Arc::new(AtomicUsize::new(0));
    let states = [
        LocalTransactionState::CommitMessage,
        LocalTransactionState::RollbackMessage,
    ];
    for (body, at_send) in ["committed", "rolled back"].iter().zip(states) {
        let decider = Decider {
            at_send,
            at_check: LocalTransactionState::Unknown,
            checks: checks.clone(),
        };
        send_in_transaction(scene, &topic, body, decider)
            .await?
            .shutdown()
            .await;
    }
    scene
        .receive(&topic)
        .await?
        .exactly(&["committed".into()])
        .await
}

async fn checked_transaction(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    let checks = Arc::new(AtomicUsize::new(0));
    let decider = Decider {
        at_send: LocalTransactionState::Unknown,
        at_check: LocalTransactionState::CommitMessage,
        checks: checks.clone(),
    };
    let mut producer = send_in_transaction(scene, &topic, "decided later", decider).await?;
    let outcome = scene
        .receive(&topic)
        .await?
        .exactly(&["decided later".into()])
        .await;
    producer.shutdown().await;
    expect!(checks.load(Ordering::Relaxed) > 0, "nobody asked");
    outcome
}

async fn delayed(scene: &mut Scene, topic: &str, later: Message, least: Duration) -> Outcome {
    let received = scene.receive(topic).await?;
    received.exactly(&["first".into()]).await?;
    let sent_at = Instant::now();
    scene.producer().await?.send(later).await?;
    received.at_least(2).await?;
    let took = sent_at.elapsed();
    expect!(
        took >= least && took < least + Duration::from_secs(6),
        "it came after {took:?}"
    );
    Ok(())
}

async fn delay_level(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    scene
        .producer()
        .await?
        .send(message(&topic, "first"))
        .await?;
    let later = Message::builder()
        .topic(&*topic)
        .delay_level(2)
        .body_slice(b"later")
        .build_unchecked();
    delayed(scene, &topic, later, Duration::from_millis(1_900)).await
}

async fn delay_time(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    scene
        .producer()
        .await?
        .send(message(&topic, "first"))
        .await?;
    let later = Message::builder()
        .topic(&*topic)
        .delay_millis(3_000)
        .body_slice(b"later")
        .build_unchecked();
    delayed(scene, &topic, later, Duration::from_millis(1_500)).await
}

async fn retry(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    scene
        .producer()
        .await?
        .send(message(&topic, "refused once"))
        .await?;
    let received = scene
        .start_push(
            &topic,
            MessageSelector::by_tag("*"),
            &scene.fresh("group"),
            Answer::RefuseOnce,
        )
        .await?;
    received.at_least(2).await?;
    let times: Vec<_> = received
        .messages()
        .iter()
        .map(MessageExt::reconsume_times)
        .collect();
    expect!(times == [0, 1], "reconsume times {times:?}");
    let topics: BTreeSet<_> = received
        .messages()
        .iter()
        .map(|message| message.topic().to_string())
        .collect();
    expect!(
        topics == BTreeSet::from([topic.clone()]),
        "topics {topics:?}"
    );
    Ok(())
}

async fn dead_letter(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    let group = scene.fresh("group");
    scene
        .producer()
        .await?
        .send(message(&topic, "refused"))
        .await?;
    let received = scene
        .start_push(
            &topic,
            MessageSelector::by_tag("*"),
            &group,
            Answer::Refuse { most: 1 },
        )
        .await?;
    received.at_least(2).await?;
    // Nobody may read dead letters by subscription as they are made, so their queue is asked.
    let dead_letters = format!("%DLQ%{group}");
    let end = Instant::now() + scene::LIMIT;
    loop {
        let producer = scene.producer().await?;
        if let Ok(queues) = producer.fetch_publish_message_queues(&dead_letters).await {
            if let Some(queue) = queues.first() {
                if producer.max_offset(queue).await? == 1 {
                    break;
                }
            }
        }
        expect!(Instant::now() < end, "no dead letter in time");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let times: Vec<_> = received
        .messages()
        .iter()
        .map(MessageExt::reconsume_times)
        .collect();
    expect!(times == [0, 1], "reconsume times {times:?}");
    Ok(())
}

async fn goes_on(scene: &mut Scene) -> Outcome {
    let (topic, group) = (scene.fresh("topic"), scene.fresh("group"));
    scene
        .producer()
        .await?
        .send(message(&topic, "first"))
        .await?;
    let first = scene
        .start_push(&topic, MessageSelector::by_tag("*"), &group, Answer::Take)
        .await?;
    first.exactly(&["first".into()]).await?;
    scene.stop_consumers().await;
    scene
        .producer()
        .await?
        .send(message(&topic, "second"))
        .await?;
    let second = scene
        .start_push(&topic, MessageSelector::by_tag("*"), &group, Answer::Take)
        .await?;
    second.exactly(&["second".into()]).await
}

async fn share(scene: &mut Scene, client_rebalance: bool) -> Outcome {
    let (topic, group) = (scene.fresh("topic"), scene.fresh("group"));
    scene
        .producer()
        .await?
        .send(message(&topic, "first"))
        .await?;
    let mut received = Vec::new();
    for _ in 0..2 {
        received.push(
            scene
                .start_push_with(
                    &topic,
                    MessageSelector::by_tag("*"),
                    &group,
                    Answer::Take,
                    client_rebalance,
                )
                .await?,
        );
    }
    let count =
        |received: &[Received]| received.iter().map(|one| one.bodies().len()).sum::<usize>();
    scene::soon("the first", || count(&received) >= 1).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let bodies = bodies("shared", 40);
    for body in &bodies {
        scene.producer().await?.send(message(&topic, body)).await?;
    }
    scene::soon("all messages", || count(&received) > bodies.len()).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    expect!(
        count(&received) == bodies.len() + 1,
        "{} messages",
        count(&received)
    );
    expect!(
        received.iter().all(|one| one.bodies().len() > 1),
        "one took all"
    );
    Ok(())
}

async fn shared(scene: &mut Scene) -> Outcome {
    share(scene, true).await
}

async fn assigned_by_broker(scene: &mut Scene) -> Outcome {
    share(scene, false).await
}

async fn pop(scene: &mut Scene) -> Outcome {
    let (topic, group) = (scene.fresh("topic"), scene.fresh("group"));
    let bodies = bodies("popped", 12);
    scene
        .producer()
        .await?
        .send(message(&topic, &bodies[0]))
        .await?;
    scene.set_pop(&topic, &group).await?;
    let received = scene
        .start_push_with(
            &topic,
            MessageSelector::by_tag("*"),
            &group,
            Answer::Take,
            false,
        )
        .await?;
    for body in &bodies[1..] {
        scene.producer().await?.send(message(&topic, body)).await?;
    }
    received.exactly(&bodies).await?;
    for message in received.messages() {
        expect!(
            message.properties().keys().any(|key| key == "POP_CK"),
            "a message that was pulled, not popped"
        );
    }
    Ok(())
}

async fn pull(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    let producer = scene.producer().await?;
    producer.send(message(&topic, "first")).await?;
    let queue = producer
        .fetch_publish_message_queues(&topic)
        .await?
        .into_iter()
        .next()
        .ok_or("no queue")?;
    let begin = producer.max_offset(&queue).await?;
    for body in bodies("pulled", 5) {
        producer
            .send_to_queue(message(&topic, &body), queue.clone())
            .await?;
    }
    let consumer = scene.pull_consumer().await?;
    let found = consumer.pull(&queue, "*", begin, 3).await?;
    expect!(
        *found.pull_status() == PullStatus::Found,
        "status {:?}",
        found.pull_status()
    );
    let seen: Vec<_> = found
        .msg_found_list()
        .unwrap_or_default()
        .iter()
        .map(scene::body)
        .collect();
    expect!(seen == bodies("pulled", 3), "pulled {seen:?}");
    let end = consumer.max_offset(&queue).await?;
    expect!(end == begin + 5, "the queue ends at {end}");
    let none = consumer.pull(&queue, "*", end, 3).await?;
    expect!(
        *none.pull_status() == PullStatus::NoNewMsg,
        "status at the end {:?}",
        none.pull_status()
    );
    consumer.shutdown().await?;
    Ok(())
}

async fn lite_pull(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    let bodies = bodies("lite", 12);
    for body in &bodies {
        scene.producer().await?.send(message(&topic, body)).await?;
    }
    let consumer = scene.lite_pull_consumer(&topic).await?;
    let mut seen = Vec::new();
    let end = Instant::now() + scene::LIMIT;
    while seen.len() < bodies.len() {
        expect!(Instant::now() < end, "only {seen:?} in time");
        seen.extend(
            consumer
                .poll_with_timeout(500)
                .await
                .iter()
                .map(scene::body),
        );
    }
    consumer.shutdown().await;
    let (seen, sent): (BTreeSet<_>, BTreeSet<_>) =
        (seen.into_iter().collect(), bodies.into_iter().collect());
    expect!(seen == sent, "took {seen:?}");
    Ok(())
}

#[tokio::main]
async fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let (mut passed, mut failed) = (0, 0);
    for (name, check) in CHECKS.iter().filter(|(name, _)| name.contains(&wanted)) {
        let start = Instant::now();
        let mut scene = Scene::new();
        let outcome = match tokio::time::timeout(Duration::from_secs(120), check(&mut scene)).await
        {
            Ok(outcome) => outcome,
            Err(_) => Err("not done within 120 s".into()),
        };
        scene.end().await;
        let took = start.elapsed().as_secs_f32();
        match outcome {
            Ok(()) => {
                passed += 1;
                println!("ok    {name} ({took:.1} s)");
            }
            Err(failure) => {
                failed += 1;
                println!("FAIL  {name} ({took:.1} s): {failure}");
            }
        }
    }
    println!("interop rust: {passed} passed, {failed} failed");
    std::process::exit(i32::from(failed > 0));
}
