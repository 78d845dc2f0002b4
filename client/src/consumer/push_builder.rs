//! What a push consumer is set to.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use castmq_protocol::model::{GroupName, TopicName};
use castmq_protocol::native::request::{Filter, StartFrom, TopicSubscription};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Order;
use super::broadcast::OffsetStore;
use super::credit::Window;
use super::dispatcher::{Dispatcher, Rules};
use super::handler::{FnHandler, Handler, IntoAck};
use super::push::{Core, PushConsumer};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::message::{Queue, ReceivedMessage};

/// Settings of a [`PushConsumer`], from [`Client::push_consumer`].
///
/// # Examples
///
/// ```no_run
/// # async fn example(client: castmq_client::Client) -> castmq_client::Result<()> {
/// use castmq_client::{Ack, Filter, Order, StartFrom};
///
/// let consumer = client
///     .push_consumer("billing")
///     .subscribe("orders", Filter::All)
///     .from(StartFrom::Earliest)
///     .order(Order::PerQueue)
///     .concurrency(8)
///     .handler(|message| async move {
///         println!("{} {:?}", message.topic(), message.body()?);
///         Ok::<_, castmq_client::Error>(Ack::Done)
///     })
///     .start()
///     .await?;
///
/// tokio::signal::ctrl_c().await.ok();
/// consumer.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `start`"]
pub struct PushConsumerBuilder<H = ()> {
    client: Client,
    settings: Settings,
    handler: H,
}

#[derive(Debug, Clone)]
struct Settings {
    group: String,
    subscriptions: Vec<TopicSubscription>,
    from: StartFrom,
    concurrency: usize,
    order: Order,
    window: Window,
    max_span: usize,
    max_attempts: Option<u32>,
    commit_every: Duration,
    drain_timeout: Duration,
    broadcasting: bool,
    offset_file: Option<PathBuf>,
    room: Option<String>,
    claims: Vec<Queue>,
}

impl PushConsumerBuilder {
    pub(crate) fn new(client: Client, group: &str) -> Self {
        Self {
            client,
            settings: Settings {
                group: group.to_owned(),
                subscriptions: Vec::new(),
                from: StartFrom::Latest,
                concurrency: 20,
                order: Order::None,
                window: Window {
                    messages: 1000,
                    bytes: 8 * 1024 * 1024,
                },
                max_span: 2000,
                max_attempts: None,
                commit_every: Duration::from_secs(5),
                drain_timeout: Duration::from_secs(30),
                broadcasting: false,
                offset_file: None,
                room: None,
                claims: Vec::new(),
            },
            handler: (),
        }
    }
}

impl<H> PushConsumerBuilder<H> {
    /// Adds a topic. All members of a group subscribe to the same topics in the same way.
    ///
    /// A broker that does not filter yet is asked for all messages, and those with other tags are passed over here.
    pub fn subscribe(mut self, topic: impl Into<String>, filter: Filter) -> Self {
        let topic = topic.into();
        self.settings
            .subscriptions
            .retain(|other| other.topic != topic);
        self.settings
            .subscriptions
            .push(TopicSubscription { topic, filter });
        self
    }

    /// Where the group begins in a queue for which it has committed nothing. Default: behind the last message, as RocketMQ
    /// does.
    pub fn from(mut self, from: StartFrom) -> Self {
        self.settings.from = from;
        self
    }

