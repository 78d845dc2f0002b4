//! Sending messages.
//!
//! - [`Producer`]: the handle; [`ProducerBuilder`]: its settings.
//! - `delivery`: a message on its way, [`Delivery`] and [`SendReceipt`].
//! - `lane`: the way of one topic's messages; `ready`: its queues; `keeper`: the task that keeps them up to date;
//!   `strand`: messages that have to stay in order; `request`: handing messages to a connection.
//! - `choose`, `batcher`, `retry`, `avoidance`, `span`: the decisions, pure. `budget`: what is on its way altogether. `clock`,
//!   `ids`: times and ids of messages. `traced`: what is recorded of messages that are traced.
//! - `asking`: requests that wait for a reply, and replies; `outstanding`: those that wait; `replies`: taking what comes.
//! - `again`: sending a message that may be stored once more, so that it is not stored twice.
//! - [`TransactionProducer`]: messages that nobody sees until their producer says so. `transaction`; `checks`: what brokers
//!   ask about those that nobody ended.
//! - `standing`: the connections on which brokers send replies, and ask about transactions; `kept`: one that is made again
//!   whenever it ends.

mod again;
mod asking;
mod avoidance;
mod batcher;
mod budget;
mod builder;
mod checks;
mod choose;
mod clock;
mod delivery;
mod ids;
mod keeper;
mod kept;
mod lane;
mod outstanding;
mod ready;
mod replies;
mod request;
mod retry;
mod span;
mod standing;
mod strand;
#[cfg(test)]
mod tests;
mod traced;
mod transaction;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use castmq_protocol::model::TopicName;
use castmq_protocol::native::{Request, Response, Role};
use hashbrown::HashMap;
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::message::{Compression, Message, Queue, QueueChoice, compress};
use crate::routes::{FRESH, REFRESH};
use crate::trace::Tracer;
use asking::Requester;
use batcher::Limits;
use budget::Budget;
pub use builder::ProducerBuilder;
use clock::WallClock;
use delivery::InFlight;
pub use delivery::{Delivery, SendReceipt, SendStatus};
pub(crate) use ids::UniqueIds;
use keeper::Kept;
use lane::Lane;
pub use transaction::{Transaction, TransactionProducer, TransactionProducerBuilder};

#[derive(Debug, Clone)]
struct Settings {
    send_timeout: Duration,
    retries: u32,
    allow_duplicates: bool,
    compression: Compression,
    compress_above_bytes: usize,
    /// Whether messages wait for company without being asked to.
    linger: bool,
    batch: Limits,
    max_buffered_bytes: usize,
    unique_ids: bool,
    /// Requests that may wait for replies at once.
    max_requests: usize,
    idempotent: bool,
    avoid_slow_brokers: bool,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    budget: Budget,
    tracer: Arc<Tracer>,
}

/// Sends messages.
///
/// Cheap to clone; clones share everything. Many messages may be on their way at once, from one task or from many: an
/// answer is never waited for before the next message goes.
///
/// Messages are spread over all writable queues of all brokers. One that fails is sent again, up to two times, to another
/// broker where there is one. Like RocketMQ's, a producer may therefore store a message twice: when a broker may have
/// stored it but did not say so. [`ProducerBuilder::idempotent`] has brokers store it once all the same,
/// [`ProducerBuilder::allow_duplicates`] has it fail instead, and [`ProducerBuilder::unique_ids`] lets consumers tell.
///
/// # Examples
///
/// ```no_run
/// # async fn example(client: castmq_client::Client) -> castmq_client::Result<()> {
/// use castmq_client::Message;
///
/// let producer = client.producer().build();
///
/// // One at a time.
/// producer.send(Message::new("orders", "one")).await?;
///
/// // Many at once: sending starts in `enqueue`, the answers come later.
/// let mut deliveries = Vec::new();
/// for number in 0..10_000 {
///     producer.ready().await?;
///     deliveries.push(producer.enqueue(Message::new("orders", number.to_string())));
/// }
/// for delivery in deliveries {
///     delivery.await?;
/// }
/// producer.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Producer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    shared: Arc<Shared>,
    lanes: RwLock<HashMap<Arc<str>, Arc<Lane>>>,
    /// No more messages are taken.
    closing: AtomicBool,
    /// Keepers end.
    closed: watch::Sender<bool>,
    ids: UniqueIds,
    clock: WallClock,
    /// Once somebody asks.
    requester: OnceLock<Requester>,
}

