//! Asking brokers about queues, and for their messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use castmq_protocol::model::{GroupName, QueueId, QueueOffset};
use castmq_protocol::native::request::{Filter, GroupAlias, Pull, QueuePosition, TopicAlias};
use castmq_protocol::native::response::{PullStatus, QueueRange};
use castmq_protocol::native::{Request, Response, Role};
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::pull::{PullSettings, SeekTo};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::link::Session;
use crate::message::{Origin, Queue, ReceivedMessage, read_records};
use crate::routes::{FRESH, LOOK, Place, REFRESH, ReadBroker, readable, reading_place};

/// How long a broker keeps a pull that finds nothing (RocketMQ's long poll of 15 s).
const WAIT: Duration = Duration::from_secs(15);

/// Asks brokers about queues. Cheap to clone; clones share what they know.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    client: Client,
    group: Arc<str>,
    filters_here: Arc<AtomicBool>,
    /// Where brokers were read last.
    places: Arc<Mutex<HashMap<Arc<str>, Place>>>,
    /// That has turned out to be wrong.
    is_stale: Arc<AtomicBool>,
}

impl Reader {
    pub(super) fn new(client: Client, group: &GroupName) -> Self {
        Self {
            client,
            group: group.as_str().into(),
            filters_here: Arc::default(),
            places: Arc::default(),
            is_stale: Arc::default(),
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
            .find(&topic, Duration::ZERO)
            .await?;
        let route = found.ok_or_else(|| Error::TopicNotFound {
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
        Ok(readable(&route).iter().flat_map(queues_of).collect())
    }

    pub(super) fn filters_here(&self) -> bool {
        self.filters_here.load(Ordering::Acquire)
    }

    pub(super) fn filter_here(&self) {
        tracing::info!(group = %self.group, "broker does not filter, filtering here");
        self.filters_here.store(true, Ordering::Release);
    }

    /// Where the queue's broker is read. While that is a slave, it is looked more often whether the master is back.
    async fn place(&self, queue: &Queue) -> Result<Place> {
        let routes = &self.client.shared.routes;
        let last = self.places.lock().get(&queue.broker).cloned();
        let found = if self.is_stale.swap(false, Ordering::AcqRel) {
            routes.find(&queue.topic, FRESH).await
        } else {
            let at_slave = last.as_ref().is_some_and(|place| place.is_slave);
            let max_age = if at_slave { LOOK } else { REFRESH };
            routes.at_hand(&queue.topic, max_age).await
        };
        let route = found.as_ref().ok().and_then(Option::as_ref);
        let told = route.and_then(|route| reading_place(route, &queue.broker));
        let place = match (told, last) {
            // Name servers forget masters that are still there.
            (Some(told), Some(last)) if told.is_slave && self.reads_master(&last) => last,
            (Some(told), _) => told,
            (None, Some(last)) => last,
            (None, None) => {
                found?;
                return Err(Error::NoQueue {
                    topic: queue.topic.clone(),
                    reason: format!("name servers know no broker {} of it", queue.broker).into(),
                });
            }
        };
        let mut places = self.places.lock();
        places.insert(queue.broker.clone(), place.clone());
        Ok(place)
    }

    fn reads_master(&self, place: &Place) -> bool {
        let link = self.client.link(&place.address, Role::Consumer);
        !place.is_slave && link.live().is_some()
    }

    /// A connection to the queue's broker, and whether that is a slave. Where it is is asked again when it cannot be reached.
    async fn session(&self, queue: &Queue) -> Result<(Arc<Session>, bool)> {
        let mut place = self.place(queue).await?;
        let mut link = self.client.link(&place.address, Role::Consumer);
        let session = match link.session().await {
            Ok(session) => session,
            Err(_) => {
                self.is_stale.store(true, Ordering::Release);
                place = self.place(queue).await?;
                link = self.client.link(&place.address, Role::Consumer);
                link.session().await?
            }
        };
        Ok((session, place.is_slave))
    }

    /// Asks the broker of some queues, and once more when that says that it is the wrong one. `request` is told the group's
    /// number, and the topics'.
    async fn ask(
        &self,
        queues: &[&Queue],
        request: impl Fn(GroupAlias, &[TopicAlias]) -> Request,
    ) -> Result<(Arc<Session>, Response)> {
        match self.ask_once(queues, &request).await {
            Err(error @ Error::Refused { .. }) if error.hints_at_stale_route() => {
                tracing::debug!(%error, "the broker is looked for again");
                self.ask_once(queues, &request).await
            }
            answer => answer,
        }
    }

    async fn ask_once(
        &self,
        queues: &[&Queue],
        request: impl Fn(GroupAlias, &[TopicAlias]) -> Request,
    ) -> Result<(Arc<Session>, Response)> {
        let Some(first) = queues.first() else {
            return Err(Error::setting("no queue is asked for"));
        };
        let (session, _) = self.session(first).await?;
        let group = session.group(&self.group).await?;
        let mut topics = Vec::with_capacity(queues.len());
        for queue in queues {
            topics.push(session.topic(&queue.topic).await?.alias);
        }
        let reply = session.ask(request(group, &topics)).await;
        let reply = reply.inspect_err(|error| self.note(error))?;
        Ok((session, reply.header.response))
    }

    /// Notes what an error says of routes.
    fn note(&self, error: &Error) {
        if error.hints_at_stale_route() {
            self.is_stale.store(true, Ordering::Release);
        }
    }

    pub(super) async fn committed(&self, queue: &Queue) -> Result<Option<QueueOffset>> {
        let request = |group, topics: &[TopicAlias]| Request::QueryOffset {
            group,
            topic: topics.first().copied().unwrap_or_default(),
            queue: queue.id,
        };
        match self.ask(&[queue], request).await? {
            (_, Response::Offset(offset)) => Ok(offset),
            (session, _) => Err(session.unexpected("query offset")),
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
        let request = |_, topics: &[TopicAlias]| Request::QueueRange {
            topic: topics.first().copied().unwrap_or_default(),
            queue: queue.id,
        };
        match self.ask(&[queue], request).await? {
            (_, Response::Range(range)) => Ok(range),
            (session, _) => Err(session.unexpected("queue range")),
        }
    }

    async fn offset_at(&self, queue: &Queue, timestamp_ms: i64) -> Result<Option<QueueOffset>> {
        let request = |_, topics: &[TopicAlias]| Request::OffsetAtTime {
            topic: topics.first().copied().unwrap_or_default(),
            queue: queue.id,
            timestamp_ms,
        };
        match self.ask(&[queue], request).await? {
            (_, Response::Offset(offset)) => Ok(offset),
            (session, _) => Err(session.unexpected("offset at time")),
        }
    }

    pub(super) async fn pull(
        &self,
        queue: &Queue,
        offset: QueueOffset,
        settings: &PullSettings,
        origin: &Arc<Origin>,
    ) -> Result<(Vec<ReceivedMessage>, QueueOffset)> {
        let (session, is_slave) = self.session(queue).await?;
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
            // At a slave it is looked between waits whether the master is back.
            wait_ms: if is_slave { LOOK } else { WAIT }.as_millis() as u32,
            filter,
        });
        let reply = session.ask(request).await;
        let reply = reply.inspect_err(|error| {
            self.note(error);
            session.forget_if_gone(&queue.topic, error);
        })?;
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

    /// Commits offsets of one broker's queues. Returns where.
    pub(super) async fn commit(&self, moved: &[(Queue, QueueOffset)]) -> Result<Arc<str>> {
        let request = |group, topics: &[TopicAlias]| {
            let positions = moved.iter().zip(topics);
            let position =
                |((queue, offset), topic): (&(Queue, QueueOffset), &TopicAlias)| QueuePosition {
                    topic: *topic,
                    queue: queue.id,
                    offset: *offset,
                };
            Request::CommitOffsets {
                group,
                offsets: positions.map(position).collect(),
            }
        };
        let queues: Vec<_> = moved.iter().map(|(queue, _)| queue).collect();
        match self.ask(&queues, request).await? {
            (session, Response::Done) => Ok(session.address().clone()),
            (session, _) => Err(session.unexpected("commit offsets")),
        }
    }
}
