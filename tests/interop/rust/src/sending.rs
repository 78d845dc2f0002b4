//! Sends, and what of them comes.

use rocketmq_client_rust::{MessageSelector, SendStatus};
use rocketmq_model::common::message::message_queue::MessageQueue;
use rocketmq_model::common::message::message_single::Message;

use crate::scene::{Answer, Scene};
use crate::{bodies, message, tagged, Outcome};

pub async fn send(scene: &mut Scene) -> Outcome {
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

pub async fn one_way(scene: &mut Scene) -> Outcome {
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

pub async fn batch(scene: &mut Scene) -> Outcome {
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

pub async fn big(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    let body = "compress me ".repeat(5_000);
    scene.send(&topic, &body).await?;
    scene.receive(&topic).await?.exactly(&[body]).await
}

pub async fn sql(scene: &mut Scene) -> Outcome {
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
        .start_push_with(
            &topic,
            MessageSelector::by_sql("n > 2"),
            &scene.fresh("group"),
            Answer::Take,
            true,
        )
        .await?;
    received.exactly(&["n3".into(), "n4".into()]).await
}

pub async fn ordered(scene: &mut Scene) -> Outcome {
    let topic = scene.fresh("topic");
    let producer = scene.producer().await?;
    for step in 0..10 {
        for key in 0..3_usize {
            let choose = |queues: &[MessageQueue], _: &Message, key: &usize| {
                Some(queues[key % queues.len()].clone())
            };
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