impl Producer {
    /// Cancels a message that was sent to be delivered later, at `deliver_at_ms`, by its unique id. When it is delivered
    /// already, or there was none, nothing happens, and that is not told apart.
    ///
    /// # Errors
    ///
    /// When its time is past, and when the broker that has it does not answer.
    pub async fn cancel_delivery(
        &self,
        receipt: &SendReceipt,
        unique_id: &str,
        deliver_at_ms: i64,
    ) -> Result<()> {
        let cancel = |max_age| self.cancel_once(&receipt.queue, unique_id, deliver_at_ms, max_age);
        match cancel(REFRESH).await {
            // Once more, where the master is now: cancelling twice is cancelling.
            Err(error) if error.hints_at_stale_route() => cancel(FRESH).await,
            cancelled => cancelled,
        }
    }

    async fn cancel_once(
        &self,
        Queue { topic, broker, .. }: &Queue,
        unique_id: &str,
        deliver_at_ms: i64,
        max_age: Duration,
    ) -> Result<()> {
        let client = &self.inner.client;
        let link = client
            .master(topic, broker, Role::Producer, max_age)
            .await?;
        let session = link.session().await?;
        let request = Request::CancelDelivery {
            topic: session.topic(topic).await?.alias,
            unique_id: unique_id.to_owned(),
            deliver_at_ms,
        };
        match session.ask(request).await?.header.response {
            Response::Sent(_) => Ok(()),
            _ => Err(session.unexpected("cancel delivery")),
        }
    }

    /// A producer of `client` with every setting as it comes.
    pub fn new(client: &Client) -> Self {
        client.producer().build()
    }

    /// Settings first.
    pub fn builder(client: &Client) -> ProducerBuilder {
        client.producer()
    }

    fn with_settings(client: Client, settings: Settings) -> Self {
        let budget = Budget::new(settings.max_buffered_bytes, settings.idempotent);
        Self {
            inner: Arc::new(Inner {
                shared: Arc::new(Shared {
                    settings,
                    budget,
                    tracer: client.shared.tracer.clone(),
                }),
                client,
                lanes: RwLock::default(),
                closing: AtomicBool::new(false),
                closed: watch::Sender::new(false),
                ids: UniqueIds::default(),
                clock: WallClock::start(Instant::now()),
                requester: OnceLock::new(),
            }),
        }
    }

    fn settings(&self) -> &Settings {
        &self.inner.shared.settings
    }

    /// Finds the topic's queues and connects to them, so that the first message need not wait, and creates the topic where
    /// that is allowed.
    ///
    /// # Errors
    ///
    /// When no queue of the topic can be reached within the send timeout; [`Error::TopicNotFound`] at once.
    pub async fn prepare(&self, topic: &str) -> Result<()> {
        let lane = self.lane(&topic.into())?;
        let deadline = Instant::now() + self.settings().send_timeout;
        if lane.is_live() {
            return Ok(());
        }
        // What was true of it before counts no more.
        *lane.last_error.lock() = None;
        let _awaiting = lane.awaiting();
        loop {
            let changed = lane.changed.notified();
            if lane.is_live() {
                return Ok(());
            }
            let last = lane.last_error.lock().clone();
            match last {
                Some(error @ Error::TopicNotFound { .. }) => return Err(error),
                last => timeout_at(deadline, changed).await.map_err(|_| {
                    last.unwrap_or_else(|| Error::NoQueue {
                        topic: lane.topic.clone(),
                        reason: "its brokers could not be reached yet".into(),
                    })
                })?,
            }
        }
    }

