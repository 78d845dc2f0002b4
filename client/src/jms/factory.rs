//! Factories of connections.

use std::time::Duration;

use super::connection::Connection;
use super::error::{Error, Result};
use crate::client::{Client, ClientBuilder};

/// What a broker can be told, in milliseconds.
const LONGEST: Duration = Duration::from_millis(u32::MAX as u64);

/// Makes connections.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> castmq_client::jms::Result<()> {
/// use std::time::Duration;
/// use castmq_client::jms::ConnectionFactory;
///
/// let factory = ConnectionFactory::new("127.0.0.1:9876")
///     .client_id("billing-7")
///     .lease(Duration::from_secs(30));
/// let connection = factory.create_connection().await?;
/// connection.start()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a factory makes nothing until `create_connection`"]
pub struct ConnectionFactory {
    source: Source,
    client_id: Option<String>,
    settings: Settings,
}

#[derive(Debug, Clone)]
enum Source {
    Builder(ClientBuilder),
    Client(Client),
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) lease: Duration,
    pub(super) prefetch: u32,
    pub(super) redelivery_delay: Duration,
}

impl ConnectionFactory {
    /// Connections through a name server, or several separated by `;`.
    pub fn new(name_server: impl Into<String>) -> Self {
        Self::of(Source::Builder(
            Client::builder().name_servers([name_server]),
        ))
    }

    /// Connections of a client that is there already, which share its connections.
    pub fn from_client(client: &Client) -> Self {
        Self::of(Source::Client(client.clone()))
    }

    fn of(source: Source) -> Self {
        Self {
            source,
            client_id: None,
            settings: Settings {
                lease: Duration::from_secs(60),
                prefetch: 1,
                redelivery_delay: Duration::ZERO,
            },
        }
    }

    /// The connection's client id, which durable subscriptions belong to.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// How long a message stays with a consumer that has died, before it is delivered again: those that live make it longer
    /// by themselves. A second or more, 49 days at most. Default: 60 s.
    pub fn lease(mut self, time: Duration) -> Self {
        self.settings.lease = time.clamp(Duration::from_secs(1), LONGEST);
        self
    }

    /// Messages that a consumer of a queue, or of a durable or shared subscription, takes at once. More are faster; those
    /// that lie with a consumer are not with others, and count as delivered when it is closed. Default: 1.
    pub fn prefetch(mut self, messages: u32) -> Self {
        self.settings.prefetch = messages.max(1);
        self
    }

    /// How long a message stays away that was rolled back, recovered, or whose listener failed. 49 days at most. Default: not
    /// at all.
    pub fn redelivery_delay(mut self, time: Duration) -> Self {
        self.settings.redelivery_delay = time.min(LONGEST);
        self
    }

    /// Connects. The connection delivers nothing before [`Connection::start`].
    ///
    /// # Errors
    ///
    /// When no name server can be reached, or the client id is empty.
    pub async fn create_connection(&self) -> Result<Connection> {
        if self.client_id.as_deref() == Some("") {
            return Err(empty_client_id());
        }
        let client = match &self.source {
            Source::Builder(builder) => builder.clone().build().await?,
            Source::Client(client) => client.clone(),
        };
        let (settings, client_id) = (self.settings.clone(), self.client_id.clone());
        Ok(Connection::new(client, settings, client_id))
    }
}

pub(super) fn empty_client_id() -> Error {
    Error::InvalidClientId("the client id is empty: give it a character or more".into())
}
