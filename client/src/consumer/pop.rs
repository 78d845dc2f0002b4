//! The pop consumer: takes messages that are acknowledged one by one.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::{GroupName, TopicName};
use castmq_protocol::native::request::{ANY_QUEUE, Pop, PopOrder};
use castmq_protocol::native::{Request, Response, Retry, Role};
use futures_util::stream::{FuturesUnordered, StreamExt};
use hashbrown::HashSet;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use super::PopConsumerBuilder;
use super::pop_builder::Settings;
use super::popped::{PoppedMessage, Source};
use crate::backoff::Backoff;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::link::Link;
use crate::message::{Origin, read_records};
use crate::raw::milliseconds;
use crate::routes::{FRESH, LOOK, REFRESH, ReadBroker, readable};
use crate::trace::TracedGroup;

/// A broker of the topic.
#[derive(Debug)]
struct Broker {
    source: Arc<Source>,
    is_asked: bool,
    /// Names the next pop in the order of queues, or repeats that of one whose answer was lost.
    attempt_id: u64,
}

/// What a pop brought.
struct Popped {
    broker: Arc<str>,
    /// What was asked: when the broker has moved meanwhile, not what is asked now.
    source: Arc<Source>,
    result: Result<Vec<PoppedMessage>>,
}

/// Takes messages that nobody else of the group gets for a while, to be acknowledged one by one.
///
/// Any number of consumers share a topic's messages, whatever number of queues it has, and each takes the next when it is
/// ready: what a job queue needs. A message that is not acknowledged within its invisible time, because its consumer
/// died for instance, is handed out again; after the group's retries it is a dead letter.
///
/// # Examples
///
/// ```no_run
/// # async fn example(client: castmq_client::Client) -> castmq_client::Result<()> {
/// use std::time::Duration;
///
/// let mut consumer = client
///     .pop_consumer("workers")
///     .topic("jobs")
///     .invisible(Duration::from_secs(30))
///     .build()?;
/// loop {
///     for message in consumer.receive().await? {
///         match work(message.body()?) {
///             Ok(()) => message.ack().await?,
///             // In ten seconds somebody tries again.
///             Err(()) => message.nack(Duration::from_secs(10)).await?,
///         }
///     }
/// }
/// # }
/// # fn work(job: &[u8]) -> Result<(), ()> { Ok(()) }
/// ```
pub struct PopConsumer {
    id: String,
    client: Client,
    group: Arc<str>,
    topic: Arc<str>,
    settings: Settings,
    brokers: BTreeMap<Arc<str>, Broker>,
    /// What routes say has turned out to be wrong.
    is_stale: bool,
    /// At most one for each broker. Never locked: the mutex lets the consumer be shared although the futures cannot be.
    pops: Mutex<FuturesUnordered<Pin<Box<dyn Future<Output = Popped> + Send>>>>,
}

impl std::fmt::Debug for PopConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PopConsumer")
            .field("group", &self.group)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl Drop for PopConsumer {
    /// Messages that come for a pop nobody waits for would be out for nothing.
    fn drop(&mut self) {
        for broker in self.brokers.values().filter(|broker| broker.is_asked) {
            broker.source.link.close();
        }
    }
}

impl PopConsumer {
    pub(super) fn new(
        client: Client,
        group: &GroupName,
        topic: &TopicName,
        settings: Settings,
    ) -> Self {
        Self {
            id: client.member_id(group),
            client,
            group: group.as_str().into(),
            topic: topic.as_str().into(),
            settings,
            brokers: BTreeMap::new(),
            is_stale: false,
            pops: Mutex::new(FuturesUnordered::new()),
        }
    }

    /// Settings first.
    pub fn builder(client: &Client, group: &str) -> PopConsumerBuilder {
        client.pop_consumer(group)
    }

    /// Takes messages. None came when there were none for [`PopConsumerBuilder::wait`].
    ///
    /// Their invisible time begins when the broker hands them out. May be dropped and called again: nothing is lost. A broker
    /// that cannot be asked is looked for again until something comes or the wait is over; only masters can be asked.
    ///
    /// # Errors
    ///
    /// When no broker of the topic could be asked. Calling it again is right, after a while.
    pub async fn receive(&mut self) -> Result<Vec<PoppedMessage>> {
        let began = Instant::now();
        let deadline = began + Duration::from_millis(self.settings.wait_ms.into());
        let mut backoff = Backoff::up_to(LOOK);
        let mut done = HashSet::new();
        let mut has_answer = false;
        let mut last = self.ask_all(&done).await.err();
        if let Some(error) = last.take_if(|error| error.retry() == Retry::Never) {
            return Err(error);
        }
        let mut is_missing = last.is_some();
        self.is_stale |= is_missing;
        // What was asked of name servers in the background is known by then.
        let mut look_at = Some(began + LOOK);
        while is_missing || !self.pops.get_mut().is_empty() {
            tokio::select! {
                biased;
                Some(popped) = self.pops.get_mut().next() => {
                    let broker = self.take(&popped);
                    if popped.result.as_ref().is_err_and(Error::hints_at_stale_route) {
                        is_missing = true;
                        self.is_stale = true;
                        let next = Instant::now() + backoff.after_failure(fastrand::f64());
                        look_at = Some(look_at.map_or(next, |at| at.min(next)));
                    } else {
                        done.extend(broker);
                    }
                    match popped.result {
                        Ok(messages) if messages.is_empty() => has_answer = true,
                        Ok(messages) => return Ok(messages),
                        Err(error) => last = Some(error),
                    }
                }
                () = sleep_until(look_at.unwrap_or(deadline)), if look_at.is_some_and(|at| at < deadline) => {
                    let asked = self.ask_all(&done).await;
                    is_missing = asked.is_err();
                    self.is_stale |= is_missing;
                    look_at = is_missing.then(|| Instant::now() + backoff.after_failure(fastrand::f64()));
                    last = asked.err().or(last);
                }
                else => break,
            }
        }
        match last {
            Some(error) if !has_answer => Err(error),
            _ => Ok(Vec::new()),
        }
    }

