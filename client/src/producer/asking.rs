//! Requests that wait for a reply, and replies to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use castmq_protocol::model::{QueueId, TopicName, keys};
use castmq_protocol::native::request::{Send as SendRequest, SendReply};
use castmq_protocol::native::{Request, Response, Retry, Role};
use futures_util::future::OptionFuture;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::Producer;
use super::budget::{Budget, Share};
use super::outstanding::Outstanding;
use super::replies::Replies;
use super::standing::Standing;
use super::traced::{Attempt, kind_of};
use crate::backoff::Backoff;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::link::Session;
use crate::message::{Message, ReceivedMessage, Reply};
use crate::raw::Payload;
use crate::routes::{FRESH, REFRESH};
use crate::trace::{DEFAULT_PRODUCER_GROUP, Tracer};

/// The longest that a request waits.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// What a producer needs that asks.
#[derive(Debug)]
pub(super) struct Requester {
    outstanding: Arc<Outstanding>,
    /// See [`Replies`].
    id: Arc<str>,
    standing: Arc<Standing<Replies>>,
    tracer: Arc<Tracer>,
    /// Requests that may wait at once.
    limit: usize,
    room: Semaphore,
    turn: AtomicUsize,
}

impl Requester {
    pub(super) fn new(client: Client, limit: usize) -> Self {
        let outstanding = Arc::<Outstanding>::default();
        // Of its own, since replies go to the latest connection of an id, and people give one id to several processes.
        let id: Arc<str> = format!("{}/replies-{:08x}", client.id(), fastrand::u32(..)).into();
        let replies = Replies {
            client: client.clone(),
            id: id.clone(),
            outstanding: outstanding.clone(),
        };
        Self {
            tracer: client.shared.tracer.clone(),
            standing: Standing::new(client, replies),
            outstanding,
            id,
            limit,
            room: Semaphore::new(limit),
            turn: AtomicUsize::new(fastrand::usize(..1 << 16)),
        }
    }

    /// Waits until no request waits any more, and closes the connections on which replies come.
    pub(super) async fn close(&self) {
        // Nobody closes it.
        let _ = self.room.acquire_many(self.limit as u32).await;
        self.standing.close();
    }
}

/// What the last attempt to send a request met.
type Last = Mutex<Option<Box<Error>>>;

/// A request as it is sent, again where that is needed.
struct Asked<'a> {
    message: Message,
    system_flag: i32,
    born_timestamp_ms: i64,
    last: &'a Last,
    /// Until it is stored or given up it counts among what is on its way.
    _share: Taken<'a>,
}

/// A place in a budget that is given back.
struct Taken<'a>(&'a Budget, Share);

impl<'a> Taken<'a> {
    fn new(budget: &'a Budget, bytes: usize) -> Self {
        Self(budget, budget.take_unnumbered(bytes))
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.give_back(self.1);
    }
}

