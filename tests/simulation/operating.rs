//! The operator, whom nothing goes wrong for: makes the topic before the storm, and looks what is stored after it.

use std::rc::Rc;
use std::time::Duration;

use castmq_client::model::TopicConfig;
use castmq_client::{Client, Result, SeekTo};
use tokio::time::{Instant, sleep};

use crate::support::history::{Id, Stored};

use super::producing::connect;
use super::record::Record;
use super::shape::{Seat, Shape, TOPIC};

/// How long the operator tries to promote a slave.
const PROMOTION: Duration = Duration::from_secs(3);

/// Makes the topic, and masters of slaves when the storm says so.
pub async fn operate(shape: Rc<Shape>, record: Record) -> turmoil::Result {
    let client = connect(&shape, "operator").await;
    while make_topic(&client, &shape).await.is_err() {
        sleep(Duration::from_millis(50)).await;
    }
    // Slaves hear of a topic a moment later than of its messages.
    in_step(&client, &shape).await;
    record.lock().is_ready = true;
    while !record.lock().is_over {
        let slave = record.lock().promotions.pop_front();
        match slave {
            Some(slave) => promote(&client, &record, slave).await,
            None => sleep(Duration::from_millis(20)).await,
        }
    }
    Ok(())
}

/// Makes a slave the master of its set, unless it takes too long.
async fn promote(client: &Client, record: &Record, slave: Seat) {
    let until = Instant::now() + PROMOTION;
    while Instant::now() < until {
        let promoted = client.admin().at(&slave.address()).promote(true).await;
        record
            .trace
            .note_here(format_args!("{} promoted: {promoted:?}", slave.host));
        if promoted.is_ok() {
            record.lock().masters.insert(slave.broker.clone(), slave);
            return;
        }
        sleep(Duration::from_millis(200)).await;
    }
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
    // Before, masters may keep back what slaves do not have.
    in_step(&client, &shape).await;
    loop {
        match read(&client, &shape).await {
            Ok(Some(stored)) => {
                record.lock().stored = Some(stored);
                return Ok(());
            }
            Ok(None) | Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Waits until all brokers have what the masters of their sets have.
async fn in_step(client: &Client, shape: &Shape) {
    for seat in shape.seats() {
        while !is_in_step(client, &seat).await.unwrap_or(false) {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn is_in_step(client: &Client, seat: &Seat) -> Result<bool> {
    let (admin, address) = (client.admin(), seat.address());
    let (master, slave) = (admin.broker(&seat.broker).await?, admin.at(&address));
    let (of_master, of_slave) = (master.show_broker().await?, slave.show_broker().await?);
    let queues = (
        master.show_topic(TOPIC).await?.queues,
        slave.show_topic(TOPIC).await?.queues,
    );
    let end = of_master.log_appended;
    let is_all_there = [of_master, of_slave]
        .iter()
        .all(|of| of.log_dispatched == end);
    Ok(is_all_there && queues.0 == queues.1)
}

/// `None` when a broker has less by now than it said: another of its set is the master.
async fn read(client: &Client, shape: &Shape) -> Result<Option<Stored>> {
    let mut all = 0;
    for broker in &shape.brokers {
        let broker = client.admin().broker(broker).await?;
        let queues = broker.show_topic(TOPIC).await?.queues;
        all += queues.iter().map(|queue| queue.max_offset.0).sum::<u64>();
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
        let messages = consumer.poll(Duration::from_secs(5)).await?;
        if messages.is_empty() {
            return Ok(None);
        }
        for message in messages {
            let place = shape.place(message.broker(), message.queue_id().0);
            let place = place.expect("a queue of the topic");
            let id = Id::parse(message.body()?);
            read.entry(place)
                .or_default()
                .push((message.offset().0, id));
            count += 1;
        }
    }
    Ok(Some(read))
}