    /// Notes that a pop is over. Returns its broker, unless that has moved and is asked where it is now.
    fn take(&mut self, popped: &Popped) -> Option<Arc<str>> {
        let broker = self.brokers.get_mut(&popped.broker)?;
        if !Arc::ptr_eq(&broker.source, &popped.source) {
            return None;
        }
        broker.is_asked = false;
        let is_lost = popped.result.as_ref().is_err_and(Error::is_connectivity);
        if !is_lost {
            broker.attempt_id = fastrand::u64(..);
        }
        Some(popped.broker.clone())
    }

    /// How long brokers that are asked from now on wait when there is nothing.
    pub(crate) fn set_wait(&mut self, time: Duration) {
        self.settings.wait_ms = milliseconds(time);
    }

    /// The masters of the topic.
    async fn masters(&mut self) -> Result<Vec<ReadBroker>> {
        let routes = &self.client.shared.routes;
        let found = match std::mem::take(&mut self.is_stale) {
            true => routes.find(&self.topic, FRESH).await?,
            false => routes.at_hand(&self.topic, REFRESH).await?,
        };
        let route = found.ok_or_else(|| Error::TopicNotFound {
            topic: self.topic.clone(),
        })?;
        let mut brokers = readable(&route);
        brokers.retain(|broker| !broker.place.is_slave);
        Ok(brokers)
    }

    /// Asks the brokers that are neither asked nor `done`.
    async fn ask_all(&mut self, done: &HashSet<Arc<str>>) -> Result<()> {
        let masters = self.masters().await;
        for found in masters.iter().flatten() {
            let address = &found.place.address;
            let has_moved = |broker: &Broker| broker.source.link.address() != address;
            if self.brokers.get(&found.name).is_none_or(has_moved) {
                let link = self.client.private_link(address, Role::Consumer, &self.id);
                self.add_broker(&found.name, link);
            }
        }
        let mut are_asked = !done.is_empty();
        for (name, broker) in &mut self.brokers {
            let is_listed = masters.iter().flatten().any(|found| found.name == *name);
            // Name servers forget masters that are still there.
            let is_there = is_listed || broker.source.link.live().is_some();
            if is_there && !broker.is_asked && !done.contains(name) {
                broker.is_asked = true;
                let repeats = self.settings.order == PopOrder::Queue;
                let attempt_id = repeats.then_some(broker.attempt_id);
                let (name, source) = (name.clone(), broker.source.clone());
                let settings = self.settings.clone();
                self.pops.get_mut().push(Box::pin(async move {
                    let result = pop(&source, &settings, attempt_id).await;
                    Popped {
                        broker: name,
                        source,
                        result,
                    }
                }));
            }
            are_asked |= broker.is_asked;
        }
        match masters {
            _ if are_asked => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(Error::NoQueue {
                topic: self.topic.clone(),
                reason: "no broker of it that can be read has a master".into(),
            }),
        }
    }

    fn add_broker(&mut self, name: &Arc<str>, link: Arc<Link>) {
        let source = Source {
            client: self.client.clone(),
            link,
            broker: name.clone(),
            topic: self.topic.clone(),
            traced: TracedGroup {
                tracer: self.client.shared.tracer.clone(),
                group: self.group.clone(),
            },
        };
        let broker = Broker {
            source: Arc::new(source),
            is_asked: false,
            attempt_id: fastrand::u64(..),
        };
        self.brokers.insert(name.clone(), broker);
    }
}

async fn pop(
    source: &Arc<Source>,
    settings: &Settings,
    attempt_id: Option<u64>,
) -> Result<Vec<PoppedMessage>> {
    let session = source.link.session().await?;
    let (group, topic) = source.aliases(&session).await?;
    let request = Request::Pop(Pop {
        group,
        topic,
        queue: ANY_QUEUE,
        max_messages: settings.max_messages,
        invisible_ms: settings.invisible_ms,
        wait_ms: settings.wait_ms,
        from: settings.from,
        filter: settings.filter.clone(),
        order: settings.order,
        attempt_id,
    });
    let asked_at = Instant::now();
    let reply = session.ask(request).await;
    let reply = reply.inspect_err(|error| session.forget_if_gone(&source.topic, error))?;
    let Response::Popped(popped) = reply.header.response else {
        return Err(session.unexpected("pop"));
    };
    let origin = Arc::new(Origin {
        topic: source.topic.clone(),
        broker: session.broker.clone(),
    });
    let count = popped.receipts.len();
    let messages = read_records(reply.payload, Some(&origin), count as u32)?;
    if messages.len() != count {
        return Err(session.unexpected("pop"));
    }
    let popped = messages.into_iter().zip(popped.receipts);
    let of = |(message, receipt)| PoppedMessage::new(message, receipt, source, asked_at);
    Ok(popped.map(of).collect())
}
