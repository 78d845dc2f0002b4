//! The way of one topic's messages: to a queue at once when it can be reached, or parked until it can.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use castmq_protocol::native::request::ANY_QUEUE;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Settings;
use super::avoidance::{UNANSWERED, counts_as_unanswered};
use super::batcher::Limits;
use super::budget::Budget;
use super::choose::{Candidates, Chosen, choose};
use super::delivery::InFlight;
use super::ready::{BrokerSlot, Ready, Target};
use super::request::{check_length, send, send_one};
use super::retry::{Case, Verdict, judge};
use super::strand::insert_in_order;
use crate::error::Error;
use crate::message::QueueChoice;
use crate::trace::Tracer;

/// Room for a batch's header within the longest frame.
const HEADER_BYTES: usize = 1024;

/// A message that waits for its next attempt; the earliest is the greatest.
#[derive(Debug)]
struct Later(Reverse<(Instant, u64)>, Arc<InFlight>);

impl PartialEq for Later {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for Later {}
impl PartialOrd for Later {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Later {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// Somebody waits for a lane's queues.
pub(super) struct Awaiting<'a>(&'a Lane);

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        self.0.awaited.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One topic of one producer.
///
/// Senders come here from any thread and go on at once. What takes time (routes, connections, retries, expiry, lingering)
/// is done by the [`keeper`](super::keeper).
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) topic: Arc<str>,
    shared: Arc<super::Shared>,
    /// Senders read; only a change of the queues writes. Under the write lock parked messages go before new ones.
    pub(super) ready: RwLock<Ready>,
    turn: AtomicUsize,
    /// Messages so far that have to stay in order.
    ordered: AtomicU64,
    later: Mutex<BinaryHeap<Later>>,
    /// Counts retries, so that those due at one instant keep their order.
    retries: AtomicUsize,
    /// Somebody who sends nothing yet waits for the queues.
    awaited: AtomicUsize,
    /// There is no keeper any more: what cannot go at once is given up.
    abandoned: AtomicBool,
    /// The keeper should look at the queues again.
    pub(super) stale: AtomicBool,
    /// Wakes the keeper.
    pub(super) wake: Notify,
    /// The queues have changed, or finding them failed.
    pub(super) changed: Notify,
    pub(super) last_error: Mutex<Option<Error>>,
    /// Whether its messages are traced.
    traced: AtomicBool,
}

impl Lane {
    pub(super) fn new(topic: Arc<str>, shared: Arc<super::Shared>) -> Self {
        Self {
            ready: RwLock::default(),
            turn: AtomicUsize::new(fastrand::usize(..1 << 16)),
            ordered: AtomicU64::new(0),
            later: Mutex::default(),
            retries: AtomicUsize::new(0),
            awaited: AtomicUsize::new(0),
            abandoned: AtomicBool::new(false),
            stale: AtomicBool::new(true),
            wake: Notify::new(),
            changed: Notify::new(),
            last_error: Mutex::new(None),
            traced: AtomicBool::new(shared.tracer.wants(&topic)),
            topic,
            shared,
        }
    }

    pub(super) fn tracer(&self) -> &Arc<Tracer> {
        &self.shared.tracer
    }

    /// Whether its messages are traced.
    #[inline]
    pub(super) fn is_traced(&self) -> bool {
        self.traced.load(Ordering::Relaxed)
    }

    /// The topic's route was asked for, and may say anew whether it is traced.
    pub(super) fn look_at_tracer(&self) {
        let wanted = self.shared.tracer.wants(&self.topic);
        self.traced.store(wanted, Ordering::Relaxed);
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.shared.budget
    }

    /// Whether a message without a wish could go now.
    pub(super) fn is_live(&self) -> bool {
        let ready = self.ready.read();
        choose(&*ready, &QueueChoice::Any, 0, None, Instant::now()) != Chosen::Wait
    }

    pub(super) fn brokers(&self) -> Vec<BrokerSlot> {
        self.ready.read().brokers.clone()
    }

