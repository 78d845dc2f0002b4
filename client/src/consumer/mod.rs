//! Receiving messages.
//!
//! - [`PushConsumer`]: is given messages, as a member of a group. `push_builder` and `push`: its settings and tasks; `home`: where
//!   a broker set is consumed; `member` and `holding`: the group at one broker; `dispatcher`: the messages held, and whose turn it is; `worker`: runs handlers; `handler`: what
//!   they are; `broadcast`: offsets kept here; `lease`: how long queues are a member's own.
//! - [`PopConsumer`]: takes messages that are acknowledged one by one. `pop_builder` and `pop`; `popped`: such messages.
//! - [`PullConsumer`]: asks for messages itself. `pull`; `reader`: asking brokers.
//! - `tracker`, `credit`: the decisions, pure.

mod broadcast;
mod credit;
mod dispatcher;
mod handler;
mod holding;
mod home;
mod lease;
mod member;
mod pop;
mod pop_builder;
mod popped;
mod pull;
mod push;
mod push_builder;
mod reader;
#[cfg(test)]
mod tests;
mod tracker;
mod worker;

pub use handler::{Ack, FnHandler, Handler, IntoAck};
pub use pop::PopConsumer;
pub use pop_builder::PopConsumerBuilder;
pub use popped::PoppedMessage;
pub use pull::{PullConsumer, PullConsumerBuilder, SeekTo};
pub use push::PushConsumer;
pub use push_builder::PushConsumerBuilder;

pub use castmq_protocol::native::request::{Filter, StartFrom};

/// Whether a queue's messages are handled one after the other.
///
/// # Examples
///
/// ```no_run
/// # async fn example(client: castmq_client::Client) -> castmq_client::Result<()> {
/// use castmq_client::{Filter, Order};
///
/// let consumer = client
///     .push_consumer("ledger")
///     .subscribe("orders", Filter::All)
///     .order(Order::PerQueue)
///     .handler(|message| async move { println!("{} #{}", message.queue(), message.offset()) })
///     .start()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// Any messages at once, as many as the concurrency allows.
    #[default]
    None,
    /// One after the other within a queue; queues do not wait for each other. A message that has to be tried again holds up
    /// the messages behind it.
    PerQueue,
}

impl Order {
    /// Whether there is one.
    pub(crate) fn is_kept(self) -> bool {
        self == Self::PerQueue
    }
}

/// A filter for messages with one of these tags.
///
/// # Examples
///
/// ```
/// use castmq_client::{Filter, tags};
///
/// assert_eq!(tags(["a", "b"]), Filter::Tags(vec!["a".into(), "b".into()]));
/// ```
pub fn tags<S: Into<String>>(tags: impl IntoIterator<Item = S>) -> Filter {
    Filter::Tags(tags.into_iter().map(Into::into).collect())
}
