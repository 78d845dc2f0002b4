//! Consumers.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{MutexGuard, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::delivery::{Delivered, Held, give_back, says_lost, settle};
use super::destination::Destination;
use super::error::{Error, Result};
use super::feed::Feed;
use super::message::Message;
use super::session::{Acknowledge, SessionCore};
use super::subscription::Place;
use crate::Retry;
use crate::backoff::Backoff;
use crate::message::now_ms;

/// How long a broker keeps a question that it has no message for.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// How long an answer may take longer than the broker was asked to wait.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// How long a consumer waits for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    None,
    Until(Instant),
    Forever,
}

impl Patience {
    /// How long the broker is asked to wait; `None` when the time is over.
    fn left(self, has_asked: bool) -> Option<Duration> {
        match self {
            Self::None => (!has_asked).then_some(Duration::ZERO),
            Self::Forever => Some(LONGEST_WAIT),
            Self::Until(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                (!left.is_zero() || !has_asked).then_some(left.min(LONGEST_WAIT))
            }
        }
    }
}

/// See [`MessageConsumer`].
#[derive(Debug)]
pub(super) struct ConsumerCore {
    session: Arc<SessionCore>,
    destination: Destination,
    feed: tokio::sync::Mutex<Feed>,
    is_closed: watch::Sender<bool>,
    listener: Mutex<Option<JoinHandle<()>>>,
    place: Mutex<Option<Place>>,
}

impl ConsumerCore {
    pub(super) fn new(
        session: &Arc<SessionCore>,
        destination: &Destination,
        feed: Feed,
        place: Option<Place>,
    ) -> Arc<Self> {
        Arc::new(Self {
            session: session.clone(),
            destination: destination.clone(),
            feed: tokio::sync::Mutex::new(feed),
            is_closed: watch::Sender::new(false),
            listener: Mutex::default(),
            place: Mutex::new(place),
        })
    }

    /// Whether the task that asks is the one of this consumer's listener.
    pub(super) fn is_within_listener(&self) -> bool {
        let listener = self.listener.lock();
        let id = listener.as_ref().map(JoinHandle::id);
        id.is_some() && id == tokio::task::try_id()
    }

    pub(super) fn signal_close(&self) {
        self.is_closed.send_replace(true);
    }

    pub(super) async fn close(&self) {
        self.signal_close();
        self.feed.lock().await.close().await;
        self.place.lock().take();
    }

