//! The pop consumer: takes messages that are acknowledged one by one.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::{GroupName, TopicName};
use castmq_protocol::native::request::{ANY_QUEUE, Filter, Pop, PopOrder, StartFrom};
use castmq_protocol::native::{Request, Response, Role};
use futures_util::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::popped::{PoppedMessage, Source};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::link::Link;
use crate::message::{Origin, read_records};
use crate::raw::milliseconds;
use crate::routes::REFRESH;
use crate::trace::TracedGroup;

/// Settings of a [`PopConsumer`], from [`Client::pop_consumer`].
///
/// # Examples
///
/// ```no_run
/// # async fn example(client: castmq_client::Client) -> castmq_client::Result<()> {
/// use std::time::Duration;
/// use castmq_client::StartFrom;
///
/// let consumer = client
///     .pop_consumer("workers")
///     .topic("jobs")
///     .from(StartFrom::Earliest)
///     .invisible(Duration::from_secs(300))
///     .max_messages(1)
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct PopConsumerBuilder {
    client: Client,
    group: String,
    topic: String,
    settings: Settings,
}

#[derive(Debug, Clone)]
struct Settings {
    from: StartFrom,
    filter: Filter,
    invisible_ms: u32,
    max_messages: u32,
    wait_ms: u32,
    order: PopOrder,
}

impl PopConsumerBuilder {
    pub(crate) fn new(client: Client, group: &str) -> Self {
        Self {
            client,
            group: group.to_owned(),
            topic: String::new(),
            settings: Settings {
                from: StartFrom::Latest,
                filter: Filter::All,
                invisible_ms: 60_000,
                max_messages: 32,
                wait_ms: 15_000,
                order: PopOrder::Any,
            },
        }
    }

    /// The topic.
    pub fn topic(mut self, topic: &str) -> Self {
        topic.clone_into(&mut self.topic);
        self
    }

    /// Where the group begins when it has read nothing of the topic: earliest or latest. Default: behind the last message.
    pub fn from(mut self, from: StartFrom) -> Self {
        self.settings.from = from;
        self
    }

    /// Which messages, the same for the whole group: others are passed over. Default: all.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.settings.filter = filter;
        self
    }

    /// How long nobody else gets a message that was received: as long as processing takes, with some to spare. Whole
    /// milliseconds, one at least. Default: 60 s.
    pub fn invisible(mut self, time: Duration) -> Self {
        self.settings.invisible_ms = milliseconds(time).max(1);
        self
    }

    /// Messages received at once, at most. Default: 32.
    pub fn max_messages(mut self, messages: u32) -> Self {
        self.settings.max_messages = messages.max(1);
        self
    }

    /// How long [`PopConsumer::receive`] waits when there is nothing. Default: 15 s.
    pub fn wait(mut self, time: Duration) -> Self {
        self.settings.wait_ms = milliseconds(time);
        self
    }

    /// In what order the group gets messages, the same for all its consumers. Default: whoever asks gets the next.
    ///
    /// [`PopOrder::Key`] is for messages with an [ordering key](crate::MessageBuilder::ordering_key): nobody of the group gets
    /// the next of a key while an earlier one is neither acknowledged nor a dead letter, and messages of other keys go on.
    /// [`PopOrder::Queue`] does that with whole queues.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(client: castmq_client::Client) -> castmq_client::Result<()> {
    /// use castmq_client::PopOrder;
    ///
    /// let consumer = client
    ///     .pop_consumer("billing")
    ///     .topic("payments")
    ///     .in_order(PopOrder::Key)
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn in_order(mut self, order: PopOrder) -> Self {
        self.settings.order = order;
        self
    }

    /// The consumer. It connects when it first receives.
    ///
    /// # Errors
    ///
    /// When a name breaks the rules, or there is no topic.
    pub fn build(self) -> Result<PopConsumer> {
        let group = GroupName::new(&self.group)?;
        let topic = TopicName::new(&self.topic)?;
        Ok(PopConsumer {
            id: self.client.member_id(&group),
            client: self.client,
            group: group.as_str().into(),
            topic: topic.as_str().into(),
            settings: self.settings,
            brokers: BTreeMap::new(),
            pops: Mutex::new(FuturesUnordered::new()),
        })
    }
}

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
    /// Settings first.
    pub fn builder(client: &Client, group: &str) -> PopConsumerBuilder {
        client.pop_consumer(group)
    }

    /// Takes messages. None came when there were none for [`PopConsumerBuilder::wait`].
    ///
    /// Their invisible time begins when the broker hands them out. May be dropped and called again: nothing is lost.
    ///
    /// # Errors
    ///
    /// When no broker of the topic could be asked. Calling it again is right, after a while.
    pub async fn receive(&mut self) -> Result<Vec<PoppedMessage>> {
        self.ask_all().await?;
        let mut last = Ok(Vec::new());
        let mut has_answer = false;
        while let Some(popped) = self.pops.get_mut().next().await {
            if let Some(broker) = self.brokers.get_mut(&popped.broker)
                && Arc::ptr_eq(&broker.source, &popped.source)
            {
                broker.is_asked = false;
                let is_lost = popped.result.as_ref().is_err_and(Error::is_connectivity);
                if !is_lost {
                    broker.attempt_id = fastrand::u64(..);
                }
            }
            match popped.result {
                Ok(messages) if messages.is_empty() => has_answer = true,
                Ok(messages) => return Ok(messages),
                Err(error) => last = Err(error),
            }
        }
        match has_answer {
            true => Ok(Vec::new()),
            false => last,
        }
    }

    /// How long brokers that are asked from now on wait when there is nothing.
    pub(crate) fn set_wait(&mut self, time: Duration) {
        self.settings.wait_ms = milliseconds(time);
    }

    /// Asks the brokers that are not asked.
    async fn ask_all(&mut self) -> Result<()> {
        let routes = &self.client.shared.routes;
        let found = routes.for_reading(&self.topic, REFRESH).await?;
        let brokers = found.ok_or_else(|| Error::TopicNotFound {
            topic: self.topic.clone(),
        })?;
        if brokers.is_empty() {
            return Err(Error::NoQueue {
                topic: self.topic.clone(),
                reason: "no broker of it can be read".into(),
            });
        }
        for found in brokers {
            let has_moved = |broker: &Broker| broker.source.link.address() != &found.address;
            if self.brokers.get(&found.name).is_none_or(has_moved) {
                let link = self
                    .client
                    .private_link(&found.address, Role::Consumer, &self.id);
                self.add_broker(&found.name, link);
            }
            let Some(broker) = self.brokers.get_mut(&found.name) else {
                continue;
            };
            if !broker.is_asked {
                broker.is_asked = true;
                let repeats = self.settings.order == PopOrder::Queue;
                let attempt_id = repeats.then_some(broker.attempt_id);
                let source = broker.source.clone();
                let settings = self.settings.clone();
                self.pops.get_mut().push(Box::pin(async move {
                    let result = pop(&source, &settings, attempt_id).await;
                    Popped {
                        broker: found.name,
                        source,
                        result,
                    }
                }));
            }
        }
        Ok(())
    }

    fn add_broker(&mut self, name: &Arc<str>, link: Arc<Link>) {
        let source = Source {
            link,
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
