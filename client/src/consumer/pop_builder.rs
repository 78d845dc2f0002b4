//! What a pop consumer is set to.

use std::time::Duration;

use castmq_protocol::model::{GroupName, TopicName};
use castmq_protocol::native::request::{Filter, PopOrder, StartFrom};

use super::pop::PopConsumer;
use crate::client::Client;
use crate::error::Result;
use crate::raw::milliseconds;

/// Settings of a [`PopConsumer`], from [`Client::pop_consumer`].
///
/// # Examples
///
/// ```no_run
/// # async fn example(client: castmq_client::Client) -> castmq_client::Result<()> {
/// use std::time::Duration;
/// use castmq_client::StartFrom;
///
/// let consumer = client
///     .pop_consumer("workers")
///     .topic("jobs")
///     .from(StartFrom::Earliest)
///     .invisible(Duration::from_secs(300))
///     .max_messages(1)
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct PopConsumerBuilder {
    client: Client,
    group: String,
    topic: String,
    settings: Settings,
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) from: StartFrom,
    pub(super) filter: Filter,
    pub(super) invisible_ms: u32,
    pub(super) max_messages: u32,
    pub(super) wait_ms: u32,
    pub(super) order: PopOrder,
}

impl PopConsumerBuilder {
    pub(crate) fn new(client: Client, group: &str) -> Self {
        Self {
            client,
            group: group.to_owned(),
            topic: String::new(),
            settings: Settings {
                from: StartFrom::Latest,
                filter: Filter::All,
                invisible_ms: 60_000,
                max_messages: 32,
                wait_ms: 15_000,
                order: PopOrder::Any,
            },
        }
    }

    /// The topic.
    pub fn topic(mut self, topic: &str) -> Self {
        topic.clone_into(&mut self.topic);
        self
    }

    /// Where the group begins when it has read nothing of the topic: earliest or latest. Default: behind the last message.
    pub fn from(mut self, from: StartFrom) -> Self {
        self.settings.from = from;
        self
    }

    /// Which messages, the same for the whole group: others are passed over. Default: all.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.settings.filter = filter;
        self
    }

    /// How long nobody else gets a message that was received: as long as processing takes, with some to spare. Whole
    /// milliseconds, one at least. Default: 60 s.
    pub fn invisible(mut self, time: Duration) -> Self {
        self.settings.invisible_ms = milliseconds(time).max(1);
        self
    }

    /// Messages received at once, at most. Default: 32.
    pub fn max_messages(mut self, messages: u32) -> Self {
        self.settings.max_messages = messages.max(1);
        self
    }

    /// How long [`PopConsumer::receive`] waits when there is nothing. Default: 15 s.
    pub fn wait(mut self, time: Duration) -> Self {
        self.settings.wait_ms = milliseconds(time);
        self
    }

    /// In what order the group gets messages, the same for all its consumers. Default: whoever asks gets the next.
    ///
    /// [`PopOrder::Key`] is for messages with an [ordering key](crate::MessageBuilder::ordering_key): nobody of the group gets
    /// the next of a key while an earlier one is neither acknowledged nor a dead letter, and messages of other keys go on.
    /// [`PopOrder::Queue`] does that with whole queues.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(client: castmq_client::Client) -> castmq_client::Result<()> {
    /// use castmq_client::PopOrder;
    ///
    /// let consumer = client
    ///     .pop_consumer("billing")
    ///     .topic("payments")
    ///     .in_order(PopOrder::Key)
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn in_order(mut self, order: PopOrder) -> Self {
        self.settings.order = order;
        self
    }

    /// The consumer. It connects when it first receives.
    ///
    /// # Errors
    ///
    /// When a name breaks the rules, or there is no topic.
    pub fn build(self) -> Result<PopConsumer> {
        let group = GroupName::new(&self.group)?;
        let topic = TopicName::new(&self.topic)?;
        Ok(PopConsumer::new(self.client, &group, &topic, self.settings))
    }
}
