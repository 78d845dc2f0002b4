//! Producers.

use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::MAX_PRIORITY;
use castmq_protocol::model::jms_keys::{DEFAULT_PRIORITY, MESSAGE_ID_PREFIX};

use super::destination::Destination;
use super::error::{Error, Result};
use super::message::{DeliveryMode, Message};
use super::session::{Acknowledge, SessionCore};
use crate::message::now_ms;

/// Sends messages, to its destination or to any.
///
/// # Examples
///
/// ```no_run
/// # async fn example(session: castmq_client::jms::Session) -> castmq_client::jms::Result<()> {
/// use std::time::Duration;
/// use castmq_client::jms::{DeliveryMode, Destination, Message};
///
/// let mut producer = session.create_producer(&Destination::topic("prices")?)?;
/// producer.set_delivery_mode(DeliveryMode::NonPersistent);
/// producer.set_time_to_live(Duration::from_secs(60));
/// let mut message = Message::text("apples: 3");
/// producer.send(&mut message).await?;
/// println!("sent {:?}", message.message_id());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MessageProducer {
    session: Arc<SessionCore>,
    destination: Option<Destination>,
    delivery_mode: DeliveryMode,
    priority: u8,
    time_to_live: Duration,
    delivery_delay: Duration,
}

impl MessageProducer {
    pub(super) fn new(session: &Arc<SessionCore>, destination: Option<Destination>) -> Self {
        Self {
            session: session.clone(),
            destination,
            delivery_mode: DeliveryMode::default(),
            priority: DEFAULT_PRIORITY,
            time_to_live: Duration::ZERO,
            delivery_delay: Duration::ZERO,
        }
    }

    /// Where its messages go; `None` when each names its destination.
    pub fn destination(&self) -> Option<&Destination> {
        self.destination.as_ref()
    }

    /// Whether messages survive their broker. Default: [`DeliveryMode::Persistent`].
    pub fn set_delivery_mode(&mut self, mode: DeliveryMode) {
        self.delivery_mode = mode;
    }

    /// 0 lowest, 9 highest. Default: 4. It is stored, and selectors see it; what one session sends keeps its order all the
    /// same, in topics of the type `PRIORITY` too.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] above 9.
    pub fn set_priority(&mut self, priority: u8) -> Result<()> {
        if priority > MAX_PRIORITY {
            return Err(Error::state(format!(
                "priority {priority} is above the limit of {MAX_PRIORITY}: choose one from 0 to {MAX_PRIORITY}"
            )));
        }
        self.priority = priority;
        Ok(())
    }

    /// How long messages are wanted, from when they are sent; zero for as long as they are kept. Default: zero.
    pub fn set_time_to_live(&mut self, time: Duration) {
        self.time_to_live = time;
    }

    /// How long messages wait at the broker before they are delivered. Default: not at all.
    pub fn set_delivery_delay(&mut self, time: Duration) {
        self.delivery_delay = time;
    }

    /// Sends a message to the producer's destination, and sets its headers. In a transacted session it is kept until
    /// [`commit`](super::Session::commit). Otherwise a persistent message is stored when this returns; for others see
    /// [`DeliveryMode::NonPersistent`].
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] when the session is closed, or the producer has no destination. [`Error::MessageFormat`] when
    /// a header or property cannot be sent. [`Error::InvalidDestination`] when it is not there. [`Error::Client`] when it was
    /// not stored; [`crate::Error::retry`] tells whether it may be all the same.
    pub async fn send(&self, message: &mut Message) -> Result<()> {
        match &self.destination {
            Some(destination) => self.send_message(destination, message).await,
            None => Err(Error::state(
                "the producer has no destination: name it with send_to",
            )),
        }
    }

    /// Sends a message to a destination.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] when the producer has a destination of its own, and as [`send`](Self::send).
    pub async fn send_to(&self, destination: &Destination, message: &mut Message) -> Result<()> {
        match &self.destination {
            None => self.send_message(destination, message).await,
            Some(own) => Err(Error::state(format!(
                "the producer sends to {own} only: create another one for {destination}"
            ))),
        }
    }

    async fn send_message(&self, destination: &Destination, message: &mut Message) -> Result<()> {
        self.session.check_open()?;
        let connection = &self.session.connection;
        connection.ensure(destination).await?;
        self.set_headers(destination, message);
        let to_send = message.to_send(destination.shared_name(), &self.session.order)?;
        if self.session.mode == Acknowledge::Transacted {
            self.session.outbox.lock().push(to_send);
            return Ok(());
        }
        match self.delivery_mode {
            DeliveryMode::Persistent => connection.producer.send(to_send).await.map(drop)?,
            DeliveryMode::NonPersistent => connection.producer.send_one_way(to_send).await?,
        }
        Ok(())
    }

    fn set_headers(&self, destination: &Destination, message: &mut Message) {
        let now_ms = now_ms();
        let later = |time: Duration| match time.is_zero() {
            true => 0,
            false => now_ms.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)),
        };
        let id = self.session.connection.ids.next();
        let headers = &mut message.headers;
        headers.destination = Some(destination.clone());
        headers.delivery_mode = self.delivery_mode;
        headers.message_id = Some([MESSAGE_ID_PREFIX, &id].concat());
        headers.timestamp_ms = now_ms;
        headers.expiration_ms = later(self.time_to_live);
        headers.delivery_time_ms = later(self.delivery_delay);
        headers.priority = self.priority;
    }
}
