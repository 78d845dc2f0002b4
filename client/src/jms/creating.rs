//! What sessions create and end: consumers and their subscriptions, browsers, temporary destinations.

use std::sync::Arc;

use castmq_protocol::filter::Selector;
use castmq_protocol::native::request::Filter;

use super::browser::QueueBrowser;
use super::consumer::{ConsumerCore, MessageConsumer};
use super::destination::{Destination, TEMPORARY_PREFIX};
use super::error::{Error, Result};
use super::feed::Feed;
use super::session::Session;
use super::subscription::{self, Place, QUEUE_GROUP};
use crate::model::TopicConfig;

impl Session {
    /// A consumer of a queue; or of a topic, from now on until it is closed.
    ///
    /// Consumers of a queue share its messages, however many they are. A selector of a topic's consumer is asked by the
    /// broker.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidDestination`] when it is not there and brokers do not create topics, or is a temporary one of another
    /// connection. [`Error::InvalidSelector`] for a text that is none, and for any on a queue: whoever looks at a message of
    /// a queue first would settle it for all.
    pub async fn create_consumer(
        &self,
        destination: &Destination,
        selector: Option<&str>,
    ) -> Result<MessageConsumer> {
        let filter = self.prepare(destination, selector).await?;
        let connection = &self.core().connection;
        let feed = match destination.is_queue() {
            true => Feed::pop(self.core(), destination, QUEUE_GROUP, filter).await?,
            false => Feed::read(connection, destination, filter).await?,
        };
        Ok(self.add(destination, feed, None))
    }

    /// A consumer of a durable subscription, which begins when it is first made, and keeps what is published while it has no
    /// consumer. It belongs to the connection's client id, and has one consumer at a time.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidClientId`] when the connection has no client id, [`Error::IllegalState`] when the subscription has a
    /// consumer on this connection, and as [`create_consumer`](Self::create_consumer).
    pub async fn create_durable_consumer(
        &self,
        topic: &Destination,
        name: &str,
        selector: Option<&str>,
    ) -> Result<MessageConsumer> {
        if self.core().connection.client_id().is_none() {
            return Err(no_client_id());
        }
        self.subscribe(topic, &self.durable(name)?, selector, false)
            .await
    }

    /// A consumer of a durable subscription that any number of consumers share: each message goes to one of them.
    ///
    /// # Errors
    ///
    /// As [`create_durable_consumer`](Self::create_durable_consumer), but no client id is needed.
    pub async fn create_shared_durable_consumer(
        &self,
        topic: &Destination,
        name: &str,
        selector: Option<&str>,
    ) -> Result<MessageConsumer> {
        self.subscribe(topic, &self.durable(name)?, selector, true)
            .await
    }

    /// A consumer of a subscription that any number of consumers share and that is not meant to last. Unlike in JMS it keeps
    /// what is published while it has no consumer: the broker does not know who was the last.
    ///
    /// # Errors
    ///
    /// As [`create_shared_durable_consumer`](Self::create_shared_durable_consumer).
    pub async fn create_shared_consumer(
        &self,
        topic: &Destination,
        name: &str,
        selector: Option<&str>,
    ) -> Result<MessageConsumer> {
        let client_id = self.core().connection.client_id();
        let group = subscription::shared(client_id.as_deref(), name)?;
        self.subscribe(topic, &group, selector, true).await
    }

    fn durable(&self, name: &str) -> Result<Arc<str>> {
        subscription::durable(self.core().connection.client_id().as_deref(), name)
    }

    async fn subscribe(
        &self,
        topic: &Destination,
        group: &Arc<str>,
        selector: Option<&str>,
        is_shared: bool,
    ) -> Result<MessageConsumer> {
        if topic.is_queue() || (topic.is_temporary() && !is_shared) {
            let reason = "subscriptions that last are of topics that do";
            return Err(Error::destination(topic, reason));
        }
        let place = Place::take(&self.core().connection, group, is_shared)?;
        let filter = self.prepare(topic, selector).await?;
        let feed = Feed::pop(self.core(), topic, group, filter).await?;
        Ok(self.add(topic, feed, Some(place)))
    }

