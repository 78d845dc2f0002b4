//! Messages that are acknowledged one by one.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::native::request::{
    Acknowledge, ChangeInvisible, GroupAlias, PopReceipt, TopicAlias,
};
use castmq_protocol::native::{ErrorCode, Failure, Request, Response, Role};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::backoff::Backoff;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::link::{Link, Session};
use crate::message::ReceivedMessage;
use crate::raw::milliseconds;
use crate::routes::FRESH;
use crate::trace::{Consuming, Outcome, TracedGroup};

/// How often an acknowledgement whose answer was lost is sent again.
const RETRIES: u32 = 6;

/// Where messages come from, and where they are acknowledged.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) client: Client,
    /// To where they came from.
    pub(super) link: Arc<Link>,
    pub(super) broker: Arc<str>,
    pub(super) topic: Arc<str>,
    pub(super) traced: TracedGroup,
}

impl Source {
    pub(super) async fn aliases(&self, session: &Session) -> Result<(GroupAlias, TopicAlias)> {
        let group = session.group(&self.traced.group).await?;
        Ok((group, session.topic(&self.topic).await?.alias))
    }

    /// A link to the broker set's master as it is now: whoever takes over knows who has which message.
    async fn master(&self) -> Arc<Link> {
        let (topic, broker) = (&self.topic, &self.broker);
        let found = self
            .client
            .master(topic, broker, Role::Consumer, FRESH)
            .await;
        let elsewhere = found
            .ok()
            .filter(|link| link.address() != self.link.address());
        elsewhere.unwrap_or_else(|| self.link.clone())
    }

    /// Settles messages; returns which were refused.
    async fn acknowledge(&self, receipts: &[PopReceipt]) -> Result<Vec<(usize, Failure)>> {
        let mut backoff = Backoff::default();
        let mut link = self.link.clone();
        for _ in 0..RETRIES {
            let error = match self.acknowledge_over(&link, receipts).await {
                // Saying it again is harmless.
                Err(error) if error.is_connectivity() || error.is_retry_safe() => error,
                Err(error) if error.code() == Some(ErrorCode::OutcomeUnknown) => error,
                answer => return answer,
            };
            tracing::debug!(%error, "an acknowledgement is sent again");
            sleep(backoff.after_failure(fastrand::f64())).await;
            if error.hints_at_stale_route() {
                link = self.master().await;
            }
        }
        self.acknowledge_over(&link, receipts).await
    }

    async fn acknowledge_over(
        &self,
        link: &Link,
        receipts: &[PopReceipt],
    ) -> Result<Vec<(usize, Failure)>> {
        let session = link.session().await?;
        let (group, topic) = self.aliases(&session).await?;
        let request = Request::Acknowledge(Acknowledge {
            group,
            topic,
            receipts: receipts.to_vec(),
        });
        match session.ask(request).await?.header.response {
            Response::Acknowledged(answer) => {
                let refused = answer.refused.into_iter();
                Ok(refused
                    .map(|refused| (refused.place as usize, refused.failure))
                    .collect())
            }
            _ => Err(session.unexpected("acknowledge")),
        }
    }

    async fn change_invisible(&self, receipt: PopReceipt, invisible_ms: u32) -> Result<PopReceipt> {
        match self.change_over(&self.link, receipt, invisible_ms).await {
            // Nothing has happened there.
            Err(error) if error.is_retry_safe() && error.hints_at_stale_route() => {
                let master = self.master().await;
                self.change_over(&master, receipt, invisible_ms).await
            }
            changed => changed,
        }
    }

    async fn change_over(
        &self,
        link: &Link,
        receipt: PopReceipt,
        invisible_ms: u32,
    ) -> Result<PopReceipt> {
        let session = link.session().await?;
        let (group, topic) = self.aliases(&session).await?;
        let request = Request::ChangeInvisible(ChangeInvisible {
            group,
            topic,
            receipt,
            invisible_ms,
        });
        match session.ask(request).await?.header.response {
            Response::InvisibleChanged { receipt } => Ok(receipt),
            _ => Err(session.unexpected("change invisible time")),
        }
    }
}