    /// The feed, when nobody else waits for its messages in the meantime.
    async fn feed_within(&self, patience: Patience) -> Option<MutexGuard<'_, Feed>> {
        match patience {
            Patience::None => self.feed.try_lock().ok(),
            Patience::Until(deadline) => timeout_at(deadline, self.feed.lock()).await.ok(),
            Patience::Forever => Some(self.feed.lock().await),
        }
    }

    /// Ends when a broker's answer is of no use any more: the time is over or the consumer closed, and longer ago than an answer
    /// may take.
    async fn too_late(&self, patience: Patience) {
        let mut is_closed = self.is_closed.subscribe();
        let deadline = match patience {
            Patience::None => Some(Instant::now()),
            Patience::Until(deadline) => Some(deadline),
            Patience::Forever => None,
        };
        tokio::select! {
            _ = is_closed.wait_for(|is_closed| *is_closed) => {}
            () = until(deadline) => {}
        }
        sleep(GRACE).await;
    }

    /// Waits until there is a message. `None` when the time is over, or the consumer is closed. It is acknowledged here when
    /// the session acknowledges what it receives.
    async fn take(
        &self,
        patience: Patience,
        acknowledges: bool,
    ) -> Result<Option<(Message, Arc<Held>)>> {
        let connection = &self.session.connection;
        let Some(mut feed) = self.feed_within(patience).await else {
            return Ok(None);
        };
        let mut is_closed = self.is_closed.subscribe();
        let mut is_started = connection.is_started.subscribe();
        let mut backoff = Backoff::default();
        let mut has_asked = false;
        let mut failure = None;
        loop {
            if *is_closed.borrow_and_update() {
                return Ok(None);
            }
            if !*is_started.borrow_and_update() {
                let deadline = match patience {
                    Patience::None => return Ok(None),
                    Patience::Until(deadline) => Some(deadline),
                    Patience::Forever => None,
                };
                tokio::select! {
                    _ = is_closed.changed() => {}
                    _ = is_started.changed() => {}
                    () = until(deadline) => return Ok(None),
                }
                continue;
            }
            if let Some(held) = feed.next() {
                if held.is_lost() {
                    // The broker will deliver it again, to whomever.
                    feed.done();
                    continue;
                }
                let (message, is_expired) = held.message(&self.destination, now_ms());
                if is_expired || acknowledges {
                    // It stays the next one until this is known: whoever stops waiting here loses nothing.
                    let settled = tokio::select! {
                        settled = settle(std::slice::from_ref(&held)) => settled,
                        () = self.too_late(patience) => return Ok(None),
                    };
                    match settled {
                        Err(error) if says_lost(&error) => {
                            feed.done();
                            continue;
                        }
                        settled => settled?,
                    }
                }
                feed.done();
                if is_expired {
                    continue;
                }
                return Ok(Some((message, held)));
            }
            let Some(wait) = patience.left(has_asked) else {
                return failure.map_or(Ok(None), Err);
            };
            has_asked = true;
            if self.session.mode == Acknowledge::DupsOk && !wait.is_zero() {
                // What is cut short here the session does when it closes, or sooner.
                tokio::select! {
                    _ = is_closed.changed() => continue,
                    () = self.session.settle_lazily(true) => {}
                }
            }
            let fetched = tokio::select! {
                _ = is_closed.changed() => continue,
                _ = is_started.changed() => continue,
                fetched = timeout(wait + GRACE, feed.fetch(wait, &self.session)) => fetched,
            };
            match fetched {
                // What the broker was asked before takes longer: the answer stays for the next who asks.
                Err(_) => {}
                Ok(Ok(())) => failure = None,
                Ok(Err(error)) => {
                    let is_final =
                        matches!(&error, Error::Client(error) if error.retry() == Retry::Never);
                    if is_final || patience == Patience::None {
                        return Err(error);
                    }
                    if patience == Patience::Forever {
                        connection.report(&error);
                    }
                    failure = Some(error);
                    let pause = Instant::now() + backoff.after_failure(fastrand::f64());
                    let pause = match patience {
                        Patience::Until(deadline) => pause.min(deadline),
                        _ => pause,
                    };
                    tokio::select! {
                        _ = is_closed.changed() => {}
                        () = sleep_until(pause) => {}
                    }
                }
            }
        }
    }

    async fn receive(&self, patience: Patience) -> Result<Option<Message>> {
        self.session.check_open()?;
        if *self.is_closed.borrow() {
            return Err(Error::closed("consumer"));
        }
        if self.listener.lock().is_some() {
            return Err(Error::state(
                "the consumer has a listener, which gets its messages: close it and create another one",
            ));
        }
        if self.session.mode == Acknowledge::DupsOk {
            self.session.settle_lazily(false).await;
        }
        let acknowledges = self.session.mode == Acknowledge::Auto;
        let Some((message, held)) = self.take(patience, acknowledges).await? else {
            return Ok(None);
        };
        // Nothing is waited for from here on: whoever stops waiting has not been given a message.
        Ok(Some(self.held_by_session(message, held)))
    }

    /// Has the session acknowledge the message later, where it does.
    fn held_by_session(&self, message: Message, held: Arc<Held>) -> Message {
        match self.session.mode {
            Acknowledge::Auto => message,
            Acknowledge::DupsOk => {
                self.session.hold(held);
                message
            }
            Acknowledge::Client | Acknowledge::Individual | Acknowledge::Transacted => {
                self.session.hold(held.clone());
                message.delivered(Delivered {
                    session: Arc::downgrade(&self.session),
                    held,
                })
            }
        }
    }

    /// Has a message processed by a listener.
    async fn process<F, E>(
        &self,
        message: Message,
        held: Arc<Held>,
        listener: impl FnOnce(Message) -> F,
    ) where
        F: Future<Output = Result<(), E>>,
        E: Display,
    {
        let is_settled_here = matches!(self.session.mode, Acknowledge::Auto | Acknowledge::DupsOk);
        let message = match is_settled_here {
            true => message,
            false => self.held_by_session(message, held.clone()),
        };
        let result = AssertUnwindSafe(async { listener(message).await.map_err(|e| e.to_string()) });
        let failure = match result.catch_unwind().await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some("it panicked".to_owned()),
        };
        let connection = &self.session.connection;
        if let Some(reason) = &failure {
            let report = format!("the listener of {} failed: {reason}", self.destination);
            connection.report(&Error::state(report));
        }
        match (self.session.mode, failure) {
            (Acknowledge::Auto, None) => {
                if let Err(error) = settle(&[held]).await {
                    connection.report(&error);
                }
            }
            (Acknowledge::DupsOk, None) => {
                self.session.hold(held);
                self.session.settle_lazily(false).await;
            }
            (Acknowledge::Auto | Acknowledge::DupsOk, Some(_)) => {
                give_back(&[held], connection.settings.redelivery_delay).await;
            }
            // The application acknowledges, commits, or takes back.
            _ => {}
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Gives a consumer's messages to a listener until the consumer is closed.
async fn listen<F, Fut, E>(consumer: Weak<ConsumerCore>, listener: F)
where
    F: Fn(Message) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Display,
{
    let mut backoff = Backoff::default();
    while let Some(consumer) = consumer.upgrade() {
        match consumer.take(Patience::Forever, false).await {
            Ok(None) => return,
            Ok(Some((message, held))) => {
                backoff.reset();
                let _turn = consumer.session.turn.lock().await;
                if *consumer.is_closed.borrow() {
                    return give_back(&[held], Duration::ZERO).await;
                }
                consumer.process(message, held, &listener).await;
            }
            Err(error) => {
                consumer.session.connection.report(&error);
                sleep(backoff.after_failure(fastrand::f64())).await;
            }
        }
    }
}

/// Receives messages of a queue or a subscription: one by one when it is asked, or through a listener.
///
/// Nothing is delivered before the connection is started. Messages whose time to live is over are never delivered. Dropping
/// it closes it; [`close`](Self::close) also gives back what it has not delivered.
///
/// # Examples
///
/// ```no_run
/// # async fn example(session: castmq_client::jms::Session) -> castmq_client::jms::Result<()> {
/// use std::time::Duration;
/// use castmq_client::jms::{Destination, Error};
///
/// let consumer = session.create_consumer(&Destination::queue("orders")?, None).await?;
/// if let Some(message) = consumer.receive_timeout(Duration::from_secs(5)).await? {
///     println!("{}", message.as_text()?);
/// }
/// // Or, from now on:
/// consumer.set_listener(|message| async move {
///     println!("{}", message.as_text()?);
///     // An error lets the message come again.
///     Ok::<_, Error>(())
/// })?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MessageConsumer {
    core: Arc<ConsumerCore>,
}

