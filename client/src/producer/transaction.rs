//! Transactions: messages that nobody sees until their producer says so.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset, TopicName, keys};
use castmq_protocol::native::request::{
    Resolution, Send as SendRequest, TopicAlias, TransactionPhase,
};
use castmq_protocol::native::{Request, Response};
use castmq_protocol::trace::MessageKind;
use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::checks::{Checker, Checks, end};
use super::clock::WallClock;
use super::ids::UniqueIds;
use super::standing::Standing;
use super::traced::{Attempt, TracedTransaction};
use crate::backoff::Backoff;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::link::Session;
use crate::message::{Message, ReceivedMessage};
use crate::raw::Payload;
use crate::routes::LOOK;

/// How often a transaction is begun again that brokers refused (RocketMQ `retryTimesWhenSendFailed`).
const RETRIES: u32 = 2;

/// Settings of a [`TransactionProducer`].
#[must_use = "a builder does nothing until `start`"]
pub struct TransactionProducerBuilder {
    client: Client,
    group: String,
    topics: Vec<Arc<str>>,
    checker: Checker,
    send_timeout: Duration,
}

impl std::fmt::Debug for TransactionProducerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransactionProducerBuilder")
            .field("group", &self.group)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

impl TransactionProducerBuilder {
    pub(crate) fn new(client: Client, group: &str) -> Self {
        Self {
            client,
            group: group.to_owned(),
            topics: Vec::new(),
            checker: Arc::new(|_| Box::pin(async { Resolution::Unknown })),
            send_timeout: Duration::from_secs(3),
        }
    }

    /// A topic whose brokers may ask this producer from the start, about transactions that others of its group left open.
    pub fn topic(mut self, topic: &str) -> Self {
        self.topics.push(topic.into());
        self
    }

    /// Says what became of a transaction that was not ended: its producer died, or its end was lost. It is asked of any
    /// producer of the group, so the answer has to come from where all of them look, the database for instance.
    ///
    /// Default: [`Resolution::Unknown`], which lets the broker ask again.
    pub fn checker<F, Fut>(mut self, checker: F) -> Self
    where
        F: Fn(ReceivedMessage) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Resolution> + Send + 'static,
    {
        self.checker = Arc::new(move |message| Box::pin(checker(message)));
        self
    }

    /// How long beginning a transaction may take, and how long its end is sent again when its broker has gone. Default: 3 s.
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.send_timeout = timeout;
        self
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// When the brokers of a topic cannot be found. Those that cannot be reached are tried again in the background.
    pub async fn start(self) -> Result<TransactionProducer> {
        let group: Arc<str> = self.group.into();
        let checks = Checks {
            client: self.client.clone(),
            group: group.clone(),
            checker: self.checker,
        };
        let inner = Arc::new(Inner {
            standing: Standing::new(self.client.clone(), checks),
            client: self.client,
            group,
            send_timeout: self.send_timeout,
            turn: AtomicUsize::new(0),
            ids: UniqueIds::default(),
            clock: WallClock::start(Instant::now()),
        });
        for topic in &self.topics {
            inner.standing.connect(topic).await?;
        }
        Ok(TransactionProducer { inner })
    }
}

/// Sends messages in transactions: each is stored at once, and seen by consumers when it is committed.
///
/// A transaction that is neither committed nor rolled back, because this process ended or lost its connection, stays open;
/// the broker asks the group's producers about it, and their checker decides.
///
/// # Examples
///
/// ```no_run
/// # async fn example(client: castmq_client::Client) -> castmq_client::Result<()> {
/// use castmq_client::{Message, Resolution};
///
/// let producer = client
///     .transaction_producer("payments")
///     .topic("paid")
///     .checker(|message| async move {
///         match is_booked(message.unique_id()) {
///             true => Resolution::Commit,
///             false => Resolution::Unknown,
///         }
///     })
///     .start()
///     .await?;
/// let transaction = producer.begin(Message::new("paid", "order 17")).await?;
/// match book(transaction.id()) {
///     true => transaction.commit().await?,
///     false => transaction.rollback().await?,
/// }
/// # Ok(())
/// # }
/// # fn is_booked(id: Option<&str>) -> bool { id.is_some() }
/// # fn book(id: &str) -> bool { !id.is_empty() }
/// ```
#[derive(Clone)]
pub struct TransactionProducer {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for TransactionProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransactionProducer")
            .field("group", &self.inner.group)
            .finish_non_exhaustive()
    }
}

struct Inner {
    client: Client,
    group: Arc<str>,
    send_timeout: Duration,
    standing: Arc<Standing<Checks>>,
    turn: AtomicUsize,
    ids: UniqueIds,
    clock: WallClock,
}

/// Where a half message goes.
struct Place {
    session: Arc<Session>,
    topic: TopicAlias,
    queue: QueueId,
}

impl Inner {
    async fn place(&self, message: &Message) -> Result<Place> {
        let (broker, queue) = message.choice.named();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let session = self.standing.session(&message.topic, broker, turn).await?;
        let topic = session.topic(&message.topic).await?.alias;
        Ok(Place {
            session,
            topic,
            queue,
        })
    }

    async fn place_in_time(&self, message: &Message, deadline: Instant) -> Result<Place> {
        let mut place = pin!(self.place(message));
        // There is nobody to wait for once the topic is known, and a timer would be a good part of what beginning costs.
        if let Some(found) = place.as_mut().now_or_never() {
            return found;
        }
        let found = timeout_at(deadline, place).await;
        found.map_err(|_| Error::Timeout {
            request: "begin transaction",
            address: "the brokers of the topic".into(),
            after: self.send_timeout,
            written: false,
        })?
    }