/// A message that nobody else of the group gets for a while, with the receipt to acknowledge it.
///
/// Dropped without [`ack`](Self::ack) it is handed out again when its invisible time ends.
///
/// # Examples
///
/// ```no_run
/// # async fn example(mut message: castmq_client::PoppedMessage) -> castmq_client::Result<()> {
/// use std::time::Duration;
///
/// println!("attempt {}: {} bytes", message.attempts(), message.body()?.len());
/// // This takes longer than thought.
/// message.extend(Duration::from_secs(120)).await?;
/// message.ack().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a message that is not acknowledged is handed out again"]
pub struct PoppedMessage {
    message: ReceivedMessage,
    receipt: PopReceipt,
    source: Arc<Source>,
    asked_at: Instant,
    traced: Option<Box<Consuming>>,
}

impl PoppedMessage {
    pub(super) fn new(
        mut message: ReceivedMessage,
        receipt: PopReceipt,
        source: &Arc<Source>,
        asked_at: Instant,
    ) -> Self {
        message.set_attempts(receipt.attempt);
        Self {
            traced: source.traced.begin(&message),
            message,
            receipt,
            source: source.clone(),
            asked_at,
        }
    }

    /// When the broker was asked: its invisible time began later, however long it has lain here since. A pop in the order of
    /// queues that repeats one whose answer was lost may bring one that was handed out before.
    pub(crate) fn asked_at(&self) -> Instant {
        self.asked_at
    }

    /// Records what came of it, if it is traced.
    fn trace(&self, outcome: Outcome) {
        if let Some(traced) = &self.traced {
            self.source.traced.end(traced, outcome);
        }
    }

    /// Records what became of its acknowledgement.
    fn trace_ack(&self, refusal: Option<&Failure>) {
        self.trace(match refusal.map(|refusal| refusal.code) {
            None => Outcome::Success,
            Some(ErrorCode::ReceiptExpired) => Outcome::TimedOut,
            Some(_) => Outcome::Failed,
        });
    }

    /// The message.
    pub fn message(&self) -> &ReceivedMessage {
        &self.message
    }

    /// Which delivery of the message this is.
    pub fn receipt(&self) -> PopReceipt {
        self.receipt
    }

    /// How often the message has been handed out, this time included.
    pub fn attempts(&self) -> u32 {
        self.receipt.attempt
    }

    /// When its invisible time ends and somebody else may get it, by the broker's clock, in milliseconds since the epoch.
    pub fn visible_at_ms(&self) -> i64 {
        let PopReceipt {
            popped_at_ms,
            invisible_ms,
            ..
        } = self.receipt;
        popped_at_ms.saturating_add(invisible_ms.into())
    }

    /// Says that the message is processed: it never comes again. Sent again when the answer is lost, which is harmless.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::ReceiptExpired`] when the message's invisible time has ended: it comes again. Other errors when it is
    /// not known whether the broker has it.
    pub async fn ack(&self) -> Result<()> {
        let refused = self.source.acknowledge(&[self.receipt]).await?.pop();
        self.trace_ack(refused.as_ref().map(|(_, failure)| failure));
        match refused {
            None => Ok(()),
            Some((_, failure)) => Err(Error::Refused {
                request: "acknowledge",
                address: self.source.link.address().clone(),
                failure,
            }),
        }
    }

