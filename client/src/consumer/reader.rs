//! Asking brokers about queues, and for their messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use castmq_protocol::model::{GroupName, QueueId, QueueOffset};
use castmq_protocol::native::request::{Filter, Pull, QueuePosition};
use castmq_protocol::native::response::{PullStatus, QueueRange};
use castmq_protocol::native::{Request, Response, Role};

use super::pull::{PullSettings, SeekTo};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::link::Session;
use crate::message::{Origin, Queue, ReceivedMessage, read_records};
use crate::routes::{REFRESH, ReadBroker};

/// How long a broker keeps a pull that finds nothing (RocketMQ's long poll of 15 s).
const WAIT: Duration = Duration::from_secs(15);

/// Asks brokers about queues.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    client: Client,
    group: Arc<str>,
    filters_here: Arc<AtomicBool>,
}

impl Reader {
    pub(super) fn new(client: Client, group: &GroupName) -> Self {
        Self {
            client,
            group: group.as_str().into(),
            filters_here: Arc::default(),
        }
    }

    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// The queues of a topic that can be read, sorted.
    pub(super) async fn queues(&self, topic: &str) -> Result<Vec<Queue>> {
        let topic: Arc<str> = topic.into();
        let found = self
            .client
            .shared
            .routes
            .for_reading(&topic, Duration::ZERO)
            .await?;
        let brokers = found.ok_or_else(|| Error::TopicNotFound {
            topic: topic.clone(),
        })?;
        let queues_of = |broker: &ReadBroker| {
            let (topic, broker, count) = (topic.clone(), broker.name.clone(), broker.queues);
            (0..count).map(move |id| Queue {
                topic: topic.clone(),
                broker: broker.clone(),
                id: QueueId(id),
            })
        };
        Ok(brokers.iter().flat_map(queues_of).collect())
    }

    pub(super) fn filters_here(&self) -> bool {
        self.filters_here.load(Ordering::Acquire)
    }

    pub(super) fn filter_here(&self) {
        tracing::info!(group = %self.group, "broker does not filter, filtering here");
        self.filters_here.store(true, Ordering::Release);
    }

    /// A connection to the queue's broker. Where it is is asked again when it cannot be reached.
    async fn session(&self, queue: &Queue) -> Result<Arc<Session>> {
        let mut last = None;
        for max_age in [REFRESH, Duration::ZERO] {
            let found = self
                .client
                .shared
                .routes
                .for_reading(&queue.topic, max_age)
                .await?;
            let mut brokers = found.unwrap_or_default().into_iter();
            let Some(broker) = brokers.find(|broker| broker.name == queue.broker) else {
                continue;
            };
            match self
                .client
                .link(&broker.address, Role::Consumer)
                .session()
                .await
            {
                Ok(session) => return Ok(session),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::NoQueue {
            topic: queue.topic.clone(),
            reason: format!("name servers know no broker {} of it", queue.broker).into(),
        }))
    }

    pub(super) async fn committed(&self, queue: &Queue) -> Result<Option<QueueOffset>> {
        let session = self.session(queue).await?;
        let request = Request::QueryOffset {
            group: session.group(&self.group).await?,
            topic: session.topic(&queue.topic).await?.alias,
            queue: queue.id,
        };
        match session.ask(request).await?.header.response {
            Response::Offset(offset) => Ok(offset),
            _ => Err(session.unexpected("query offset")),
        }
    }

    pub(super) async fn resolve(&self, queue: &Queue, to: SeekTo) -> Result<QueueOffset> {
        match to {
            SeekTo::Offset(offset) => Ok(offset),
            SeekTo::Earliest => Ok(self.range(queue).await?.min),
            SeekTo::Latest => Ok(self.range(queue).await?.max),
            SeekTo::Time(timestamp_ms) => match self.offset_at(queue, timestamp_ms).await? {
                Some(offset) => Ok(offset),
                None => Ok(self.range(queue).await?.max),
            },
        }
    }

    async fn range(&self, queue: &Queue) -> Result<QueueRange> {
        let session = self.session(queue).await?;
        let request = Request::QueueRange {
            topic: session.topic(&queue.topic).await?.alias,
            queue: queue.id,
        };
        match session.ask(request).await?.header.response {
            Response::Range(range) => Ok(range),
            _ => Err(session.unexpected("queue range")),
        }
    }

    async fn offset_at(&self, queue: &Queue, timestamp_ms: i64) -> Result<Option<QueueOffset>> {
        let session = self.session(queue).await?;
        let request = Request::OffsetAtTime {
            topic: session.topic(&queue.topic).await?.alias,
            queue: queue.id,
            timestamp_ms,
        };
        match session.ask(request).await?.header.response {
            Response::Offset(offset) => Ok(offset),
            _ => Err(session.unexpected("offset at time")),
        }
    }

    pub(super) async fn pull(
        &self,
        queue: &Queue,
        offset: QueueOffset,
        settings: &PullSettings,
        origin: &Arc<Origin>,
    ) -> Result<(Vec<ReceivedMessage>, QueueOffset)> {
        let session = self.session(queue).await?;
        let filter = match &settings.filter {
            Filter::Tags(_) if self.filters_here() => Filter::All,
            other => other.clone(),
        };
        let request = Request::Pull(Pull {
            topic: session.topic(&queue.topic).await?.alias,
            queue: queue.id,
            offset,
            max_messages: settings.max_messages,
            max_bytes: settings.max_bytes,
            wait_ms: WAIT.as_millis() as u32,
            filter,
        });
        let reply = session.ask(request).await;
        let reply = reply.inspect_err(|error| session.forget_if_gone(&queue.topic, error))?;
        let Response::Pulled(pulled) = reply.header.response else {
            return Err(session.unexpected("pull"));
        };
        let mut messages = match pulled.status {
            PullStatus::Found => read_records(reply.payload, Some(origin), pulled.messages)?,
            _ => Vec::new(),
        };
        if let Filter::Tags(tags) = &settings.filter {
            // Brokers compare hashes of tags, which can collide, or do not filter at all.
            messages.retain(|message| {
                message
                    .tag()
                    .is_some_and(|tag| tags.iter().any(|one| one == tag))
            });
        }
        Ok((messages, pulled.next_offset))
    }

    pub(super) async fn commit(&self, moved: &[(Queue, QueueOffset)]) -> Result<()> {
        let Some((first, _)) = moved.first() else {
            return Ok(());
        };
        let session = self.session(first).await?;
        let mut offsets = Vec::with_capacity(moved.len());
        for (queue, offset) in moved {
            offsets.push(QueuePosition {
                topic: session.topic(&queue.topic).await?.alias,
                queue: queue.id,
                offset: *offset,
            });
        }
        let group = session.group(&self.group).await?;
        let request = Request::CommitOffsets { group, offsets };
        match session.ask(request).await?.header.response {
            Response::Done => Ok(()),
            _ => Err(session.unexpected("commit offsets")),
        }
    }
}
