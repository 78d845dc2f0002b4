//! Connections.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::destination::Destination;
use super::error::{Error, Result};
use super::factory::{Settings, empty_client_id};
use super::session::{Acknowledge, Session, SessionCore};
use super::subscription::Active;
use crate::backoff::Backoff;
use crate::client::Client;
use crate::producer::{Producer, UniqueIds};

/// How long a topic that was just made may take until name servers know it.
const PUBLICATION: Duration = Duration::from_secs(10);

type ExceptionListener = Arc<dyn Fn(&Error) + Send + Sync>;

/// What sessions share.
pub(super) struct ConnectionCore {
    pub(super) client: Client,
    pub(super) producer: Producer,
    pub(super) settings: Settings,
    client_id: Mutex<Option<String>>,
    /// The client id can be set no more.
    is_used: AtomicBool,
    pub(super) is_started: watch::Sender<bool>,
    is_closed: watch::Sender<bool>,
    sessions: Mutex<Vec<Weak<SessionCore>>>,
    /// Topics that name servers know.
    known: Mutex<HashSet<Arc<str>>>,
    /// Temporary destinations of this connection.
    temporary: Mutex<HashSet<Arc<str>>>,
    /// Consumers of subscriptions, by group.
    pub(super) active: Mutex<HashMap<Arc<str>, Active>>,
    exception_listener: Mutex<Option<ExceptionListener>>,
    pub(super) ids: UniqueIds,
}

impl std::fmt::Debug for ConnectionCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("client_id", &self.client_id.lock())
            .field("is_started", &*self.is_started.borrow())
            .field("is_closed", &*self.is_closed.borrow())
            .finish_non_exhaustive()
    }
}

impl ConnectionCore {
    pub(super) fn check_open(&self) -> Result<()> {
        match *self.is_closed.borrow() {
            true => Err(Error::closed("connection")),
            false => Ok(()),
        }
    }

    pub(super) fn client_id(&self) -> Option<String> {
        self.client_id.lock().clone()
    }

    /// Tells the exception listener of what nobody waits for.
    pub(super) fn report(&self, error: &Error) {
        tracing::warn!(%error, "a JMS connection met an error that nobody waits for");
        let listener = self.exception_listener.lock().clone();
        if let Some(listener) = listener {
            listener(error);
        }
    }

    /// Sees to it that a destination's topic is there: brokers create those that are missing where that is allowed.
    pub(super) async fn ensure(&self, destination: &Destination) -> Result<()> {
        let topic = destination.shared_name();
        if self.known.lock().contains(&topic) {
            return Ok(());
        }
        if destination.is_temporary() && !self.has_temporary(destination) {
            // It may go with its connection at any time, and sending to it must not bring its topic back.
            return self.check_known(destination).await;
        }
        let prepared = self.producer.prepare(&topic).await;
        prepared.map_err(|error| not_there(destination, error))?;
        self.published(destination).await?;
        self.known.lock().insert(topic);
        Ok(())
    }

    async fn check_known(&self, destination: &Destination) -> Result<()> {
        let route = self.client.admin().route(destination.name()).await;
        route
            .map(drop)
            .map_err(|error| not_there(destination, error))
    }

    /// Waits until name servers know a topic that brokers have.
    pub(super) async fn published(&self, destination: &Destination) -> Result<()> {
        let deadline = Instant::now() + PUBLICATION;
        let mut backoff = Backoff::up_to(Duration::from_millis(200));
        loop {
            match self.check_known(destination).await {
                Err(Error::InvalidDestination { .. }) if Instant::now() < deadline => {
                    sleep(backoff.after_failure(fastrand::f64())).await;
                }
                checked => return checked,
            }
        }
    }

    pub(super) fn forget(&self, destination: &Destination) {
        self.known.lock().remove(destination.name());
        self.temporary.lock().remove(destination.name());
    }

    pub(super) fn add_temporary(&self, destination: &Destination) {
        self.temporary.lock().insert(destination.shared_name());
    }

    pub(super) fn has_temporary(&self, destination: &Destination) -> bool {
        self.temporary.lock().contains(destination.name())
    }

    /// Deletes a group wherever it is; returns whether it was anywhere.
    pub(super) async fn delete_group(&self, group: &str) -> Result<bool> {
        let mut was_there = false;
        for broker in self.client.admin().masters().await? {
            match broker.delete_group(group, false).await {
                Err(error) if error.code() == Some(crate::ErrorCode::GroupNotFound) => {}
                deleted => {
                    deleted?;
                    was_there = true;
                }
            }
        }
        Ok(was_there)
    }

