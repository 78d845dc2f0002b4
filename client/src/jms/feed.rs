//! Where a consumer's messages come from.
//!
//! Queues, and subscriptions that last, pop: the broker knows who has which message. A subscription that ends with its
//! consumer reads by itself, and the broker need not know of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::native::request::{Filter, StartFrom};
use tokio::time::Instant;

use super::connection::ConnectionCore;
use super::delivery::{Again, Held, give_back};
use super::destination::Destination;
use super::error::Result;
use super::session::SessionCore;
use super::subscription::READER_GROUP;
use crate::consumer::{PopConsumer, PullConsumer, SeekTo};
use crate::message::ReceivedMessage;

/// How long a subscription that reads looks for a message when it must not wait: as long as an answer takes.
const SHORTEST_READ: Duration = Duration::from_millis(50);

/// How often it is looked whether a topic has more queues.
const LOOK: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug)]
pub(super) enum Feed {
    Pop {
        consumer: PopConsumer,
        lease: Duration,
        buffer: VecDeque<Arc<Held>>,
    },
    Read {
        consumer: PullConsumer,
        topic: Arc<str>,
        buffer: VecDeque<ReceivedMessage>,
        again: Arc<Again>,
        looked_at: Instant,
    },
}

impl Feed {
    /// Takes messages from brokers in the name of a group. A queue's begin with the first there is, a subscription's with
    /// those that come from now on.
    pub(super) async fn pop(
        session: &SessionCore,
        destination: &Destination,
        group: &str,
        filter: Filter,
    ) -> Result<Self> {
        let connection = &session.connection;
        let settings = &connection.settings;
        let from = match destination.is_queue() {
            true => StartFrom::Earliest,
            false => StartFrom::Latest,
        };
        let consumer = connection
            .client
            .pop_consumer(group)
            .topic(destination.name())
            .from(from)
            .filter(filter)
            .invisible(settings.lease)
            .max_messages(settings.prefetch)
            .wait(Duration::ZERO)
            .build()?;
        let mut feed = Self::Pop {
            consumer,
            lease: settings.lease,
            buffer: VecDeque::new(),
        };
        if !destination.is_queue() {
            // Where the subscription begins is settled by its first pop, not by whoever receives later.
            feed.fetch(Duration::ZERO, session).await?;
        }
        Ok(feed)
    }

    /// Reads a topic from now on.
    pub(super) async fn read(
        connection: &Arc<ConnectionCore>,
        destination: &Destination,
        filter: Filter,
    ) -> Result<Self> {
        let consumer = connection.client.pull_consumer(READER_GROUP);
        // Queues that are added later are read from their first message on.
        let consumer = consumer.from(StartFrom::Earliest).filter(filter);
        let mut consumer = consumer.build()?;
        let queues = consumer.queues(destination.name()).await?;
        consumer.assign(queues.clone()).await?;
        for queue in &queues {
            consumer.seek(queue, SeekTo::Latest).await?;
        }
        Ok(Self::Read {
            consumer,
            topic: destination.shared_name(),
            buffer: VecDeque::new(),
            again: Arc::default(),
            looked_at: Instant::now(),
        })
    }

    /// The next message that is here already. One that was popped stays the next until [`Feed::done`]; with others nothing is
    /// waited for in between.
    pub(super) fn next(&mut self) -> Option<Arc<Held>> {
        match self {
            Self::Pop { buffer, .. } => buffer.front().cloned(),
            Self::Read { buffer, again, .. } => again.take().or_else(|| {
                let message = buffer.pop_front()?;
                Some(Arc::new(Held::Read {
                    message,
                    delivery_count: 1,
                    again: again.clone(),
                }))
            }),
        }
    }

    /// The message that came next is delivered, or nobody's.
    pub(super) fn done(&mut self) {
        if let Self::Pop { buffer, .. } = self {
            buffer.pop_front();
        }
    }

    /// Waits for messages, at most so long, or until it is worth asking again. Nothing is lost when it is dropped.
    pub(super) async fn fetch(&mut self, wait: Duration, session: &SessionCore) -> Result<()> {
        match self {
            Self::Pop {
                consumer,
                lease,
                buffer,
                ..
            } => {
                // A lease counts from the question: most of it is left when the answer comes.
                consumer.set_wait(wait.min(*lease / 3));
                for message in consumer.receive().await? {
                    let held = Arc::new(Held::popped(message, *lease));
                    session.keep(&held);
                    buffer.push_back(held);
                }
            }
            Self::Read {
                consumer,
                topic,
                buffer,
                again,
                looked_at,
            } => {
                if looked_at.elapsed() >= LOOK {
                    let queues = consumer.queues(topic).await?;
                    consumer.assign(queues).await?;
                    *looked_at = Instant::now();
                }
                let wait = wait.max(SHORTEST_READ);
                tokio::select! {
                    messages = consumer.poll(wait) => buffer.extend(messages?),
                    () = again.ready() => {}
                }
            }
        }
        Ok(())
    }

    /// Gives back what was not delivered.
    pub(super) async fn close(&mut self) {
        if let Self::Pop { buffer, .. } = self {
            let held: Vec<_> = buffer.drain(..).collect();
            give_back(&held, Duration::ZERO).await;
        }
    }
}
