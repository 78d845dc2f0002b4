//! Reading a topic as far as it goes now.

use std::collections::HashMap;
use std::time::Duration;

use castmq_client::model::{QueueId, QueueOffset};
use castmq_client::{Client, ErrorCode, PullConsumer, Queue, ReceivedMessage, StartFrom};

use super::brokers::{Cluster, ask_each};
use crate::tools::ToolError;

/// How long a queue that says it has more is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A topic's messages on all brokers, up to those that are there at the beginning.
pub(super) struct Reading {
    pub(super) consumer: PullConsumer,
    /// Behind the last message of each queue.
    pub(super) ends: HashMap<Queue, QueueOffset>,
}

impl Reading {
    /// Begins where `group` is; a group that never read the topic is at its first message.
    pub(super) async fn open(
        topic: &str,
        group: &str,
        client: &Client,
        cluster: &Cluster,
    ) -> Result<Self, ToolError> {
        let brokers = cluster.masters(None).await?;
        let answers = ask_each(&brokers, async |broker| broker.at.show_topic(topic).await).await;
        let answers = answers.where_there(ErrorCode::TopicNotFound, "topic", topic)?;
        let (found, end) = answers.settle();
        end?;
        let mut ends = HashMap::new();
        for (broker, details) in found {
            for queue in details.queues {
                let name = queue_of(topic, &broker.name, queue.queue);
                ends.insert(name, queue.max_offset);
            }
        }
        let consumer = client.pull_consumer(group).from(StartFrom::Earliest);
        let mut reading = Self {
            consumer: consumer.build()?,
            ends,
        };
        let queues = reading.queues();
        reading.consumer.assign(queues).await?;
        Ok(reading)
    }

    /// The topic's queues.
    pub(super) fn queues(&self) -> Vec<Queue> {
        self.ends.keys().cloned().collect()
    }

    fn is_over(&self) -> bool {
        self.consumer.assignment().iter().all(|queue| {
            let (at, end) = (self.consumer.position(queue), self.ends.get(queue));
            at.zip(end).is_some_and(|(at, end)| at >= *end)
        })
    }

    /// The next ones of the queues that are assigned; none when there are no more.
    pub(super) async fn next(&mut self) -> Result<Vec<ReceivedMessage>, ToolError> {
        if self.is_over() {
            return Ok(Vec::new());
        }
        Ok(self.consumer.poll(PATIENCE).await?)
    }
}

/// A queue by its three names.
fn queue_of(topic: &str, broker: &str, id: QueueId) -> Queue {
    Queue {
        topic: topic.into(),
        broker: broker.into(),
        id,
    }
}
