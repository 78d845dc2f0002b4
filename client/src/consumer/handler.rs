//! What is done with a message, and what came of it.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use crate::message::ReceivedMessage;

/// What came of handling a message.
///
/// # Examples
///
/// ```no_run
/// # async fn example(client: castmq_client::Client) -> castmq_client::Result<()> {
/// use castmq_client::{Ack, Filter};
///
/// let consumer = client
///     .push_consumer("billing")
///     .subscribe("orders", Filter::All)
///     .handler(|message| async move {
///         match message.tag() {
///             Some("urgent") if message.attempts() < 3 => Ack::Retry,
///             _ => Ack::Done,
///         }
///     })
///     .start()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ack {
    /// It is done and need not come again.
    Done,
    /// It has to be tried again.
    ///
    /// The broker stores it anew for the group and delivers it, to any member, after 10 s; then after 30 s, 1 min and so on,
    /// each time later. After the group's retries, 16 unless an operator or
    /// [`max_attempts`](super::PushConsumerBuilder::max_attempts) says otherwise, it goes to the group's dead letters.
    ///
    /// In an ordered queue, and for a broadcasting consumer, the consumer keeps the message instead and hands it to the
    /// handler again after a pause, as often as it takes or `max_attempts` allows. Until it is done, the queue's offset does
    /// not pass it: after a restart it comes again, and all behind it.
    Retry,
    /// It has to be tried again after this delay level of the broker, from 1; in an ordered queue, like [`Ack::Retry`].
    RetryAtLevel(u8),
    /// It has to be tried again after this time, which the broker keeps to the millisecond; in an ordered queue, like
    /// [`Ack::Retry`].
    RetryAfter(Duration),
    /// It is no use: it goes to the group's dead letters now. A broadcasting consumer only logs it.
    DeadLetter,
}

impl Ack {
    /// Whether the message is through here.
    pub(super) fn is_retry(self) -> bool {
        matches!(
            self,
            Self::Retry | Self::RetryAtLevel(_) | Self::RetryAfter(_)
        )
    }
}

/// What a handler may return.
///
/// `()` and `Ok` are [`Ack::Done`]; an `Err` is logged and is [`Ack::Retry`].
///
/// # Examples
///
/// ```
/// use castmq_client::{Ack, IntoAck};
///
/// assert_eq!("17".parse::<u32>().map(drop).into_ack(), Ack::Done);
/// assert_eq!("x".parse::<u32>().map(drop).into_ack(), Ack::Retry);
/// ```
pub trait IntoAck {
    /// The ack.
    fn into_ack(self) -> Ack;
}

impl IntoAck for Ack {
    fn into_ack(self) -> Ack {
        self
    }
}

impl IntoAck for () {
    fn into_ack(self) -> Ack {
        Ack::Done
    }
}

impl<T: IntoAck, E: Display> IntoAck for Result<T, E> {
    fn into_ack(self) -> Ack {
        match self {
            Ok(ack) => ack.into_ack(),
            Err(error) => {
                tracing::warn!(%error, "handler failed, the message will be tried again");
                Ack::Retry
            }
        }
    }
}

/// Handles messages. Closures do, by way of [`PushConsumerBuilder::handler`](super::PushConsumerBuilder::handler); this is
/// for types with more to them.
///
/// # Examples
///
/// ```
/// use castmq_client::{Ack, Handler, ReceivedMessage};
///
/// struct Billing {
///     currency: String,
/// }
///
/// impl Handler for Billing {
///     async fn handle(&self, message: ReceivedMessage) -> Ack {
///         println!("{} in {}", message.offset(), self.currency);
///         Ack::Done
///     }
/// }
/// ```
pub trait Handler: Send + Sync + 'static {
    /// Handles one message. A panic is [`Ack::Retry`].
    ///
    /// Work that keeps the processor busy or blocks belongs on a thread of its own (`tokio::task::spawn_blocking`): it would
    /// hold up the other handlers, and the connections.
    fn handle(&self, message: ReceivedMessage) -> impl Future<Output = Ack> + Send;
}

/// A closure as a [`Handler`].
#[derive(Debug, Clone)]
pub struct FnHandler<F>(pub(super) F);

impl<F, Fut, A> Handler for FnHandler<F>
where
    F: Fn(ReceivedMessage) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = A> + Send,
    A: IntoAck,
{
    async fn handle(&self, message: ReceivedMessage) -> Ack {
        (self.0)(message).await.into_ack()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_asks_for_another_try() {
        assert_eq!(().into_ack(), Ack::Done);
        assert_eq!(Ok::<(), String>(()).into_ack(), Ack::Done);
        assert_eq!(Ok::<Ack, String>(Ack::Retry).into_ack(), Ack::Retry);
        assert_eq!(Err::<(), _>("no").into_ack(), Ack::Retry);
    }
}
