//! Producers: lanes of messages to one queue each, the next sent when the one before is answered, or nobody knows.

use std::rc::Rc;
use std::time::Duration;

use castmq_client::{Client, Message, Producer, Queue, Retry, SendStatus};
use castmq_config::Flush;
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::support::history::{Id, Place};

use super::dial::Simulated;
use super::record::Record;
use super::shape::{Shape, Slaves, TOPIC};

/// The longest pause between two messages of a lane.
const PAUSE_MS: u64 = 60;

const MAX_BODY_BYTES: usize = 600;

/// A client of the cluster.
pub async fn connect(shape: &Shape, name: &str) -> Client {
    loop {
        let client = Client::builder()
            .name_servers(shape.name_server_addresses())
            .client_id(name)
            .connect_timeout(Duration::from_millis(500))
            .request_timeout(Duration::from_secs(1))
            .dial(std::sync::Arc::new(Simulated));
        match client.build().await {
            Ok(client) => return client,
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// One lane.
struct Lane {
    shape: Rc<Shape>,
    record: Record,
    producer: Producer,
    number: u32,
    place: Place,
}

/// A host with a lane to each queue. Lanes are numbered from `first` on.
pub async fn produce(
    shape: Rc<Shape>,
    record: Record,
    name: String,
    first: u32,
) -> turmoil::Result {
    wait_for_topic(&record).await;
    let client = connect(&shape, &name).await;
    let producer = client.producer().send_timeout(Duration::from_secs(3));
    // Either way a message is there once: it is sent again under its number, or not at all.
    let producer = match fastrand::bool() {
        true => producer.idempotent(true).build(),
        false => producer.allow_duplicates(false).build(),
    };
    let mut lanes = Vec::new();
    for (number, place) in (first..).zip(shape.places()) {
        let lane = Lane {
            shape: shape.clone(),
            record: record.clone(),
            producer: producer.clone(),
            number,
            place,
        };
        lanes.push(spawn_local(lane.run()));
    }
    for lane in lanes {
        lane.await?;
    }
    producer.close().await;
    Ok(())
}

/// Waits until there is something to send to.
pub async fn wait_for_topic(record: &Record) {
    while !record.lock().is_ready {
        sleep(Duration::from_millis(10)).await;
    }
}

impl Lane {
    async fn run(self) {
        for sequence in 0.. {
            if self.record.lock().is_over {
                break;
            }
            let producer = self.number;
            self.send(Id { producer, sequence }).await;
            sleep(Duration::from_millis(fastrand::u64(..PAUSE_MS))).await;
        }
        self.record.lock().lanes -= 1;
    }

    async fn send(&self, id: Id) {
        self.record.lock().history.attempt(id, self.place);
        let (broker, queue) = self.shape.queue(self.place);
        let body = id.body(fastrand::usize(10..MAX_BODY_BYTES));
        let message = Message::builder(TOPIC, body).queue(&Queue::new(TOPIC, broker, queue));
        let message = message.build().expect("a message");
        let sent = self.producer.send(message).await;
        let record = &mut *self.record.lock();
        let history = &mut record.history;
        match &sent {
            Ok(receipt) if receipt.status == SendStatus::Stored => {
                history.acknowledge(id, receipt.offset.0);
                record.begun.insert(self.place);
            }
            // It may not be durable, or nowhere else.
            Ok(_) if self.shape.flush == Flush::Sync || self.shape.slaves == Slaves::InStep => {}
            Ok(receipt) => history.acknowledge(id, receipt.offset.0),
            Err(error) if error.retry() != Retry::MayDuplicate => history.refuse(id),
            Err(_) => {}
        }
        let outcome = match &sent {
            Ok(receipt) => format!("{} {:?}", receipt.offset.0, receipt.status),
            Err(error) => error.to_string(),
        };
        self.record
            .trace
            .note_here(format_args!("sent {id}: {outcome}"));
    }
}