    /// Sends a message and waits until it is stored. Waits for room first, when too much is on its way.
    ///
    /// # Errors
    ///
    /// When it was not acknowledged; [`Error::retry`] tells whether it may be stored all the same.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(producer: castmq_client::Producer) -> castmq_client::Result<()> {
    /// use castmq_client::Message;
    ///
    /// let message = Message::builder("orders", "hello").tag("created").build()?;
    /// let receipt = producer.send(message).await?;
    /// println!("{receipt}");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send(&self, message: Message) -> Result<SendReceipt> {
        self.ready().await?;
        self.enqueue(message).await
    }

    /// Sends a message without waiting: sending starts at once, and the returned future resolves when the message is stored
    /// or given up. It goes its way whether the future is awaited or dropped.
    ///
    /// Never blocks. When more than [`ProducerBuilder::max_buffered_bytes`] are on their way, the future resolves to
    /// [`Error::BufferFull`], and with an idempotent producer whose oldest message has been for too long to
    /// [`Error::TooFarAhead`]; [`Producer::ready`] waits for room.
    pub fn enqueue(&self, message: Message) -> Delivery {
        self.start(message, self.settings().linger, false)
    }

    /// Sends many messages and waits for all. Those that go to one queue travel in batches; the results are in the order of
    /// the messages.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(producer: castmq_client::Producer) -> castmq_client::Result<()> {
    /// use castmq_client::Message;
    ///
    /// let messages = (0..1000).map(|n| Message::new("orders", n.to_string()));
    /// for result in producer.send_all(messages).await {
    ///     result?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send_all(
        &self,
        messages: impl IntoIterator<Item = Message>,
    ) -> Vec<Result<SendReceipt>> {
        let mut deliveries = Vec::new();
        for message in messages {
            // Whether there is room, or was not in time, is what the delivery then says.
            let _ = self.ready().await;
            deliveries.push(self.start(message, true, false));
        }
        self.flush_batches();
        let mut results = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            results.push(delivery.await);
        }
        results
    }

    /// Sends a message that nobody answers: it is handed to a connection, and what becomes of it is not known.
    ///
    /// # Errors
    ///
    /// When no connection took it within the send timeout. [`Error::Timeout`] when one did, but the broker takes nothing
    /// from it: the message may still arrive.
    pub async fn send_one_way(&self, message: Message) -> Result<()> {
        let send_timeout = self.settings().send_timeout;
        let deadline = Instant::now() + send_timeout;
        self.ready().await?;
        let delivery = self.start(message, false, true);
        let inflight = delivery.in_flight().cloned();
        delivery.told().await?;
        let target = inflight.and_then(|inflight| inflight.target());
        match target {
            // What is only told is bounded by waiting here.
            Some(target) => timeout_at(deadline, target.session.connection.ready())
                .await
                .unwrap_or_else(|_| {
                    Err(Error::Timeout {
                        request: "send",
                        address: target.session.address().clone(),
                        after: send_timeout,
                        written: true,
                    })
                }),
            None => Ok(()),
        }
    }

    /// Waits until there is room for another message, at most as long as the send timeout.
    ///
    /// # Errors
    ///
    /// [`Error::BufferFull`] when there is still none, [`Error::Closed`] after [`Producer::close`].
    pub async fn ready(&self) -> Result<()> {
        self.check_open()?;
        let budget = &self.inner.shared.budget;
        if budget.has_room() {
            return Ok(());
        }
        self.flush_batches();
        let deadline = Instant::now() + self.settings().send_timeout;
        timeout_at(deadline, budget.room())
            .await
            .map_err(|_| self.buffer_full())
    }

    fn buffer_full(&self) -> Error {
        if let Some(limit) = self.inner.shared.budget.lacks_numbers() {
            return Error::TooFarAhead { limit };
        }
        let (bytes, limit) = self.inner.shared.budget.bytes();
        Error::BufferFull { bytes, limit }
    }

    /// Waits until every message given to the producer before is stored or given up. Messages that wait for company go at
    /// once.
    pub async fn flush(&self) {
        self.inner
            .shared
            .budget
            .flush(|| self.flush_batches())
            .await;
    }

    /// Takes no more messages, and waits until those on their way have arrived or are given up, and no request waits any
    /// more.
    pub async fn close(&self) {
        // The lanes stay until then: messages on their way may need another attempt.
        self.inner.closing.store(true, Ordering::Release);
        self.flush().await;
        if let Some(requester) = self.inner.requester.get() {
            requester.close().await;
        }
        self.inner.closed.send_replace(true);
    }

    fn check_open(&self) -> Result<()> {
        if self.inner.closing.load(Ordering::Acquire) {
            return Err(Error::Closed { what: "producer" });
        }
        Ok(())
    }

    fn flush_batches(&self) {
        let lanes: Vec<_> = self.inner.lanes.read().values().cloned().collect();
        for lane in lanes {
            lane.flush_batches();
        }
    }

    fn start(&self, message: Message, batched: bool, one_way: bool) -> Delivery {
        match self.accept(message, batched, one_way) {
            Ok(inflight) => {
                inflight.lane.dispatch(inflight.clone());
                Delivery::of(inflight)
            }
            Err(error) => Delivery::refused(error),
        }
    }

    fn accept(&self, mut message: Message, batched: bool, one_way: bool) -> Result<Arc<InFlight>> {
        self.check_open()?;
        let lane = self.lane(&message.topic)?;
        if !self.inner.shared.budget.has_room() {
            return Err(self.buffer_full());
        }
        let has_id = self.settings().unique_ids || lane.is_traced();
        if has_id {
            self.inner.ids.identify(&mut message)?;
        }
        let system_flag = self.compress(&mut message);
        let share = self.inner.shared.budget.take(message.weight_bytes());
        let now = Instant::now();
        let born_timestamp_ms = self.inner.clock.at(now);
        let mut inflight = InFlight::new(lane, message, system_flag, born_timestamp_ms, now, share);
        inflight.batched = batched;
        if matches!(inflight.message.choice, QueueChoice::Key(_)) {
            inflight.number = inflight.lane.next_number();
        }
        inflight.one_way = one_way;
        Ok(Arc::new(inflight))
    }

    fn compress(&self, message: &mut Message) -> i32 {
        let settings = self.settings();
        if message.body.len() < settings.compress_above_bytes {
            return 0;
        }
        let Some((body, bits)) = compress(&message.body, settings.compression) else {
            return 0;
        };
        message.body = body;
        bits
    }

    fn lane(&self, topic: &Arc<str>) -> Result<Arc<Lane>> {
        if let Some(lane) = self.inner.lanes.read().get(topic) {
            return Ok(lane.clone());
        }
        TopicName::new(topic)?;
        let mut lanes = self.inner.lanes.write();
        if let Some(lane) = lanes.get(topic) {
            return Ok(lane.clone());
        }
        let lane = Arc::new(Lane::new(topic.clone(), self.inner.shared.clone()));
        lanes.insert(topic.clone(), lane.clone());
        let closed = self.inner.closed.subscribe();
        let client = self.inner.client.clone();
        let runtime = client.shared.runtime.clone();
        runtime.spawn(keeper::keep(Kept(lane.clone()), client, closed));
        Ok(lane)
    }
}

impl Drop for Inner {
    /// What waits for company goes; what waits for a connection is given up.
    fn drop(&mut self) {
        for lane in self.lanes.get_mut().values() {
            lane.flush_batches();
        }
        self.closed.send_replace(true);
    }
}
