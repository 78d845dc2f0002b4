//! The pull consumer: asks for messages itself, and decides itself which queues it reads.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::{GroupName, QueueOffset};
use castmq_protocol::native::request::{Filter, StartFrom};
use castmq_protocol::native::{ErrorCode, Retry};
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use super::reader::Reader;
use crate::backoff::Backoff;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::message::{Origin, Queue, ReceivedMessage};
use crate::routes::LOOK;

/// Settings of a [`PullConsumer`], from [`Client::pull_consumer`].
///
/// # Examples
///
/// ```no_run
/// # async fn example(client: castmq_client::Client) -> castmq_client::Result<()> {
/// use castmq_client::StartFrom;
///
/// let consumer = client.pull_consumer("audit").from(StartFrom::Earliest).batch(64).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct PullConsumerBuilder {
    client: Client,
    group: String,
    settings: PullSettings,
}

#[derive(Debug, Clone)]
pub(super) struct PullSettings {
    from: StartFrom,
    pub(super) filter: Filter,
    pub(super) max_messages: u32,
    pub(super) max_bytes: u32,
}

impl PullConsumerBuilder {
    pub(crate) fn new(client: Client, group: &str) -> Self {
        Self {
            client,
            group: group.to_owned(),
            settings: PullSettings {
                from: StartFrom::Latest,
                filter: Filter::All,
                max_messages: 256,
                max_bytes: 1024 * 1024,
            },
        }
    }

    /// Where to begin in a queue for which the group has committed nothing. Default: behind the last message.
    pub fn from(mut self, from: StartFrom) -> Self {
        self.settings.from = from;
        self
    }

    /// Which messages. Default: all.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.settings.filter = filter;
        self
    }

    /// Messages of one queue in one answer, at most. Default: 256.
    pub fn batch(mut self, messages: u32) -> Self {
        self.settings.max_messages = messages.max(1);
        self
    }

    /// Bytes of one queue in one answer, at most; one message is always possible. Default: 1 MiB.
    pub fn batch_bytes(mut self, bytes: u32) -> Self {
        self.settings.max_bytes = bytes.max(1);
        self
    }

    /// The consumer. It has no queues yet.
    ///
    /// # Errors
    ///
    /// When the group's name breaks the rules.
    pub fn build(self) -> Result<PullConsumer> {
        let group = GroupName::new(&self.group)?;
        Ok(PullConsumer {
            reader: Reader::new(self.client, &group),
            settings: self.settings,
            positions: BTreeMap::new(),
            committed_at: BTreeMap::new(),
            pulls: Mutex::new(FuturesUnordered::new()),
            epoch: 0,
        })
    }
}

/// A place in a queue to go on from.
///
/// # Examples
///
/// ```no_run
/// # async fn example(mut consumer: castmq_client::PullConsumer) -> castmq_client::Result<()> {
/// use castmq_client::{SeekTo, model::QueueOffset};
///
/// for queue in consumer.assignment() {
///     consumer.seek(&queue, SeekTo::Offset(QueueOffset(100))).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeekTo {
    /// The first message there is.
    Earliest,
    /// Behind the last message there is.
    Latest,
    /// This offset.
    Offset(QueueOffset),
    /// The first message stored at this time or later, in milliseconds since the epoch.
    Time(i64),
}

impl From<StartFrom> for SeekTo {
    fn from(from: StartFrom) -> Self {
        match from {
            StartFrom::Earliest => Self::Earliest,
            StartFrom::Latest => Self::Latest,
            StartFrom::Timestamp(timestamp_ms) => Self::Time(timestamp_ms),
        }
    }
}

/// Where reading a queue stands.
#[derive(Debug)]
struct Position {
    origin: Arc<Origin>,
    /// The next message to ask for: what lies before has been handed out.
    next: QueueOffset,
    committed: Option<QueueOffset>,
    /// Tells answers to what was asked before a seek.
    epoch: u64,
    is_pulling: bool,
    backoff: Backoff,
    not_before: Option<Instant>,
}

/// What a pull brought.
struct Pulled {
    queue: Queue,
    epoch: u64,
    /// Whether tags were compared here when it was asked for.
    filtered_here: bool,
    result: Result<(Vec<ReceivedMessage>, QueueOffset)>,
}

