//! A message on its way, and what becomes of it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};

use castmq_protocol::model::{QueueId, QueueOffset};
use castmq_protocol::native::response::{BatchSent, Sent};
use castmq_protocol::native::{Response, Retry};
use castmq_protocol::record::batch::ELEMENT_BYTES;
use castmq_protocol::record::{MessageId, SendNumber};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::again::Kept;
use super::avoidance::SLOW;
use super::batcher::Kind;
use super::budget::Share;
use super::lane::Lane;
use super::ready::Target;
use super::strand::Strand;
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
    /// Whether it waits for others to travel with.
    pub(super) batched: bool,
    /// Counts the messages of a lane that have to stay in order, from 1; 0 for others.
    pub(super) number: u64,
    share: Share,
    /// Whether an attempt has failed. Saves looking into the state of the many for which none has.
    pub(super) has_failed: AtomicBool,
    /// Whether it had to wait for its queue.
    pub(super) has_waited: AtomicBool,
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    attempts: u32,
    /// Whether one of the attempts may have stored it.
    pub(super) maybe_stored: bool,
    /// Whether it must not travel with others any more.
    alone: bool,
    /// Where the last attempt went.
    pub(super) target: Option<Arc<Target>>,
    /// When it began.
    began: Instant,
    /// And to which queue.
    pub(super) queue: QueueId,
    /// Set once it may be stored, where it has to be stored once.
    pub(super) kept: Option<Box<Kept>>,
    last: Option<Box<Error>>,
    outcome: Outcome,
}

enum Outcome {
    Waiting(Option<Waker>),
    /// Where it is stored, and whether that is exact to the byte.
    Stored(Sent, bool),
    Failed(Box<Error>),
    /// A one-way message was handed to its connection.
    Told,
    Taken,
}

