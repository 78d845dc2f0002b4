//! Sessions: what consumers and producers are made from, and what acknowledges, commits and rolls back.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use hashbrown::HashSet;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::sleep;

use super::connection::ConnectionCore;
use super::consumer::ConsumerCore;
use super::delivery::{ASKED_AT_ONCE, Held, give_back, says_lost, settle, settle_each, told};
use super::destination::Destination;
use super::error::{Error, Result};
use super::producer::MessageProducer;
use crate::message::Message;

/// Messages that are acknowledged together with [`Acknowledge::DupsOk`].
const LAZY_MESSAGES: usize = 64;

/// How messages that a session has consumed are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledge {
    /// Each by itself: before `receive` returns it, and after a listener has processed it. Whoever must not lose a message
    /// that was received and not processed takes a listener, or another mode.
    Auto,
    /// All that the session has consumed, by [`Message::acknowledge`](super::Message::acknowledge).
    Client,
    /// By themselves, some at a time: faster, and after a crash some that were processed come again.
    DupsOk,
    /// Each by its own [`Message::acknowledge`](super::Message::acknowledge). JMS does not have it; many brokers do.
    Individual,
    /// With [`Session::commit`].
    Transacted,
}

/// See [`Session`].
#[derive(Debug)]
pub(super) struct SessionCore {
    pub(super) connection: Arc<ConnectionCore>,
    pub(super) mode: Acknowledge,
    /// Messages of one session to one destination go to one queue of the broker's, which keeps their order.
    pub(super) order: Arc<str>,
    /// Consumed and not acknowledged, in the order of their delivery.
    held: Mutex<Vec<Arc<Held>>>,
    /// Sent by the transaction that is under way.
    pub(super) outbox: Mutex<Vec<Message>>,
    is_closed: watch::Sender<bool>,
    consumers: Mutex<Vec<Weak<ConsumerCore>>>,
    /// Whose leases are kept, in buffers too.
    kept: Mutex<Vec<Weak<Held>>>,
    /// Of the session's listeners one runs at a time.
    pub(super) turn: tokio::sync::Mutex<()>,
}

impl SessionCore {
    pub(super) fn check_open(&self) -> Result<()> {
        match *self.is_closed.borrow() {
            true => Err(Error::closed("session")),
            false => self.connection.check_open(),
        }
    }

    pub(super) fn check_not_within(&self) -> Result<()> {
        let consumers = self.consumers.lock();
        let mut consumers = consumers.iter().filter_map(Weak::upgrade);
        match consumers.any(|consumer| consumer.is_within_listener()) {
            true => Err(Error::state(
                "a listener cannot close the session that runs it: close it from elsewhere",
            )),
            false => Ok(()),
        }
    }

    pub(super) fn add(&self, consumer: &Arc<ConsumerCore>) {
        let mut consumers = self.consumers.lock();
        consumers.retain(|consumer| consumer.strong_count() > 0);
        consumers.push(Arc::downgrade(consumer));
    }

    /// Has a message's lease kept as long as the message is held somewhere.
    pub(super) fn keep(&self, held: &Arc<Held>) {
        let mut kept = self.kept.lock();
        if kept.len() == kept.capacity() {
            kept.retain(|held| held.strong_count() > 0);
            let live = kept.len();
            kept.reserve(live.max(16));
        }
        kept.push(Arc::downgrade(held));
    }

    /// Has a consumed message acknowledged later.
    pub(super) fn hold(&self, held: Arc<Held>) {
        self.held.lock().push(held);
    }

    /// Acknowledges what is held; when that fails, or is dropped on the way, it is held as before.
    pub(super) async fn settle_all(&self) -> Result<()> {
        let held = self.held.lock().clone();
        self.settle(held).await
    }

    pub(super) async fn settle_one(&self, held: &Arc<Held>) -> Result<()> {
        self.settle(vec![held.clone()]).await
    }