    /// Acknowledges messages with one request to each broker and topic. Returns which were refused, by their place, and
    /// why: those come again.
    ///
    /// # Errors
    ///
    /// When it is not known whether a broker has some of them. Acknowledging all again is harmless.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(mut consumer: castmq_client::PopConsumer) -> castmq_client::Result<()> {
    /// use castmq_client::PoppedMessage;
    ///
    /// let messages = consumer.receive().await?;
    /// for (place, failure) in PoppedMessage::ack_all(&messages).await? {
    ///     println!("{:?} comes again: {failure}", messages[place].message());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn ack_all(messages: &[Self]) -> Result<Vec<(usize, Failure)>> {
        Self::ack_each(&messages.iter().collect::<Vec<_>>()).await
    }

    /// The same for messages that lie apart.
    pub(crate) async fn ack_each(messages: &[&Self]) -> Result<Vec<(usize, Failure)>> {
        let mut by_source: Vec<(&Arc<Source>, Vec<usize>)> = Vec::new();
        for (place, message) in messages.iter().enumerate() {
            let is_same = |(source, _): &&mut (&Arc<Source>, Vec<usize>)| {
                Arc::ptr_eq(source, &message.source)
            };
            match by_source.iter_mut().find(is_same) {
                Some((_, places)) => places.push(place),
                None => by_source.push((&message.source, vec![place])),
            }
        }
        // All are asked, whichever of them does not answer.
        let asked = by_source.into_iter().map(async |(source, places)| {
            let receipts = places.iter().filter_map(|place| messages.get(*place));
            let receipts: Vec<_> = receipts.map(|message| message.receipt).collect();
            (places, source.acknowledge(&receipts).await)
        });
        let mut refused = Vec::new();
        let mut error = None;
        for (places, answer) in join_all(asked).await {
            let failed = match answer {
                Ok(failed) => failed,
                Err(unknown) => {
                    error.get_or_insert(unknown);
                    continue;
                }
            };
            for (index, place) in places.iter().enumerate() {
                let refusal = failed.iter().find(|(other, _)| *other == index);
                if let Some(message) = messages.get(*place) {
                    message.trace_ack(refusal.map(|(_, failure)| failure));
                }
            }
            refused.extend(failed.into_iter().filter_map(|(index, failure)| {
                let place = places.get(index)?;
                Some((*place, failure))
            }));
        }
        if let Some(error) = error {
            return Err(error);
        }
        refused.sort_by_key(|(place, _)| *place);
        Ok(refused)
    }

    /// Says that processing failed: somebody gets the message again after `delay`, zero for at once. It counts as an
    /// attempt.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::ReceiptExpired`] when its invisible time has ended already, [`ErrorCode::MessageSettled`] when it is
    /// acknowledged. Whatever the error, the message comes again when it is not acknowledged.
    pub async fn nack(&self, delay: Duration) -> Result<()> {
        self.trace(Outcome::Failed);
        let delay_ms = milliseconds(delay);
        self.source
            .change_invisible(self.receipt, delay_ms)
            .await
            .map(drop)
    }

    /// Lets its invisible time end `time` from now, because processing takes longer. The message has another receipt
    /// afterwards.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::ReceiptExpired`] when its invisible time has ended already: it comes again, perhaps to somebody else.
    pub async fn extend(&mut self, time: Duration) -> Result<()> {
        let invisible_ms = milliseconds(time);
        self.receipt = self
            .source
            .change_invisible(self.receipt, invisible_ms)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
impl PoppedMessage {
    /// One that was popped just now from the broker at this address.
    pub(crate) fn of(
        client: &Client,
        address: &str,
        message: ReceivedMessage,
        receipt: PopReceipt,
    ) -> Self {
        let group: Arc<str> = "workers".into();
        let source = Source {
            client: client.clone(),
            link: client.link(&address.into(), Role::Consumer),
            broker: "b".into(),
            topic: "jobs".into(),
            traced: TracedGroup {
                tracer: Arc::new(crate::trace::Tracer::none()),
                group,
            },
        };
        Self::new(message, receipt, &Arc::new(source), Instant::now())
    }
}

impl Deref for PoppedMessage {
    type Target = ReceivedMessage;

    fn deref(&self) -> &ReceivedMessage {
        &self.message
    }
}

impl fmt::Debug for PoppedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoppedMessage")
            .field("message", &self.message)
            .field("receipt", &self.receipt)
            .finish_non_exhaustive()
    }
}