    /// Deletes a topic wherever it is.
    pub(super) async fn delete_topic(&self, topic: &str) -> Result<()> {
        for broker in self.client.admin().masters().await? {
            match broker.delete_topic(topic).await {
                Err(error) if error.code() == Some(crate::ErrorCode::TopicNotFound) => {}
                deleted => deleted?,
            }
        }
        Ok(())
    }
}

fn not_there(destination: &Destination, error: crate::Error) -> Error {
    match error {
        crate::Error::TopicNotFound { .. } => Error::destination(destination, error.to_string()),
        other => other.into(),
    }
}

/// A connection: what sessions are made from, and what starts and stops the delivery of messages.
///
/// Cheap to clone; clones are the same connection. Close it when it is not needed any more: messages that its sessions have
/// not acknowledged come again at once then, and its temporary destinations are deleted.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> castmq_client::jms::Result<()> {
/// use castmq_client::jms::{Acknowledge, ConnectionFactory, Destination, Message};
///
/// let connection = ConnectionFactory::new("127.0.0.1:9876").create_connection().await?;
/// connection.set_exception_listener(|error| eprintln!("{error}"));
/// connection.start()?;
/// let session = connection.create_session(Acknowledge::Auto)?;
/// let producer = session.create_producer(&Destination::queue("orders")?)?;
/// producer.send(&mut Message::text("3 apples")).await?;
/// connection.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Connection {
    core: Arc<ConnectionCore>,
}

impl Connection {
    pub(super) fn new(client: Client, settings: Settings, client_id: Option<String>) -> Self {
        Self {
            core: Arc::new(ConnectionCore {
                producer: client.producer().build(),
                client,
                settings,

                is_used: AtomicBool::new(client_id.is_some()),
                client_id: Mutex::new(client_id),
                is_started: watch::Sender::new(false),
                is_closed: watch::Sender::new(false),
                sessions: Mutex::default(),
                known: Mutex::default(),
                temporary: Mutex::default(),
                active: Mutex::default(),
                exception_listener: Mutex::default(),
                ids: UniqueIds::default(),
            }),
        }
    }

    /// Begins, or goes on, to deliver messages.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] when it is closed.
    pub fn start(&self) -> Result<()> {
        self.set_started(true)
    }

    /// Stops delivering messages: those who wait for one go on waiting. What was delivered can be acknowledged, and messages
    /// can be sent.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] when it is closed.
    pub fn stop(&self) -> Result<()> {
        self.set_started(false)
    }

    fn set_started(&self, is_started: bool) -> Result<()> {
        self.core.check_open()?;
        self.core.is_used.store(true, Ordering::Release);
        self.core.is_started.send_replace(is_started);
        Ok(())
    }

    /// The client id, which durable subscriptions belong to.
    pub fn client_id(&self) -> Option<String> {
        self.core.client_id()
    }

    /// Sets the client id. It has to be the first that is done with a connection.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] later, and when the factory has set one; [`Error::InvalidClientId`] for an empty one.
    pub fn set_client_id(&self, id: &str) -> Result<()> {
        self.core.check_open()?;
        if id.is_empty() {
            return Err(empty_client_id());
        }
        if self.core.is_used.swap(true, Ordering::AcqRel) {
            return Err(Error::state(
                "the client id can only be set before a connection is used, and once: set it at its factory",
            ));
        }
        *self.core.client_id.lock() = Some(id.to_owned());
        Ok(())
    }

    /// Is told of errors that nobody waits for: of listeners, and of messages that are kept.
    pub fn set_exception_listener(&self, listener: impl Fn(&Error) + Send + Sync + 'static) {
        *self.core.exception_listener.lock() = Some(Arc::new(listener));
    }

    /// A session.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] when the connection is closed.
    pub fn create_session(&self, mode: Acknowledge) -> Result<Session> {
        self.core.check_open()?;
        self.core.is_used.store(true, Ordering::Release);
        let session = Session::new(&self.core, mode);
        let mut sessions = self.core.sessions.lock();
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push(session.weak());
        Ok(session)
    }

    /// Closes all sessions, deletes temporary destinations, and waits for what is on its way to brokers. Closing it again is
    /// harmless.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] within one of its listeners. The first error of what could not be done; all else is done.
    pub async fn close(&self) -> Result<()> {
        let sessions: Vec<_> = {
            let sessions = self.core.sessions.lock();
            sessions.iter().filter_map(Weak::upgrade).collect()
        };
        for session in &sessions {
            session.check_not_within()?;
        }
        if self.core.is_closed.send_replace(true) {
            return Ok(());
        }
        let mut result = Ok(());
        for session in sessions {
            let closed = session.close().await;
            result = result.and(closed);
        }
        let temporary = std::mem::take(&mut *self.core.temporary.lock());
        for topic in temporary {
            let deleted = self.core.delete_topic(&topic).await;
            result = result.and(deleted);
        }
        self.core.producer.close().await;
        result
    }
}
