//! How consumers behave, against a cluster in memory.

mod cluster;
mod group;
mod pop;
mod pull;
mod push;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use castmq_protocol::model::QueueOffset;
use castmq_protocol::native::{ErrorCode, Failure};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::error::Error;
use crate::message::{Message, Queue, ReceivedMessage};
use crate::testing::{FakeCluster, Fault, NAME_SERVER};

/// What handlers saw, in the order in which they finished.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(Queue, String)>>>);

impl Seen {
    fn note(&self, message: &ReceivedMessage) {
        let body = String::from_utf8_lossy(message.body().unwrap()).into_owned();
        self.0.lock().push((message.queue(), body));
    }

    fn bodies(&self) -> Vec<String> {
        self.0.lock().iter().map(|(_, body)| body.clone()).collect()
    }

    fn sorted(&self) -> Vec<u32> {
        let mut numbers: Vec<_> = self
            .bodies()
            .iter()
            .map(|body| body.parse().unwrap())
            .collect();
        numbers.sort_unstable();
        numbers
    }

    fn by_queue(&self) -> BTreeMap<Queue, Vec<u32>> {
        let mut queues: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (queue, body) in &*self.0.lock() {
            queues
                .entry(queue.clone())
                .or_default()
                .push(body.parse().unwrap());
        }
        queues
    }

    /// Waits until this many messages were seen.
    async fn count(&self, count: usize) {
        let enough = async {
            while self.0.lock().len() < count {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let enough = timeout(Duration::from_secs(300), enough).await;
        assert!(
            enough.is_ok(),
            "{} of {count} messages came",
            self.0.lock().len()
        );
    }
}

async fn until(what: &str, is_true: impl Fn() -> bool) {
    let become_true = async {
        while !is_true() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        timeout(Duration::from_secs(300), become_true).await.is_ok(),
        "never: {what}"
    );
}

/// A cluster of one broker with `queues` queues of numbered messages, `each` in each.
fn stored(queues: u32, each: u32) -> FakeCluster {
    let cluster = FakeCluster::start(&["a"]);
    cluster.topic("a", "orders", queues as usize);
    for queue in 0..queues {
        cluster.store("a", "orders", queue, queue * each..(queue + 1) * each);
    }
    cluster
}

async fn group(cluster: &FakeCluster) -> PushConsumerBuilder {
    let builder = cluster.client().await.push_consumer("g");
    builder
        .subscribe("orders", Filter::All)
        .from(StartFrom::Earliest)
}

fn collecting(seen: &Seen) -> impl Fn(ReceivedMessage) -> std::future::Ready<()> + use<> {
    let seen = seen.clone();
    move |message| {
        seen.note(&message);
        std::future::ready(())
    }
}
