//! Groups, retries, and the ways to consume.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rocketmq_client_rust::{MessageSelector, PullStatus};

use crate::scene::{self, Answer, Received, Scene};
use crate::{bodies, message, Outcome};

pub async fn retry(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    scene.send(&topic, "refused once").await?;
    let received = scene
        .start_push(&topic, &scene.fresh("group"), Answer::RefuseOnce)
        .await?;
    received.at_least(2).await?;
    let times = received.reconsume_times();
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

pub async fn dead_letter(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    let group = scene.fresh("group");
    scene.send(&topic, "refused").await?;
    let received = scene
        .start_push(&topic, &group, Answer::Refuse { most: 1 })
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
    let times = received.reconsume_times();
    expect!(times == [0, 1], "reconsume times {times:?}");
    Ok(())
}

pub async fn goes_on(scene: &mut Scene) -> Outcome {
    let (topic, group) = (scene.fresh("topic"), scene.fresh("group"));
    scene.send(&topic, "first").await?;
    let first = scene.start_push(&topic, &group, Answer::Take).await?;
    first.exactly(&["first".into()]).await?;
    scene.stop_consumers().await;
    scene.send(&topic, "second").await?;
    let second = scene.start_push(&topic, &group, Answer::Take).await?;
    second.exactly(&["second".into()]).await
}

async fn share(scene: &mut Scene, client_rebalance: bool) -> Outcome {
    let (topic, group) = (scene.fresh("topic"), scene.fresh("group"));
    scene.send(&topic, "first").await?;
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
        scene.send(&topic, body).await?;
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

pub async fn shared(scene: &mut Scene) -> Outcome {
    share(scene, true).await
}

pub async fn assigned_by_broker(scene: &mut Scene) -> Outcome {
    share(scene, false).await
}

pub async fn pop(scene: &mut Scene) -> Outcome {
    let (topic, group) = (scene.fresh("topic"), scene.fresh("group"));
    let bodies = bodies("popped", 12);
    scene.send(&topic, &bodies[0]).await?;
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
        scene.send(&topic, body).await?;
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

pub async fn pull(scene: &mut Scene) -> Outcome {
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

pub async fn lite_pull(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    let bodies = bodies("lite", 12);
    for body in &bodies {
        scene.send(&topic, body).await?;
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