/// What a message that is sent again brings from before.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// The broker that failed it.
    pub(super) failed: Option<Arc<str>>,
    /// Whether it must not travel with others any more.
    pub(super) alone: bool,
    pub(super) attempts: u32,
    /// Whether it has to go where it may be stored.
    pub(super) is_kept: bool,
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
            number: 0,
            share,
            has_failed: AtomicBool::new(false),
            has_waited: AtomicBool::new(false),
            state: Mutex::new(State {
                attempts: 0,
                maybe_stored: false,
                alone: false,
                target: None,
                began: now,
                queue: QueueId::default(),
                kept: None,
                last: None,
                outcome: Outcome::Waiting(None),
            }),
        }
    }

    /// What it must have in common with those it travels with.
    pub(super) fn kind(&self) -> Kind {
        Kind {
            system_flag: self.system_flag,
            no_wait: self.message.no_wait,
        }
    }

    /// Its length in a batch.
    pub(super) fn element_bytes(&self) -> usize {
        ELEMENT_BYTES + self.message.body.len() + self.message.properties.len()
    }

    /// Whether it may travel with others.
    pub(super) fn can_travel(&self) -> bool {
        let past = self.past();
        !self.one_way && self.message.extras.is_none() && !past.alone && !past.is_kept
    }

    pub(super) fn deadline(&self) -> Instant {
        self.since + self.lane.settings().send_timeout
    }

    /// When an attempt that begins now begins: for the first one the time is known, unless it had to wait.
    pub(super) fn attempt_begins(&self) -> Instant {
        let is_first = !self.has_failed.load(Ordering::Acquire);
        if is_first && !self.batched && !self.has_waited.load(Ordering::Relaxed) {
            self.since
        } else {
            Instant::now()
        }
    }

    pub(super) fn past(&self) -> Past {
        if !self.has_failed.load(Ordering::Acquire) {
            return Past::default();
        }
        let state = self.state.lock();
        Past {
            failed: state.target.as_ref().map(|target| target.broker.clone()),
            alone: state.alone,
            attempts: state.attempts,
            is_kept: state.kept.is_some(),
        }
    }

    /// Its number, as it is to be sent now, where it has to be stored once.
    pub(super) fn number(&self) -> Option<SendNumber> {
        self.lane.budget().number(self.share)
    }

    pub(super) fn target(&self) -> Option<Arc<Target>> {
        self.state.lock().target.clone()
    }

    pub(super) fn begin_attempt(&self, target: &Arc<Target>, queue: QueueId, now: Instant) {
        let mut state = self.state.lock();
        state.began = now;
        state.attempts += 1;
        state.queue = queue;
        state.target = Some(target.clone());
    }

    /// The last attempt never left: it does not count.
    pub(super) fn uncount_attempt(&self) {
        let mut state = self.state.lock();
        state.attempts = state.attempts.saturating_sub(1);
    }

    /// The last attempt was never made.
    pub(super) fn undo_attempt(&self) {
        self.uncount_attempt();
        self.state.lock().target = None;
    }

    /// From now on it travels without others.
    pub(super) fn set_alone(&self) {
        self.has_failed.store(true, Ordering::Release);
        self.state.lock().alone = true;
    }

    /// Remembers what an attempt met, and records it where that is traced.
    pub(super) fn note(&self, error: &Error) {
        if self.lane.is_traced() {
            self.trace_failed();
        }
        self.remember(error);
    }

    /// Remembers what an attempt met.
    pub(super) fn remember(&self, error: &Error) {
        self.has_failed.store(true, Ordering::Release);
        let mut state = self.state.lock();
        state.maybe_stored |= error.retry() == Retry::MayDuplicate;
        state.last = Some(Box::new(error.clone()));
        drop(state);
        self.keep_if_stored();
    }

    /// The error to give up with, after `error`.
    pub(super) fn final_error(&self, error: Error, now: Instant) -> Error {
        let state = self.state.lock();
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
        let last = self.state.lock().last.clone().map(|last| *last);
        let last = last.or(why).unwrap_or_else(|| Error::NoQueue {
            topic: self.message.topic.clone(),
            reason: "its brokers could not be reached yet".into(),
        });
        self.final_error(last, now)
    }

    pub(super) fn fail(&self, error: Error) {
        // One that failed before was recorded then.
        if self.lane.is_traced() && !self.has_failed.load(Ordering::Acquire) {
            self.trace_failed();
        }
        for follower in self.take_followers() {
            follower.fail(error.clone());
        }
        self.set(Outcome::Failed(Box::new(error)));
    }

    fn stored(&self, place: Sent, is_exact: bool, now: Instant) {
        if self.lane.is_traced() {
            self.trace_stored(&place, is_exact);
        }
        // Those that were fast altogether, which are nearly all, are not looked at closer.
        if now.saturating_duration_since(self.since) >= SLOW {
            self.note_latency(now);
        }
        self.set(Outcome::Stored(place, is_exact));
    }

    fn note_latency(&self, now: Instant) {
        let (target, began) = self.last_attempt();
        if self.lane.settings().avoid_slow_brokers
            && let Some(target) = target
        {
            let latency = now.saturating_duration_since(began);
            target.avoidance.note(latency, now);
        }
    }

    /// The last attempt: where it went, and when it began.
    pub(super) fn last_attempt(&self) -> (Option<Arc<Target>>, Instant) {
        let state = self.state.lock();
        (state.target.clone(), state.began)
    }

    pub(super) fn told(&self) {
        self.set(Outcome::Told);
    }

    fn set(&self, outcome: Outcome) {
        let before = std::mem::replace(&mut self.state.lock().outcome, outcome);
        if let Outcome::Waiting(waker) = before {
            self.lane.budget().give_back(self.share);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn poll_result(&self, cx: &mut Context<'_>) -> Poll<Result<Option<SendReceipt>>> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut state.outcome, Outcome::Taken) {
            Outcome::Waiting(waker) => {
                let waker = waker.filter(|waker| waker.will_wake(cx.waker()));
                let waker = waker.unwrap_or_else(|| cx.waker().clone());
                state.outcome = Outcome::Waiting(Some(waker));
                Poll::Pending
            }
            Outcome::Stored(place, is_exact) => {
                let target = state.target.take();
                drop(state);
                Poll::Ready(Ok(
                    target.map(|target| self.receipt(&target, place, is_exact))
                ))
            }
            Outcome::Failed(error) => Poll::Ready(Err(*error)),
            Outcome::Told => Poll::Ready(Ok(None)),
            Outcome::Taken => Poll::Ready(Err(Error::Closed { what: "delivery" })),
        }
    }

    fn receipt(&self, target: &Target, place: Sent, is_exact: bool) -> SendReceipt {
        let id = target.session.message_id(place.physical_offset);
        SendReceipt {
            queue: Queue {
                topic: self.message.topic.clone(),
                broker: target.broker.clone(),
                id: place.queue,
            },
            offset: place.queue_offset,
            id: id.filter(|_| is_exact),
            status: place.status,
        }
    }

    fn unexpected(&self) -> Error {
        match self.target() {
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
    fn settle(self: Arc<Self>, result: Result<Reply>, now: Instant) {
        match result.map(|reply| reply.header.response) {
            Ok(Response::Sent(sent)) => self.stored(sent, true, now),
            Ok(_) => {
                let error = self.unexpected();
                self.lane.clone().failed(self, &error);
            }
            Err(error) => self.lane.clone().failed(self, &error),
        }
    }
}

/// Messages that travel together.
pub(super) struct BatchInFlight {
    pub(super) target: Arc<Target>,
    pub(super) members: Vec<Arc<InFlight>>,
    /// The ordered queue that waits for the answer, and its place.
    pub(super) strand: Option<(usize, Arc<Mutex<Strand>>)>,
}

impl BatchInFlight {
    fn stored(&self, sent: &BatchSent, now: Instant) {
        for (number, member) in (0_u64..).zip(&self.members) {
            let place = Sent {
                status: sent.status,
                queue: sent.queue,
                queue_offset: sent.first_queue_offset + number,
                physical_offset: sent.first_physical_offset,
            };
            member.stored(place, number == 0, now);
        }
    }

    /// An answer to the only member.
    fn stored_alone(&self, sent: Sent, now: Instant) {
        for member in &self.members {
            member.stored(sent, true, now);
        }
    }

    fn failed(&self, error: &Error) {
        if let Some((index, strand)) = &self.strand {
            return self.failed_in_order(*index, strand, error);
        }
        let members = self.apart(error);
        for member in &members {
            if error.is_final() && members.len() > 1 {
                // A batch is stored whole or not at all, and what was wrong with it says nothing of its messages.
                member.set_alone();
                member.lane.dispatch(member.clone());
            } else {
                member.lane.failed(member.clone(), error);
            }
        }
    }
}

impl Settle for BatchInFlight {
    fn settle(self: Arc<Self>, result: Result<Reply>, now: Instant) {
        match result.map(|reply| reply.header.response) {
            Ok(Response::BatchSent(sent)) => self.stored(&sent, now),
            Ok(Response::Sent(sent)) if self.members.len() == 1 => self.stored_alone(sent, now),
            Ok(_) => return self.failed(&self.target.session.unexpected("send")),
            Err(error) => return self.failed(&error),
        }
        if let (Some((index, strand)), Some(first)) = (&self.strand, self.members.first()) {
            first.lane.go_on(*index, strand, Vec::new(), None);
        }
    }
}

/// What will become of a message that was given to [`Producer::enqueue`](super::Producer::enqueue).
///
/// The message is on its way whether this is awaited or dropped.
///
/// # Examples
///
/// ```no_run
/// # async fn example(producer: castmq_client::Producer) -> castmq_client::Result<()> {
/// use castmq_client::Message;
///
/// let first = producer.enqueue(Message::new("orders", "one"));
/// let second = producer.enqueue(Message::new("orders", "two"));
/// println!("{} {}", first.await?, second.await?);
/// # Ok(())
/// # }
/// ```
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

    fn poll_result(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<SendReceipt>>> {
        match &mut self.0 {
            DeliveryState::OnItsWay(inflight) => inflight.poll_result(cx),
            DeliveryState::Refused(error) => {
                let error = error.take();
                Poll::Ready(Err(error.unwrap_or(Error::Closed { what: "delivery" })))
            }
        }
    }

    /// Waits until a one-way message was handed to its connection.
    pub(super) async fn told(mut self) -> Result<()> {
        std::future::poll_fn(|cx| self.poll_result(cx))
            .await
            .map(drop)
    }
}

impl Future for Delivery {
    type Output = Result<SendReceipt>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.poll_result(cx));
        // Only a one-way message has no receipt, and it has no delivery that a user could await.
        Poll::Ready(result.and_then(|receipt| receipt.ok_or(Error::Closed { what: "delivery" })))
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