/// Asks for messages itself, and decides itself which queues it reads.
///
/// It is no member of its group: it uses the group's offsets, and nobody shares queues out. Use it for tools, for replay, and
/// where something else assigns the queues.
///
/// While a broker set has no master it reads from the slave with the least id, and goes back when the master is back. Where it
/// reads and what it has read are its own; so nothing is skipped, or comes twice.
///
/// # Examples
///
/// ```no_run
/// # async fn example(client: castmq_client::Client) -> castmq_client::Result<()> {
/// use std::time::Duration;
/// use castmq_client::SeekTo;
///
/// let mut consumer = client.pull_consumer("audit").build()?;
/// let queues = consumer.queues("orders").await?;
/// consumer.assign(queues.clone()).await?;
/// for queue in &queues {
///     consumer.seek(queue, SeekTo::Earliest).await?;
/// }
/// loop {
///     let messages = consumer.poll(Duration::from_secs(5)).await?;
///     if messages.is_empty() {
///         break;
///     }
///     for message in &messages {
///         println!("{} #{}", message.queue(), message.offset());
///     }
///     consumer.commit().await?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct PullConsumer {
    reader: Reader,
    settings: PullSettings,
    positions: BTreeMap<Queue, Position>,
    /// The address of each broker at which offsets were committed last.
    committed_at: BTreeMap<Arc<str>, Arc<str>>,
    /// At most one for each queue, and those that a seek made useless. Never locked: the mutex lets the consumer be shared
    /// although the futures cannot be.
    pulls: Mutex<FuturesUnordered<Pin<Box<dyn Future<Output = Pulled> + Send>>>>,
    epoch: u64,
}

impl std::fmt::Debug for PullConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("PullConsumer");
        debug
            .field("group", &self.reader.group())
            .field("positions", &self.positions);
        debug.finish_non_exhaustive()
    }
}

impl PullConsumer {
    /// Settings first.
    pub fn builder(client: &Client, group: &str) -> PullConsumerBuilder {
        client.pull_consumer(group)
    }

    /// The queues of a topic that can be read, sorted.
    ///
    /// # Errors
    ///
    /// [`Error::TopicNotFound`] when the topic does not exist.
    pub async fn queues(&self, topic: &str) -> Result<Vec<Queue>> {
        self.reader.queues(topic).await
    }

    /// Reads these queues from now on, and no others. A queue that was read before goes on where it is; another begins at the
    /// group's offset, or where [`PullConsumerBuilder::from`] says.
    ///
    /// # Errors
    ///
    /// When a queue's broker cannot be reached; nothing has changed then.
    pub async fn assign(&mut self, queues: impl IntoIterator<Item = Queue>) -> Result<()> {
        let mut wanted = BTreeMap::new();
        for queue in queues {
            let start = match self.positions.get(&queue) {
                Some(_) => None,
                None => Some(self.start_of(&queue).await?),
            };
            wanted.insert(queue, start);
        }
        self.positions.retain(|queue, _| wanted.contains_key(queue));
        for (queue, start) in wanted {
            if let Some((next, committed)) = start {
                self.begin(queue, next, committed);
            }
        }
        Ok(())
    }

    async fn start_of(&self, queue: &Queue) -> Result<(QueueOffset, Option<QueueOffset>)> {
        match self.reader.committed(queue).await? {
            Some(committed) => Ok((committed, Some(committed))),
            None => {
                let start = self
                    .reader
                    .resolve(queue, self.settings.from.into())
                    .await?;
                Ok((start, None))
            }
        }
    }

    fn begin(&mut self, queue: Queue, next: QueueOffset, committed: Option<QueueOffset>) {
        self.epoch += 1;
        let origin = Origin {
            topic: queue.topic.clone(),
            broker: queue.broker.clone(),
        };
        let position = Position {
            origin: Arc::new(origin),
            next,
            committed,
            epoch: self.epoch,
            is_pulling: false,
            backoff: Backoff::up_to(LOOK),
            not_before: None,
        };
        self.positions.insert(queue, position);
    }

    /// The queues that are read, sorted.
    pub fn assignment(&self) -> Vec<Queue> {
        self.positions.keys().cloned().collect()
    }

    /// The next message that will be read of a queue; `None` when it is not assigned.
    pub fn position(&self, queue: &Queue) -> Option<QueueOffset> {
        self.positions.get(queue).map(|position| position.next)
    }

    /// Goes on elsewhere in a queue. Nothing is committed by it.
    ///
    /// # Errors
    ///
    /// When the queue is not assigned, or its broker cannot be asked.
    pub async fn seek(&mut self, queue: &Queue, to: SeekTo) -> Result<()> {
        let Some(position) = self.positions.get(queue) else {
            return Err(Error::setting(format!(
                "queue {queue} is not assigned: assign it first"
            )));
        };
        let committed = position.committed;
        let next = self.reader.resolve(queue, to).await?;
        self.begin(queue.clone(), next, committed);
        Ok(())
    }