impl Producer {
    /// Sends a message and waits until somebody who received it has [replied](Producer::reply), for `timeout` altogether,
    /// a day at most.
    ///
    /// The message is stored like any other, and received by whoever consumes the topic. The reply comes back over a
    /// connection of this producer to the broker that stored it, which is made before the request is sent, and made again
    /// when it is lost. Any number of requests may wait at once, up to
    /// [`max_requests`](super::ProducerBuilder::max_requests); beyond, a request waits its turn. Until it is stored a request
    /// counts among what is on its way. Dropping the future means that nobody waits any more: the responder is told.
    ///
    /// The queue is chosen by the broker, unless the message names one; an ordering key does not choose it. A request is
    /// sent again when it is certain that it was not stored.
    ///
    /// # Errors
    ///
    /// [`Error::NoReply`] when none came in time, with the request's correlation id, which whoever received the request
    /// finds as the property `CORRELATION_ID`. Others when the request was refused.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(producer: castmq_client::Producer) -> castmq_client::Result<()> {
    /// use std::time::Duration;
    /// use castmq_client::Message;
    ///
    /// let request = Message::new("stock", "how many apples?");
    /// let reply = producer.request(request, Duration::from_secs(3)).await?;
    /// println!("{}", String::from_utf8_lossy(reply.body()?));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn request(
        &self,
        mut message: Message,
        timeout: Duration,
    ) -> Result<ReceivedMessage> {
        self.check_open()?;
        TopicName::new(&message.topic)?;
        let since = Instant::now();
        let timeout = timeout.min(LONGEST_WAIT);
        let deadline = since + timeout;
        let requester = self.requester();
        let _place = timeout_at(deadline, requester.room.acquire())
            .await
            .map_err(|_| Error::RequestsFull {
                limit: requester.limit,
                after: timeout,
            })?;
        let budget = &self.inner.shared.budget;
        timeout_at(deadline, budget.room())
            .await
            .map_err(|_| self.buffer_full())?;
        let mut awaited = requester.outstanding.begin();
        message.set_property(keys::CORRELATION_ID, &awaited.correlation)?;
        message.set_property(keys::REPLY_TO_CLIENT, &requester.id)?;
        message.set_property(keys::TTL, &timeout.as_millis().to_string())?;
        let has_id = self.settings().unique_ids || requester.tracer.wants(&message.topic);
        if has_id {
            self.inner.ids.identify(&mut message)?;
        }
        let topic = message.topic.clone();
        let last = Last::default();
        let asked = Asked {
            system_flag: self.compress(&mut message),
            _share: Taken::new(budget, message.weight_bytes()),
            message,
            born_timestamp_ms: self.inner.clock.at(since),
            last: &last,
        };
        let mut is_stored = false;
        let mut sending = Some(Box::pin(requester.send(asked)));
        loop {
            tokio::select! {
                biased;
                reply = &mut awaited.reply => {
                    return reply.map_err(|_| Error::Closed { what: "producer" });
                }
                Some(sent) = OptionFuture::from(sending.as_mut()) => {
                    sending = None;
                    match sent {
                        // Whoever has it may reply all the same.
                        Err(error) if error.retry() == Retry::MayDuplicate => {
                            *last.lock() = Some(Box::new(error));
                        }
                        sent => {
                            sent?;
                            is_stored = true;
                        }
                    }
                }
                () = sleep_until(deadline) => break,
            }
        }
        drop(sending);
        Err(Error::NoReply {
            topic,
            correlation: awaited.correlation.clone(),
            after: timeout,
            is_stored,
            last: last.into_inner(),
        })
    }

    fn requester(&self) -> &Requester {
        self.inner.requester.get_or_init(|| {
            let limit = self.settings().max_requests;
            Requester::new(self.inner.client.clone(), limit)
        })
    }

    /// Replies to a request.
    ///
    /// # Errors
    ///
    /// [`Error::NotARequest`] when nobody waits for a reply to the message; others like [`Producer::send_reply`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(client: castmq_client::Client) -> castmq_client::Result<()> {
    /// use castmq_client::Filter;
    ///
    /// let producer = client.producer().build();
    /// let consumer = client
    ///     .push_consumer("warehouse")
    ///     .subscribe("stock", Filter::All)
    ///     .handler(move |request| {
    ///         let producer = producer.clone();
    ///         async move { producer.reply(&request, "12 pieces").await }
    ///     })
    ///     .start()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn reply(&self, request: &ReceivedMessage, body: impl Into<Bytes>) -> Result<()> {
        self.send_reply(Reply::to(request, body)?).await
    }

    /// Sends a reply to the broker on which its request lies, which passes it on to the requester. Sent again, within the
    /// send timeout, when it is certain that nobody got it.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::ReplyNotAwaited`](crate::ErrorCode::ReplyNotAwaited) when the requester does not wait for it: it is
    /// gone, or its time is over. Others when it is not known whether it got the reply.
    pub async fn send_reply(&self, mut reply: Reply) -> Result<()> {
        self.check_open()?;
        let now = Instant::now();
        let deadline = now + self.settings().send_timeout;
        let system_flag = self.compress(&mut reply.message);
        let request = Request::SendReply(SendReply {
            flag: reply.message.flag,
            sys_flag: system_flag,
            born_timestamp_ms: self.inner.clock.at(now),
            properties_bytes: reply.message.properties.len() as u32,
        });
        let mut backoff = Backoff::default();
        let mut max_age = REFRESH;
        loop {
            match self.send_reply_once(&reply, request.clone(), max_age).await {
                Err(error) if error.is_retry_safe() => {
                    // The master may be elsewhere by now.
                    max_age = FRESH;
                    let wait = backoff.after_failure(fastrand::f64());
                    if Instant::now() + wait >= deadline {
                        return Err(error);
                    }
                    tracing::debug!(%error, ?wait, "a reply is sent again");
                    sleep(wait).await;
                }
                sent => return sent,
            }
        }
    }

    async fn send_reply_once(
        &self,
        reply: &Reply,
        request: Request,
        max_age: Duration,
    ) -> Result<()> {
        let client = &self.inner.client;
        let (topic, broker) = (reply.topic(), &reply.broker);
        let link = client
            .master(topic, broker, Role::Producer, max_age)
            .await?;
        let session = link.session().await?;
        let payload = Payload::lent(reply.message.properties.as_bytes(), &reply.message.body);
        let answer = session.connection.request(request, payload).await?;
        match answer.header.response {
            Response::Done => Ok(()),
            _ => Err(session.unexpected("send reply")),
        }
    }
}