    /// Whether messages, or somebody, wait for queues that cannot be reached.
    pub(super) fn is_awaited(&self) -> bool {
        let ready = self.ready.read();
        let mut queues = ready.queues.iter();
        !ready.parked.is_empty()
            || self.awaited.load(Ordering::Acquire) > 0
            || queues.any(|queue| queue.strand.lock().is_stalled())
    }

    /// Has the queues looked for as long as the guard lives.
    pub(super) fn awaiting(&self) -> Awaiting<'_> {
        self.awaited.fetch_add(1, Ordering::AcqRel);
        self.look_again();
        Awaiting(self)
    }

    /// The number of the next message that has to stay in order.
    pub(super) fn next_number(&self) -> u64 {
        self.ordered.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }

    fn mark_stale(&self) {
        if !self.stale.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    /// Has the queues looked at soon: something waits for them, and the keeper may be waiting for longer than messages can.
    pub(super) fn look_again(&self) {
        self.stale.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Sends a message, or parks it until it can be sent.
    pub(super) fn dispatch(&self, inflight: Arc<InFlight>) {
        let mut left = Vec::new();
        self.place(&self.ready.read(), inflight, &mut left);
        if left.is_empty() {
            return;
        }
        let mut ready = self.ready.write();
        // The queues may have changed between the locks.
        let mut parked = Vec::new();
        for inflight in left {
            self.place(&ready, inflight, &mut parked);
        }
        if self.is_abandoned() {
            drop(ready);
            return self.give_up(parked);
        }
        let is_first = ready.parked.is_empty();
        self.park(&mut ready, parked);
        drop(ready);
        if is_first {
            self.look_again();
        }
    }

    fn park(&self, ready: &mut Ready, messages: Vec<Arc<InFlight>>) {
        for inflight in messages {
            inflight.has_waited.store(true, Ordering::Relaxed);
            match inflight.number {
                0 => ready.parked.push_back(inflight),
                _ => insert_in_order(&mut ready.parked, inflight),
            }
        }
    }

    /// Gives a message to its queue. Messages that cannot be sent now come back in `left`.
    fn place(&self, ready: &Ready, inflight: Arc<InFlight>, left: &mut Vec<Arc<InFlight>>) {
        let now = inflight.attempt_begins();
        if now >= inflight.deadline() {
            return inflight.fail(self.expired_error(&inflight, now));
        }
        let past = inflight.past();
        if past.is_kept {
            return self.place_again(ready, inflight, left);
        }
        let batched = inflight.batched && !past.alone && inflight.message.extras.is_none();
        // While messages are gathered, those without a wish stay with a queue until its batch is full.
        let turn = if batched {
            self.turn.load(Ordering::Relaxed)
        } else {
            self.turn.fetch_add(1, Ordering::Relaxed)
        };
        let choice = &inflight.message.choice;
        let index = match choose(ready, choice, turn, past.failed.as_deref(), now) {
            Chosen::Queue(index) => index,
            Chosen::InOrder(index) => return self.place_in_order(ready, index, inflight),
            Chosen::Wait => return left.push(inflight),
            Chosen::NoSuchQueue => return inflight.fail(self.no_such_queue(ready)),
        };
        let (Some(queue), Some(target)) = (ready.queues.get(index), ready.target(index)) else {
            return left.push(inflight);
        };
        if let Err(error) = check_length(&inflight, target) {
            return inflight.fail(error);
        }
        if !batched {
            // What was gathered before goes before.
            if queue.gathers.load(Ordering::Acquire) {
                let mut batcher = queue.batcher.lock();
                batcher.flush(|batch| send(target, queue.id, batch, left));
            }
            let id = match inflight.message.leaves_choice() {
                true => ANY_QUEUE,
                false => queue.id,
            };
            return send_one(target, id, inflight, left);
        }
        let mut batcher = queue.batcher.lock();
        queue.gathers.store(true, Ordering::Release);
        let mut full = false;
        let (kind, bytes) = (inflight.kind(), inflight.element_bytes());
        let was_empty = batcher.due().is_none();
        let emit = |batch| {
            full = true;
            send(target, queue.id, batch, left);
        };
        let limits = self.batch_limits(target);
        batcher.push(&limits, kind, inflight, bytes, now, emit);
        if full {
            self.turn.fetch_add(1, Ordering::Relaxed);
        }
        if was_empty && batcher.due().is_some() {
            self.wake.notify_one();
        }
    }

    /// When a batch for this broker is full.
    pub(super) fn batch_limits(&self, target: &Target) -> Limits {
        let most = target.session.connection.welcome().limits.max_frame_bytes as usize;
        let mut limits = self.settings().batch;
        limits.bytes = limits.bytes.min(most.saturating_sub(HEADER_BYTES));
        limits
    }

    fn no_such_queue(&self, ready: &Ready) -> Error {
        let reason = format!(
            "the message asks for one that is none of its {}",
            ready.len()
        );
        Error::NoQueue {
            topic: self.topic.clone(),
            reason: reason.into(),
        }
    }

    /// Takes what an attempt met: another attempt, or the end.
    pub(super) fn failed(&self, inflight: Arc<InFlight>, error: &Error) {
        match self.judge(&inflight, error) {
            None => {}
            Some(None) => self.dispatch(inflight),
            Some(Some(due)) => self.send_later(inflight, due),
        }
    }

    fn send_later(&self, inflight: Arc<InFlight>, due: Instant) {
        let number = self.retries.fetch_add(1, Ordering::Relaxed) as u64;
        let mut later = self.later.lock();
        if self.is_abandoned() {
            drop(later);
            return self.give_up([inflight]);
        }
        later.push(Later(Reverse((due, number)), inflight));
        drop(later);
        self.wake.notify_one();
    }

    /// Decides what follows a failed attempt. `None`: the message is given up. Otherwise the time of the next attempt, or
    /// none to make it at once.
    pub(super) fn judge(&self, inflight: &InFlight, error: &Error) -> Option<Option<Instant>> {
        let now = Instant::now();
        if let Some(target) = inflight.target() {
            target.session.forget_if_gone(&self.topic, error);
            if error.is_not_master() {
                target.set_wrong();
            }
            if self.settings().avoid_slow_brokers && counts_as_unanswered(error) {
                target.avoidance.note(UNANSWERED, now);
            }
        }
        if error.hints_at_stale_route() {
            self.mark_stale();
        }
        inflight.note(error);
        let keyed = inflight.message.choice != QueueChoice::Any;
        let past = inflight.past();
        let elsewhere = !keyed && !past.is_kept && self.is_live_beside(past.failed.as_deref());
        let verdict = judge(
            error,
            Case {
                attempts: past.attempts,
                retries: match past.is_kept {
                    // Its time ends it, and until then there is no use in stopping.
                    true => u32::MAX,
                    false => self.settings().retries,
                },
                allow_duplicates: self.settings().allow_duplicates || self.settings().idempotent,
                elsewhere,
                deadline: inflight.deadline(),
                now,
            },
        );
        tracing::debug!(topic = %self.topic, %error, ?verdict, "send failed");
        match verdict {
            Verdict::GiveUp => {
                inflight.fail(inflight.final_error(error.clone(), now));
                None
            }
            Verdict::Again { pause, counts } => {
                if !counts {
                    inflight.uncount_attempt();
                }
                Some((!pause.is_zero()).then(|| now + pause))
            }
        }
    }

    fn is_live_beside(&self, broker: Option<&str>) -> bool {
        let ready = self.ready.read();
        let beside = |index: &usize| {
            ready.is_usable(*index) && broker.is_none_or(|broker| ready.broker(*index) != broker)
        };
        ready.live().iter().any(beside)
    }

    /// Replaces what is known of the topic's queues, and sends what waited for them.
    pub(super) fn publish_if_changed(&self, brokers: &[BrokerSlot]) {
        let mut ready = self.ready.write();
        if ready.is_same(brokers) {
            return;
        }
        let mut waiting = Vec::new();
        self.flush_where(&ready, &mut waiting, |_| true);
        waiting.extend(ready.replace(brokers.to_vec()));
        waiting.extend(std::mem::take(&mut ready.parked));
        self.pump_all(&ready);
        let mut parked = Vec::new();
        for inflight in waiting {
            self.place(&ready, inflight, &mut parked);
        }
        self.park(&mut ready, parked);
        drop(ready);
        self.changed.notify_waiters();
    }

    fn flush_where(
        &self,
        ready: &Ready,
        left: &mut Vec<Arc<InFlight>>,
        which: impl Fn(Instant) -> bool,
    ) {
        for (index, queue) in ready.queues.iter().enumerate() {
            let mut batcher = queue.batcher.lock();
            if !batcher.due().is_some_and(&which) {
                continue;
            }
            self.turn.fetch_add(1, Ordering::Relaxed);
            batcher.flush(|batch| match ready.target(index) {
                Some(target) => send(target, queue.id, batch, left),
                None => left.extend(batch),
            });
        }
    }

    fn flush_batches_where(&self, which: impl Fn(Instant) -> bool) {
        let mut left = Vec::new();
        self.flush_where(&self.ready.read(), &mut left, which);
        for inflight in left {
            self.dispatch(inflight);
        }
    }

    /// Sends all batches as they are.
    pub(super) fn flush_batches(&self) {
        self.flush_batches_where(|_| true);
    }

    /// What has to be done by `now`: batches that have lingered, retries, messages whose time is over.
    pub(super) fn tick(&self, now: Instant) {
        self.flush_batches_where(|due| due <= now);
        while let Some(Later(_, inflight)) = self.pop_due(now) {
            self.dispatch(inflight);
        }
        {
            let ready = self.ready.read();
            self.pump_all(&ready);
            self.expire_strands(&ready, now);
        }
        self.fail_parked(|inflight| {
            let expired = inflight.deadline() <= now;
            expired.then(|| self.expired_error(inflight, now))
        });
    }

    /// What is told of a message whose time is over.
    pub(super) fn expired_error(&self, inflight: &InFlight, now: Instant) -> Error {
        inflight.expired_error(now, self.last_error.lock().clone())
    }

    fn pop_due(&self, now: Instant) -> Option<Later> {
        let mut later = self.later.lock();
        let Later(Reverse((due, _)), _) = later.peek()?;
        if *due > now { None } else { later.pop() }
    }

    /// Gives up the parked messages for which there is an error.
    pub(super) fn fail_parked(&self, error: impl Fn(&InFlight) -> Option<Error>) {
        if self.ready.read().parked.is_empty() {
            return;
        }
        let mut failed = Vec::new();
        {
            let mut ready = self.ready.write();
            ready.parked.retain(|inflight| match error(inflight) {
                Some(error) => {
                    failed.push((inflight.clone(), error));
                    false
                }
                None => true,
            });
        }
        for (inflight, error) in failed {
            inflight.fail(error);
        }
    }

    /// Gives up everything that is not with a connection, from now on too.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
        let later = std::mem::take(&mut *self.later.lock());
        self.give_up(later.into_iter().map(|Later(_, inflight)| inflight));
        let parked = std::mem::take(&mut self.ready.write().parked);
        self.give_up(parked);
        self.pump_all(&self.ready.read());
    }

    /// Gives up messages because nobody is there to send them again.
    pub(super) fn give_up(&self, messages: impl IntoIterator<Item = Arc<InFlight>>) {
        let now = Instant::now();
        for inflight in messages {
            let closed = Error::Closed { what: "producer" };
            inflight.fail(inflight.final_error(closed, now));
        }
    }

    /// When [`Lane::tick`] has something to do at the earliest.
    pub(super) fn next_tick(&self) -> Option<Instant> {
        let ready = self.ready.read();
        let batches = ready
            .queues
            .iter()
            .filter_map(|queue| queue.batcher.lock().due())
            .min();
        let parked = ready
            .parked
            .iter()
            .map(|inflight| inflight.deadline())
            .min();
        let strands = ready
            .queues
            .iter()
            .filter_map(|queue| queue.strand.lock().due())
            .min();
        drop(ready);
        let retry = self
            .later
            .lock()
            .peek()
            .map(|Later(Reverse((due, _)), _)| *due);
        [batches, parked, strands, retry]
            .into_iter()
            .flatten()
            .min()
    }
}