    /// Begins, at another broker where one does not take the message for certain.
    async fn begin(self: &Arc<Self>, mut message: Message) -> Result<Transaction> {
        let deadline = Instant::now() + self.send_timeout;
        TopicName::new(&message.topic)?;
        self.ids.identify(&mut message)?;
        let mut backoff = Backoff::default();
        let mut attempts = 0;
        loop {
            let place = self.place_in_time(&message, deadline).await?;
            let error = match self.begin_at(&place, &message, deadline).await {
                Err(error) if error.is_retry_safe() => error,
                begun => return begun,
            };
            if error.is_not_master() {
                self.standing.turn_away(&place.session);
                continue;
            }
            attempts += 1;
            let wait = backoff.after_failure(fastrand::f64());
            if attempts > RETRIES || Instant::now() + wait >= deadline {
                return Err(error);
            }
            tracing::debug!(%error, "a transaction is begun again");
            sleep(wait).await;
        }
    }

    async fn begin_at(
        self: &Arc<Self>,
        place: &Place,
        message: &Message,
        deadline: Instant,
    ) -> Result<Transaction> {
        let began = Instant::now();
        let session = &place.session;
        let mut extras = message.extras.clone().unwrap_or_default();
        extras.transaction = TransactionPhase::Prepare;
        let request = Request::Send(SendRequest {
            topic: place.topic,
            queue: place.queue,
            flags: 0,
            flag: message.flag,
            sys_flag: 0,
            born_timestamp_ms: self.clock.at(began),
            properties_bytes: message.properties.len() as u32,
            extras: Some(extras),
        });
        let payload = Payload::lent(message.properties.as_bytes(), &message.body);
        let left = deadline.saturating_duration_since(began);
        let connection = &session.connection;
        let answer = connection.request_within(left, request, payload).await;
        let tracer = &self.client.shared.tracer;
        if tracer.wants(&message.topic) {
            Attempt {
                group: &self.group,
                message,
                kind: MessageKind::Half,
                session: Some(session),
                began,
                // Where the half message lies is not where the message will.
                stored: None,
                is_success: answer.is_ok(),
            }
            .record(tracer);
        }
        let answer = answer.inspect_err(|error| session.forget_if_gone(&message.topic, error))?;
        let Response::Sent(sent) = answer.header.response else {
            return Err(session.unexpected("send"));
        };
        let traced = TracedTransaction::new(tracer, &self.group, &message.topic, session, |name| {
            message.property(name)
        });
        let id = message.property(keys::UNIQ_KEY).unwrap_or_default();
        Ok(Transaction {
            id: id.to_owned(),
            inner: self.clone(),
            topic: message.topic.clone(),
            traced,
            session: session.clone(),
            half: sent.queue_offset,
            place: sent.physical_offset,
        })
    }
}

impl TransactionProducer {
    /// Stores a message that nobody sees yet. One that a broker does not take for certain goes to another, up to two times.
    ///
    /// # Errors
    ///
    /// When it could not be stored, or it is not known whether it was: then it is settled by the checker.
    pub async fn begin(&self, message: Message) -> Result<Transaction> {
        self.inner.begin(message).await
    }
}

/// A message that is stored and that nobody sees yet.
///
/// Dropped without an end it stays open: the broker asks about it.
#[must_use = "a transaction that is not ended has to be settled by the checker"]
pub struct Transaction {
    id: String,
    inner: Arc<Inner>,
    topic: Arc<str>,
    session: Arc<Session>,
    half: QueueOffset,
    place: PhysicalOffset,
    traced: Option<Box<TracedTransaction>>,
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("id", &self.id)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl Transaction {
    /// Its id, the message's unique id: what the checker finds with the message.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Lets consumers see the message.
    ///
    /// # Errors
    ///
    /// When it is not known whether the broker did, nor whoever took over from it: then it asks, and the checker decides.
    pub async fn commit(self) -> Result<()> {
        self.end(Resolution::Commit).await
    }

    /// Drops the message.
    ///
    /// # Errors
    ///
    /// When it is not known whether the broker did, nor whoever took over from it: then it asks, and the checker decides.
    pub async fn rollback(self) -> Result<()> {
        self.end(Resolution::Rollback).await
    }

    async fn end(mut self, resolution: Resolution) -> Result<()> {
        if let Some(traced) = self.traced.take() {
            traced.end(resolution, false);
        }
        match end(&self.session, self.half, self.place, resolution).await {
            Err(error) if error.is_connectivity() || error.is_not_master() => {
                self.end_elsewhere(resolution, error).await
            }
            ended => ended,
        }
    }

    /// The broker has gone, or is no master any more. Whoever is its set's master now has the half message at the same place,
    /// or does not know it. Ending a transaction twice in one way is ending it once.
    async fn end_elsewhere(&self, resolution: Resolution, first: Error) -> Result<()> {
        let standing = &self.inner.standing;
        let mut backoff = Backoff::up_to(LOOK);
        let trying = async {
            if first.is_not_master() {
                standing.turn_away(&self.session);
            }
            loop {
                let broker = Some(&*self.session.broker);
                let session = standing.session(&self.topic, broker, 0).await?;
                match end(&session, self.half, self.place, resolution).await {
                    Err(error) if error.is_not_master() => standing.turn_away(&session),
                    Err(error) if error.is_connectivity() => {
                        tracing::debug!(%error, "a transaction is ended again");
                    }
                    ended => return ended,
                }
                sleep(backoff.after_failure(fastrand::f64())).await;
            }
        };
        let ended = timeout(self.inner.send_timeout, trying).await;
        ended.unwrap_or_else(|_| Err(first.clone()))
    }
}