    /// Waits for messages of any assigned queue, at most as long as `timeout`. Nothing is lost when the future is dropped.
    ///
    /// Returns what is there as soon as something is there. An empty answer means that the time is over.
    ///
    /// # Errors
    ///
    /// What a broker refuses for good, at once. What may pass is tried again, and is an error only when it lasts until the
    /// time is over without a message.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Vec<ReceivedMessage>> {
        let deadline = Instant::now() + timeout;
        let mut last = None;
        loop {
            let next_try = self.start_pulls(Instant::now());
            let wake_at = next_try.map_or(deadline, |next_try| next_try.min(deadline));
            tokio::select! {
                biased;
                Some(pulled) = self.pulls.get_mut().next(), if !self.pulls.get_mut().is_empty() => {
                    let mut messages = Vec::new();
                    let mut taken = self.take(pulled, &mut messages);
                    // What else is there already comes with it.
                    while taken.is_ok() && let Some(Some(pulled)) = self.pulls.get_mut().next().now_or_never() {
                        taken = self.take(pulled, &mut messages);
                    }
                    match taken {
                        _ if !messages.is_empty() => return Ok(messages),
                        Err(error) if error.retry() == Retry::Never => return Err(error),
                        Err(error) => last = Some(error),
                        Ok(()) => last = None,
                    }
                }
                () = sleep_until(wake_at) => {
                    if Instant::now() >= deadline {
                        return last.map_or_else(|| Ok(Vec::new()), Err);
                    }
                }
            }
        }
    }

    /// Starts a pull for each queue that has none. Returns when the next one that has to wait may go.
    fn start_pulls(&mut self, now: Instant) -> Option<Instant> {
        let mut next_try: Option<Instant> = None;
        for (queue, position) in &mut self.positions {
            if position.is_pulling {
                continue;
            }
            if let Some(not_before) = position.not_before.filter(|not_before| *not_before > now) {
                next_try = Some(next_try.map_or(not_before, |other| other.min(not_before)));
                continue;
            }
            position.is_pulling = true;
            let (reader, settings) = (self.reader.clone(), self.settings.clone());
            let (queue, origin) = (queue.clone(), position.origin.clone());
            let (next, epoch) = (position.next, position.epoch);
            self.pulls.get_mut().push(Box::pin(async move {
                let filtered_here = reader.filters_here();
                Pulled {
                    result: reader.pull(&queue, next, &settings, &origin).await,
                    queue,
                    epoch,
                    filtered_here,
                }
            }));
        }
        next_try
    }

    fn take(&mut self, pulled: Pulled, messages: &mut Vec<ReceivedMessage>) -> Result<()> {
        let position = self.positions.get_mut(&pulled.queue);
        let Some(position) = position.filter(|position| position.epoch == pulled.epoch) else {
            return Ok(());
        };
        position.is_pulling = false;
        match pulled.result {
            Ok((found, next)) => {
                position.backoff.reset();
                position.not_before = None;
                position.next = next;
                messages.extend(found);
                Ok(())
            }
            // A broker that does not filter yet gives all, and the choice is made here.
            Err(error)
                if error.code() == Some(ErrorCode::NotSupported)
                    && matches!(self.settings.filter, Filter::Tags(_))
                    && !pulled.filtered_here =>
            {
                self.reader.filter_here();
                Ok(())
            }
            Err(error) => {
                let wait = position.backoff.after_failure(fastrand::f64());
                position.not_before = Some(Instant::now() + wait);
                tracing::debug!(queue = %pulled.queue, %error, ?wait, "pull failed");
                Err(error)
            }
        }
    }

    /// Commits how far each queue was handed out by [`PullConsumer::poll`]: call it when those messages are done.
    ///
    /// # Errors
    ///
    /// When a broker does not take the offsets; those of other brokers may be committed.
    pub async fn commit(&mut self) -> Result<()> {
        let has_moved = self.commit_moved().await?;
        if has_moved {
            // What was committed elsewhere may not be known there.
            self.commit_moved().await?;
        }
        Ok(())
    }

    /// Commits what has moved on. Returns whether a broker was another than before.
    async fn commit_moved(&mut self) -> Result<bool> {
        let mut by_broker: BTreeMap<Arc<str>, Vec<(Queue, QueueOffset)>> = BTreeMap::new();
        for (queue, position) in &self.positions {
            if position.committed != Some(position.next) {
                let queues = by_broker.entry(queue.broker.clone()).or_default();
                queues.push((queue.clone(), position.next));
            }
        }
        let mut result = Ok(false);
        for (broker, moved) in by_broker {
            match self.reader.commit(&moved).await {
                Ok(at) => {
                    let has_moved = self.note_place(&broker, at);
                    self.note_committed(moved);
                    result = result.map(|before| before || has_moved);
                }
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Notes where a broker took offsets. Returns whether that is another than before, which has to be told all of them.
    fn note_place(&mut self, broker: &Arc<str>, at: Arc<str>) -> bool {
        let before = self.committed_at.insert(broker.clone(), at.clone());
        let has_moved = before.is_some_and(|before| before != at);
        if has_moved {
            let all = self.positions.iter_mut();
            for (_, position) in all.filter(|(queue, _)| queue.broker == *broker) {
                position.committed = None;
            }
        }
        has_moved
    }

    fn note_committed(&mut self, moved: Vec<(Queue, QueueOffset)>) {
        for (queue, offset) in moved {
            if let Some(position) = self.positions.get_mut(&queue) {
                position.committed = Some(offset);
            }
        }
    }
}