    /// Acknowledges messages. Of those that are lost this is told once, and the session holds them no more: the next time is
    /// about the others.
    async fn settle(&self, mut held: Vec<Arc<Held>>) -> Result<()> {
        let refused = settle_each(&held).await?;
        let open = refused.iter().filter(|(_, error)| !says_lost(error));
        let open: HashSet<_> = open.map(|(one, _)| Arc::as_ptr(one)).collect();
        held.retain(|one| !open.contains(&Arc::as_ptr(one)));
        self.let_go(&held);
        told(refused)
    }

    fn let_go(&self, settled: &[Arc<Held>]) {
        let settled: HashSet<_> = settled.iter().map(Arc::as_ptr).collect();
        let mut held = self.held.lock();
        held.retain(|one| !settled.contains(&Arc::as_ptr(one)));
    }

    /// Acknowledges a message together with others: when there are many, or nothing else is to be done.
    pub(super) async fn settle_lazily(&self, is_idle: bool) {
        let count = self.held.lock().len();
        if count >= LAZY_MESSAGES || (is_idle && count > 0) {
            let held = self.held.lock().clone();
            if let Err(error) = settle(&held).await {
                // They come again, which this mode allows.
                self.connection.report(&error);
            }
            self.let_go(&held);
        }
    }

    /// Has messages delivered again that the session holds no more: nobody could finish it later, so it is done to its end
    /// though whoever waits for it may stop.
    pub(super) async fn give_back(&self, held: Vec<Arc<Held>>, delay: Duration) {
        let runtime = &self.connection.client.shared.runtime;
        let giving_back = runtime.spawn(async move { give_back(&held, delay).await });
        // Only a runtime that ends ends it sooner.
        let _ = giving_back.await;
    }

    async fn give_back_all(&self, delay: Duration) {
        let held = std::mem::take(&mut *self.held.lock());
        self.give_back(held, delay).await;
    }

    pub(super) async fn close(&self) -> Result<()> {
        if self.is_closed.send_replace(true) {
            return Ok(());
        }
        let consumers: Vec<_> = {
            let consumers = self.consumers.lock();
            consumers.iter().filter_map(Weak::upgrade).collect()
        };
        for consumer in &consumers {
            consumer.signal_close();
        }
        // A listener that runs ends first.
        drop(self.turn.lock().await);
        for consumer in consumers {
            consumer.close().await;
        }
        self.outbox.lock().clear();
        match self.mode {
            Acknowledge::DupsOk => self.settle_all().await,
            _ => {
                self.give_back_all(Duration::ZERO).await;
                Ok(())
            }
        }
    }

    pub(super) fn take_transaction(&self) -> (Vec<Message>, Vec<Arc<Held>>) {
        let sends = std::mem::take(&mut *self.outbox.lock());
        (sends, std::mem::take(&mut *self.held.lock()))
    }
}

/// Makes leases longer until the session ends.
async fn keep_leases(session: Weak<SessionCore>, lease: Duration) {
    loop {
        sleep(lease / 3).await;
        let Some(session) = session.upgrade() else {
            return;
        };
        if *session.is_closed.borrow() {
            return;
        }
        let kept: Vec<_> = {
            let mut kept = session.kept.lock();
            kept.retain(|held| held.strong_count() > 0);
            kept.iter().filter_map(Weak::upgrade).collect()
        };
        // Those of a broker that does not answer hold up no others, now or next time.
        tokio::spawn(extend_all(session, kept, lease));
    }
}

async fn extend_all(session: Arc<SessionCore>, kept: Vec<Arc<Held>>, lease: Duration) {
    let session = &*session;
    let extending = stream::iter(kept).for_each_concurrent(ASKED_AT_ONCE, |held| async move {
        if let Err(error) = held.extend(lease).await {
            session.connection.report(&error);
        }
    });
    extending.await;
}

