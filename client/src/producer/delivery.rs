//! A message on its way, and what becomes of it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use castmq_protocol::model::QueueOffset;
use castmq_protocol::native::response::{BatchSent, Sent};
use castmq_protocol::native::{Response, Retry};
use castmq_protocol::record::MessageId;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::budget::Share;
use super::lane::Lane;
use super::ready::Target;
use crate::error::{Error, Result};
use crate::message::{Message, Queue};
use crate::raw::{Reply, Settle};

pub use castmq_protocol::native::response::SendStatus;

/// A message is stored.
///
/// # Examples
///
/// ```no_run
/// # async fn example(producer: castmq_client::Producer) -> castmq_client::Result<()> {
/// use castmq_client::{Message, SendStatus};
///
/// let receipt = producer.send(Message::new("orders", "hello")).await?;
/// println!("{} is number {} of {}", receipt, receipt.offset, receipt.queue);
/// if receipt.status != SendStatus::Stored {
///     eprintln!("stored, but the broker's policy was not met: {:?}", receipt.status);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendReceipt {
    /// The queue that has it.
    pub queue: Queue,
    /// Its place in the queue.
    pub offset: QueueOffset,
    /// The id that says where it is stored. `None` for the second and later messages of a batch, of which the broker says
    /// only their places in the queue.
    pub id: Option<MessageId>,
    /// How it stands to the broker's policy. Stored it is in any case.
    pub status: SendStatus,
}

impl fmt::Display for SendReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.queue, self.offset)
    }
}

/// A message on its way. Shared by the one who waits, the connection that has it, and the lane that may send it again.
pub(super) struct InFlight {
    pub(super) lane: Arc<Lane>,
    pub(super) message: Message,
    pub(super) system_flag: i32,
    pub(super) born_timestamp_ms: i64,
    pub(super) since: Instant,
    pub(super) one_way: bool,
    /// Whether it may travel with others.
    pub(super) batched: bool,
    share: Share,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) attempts: u32,
    /// Whether one of the attempts may have stored it.
    pub(super) maybe_stored: bool,
    /// Where the last attempt went.
    pub(super) target: Option<Arc<Target>>,
    /// Whether it must not travel with others any more.
    pub(super) alone: bool,
    last: Option<Error>,
    outcome: Outcome,
}

enum Outcome {
    Waiting(Option<Waker>),
    Known(Result<SendReceipt>),
    /// A one-way message was handed to its connection.
    Told,
    Taken,
}

