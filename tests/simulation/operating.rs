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
use super::shape::{Seat, Shape, TOPIC};

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
                in_step(&client, &shape).await;
                record.lock().stored = Some(stored);
                return Ok(());
            }
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Waits until slaves have what their masters have.
async fn in_step(client: &Client, shape: &Shape) {
    for seat in shape.seats().iter().filter(|seat| seat.id > 0) {
        while !is_in_step(client, seat).await.unwrap_or(false) {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn is_in_step(client: &Client, slave: &Seat) -> Result<bool> {
    let (admin, slave_address) = (client.admin(), slave.address());
    let (master, slave) = (admin.broker(&slave.broker).await?, admin.at(&slave_address));
    let ends = (
        master.show_broker().await?.log_appended,
        slave.show_broker().await?.log_dispatched,
    );
    let queues = (
        master.show_topic(TOPIC).await?.queues,
        slave.show_topic(TOPIC).await?.queues,
    );
    Ok(ends.0 == ends.1 && queues.0 == queues.1)
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
