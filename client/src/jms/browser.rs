//! Looking at a queue's messages.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::QueueOffset;
use castmq_protocol::native::request::{Filter, StartFrom};
use tokio::time::Instant;

use super::connection::ConnectionCore;
use super::destination::Destination;
use super::error::{Error, Result};
use super::message::Message;
use super::subscription::QUEUE_GROUP;
use crate::consumer::{PullConsumer, SeekTo};
use crate::message::{Queue, ReceivedMessage};

/// How long is waited before it is looked how far a selector has let brokers go without a message.
const STEP: Duration = Duration::from_millis(20);

/// How long brokers are waited for when they go no further.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks at a queue's messages without consuming them: those from the first that is not acknowledged up to the last there was
/// when the browser was made. Messages behind the first that were acknowledged out of order are among them, and so are those
/// that consumers have and have not acknowledged.
///
/// # Examples
///
/// ```no_run
/// # async fn example(session: castmq_client::jms::Session) -> castmq_client::jms::Result<()> {
/// use castmq_client::jms::Destination;
///
/// let orders = Destination::queue("orders")?;
/// let mut browser = session.create_browser(&orders, Some("region = 'eu'")).await?;
/// while let Some(message) = browser.next().await? {
///     println!("{:?}", message.message_id());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct QueueBrowser {
    consumer: PullConsumer,
    destination: Destination,
    /// Queues that are not read to their end.
    ends: BTreeMap<Queue, QueueOffset>,
    buffer: VecDeque<ReceivedMessage>,
}

impl QueueBrowser {
    pub(super) async fn new(
        connection: &Arc<ConnectionCore>,
        destination: &Destination,
        filter: Filter,
    ) -> Result<Self> {
        let consumer = connection.client.pull_consumer(QUEUE_GROUP);
        let consumer = consumer.from(StartFrom::Earliest).filter(filter);
        let mut consumer = consumer.build()?;
        let queues = consumer.queues(destination.name()).await?;
        consumer.assign(queues.clone()).await?;
        let mut ends = BTreeMap::new();
        for queue in queues {
            let begin = consumer.position(&queue).unwrap_or_default();
            consumer.seek(&queue, SeekTo::Latest).await?;
            let end = consumer.position(&queue).unwrap_or_default();
            consumer.seek(&queue, SeekTo::Offset(begin)).await?;
            ends.insert(queue, end);
        }
        let mut browser = Self {
            consumer,
            destination: destination.clone(),
            ends,
            buffer: VecDeque::new(),
        };
        browser.leave_finished().await?;
        Ok(browser)
    }

    /// Reads no more of queues that are read to their end.
    async fn leave_finished(&mut self) -> Result<()> {
        let consumer = &self.consumer;
        self.ends.retain(|queue, end| {
            let position = consumer.position(queue);
            position.is_some_and(|position| position < *end)
        });
        let left: Vec<_> = self.ends.keys().cloned().collect();
        self.consumer.assign(left).await?;
        Ok(())
    }

    fn positions(&self) -> Vec<Option<QueueOffset>> {
        let queues = self.ends.keys();
        queues.map(|queue| self.consumer.position(queue)).collect()
    }

    /// The next message; `None` behind the last.
    ///
    /// # Errors
    ///
    /// When a broker cannot be asked. Calling it again is right.
    pub async fn next(&mut self) -> Result<Option<Message>> {
        let mut deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(message) = self.buffer.pop_front() {
                return Ok(Some(Message::received(&message, &self.destination, 1)));
            }
            if self.ends.is_empty() {
                return Ok(None);
            }
            let messages = self.consumer.poll(STEP).await?;
            let ends = &self.ends;
            let is_before_end = |message: &ReceivedMessage| {
                let end = ends.get(&message.queue());
                end.is_some_and(|end| message.offset() < *end)
            };
            let messages = messages.into_iter().filter(is_before_end);
            self.buffer.extend(messages);
            let before = self.positions();
            self.leave_finished().await?;
            if self.positions() != before || !self.buffer.is_empty() {
                deadline = Instant::now() + PATIENCE;
            } else if Instant::now() >= deadline {
                return Err(Error::destination(
                    &self.destination,
                    "its brokers have not answered: go on later",
                ));
            }
        }
    }
}