impl InFlight {
    pub(super) fn new(
        lane: Arc<Lane>,
        message: Message,
        system_flag: i32,
        born_timestamp_ms: i64,
        now: Instant,
        share: Share,
    ) -> Self {
        Self {
            lane,
            message,
            system_flag,
            born_timestamp_ms,
            since: now,
            one_way: false,
            batched: false,
            share,
            state: Mutex::new(State {
                attempts: 0,
                maybe_stored: false,
                target: None,
                alone: false,
                last: None,
                outcome: Outcome::Waiting(None),
            }),
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.since + self.lane.settings().send_timeout
    }

    pub(super) fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn begin_attempt(&self, target: &Arc<Target>) {
        let mut state = self.state();
        state.attempts += 1;
        state.target = Some(target.clone());
    }

    /// The last attempt never left: it does not count.
    pub(super) fn uncount_attempt(&self) {
        let mut state = self.state();
        state.attempts = state.attempts.saturating_sub(1);
    }

    /// The last attempt was never made.
    pub(super) fn undo_attempt(&self) {
        self.uncount_attempt();
        self.state().target = None;
    }

    /// Remembers what an attempt met.
    pub(super) fn note(&self, error: &Error) {
        let mut state = self.state();
        state.maybe_stored |= error.retry() == Retry::MayDuplicate;
        state.last = Some(error.clone());
    }

    /// The error to give up with, after `error`.
    pub(super) fn final_error(&self, error: Error, now: Instant) -> Error {
        let state = self.state();
        let timed_out = now >= self.deadline();
        let hidden = state.maybe_stored && error.retry() != Retry::MayDuplicate;
        if state.attempts <= 1 && !timed_out && !hidden {
            return error;
        }
        Error::Unacknowledged {
            topic: self.message.topic.clone(),
            attempts: state.attempts,
            after: now.duration_since(self.since),
            maybe_stored: state.maybe_stored,
            last: Box::new(error),
        }
    }

    /// The error of a message whose time is over before it could be sent (again).
    pub(super) fn expired_error(&self, now: Instant, why: Option<Error>) -> Error {
        let last = self.state().last.clone();
        let last = last.or(why).unwrap_or_else(|| Error::NoQueue {
            topic: self.message.topic.clone(),
            reason: "its brokers could not be reached yet".into(),
        });
        self.final_error(last, now)
    }

    pub(super) fn finish(&self, result: Result<SendReceipt>) {
        self.set(Outcome::Known(result));
    }

    pub(super) fn told(&self) {
        self.set(Outcome::Told);
    }

    fn set(&self, outcome: Outcome) {
        let before = std::mem::replace(&mut self.state().outcome, outcome);
        if let Outcome::Waiting(waker) = before {
            self.lane.budget().give_back(self.share);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn poll_outcome(&self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut state = self.state();
        if let Outcome::Waiting(waker) = &mut state.outcome {
            match waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        Poll::Ready(std::mem::replace(&mut state.outcome, Outcome::Taken))
    }

    fn receipt(&self, target: &Target, place: Sent, has_id: bool) -> SendReceipt {
        let id = |store_host| MessageId {
            store_host,
            physical_offset: place.physical_offset,
        };
        SendReceipt {
            queue: Queue {
                topic: self.message.topic.clone(),
                broker: target.broker.clone(),
                id: place.queue,
            },
            offset: place.queue_offset,
            id: target.session.store_host.filter(|_| has_id).map(id),
            status: place.status,
        }
    }

    fn unexpected(&self) -> Error {
        match &self.state().target {
            Some(target) => target.session.unexpected("send"),
            None => Error::Closed { what: "connection" },
        }
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("InFlight");
        debug
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

impl Settle for InFlight {
    fn settle(self: Arc<Self>, result: Result<Reply>) {
        match result.map(|reply| reply.header.response) {
            Ok(Response::Sent(sent)) => {
                let target = self.state().target.clone();
                let receipt = target.map(|target| self.receipt(&target, sent, true));
                self.finish(receipt.ok_or(Error::Closed { what: "connection" }));
            }
            Ok(_) => {
                let error = self.unexpected();
                self.lane.clone().failed(self, error);
            }
            Err(error) => self.lane.clone().failed(self, error),
        }
    }
}

/// Messages that travel together.
pub(super) struct BatchInFlight {
    pub(super) target: Arc<Target>,
    pub(super) members: Vec<Arc<InFlight>>,
}

impl BatchInFlight {
    fn stored(&self, sent: &BatchSent) {
        for (number, member) in (0_u64..).zip(&self.members) {
            let place = Sent {
                status: sent.status,
                queue: sent.queue,
                queue_offset: sent.first_queue_offset + number,
                physical_offset: sent.first_physical_offset,
            };
            member.finish(Ok(member.receipt(&self.target, place, number == 0)));
        }
    }

    fn failed(&self, error: &Error) {
        let refused_as_a_whole = error.code().is_some() && error.retry() == Retry::Never;
        for member in &self.members {
            if refused_as_a_whole && self.members.len() > 1 {
                // A batch is stored whole or not at all, and what was wrong with it says nothing of its messages.
                member.state().alone = true;
                member.lane.clone().dispatch(member.clone());
            } else {
                member.lane.clone().failed(member.clone(), error.clone());
            }
        }
    }
}

impl Settle for BatchInFlight {
    fn settle(self: Arc<Self>, result: Result<Reply>) {
        match result.map(|reply| reply.header.response) {
            Ok(Response::BatchSent(sent)) => self.stored(&sent),
            Ok(_) => self.failed(&self.target.session.unexpected("send batch")),
            Err(error) => self.failed(&error),
        }
    }
}

/// What will become of a message that was given to [`Producer::enqueue`](super::Producer::enqueue).
///
/// The message is on its way whether this is awaited or dropped.
#[must_use = "whether the message is stored is known only when this is awaited"]
pub struct Delivery(DeliveryState);

enum DeliveryState {
    OnItsWay(Arc<InFlight>),
    Refused(Option<Error>),
}

impl Delivery {
    pub(super) fn of(inflight: Arc<InFlight>) -> Self {
        Self(DeliveryState::OnItsWay(inflight))
    }

    pub(super) fn refused(error: Error) -> Self {
        Self(DeliveryState::Refused(Some(error)))
    }

    /// The message, while it is on its way.
    pub(super) fn in_flight(&self) -> Option<&Arc<InFlight>> {
        match &self.0 {
            DeliveryState::OnItsWay(inflight) => Some(inflight),
            DeliveryState::Refused(_) => None,
        }
    }

    fn poll_outcome(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        match &mut self.0 {
            DeliveryState::OnItsWay(inflight) => inflight.poll_outcome(cx),
            DeliveryState::Refused(error) => Poll::Ready(
                error
                    .take()
                    .map_or(Outcome::Taken, |error| Outcome::Known(Err(error))),
            ),
        }
    }

    /// Waits until a one-way message was handed to its connection.
    pub(super) async fn told(mut self) -> Result<()> {
        match std::future::poll_fn(|cx| self.poll_outcome(cx)).await {
            Outcome::Known(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }
}

impl Future for Delivery {
    type Output = Result<SendReceipt>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_outcome(cx).map(|outcome| match outcome {
            Outcome::Known(result) => result,
            // Polled again after it was ready, or one-way.
            _ => Err(Error::Closed { what: "delivery" }),
        })
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Delivery");
        if let DeliveryState::OnItsWay(inflight) = &self.0 {
            debug.field("topic", &inflight.message.topic);
        }
        debug.finish_non_exhaustive()
    }
}
