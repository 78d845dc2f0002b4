//! The operator, whom nothing goes wrong for: makes the topic before the storm, and looks what is stored after it.

use std::rc::Rc;
use std::time::Duration;

use castmq_client::model::TopicConfig;
use castmq_client::{Client, Result, SeekTo};
use tokio::time::sleep;

use crate::support::history::{Id, Stored};
use crate::support::stored;

use super::producing::connect;
use super::record::Record;
use super::shape::{Shape, TOPIC};

/// Tries to make the topic, until all brokers have it.
pub async fn prepare(shape: Rc<Shape>, record: Record) -> turmoil::Result {
    let client = connect(&shape, "operator").await;
    while make_topic(&client, &shape).await.is_err() {
        sleep(Duration::from_millis(50)).await;
    }
    record.lock().is_ready = true;
    Ok(())
}

async fn make_topic(client: &Client, shape: &Shape) -> Result<()> {
    for broker in &shape.brokers {
        let broker = client.admin().broker(broker).await?;
        let config = TopicConfig::with_queues(shape.queues);
        broker.put_topic(TOPIC, config).await?;
    }
    Ok(())
}

/// Reads everything that brokers have.
pub async fn look(shape: Rc<Shape>, record: Record) -> turmoil::Result {
    let client = connect(&shape, "inspector").await;
    loop {
        match read(&client, &shape).await {
            Ok(stored) => {
                record.lock().stored = Some(stored);
                return Ok(());
            }
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn read(client: &Client, shape: &Shape) -> Result<Stored> {
    let mut all = 0;
    for broker in &shape.brokers {
        all += stored(&client.admin().broker(broker).await?, TOPIC).await;
    }
    let mut consumer = client.pull_consumer("reader").build()?;
    let queues = consumer.queues(TOPIC).await?;
    consumer.assign(queues.clone()).await?;
    for queue in &queues {
        consumer.seek(queue, SeekTo::Earliest).await?;
    }
    let mut read = Stored::new();
    let mut count = 0;
    while count < all {
        for message in consumer.poll(Duration::from_secs(5)).await? {
            let place = shape.place(message.broker(), message.queue_id().0);
            let place = place.expect("a queue of the topic");
            let id = Id::parse(message.body()?);
            read.entry(place)
                .or_default()
                .push((message.offset().0, id));
            count += 1;
        }
    }
    Ok(read)
}
