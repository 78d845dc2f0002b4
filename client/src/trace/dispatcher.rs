//! The task that sends traces.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::Told;
use super::batch::Batch;
use crate::client::Client;
use crate::producer::{Delivery, Producer};

/// How long a record waits for others to travel with.
const LINGER: Duration = Duration::from_millis(100);

/// Messages that may be on their way: when brokers take no more, records wait, and are dropped when too many do.
const MAX_UNDER_WAY: usize = 8;

/// A message on its way, and how many records it has.
type UnderWay = FuturesUnordered<std::pin::Pin<Box<dyn Future<Output = u64> + Send>>>;

struct Dispatcher {
    producer: Producer,
    under_way: UnderWay,
    dropped: Arc<AtomicU64>,
}

/// Sends records until the client that is traced is gone, and those that are left then.
pub(super) async fn run(client: Client, mut told: mpsc::Receiver<Told>, dropped: Arc<AtomicU64>) {
    let mut dispatcher = Dispatcher {
        producer: client.producer().build(),
        under_way: FuturesUnordered::new(),
        dropped,
    };
    while let Some(next) = told.recv().await {
        let due = Instant::now() + LINGER;
        let mut batch = Batch::default();
        let mut next = Some(next);
        let mut waiting = None;
        while let Some(told_now) = next.take() {
            match told_now {
                Told::Record(record) => batch.add(&record),
                Told::Flush(flushed) => {
                    waiting = Some(flushed);
                    break;
                }
            }
            if !batch.is_full() {
                next = timeout_at(due, told.recv()).await.ok().flatten();
            }
        }
        dispatcher.send(batch).await;
        if let Some(flushed) = waiting {
            dispatcher.wait_for_all().await;
            // Whoever waited may have lost interest.
            let _ = flushed.send(());
        }
    }
    dispatcher.wait_for_all().await;
    dispatcher.producer.close().await;
}

async fn lost(delivery: Delivery, records: u64) -> u64 {
    match delivery.await {
        Ok(_) => 0,
        Err(error) => {
            tracing::debug!(%error, records, "traces could not be sent");
            records
        }
    }
}

impl Dispatcher {
    async fn send(&mut self, batch: Batch) {
        let records = batch.records() as u64;
        if records == 0 {
            return;
        }
        match batch.message() {
            Ok(message) => {
                let delivery = self.producer.enqueue(message);
                self.under_way.push(Box::pin(lost(delivery, records)));
            }
            Err(error) => {
                tracing::debug!(%error, records, "traces cannot be sent");
                self.dropped.fetch_add(records, Ordering::Relaxed);
            }
        }
        while self.under_way.len() > MAX_UNDER_WAY {
            self.wait_for_one().await;
        }
    }

    async fn wait_for_one(&mut self) {
        if let Some(lost) = self.under_way.next().await {
            self.dropped.fetch_add(lost, Ordering::Relaxed);
        }
    }

    async fn wait_for_all(&mut self) {
        while !self.under_way.is_empty() {
            self.wait_for_one().await;
        }
    }
}