impl Requester {
    /// Sends a request until it is stored. One that may be stored is not sent again.
    async fn send(&self, asked: Asked<'_>) -> Result<()> {
        let mut backoff = Backoff::default();
        loop {
            match self.send_once(&asked).await {
                Err(error) if error.is_retry_safe() => {
                    let wait = backoff.after_failure(fastrand::f64());
                    tracing::debug!(%error, ?wait, "a request is sent again");
                    *asked.last.lock() = Some(Box::new(error));
                    sleep(wait).await;
                }
                sent => return sent,
            }
        }
    }

    async fn send_once(&self, asked: &Asked<'_>) -> Result<()> {
        let (broker, queue) = asked.message.choice.named();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let topic = &asked.message.topic;
        let session = self.standing.session(topic, broker, turn).await?;
        let sent = send_on(&session, asked, queue, &self.tracer).await;
        sent.inspect_err(|error| {
            if error.is_not_master() {
                self.standing.turn_away(&session);
            }
        })
    }
}

async fn send_on(
    session: &Session,
    asked: &Asked<'_>,
    queue: QueueId,
    tracer: &Tracer,
) -> Result<()> {
    let mut message = asked.message.clone();
    let topic = session.topic(&message.topic).await?;
    // Where RocketMQ's responders find the topic of their replies.
    message.set_property(keys::CLUSTER, &session.connection.welcome().cluster)?;
    let request = Request::Send(SendRequest {
        topic: topic.alias,
        queue,
        flags: 0,
        flag: message.flag,
        sys_flag: asked.system_flag,
        born_timestamp_ms: asked.born_timestamp_ms,
        properties_bytes: message.properties.len() as u32,
        extras: message.extras.clone(),
    });
    let began = Instant::now();
    let payload = Payload::lent(message.properties.as_bytes(), &message.body);
    let answer = session.connection.request(request, payload).await;
    if tracer.wants(&message.topic) {
        let sent = answer.as_ref().ok().map(|answer| &answer.header.response);
        let stored = match sent {
            Some(Response::Sent(sent)) => session.message_id(sent.physical_offset),
            _ => None,
        };
        Attempt {
            group: DEFAULT_PRODUCER_GROUP,
            message: &message,
            kind: kind_of(&message),
            session: Some(session),
            began,
            stored,
            is_success: answer.is_ok(),
        }
        .record(tracer);
    }
    let answer = answer.inspect_err(|error| session.forget_if_gone(&message.topic, error))?;
    match answer.header.response {
        Response::Sent(_) => Ok(()),
        _ => Err(session.unexpected("send")),
    }
}