    /// Ends a durable subscription, shared or not: what it has kept is dropped, and one of its name begins anew.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] while it has a consumer on this connection. [`Error::InvalidDestination`] when there is none of
    /// this name.
    pub async fn unsubscribe(&self, name: &str) -> Result<()> {
        self.core().check_open()?;
        let connection = &self.core().connection;
        let group = self.durable(name)?;
        // Nobody can begin to consume it meanwhile.
        let _place = Place::take(connection, &group, false)?;
        match connection.delete_group(&group).await? {
            true => Ok(()),
            false => Err(Error::InvalidDestination {
                destination: name.into(),
                reason: "there is no durable subscription of this name and client id".into(),
            }),
        }
    }

    /// Looks at a queue's messages without consuming them.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidDestination`] for a topic, and as [`create_consumer`](Self::create_consumer). A selector is taken.
    pub async fn create_browser(
        &self,
        queue: &Destination,
        selector: Option<&str>,
    ) -> Result<QueueBrowser> {
        if !queue.is_queue() {
            return Err(Error::destination(queue, "only queues can be browsed"));
        }
        let filter = filter(selector)?;
        self.check(queue).await?;
        QueueBrowser::new(&self.core().connection, queue, filter).await
    }

    async fn check(&self, destination: &Destination) -> Result<()> {
        self.core().check_open()?;
        self.core().connection.ensure(destination).await
    }

    async fn prepare(&self, destination: &Destination, selector: Option<&str>) -> Result<Filter> {
        let filter = filter(selector)?;
        if let (true, Filter::Selector(text)) = (destination.is_queue(), &filter) {
            return Err(Error::destination(
                destination,
                format!(
                    "a queue's consumers share all of its messages, so that none can have only those that {text:?} selects: send those to a queue of their own, or publish them to a topic"
                ),
            ));
        }
        self.check(destination).await?;
        let connection = &self.core().connection;
        if destination.is_temporary() && !connection.has_temporary(destination) {
            return Err(Error::destination(
                destination,
                "only the connection that made a temporary destination can consume it",
            ));
        }
        Ok(filter)
    }

    fn add(&self, destination: &Destination, feed: Feed, place: Option<Place>) -> MessageConsumer {
        let core = ConsumerCore::new(self.core(), destination, feed, place);
        self.core().add(&core);
        MessageConsumer::new(core)
    }

    /// A queue that lives as long as the connection, for answers. A connection that dies instead of being closed leaves its
    /// topic behind.
    ///
    /// # Errors
    ///
    /// When no broker can make it.
    pub async fn create_temporary_queue(&self) -> Result<Destination> {
        self.temporary(Destination::temporary_queue).await
    }

    /// A topic that lives as long as the connection.
    ///
    /// # Errors
    ///
    /// When no broker can make it.
    pub async fn create_temporary_topic(&self) -> Result<Destination> {
        self.temporary(Destination::temporary_topic).await
    }

    async fn temporary(&self, of: impl Fn(&str) -> Result<Destination>) -> Result<Destination> {
        self.core().check_open()?;
        let connection = &self.core().connection;
        let id = connection.ids.next();
        let destination = of(&format!("{TEMPORARY_PREFIX}{id}"))?;
        let brokers = connection.client.admin().masters().await?;
        let index = fastrand::usize(..brokers.len().max(1));
        let Some(broker) = brokers.get(index) else {
            return Err(Error::destination(
                &destination,
                "there is no broker to make it",
            ));
        };
        let config = TopicConfig::with_queues(1);
        broker.create_topic(destination.name(), config).await?;
        connection.add_temporary(&destination);
        connection.published(&destination).await?;
        Ok(destination)
    }

    /// Deletes a temporary destination of this connection.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidDestination`] when it is none.
    pub async fn delete_temporary(&self, destination: &Destination) -> Result<()> {
        let connection = &self.core().connection;
        if !connection.has_temporary(destination) {
            let reason = "it is no temporary destination of this connection";
            return Err(Error::destination(destination, reason));
        }
        connection.delete_topic(destination.name()).await?;
        connection.forget(destination);
        Ok(())
    }
}

/// A selector that takes all is none.
fn filter(selector: Option<&str>) -> Result<Filter> {
    let text = selector.unwrap_or_default();
    match Selector::new(text) {
        Ok(selector) if selector.expression().is_none() => Ok(Filter::All),
        Ok(_) => Ok(Filter::Selector(text.to_owned())),
        Err(reason) => Err(Error::InvalidSelector {
            selector: text.into(),
            reason,
        }),
    }
}

fn no_client_id() -> Error {
    Error::InvalidClientId(
        "a durable subscription belongs to a client id, and the connection has none: set it at its factory".into(),
    )
}