/// A single line of work: consumers and producers whose messages are acknowledged, or committed, together.
///
/// Cheap to clone; clones are the same session. Messages that one session sends to one destination are delivered in that
/// order, but for those that are delivered again.
///
/// # Examples
///
/// ```no_run
/// # async fn example(connection: castmq_client::jms::Connection) -> castmq_client::jms::Result<()> {
/// use castmq_client::jms::{Acknowledge, Destination, Message};
///
/// let session = connection.create_session(Acknowledge::Transacted)?;
/// let orders = session.create_consumer(&Destination::queue("orders")?, None).await?;
/// let bills = session.create_producer(&Destination::queue("bills")?)?;
/// while let Some(order) = orders.receive().await? {
///     bills.send(&mut Message::text(format!("for {}", order.as_text()?))).await?;
///     session.commit().await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Session {
    core: Arc<SessionCore>,
}

impl Session {
    pub(super) fn new(connection: &Arc<ConnectionCore>, mode: Acknowledge) -> Self {
        let core = Arc::new(SessionCore {
            connection: connection.clone(),
            mode,
            order: connection.ids.next().into(),
            held: Mutex::default(),
            outbox: Mutex::default(),
            is_closed: watch::Sender::new(false),
            consumers: Mutex::default(),
            kept: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        });
        let runtime = &connection.client.shared.runtime;
        runtime.spawn(keep_leases(
            Arc::downgrade(&core),
            connection.settings.lease,
        ));
        Self { core }
    }

    pub(super) fn weak(&self) -> Weak<SessionCore> {
        Arc::downgrade(&self.core)
    }

    /// How its messages are acknowledged.
    pub fn mode(&self) -> Acknowledge {
        self.core.mode
    }

    /// A producer for one destination.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] when the session is closed.
    pub fn create_producer(&self, destination: &Destination) -> Result<MessageProducer> {
        self.core.check_open()?;
        Ok(MessageProducer::new(&self.core, Some(destination.clone())))
    }

    /// A producer whose messages each name their destination, [`MessageProducer::send_to`].
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] when the session is closed.
    pub fn create_any_producer(&self) -> Result<MessageProducer> {
        self.core.check_open()?;
        Ok(MessageProducer::new(&self.core, None))
    }

    pub(super) fn check_transacted(&self) -> Result<()> {
        self.core.check_open()?;
        match self.core.mode {
            Acknowledge::Transacted => Ok(()),
            other => Err(Error::state(format!(
                "a session that acknowledges by {other:?} has no transactions: create one with Acknowledge::Transacted"
            ))),
        }
    }

    pub(super) fn core(&self) -> &Arc<SessionCore> {
        &self.core
    }

    /// Ends the transaction and begins another: what it sent is dropped, what it received is delivered again, with
    /// JMSRedelivered. Dropped on the way it goes on by itself.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] when the session is not transacted, or closed.
    pub async fn rollback(&self) -> Result<()> {
        self.check_transacted()?;
        let (_, held) = self.core.take_transaction();
        let delay = self.core.connection.settings.redelivery_delay;
        self.core.give_back(held, delay).await;
        Ok(())
    }

    /// Has everything delivered again that was consumed and not acknowledged, with JMSRedelivered. Messages of a queue, or of
    /// a shared subscription, may go to other consumers then. Dropped on the way it goes on by itself.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] when the session is transacted, or closed.
    pub async fn recover(&self) -> Result<()> {
        self.core.check_open()?;
        if self.core.mode == Acknowledge::Transacted {
            return Err(Error::state(
                "a transacted session does not recover: roll it back",
            ));
        }
        let delay = self.core.connection.settings.redelivery_delay;
        self.core.give_back_all(delay).await;
        Ok(())
    }

    /// Closes its consumers. What was consumed and not acknowledged is delivered again at once, to others; a transaction is
    /// rolled back. Waits for a listener that runs. Closing it again is harmless.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] within one of its listeners.
    pub async fn close(&self) -> Result<()> {
        self.core.check_not_within()?;
        self.core.close().await
    }
}
