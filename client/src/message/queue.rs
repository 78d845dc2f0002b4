//! Queues by name, and how a message finds its own.

use std::fmt;
use std::sync::Arc;

use castmq_protocol::model::QueueId;
use castmq_protocol::native::request::ANY_QUEUE;

/// A queue of a topic on one broker.
///
/// Queues sort by topic, broker and number: the order in which RocketMQ's clients count them.
///
/// # Examples
///
/// ```
/// use castmq_client::Queue;
///
/// let queue = Queue::new("orders", "broker-a", 3);
/// assert_eq!(queue.to_string(), "orders@broker-a/3");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Queue {
    /// The topic.
    pub topic: Arc<str>,
    /// The broker's name, shared by a master and its slaves.
    pub broker: Arc<str>,
    /// The queue's number on that broker, from 0.
    pub id: QueueId,
}

impl Queue {
    /// A queue by its three names.
    pub fn new(topic: impl Into<Arc<str>>, broker: impl Into<Arc<str>>, id: u32) -> Self {
        Self {
            topic: topic.into(),
            broker: broker.into(),
            id: QueueId(id),
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.topic, self.broker, self.id)
    }
}

/// Which queue a message goes to.
///
/// # Examples
///
/// ```
/// use castmq_client::{Message, Queue, QueueChoice};
///
/// # fn main() -> castmq_client::Result<()> {
/// let queue = Queue::new("orders", "broker-a", 3);
/// let message = Message::builder("orders", "body").queue(&queue).build()?;
/// assert_eq!(message.choice(), &QueueChoice::from(&queue));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueChoice {
    /// The next one in turn, over all writable queues of all brokers.
    #[default]
    Any,
    /// The one that this key belongs to: messages with one key stay in order, see
    /// [`MessageBuilder::ordering_key`](crate::MessageBuilder::ordering_key).
    ///
    /// The key's Java hash picks among all writable queues, as RocketMQ's `SelectMessageQueueByHash` does, so that
    /// producers of both kinds agree as long as the topic's queues stay the same.
    Key(Arc<str>),
    /// This number, on the first broker by name that has it.
    Id(QueueId),
    /// This number on this broker.
    On {
        /// The broker's name.
        broker: Arc<str>,
        /// The queue's number there.
        id: QueueId,
    },
}

impl QueueChoice {
    /// The broker and the queue that it names, where whatever it leaves open is the broker's to choose. What a key is for,
    /// order, is not kept there.
    pub(crate) fn named(&self) -> (Option<&str>, QueueId) {
        match self {
            Self::On { broker, id } => (Some(broker), *id),
            Self::Id(id) => (None, *id),
            Self::Any | Self::Key(_) => (None, ANY_QUEUE),
        }
    }
}

impl From<u32> for QueueChoice {
    fn from(id: u32) -> Self {
        Self::Id(QueueId(id))
    }
}

impl From<QueueId> for QueueChoice {
    fn from(id: QueueId) -> Self {
        Self::Id(id)
    }
}

impl From<&Queue> for QueueChoice {
    fn from(queue: &Queue) -> Self {
        Self::On {
            broker: queue.broker.clone(),
            id: queue.id,
        }
    }
}