impl Drop for MessageConsumer {
    fn drop(&mut self) {
        self.core.signal_close();
        self.core.place.lock().take();
    }
}

impl MessageConsumer {
    pub(super) fn new(core: Arc<ConsumerCore>) -> Self {
        Self { core }
    }

    /// What it consumes.
    pub fn destination(&self) -> &Destination {
        &self.core.destination
    }

    /// The next message, however long it takes. `None` when the consumer is closed meanwhile.
    ///
    /// May be dropped and called again: nothing is lost.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] when it is closed or has a listener. What brokers refuse for good; what may pass is tried again.
    pub async fn receive(&self) -> Result<Option<Message>> {
        self.core.receive(Patience::Forever).await
    }

    /// The next message, when there is one within this time. A broker that was asked has 2 s more to answer.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive), and when brokers could not be asked until the time was over.
    pub async fn receive_timeout(&self, time: Duration) -> Result<Option<Message>> {
        let deadline = Instant::now().checked_add(time);
        let patience = deadline.map_or(Patience::Forever, Patience::Until);
        self.core.receive(patience).await
    }

    /// The next message, when brokers have one now. A topic's consumer whose subscription does not last looks for 50 ms.
    /// Brokers have 2 s to answer.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive), and when brokers cannot be asked.
    pub async fn receive_no_wait(&self) -> Result<Option<Message>> {
        self.core.receive(Patience::None).await
    }

    /// Gives messages to a listener from now on, one after the other; of all listeners of a session one runs at a time.
    ///
    /// With [`Acknowledge::Auto`] and [`Acknowledge::DupsOk`] a message is acknowledged when the listener returns, and is
    /// delivered again when it returns an error or panics: after [`redelivery_delay`], 16 times. In the end it is among the
    /// dead letters of the group; a topic's consumer whose subscription does not last has none, and drops it with a warning in
    /// the log. With other modes that is up to the listener.
    ///
    /// [`redelivery_delay`]: super::ConnectionFactory::redelivery_delay
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] when it is closed or has one.
    pub fn set_listener<F, Fut, E>(&self, listener: F) -> Result<()>
    where
        F: Fn(Message) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        self.core.session.check_open()?;
        if *self.core.is_closed.borrow() {
            return Err(Error::closed("consumer"));
        }
        let mut current = self.core.listener.lock();
        if current.is_some() {
            return Err(Error::state("the consumer has a listener already"));
        }
        let runtime = &self.core.session.connection.client.shared.runtime;
        let weak = Arc::downgrade(&self.core);
        *current = Some(runtime.spawn(listen(weak, listener)));
        Ok(())
    }

    /// Closes it: what it has not delivered goes to others, and a durable subscription keeps what comes. What it has
    /// delivered and is not acknowledged stays with the session. Waits for a listener that runs.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] within its listener.
    pub async fn close(&self) -> Result<()> {
        if self.core.is_within_listener() {
            return Err(Error::state(
                "a listener cannot close the consumer that runs it: close it from elsewhere",
            ));
        }
        self.core.signal_close();
        let listener = self.core.listener.lock().take();
        if let Some(listener) = listener {
            // It ends by itself, and has caught what the application panics with.
            let _ = listener.await;
        }
        self.core.close().await;
        Ok(())
    }
}