    /// How many handlers run at once, over all queues. Default: 20, RocketMQ's threads.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.settings.concurrency = handlers.max(1);
        self
    }

    /// Whether each queue's messages are handled one after the other. Default: [`Order::None`].
    pub fn order(mut self, order: Order) -> Self {
        self.settings.order = order;
        self
    }

    /// How much of each queue may be here at once. Bounds memory. Default: 1000 messages or 8 MiB.
    pub fn window(mut self, messages: u32, bytes: u32) -> Self {
        self.settings.window = Window {
            messages: messages.max(1),
            bytes: bytes.max(1),
        };
        self
    }

    /// How far a queue may be processed beyond a message that is not done. Default: 2000 messages, as RocketMQ's. All of
    /// them come again after a crash.
    pub fn max_span(mut self, messages: usize) -> Self {
        self.settings.max_span = messages.max(1);
        self
    }

    /// Tries after which a message that is not done goes to the group's dead letters; a broadcasting consumer logs it, and
    /// counts it as done. Default: without order, what the group has set, which is the first try and 16 more; in an ordered
    /// queue, and broadcasting, none: a message is tried until it is done.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.max_attempts = Some(attempts.max(1));
        self
    }

    /// How often offsets are committed. Default: 5 s, as RocketMQ's.
    pub fn commit_every(mut self, period: Duration) -> Self {
        self.settings.commit_every = period.max(Duration::from_millis(1));
        self
    }

    /// How long handlers that run may hold up shutdown. A queue that goes to another member is never given up under a
    /// handler that runs; one that takes longer is warned about. Default: 30 s.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.settings.drain_timeout = timeout;
        self
    }

    /// Every member gets every message. Offsets are kept here, in memory, unless there is a file for them.
    pub fn broadcasting(mut self) -> Self {
        self.settings.broadcasting = true;
        self
    }

    /// The machine room this consumer is in: in a group whose queues are assigned by `machine_room`, it gets those of brokers
    /// in the same one.
    pub fn machine_room(mut self, room: impl Into<String>) -> Self {
        self.settings.room = Some(room.into());
        self
    }

    /// The queues that are this consumer's own, in a group whose queues are assigned by `config`. No other member may name
    /// them.
    pub fn claim(mut self, queues: impl IntoIterator<Item = Queue>) -> Self {
        self.settings.claims.extend(queues);
        self
    }

    /// The file in which a broadcasting consumer keeps its offsets. No other consumer may use it.
    pub fn offset_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.offset_file = Some(path.into());
        self
    }

    /// What is done with each message. May return nothing, an [`Ack`](super::Ack), or a `Result`: an error, or a panic, lets
    /// the message be tried again.
    ///
    /// See [`Ack`](super::Ack) for when and where another try happens. One that happens in this consumer comes after a pause:
    /// 1 s in an ordered queue, where the messages behind wait; without order 1 s, then twice as long each time, up to 30 s,
    /// while others go on.
    pub fn handler<F, Fut, A>(self, handler: F) -> PushConsumerBuilder<FnHandler<F>>
    where
        F: Fn(ReceivedMessage) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = A> + Send,
        A: IntoAck,
    {
        self.handle_with(FnHandler(handler))
    }

    /// Like [`PushConsumerBuilder::handler`], with a type of your own.
    pub fn handle_with<N: Handler>(self, handler: N) -> PushConsumerBuilder<N> {
        PushConsumerBuilder {
            client: self.client,
            settings: self.settings,
            handler,
        }
    }
}

impl<H: Handler> PushConsumerBuilder<H> {
    /// Joins the group at every broker that has queues of the topics, and begins.
    ///
    /// A topic that does not exist yet is waited for.
    ///
    /// # Errors
    ///
    /// When the settings cannot work, when a broker refuses the membership, or when no name server or none of the brokers
    /// can be reached.
    pub async fn start(self) -> Result<PushConsumer> {
        let workers = self.settings.concurrency;
        let core = self.settings.core(self.client).await?;
        PushConsumer::start(core, workers, self.handler).await
    }
}

impl Settings {
    async fn core(&self, client: Client) -> Result<Arc<Core>> {
        let group = GroupName::new(&self.group)?;
        for subscription in &self.subscriptions {
            TopicName::new(&subscription.topic)?;
        }
        if self.subscriptions.is_empty() {
            let reason = format!("consumer of group {group} subscribes to nothing: name a topic");
            return Err(Error::setting(reason));
        }
        if self.offset_file.is_some() && !self.broadcasting {
            return Err(Error::setting(
                "an offset file is for broadcasting consumers; others keep their offsets at the broker",
            ));
        }
        let offsets = if self.broadcasting {
            Some(OffsetStore::open(group.as_str(), self.offset_file.clone()).await?)
        } else {
            None
        };
        let rules = Rules {
            order: self.order,
            workers: self.concurrency,
            window: self.window,
            max_span: self.max_span,
            // Otherwise brokers take what was tried too often, and until one does it stays here.
            max_attempts: self.max_attempts.filter(|_| self.broadcasting),
        };
        Ok(Arc::new(Core {
            member_id: client.member_id(&group),
            client,
            group: group.as_str().into(),
            subscriptions: self.subscriptions.clone(),
            from: self.from,
            window: self.window,
            order: self.order,
            max_attempts: self.max_attempts,
            commit_every: self.commit_every,
            drain_timeout: self.drain_timeout,
            messages: Arc::new(Dispatcher::new(rules)),
            offsets,
            room: self.room.clone(),
            claims: self.claims.clone(),
            progress: Mutex::default(),
            troubled: Notify::new(),
            filters_here: AtomicBool::new(false),
        }))
    }
}
