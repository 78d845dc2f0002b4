//! The way of one topic's messages: to a queue at once when it can be reached, or parked until it can.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use castmq_protocol::record::batch::ELEMENT_BYTES;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Settings;
use super::batcher::Kind;
use super::budget::Budget;
use super::choose::{Candidates, Chosen, choose};
use super::delivery::InFlight;
use super::ready::{BrokerSlot, Ready};
use super::request::{check_length, send, send_one};
use super::retry::{Case, Verdict, hints_at_stale_route, judge};
use crate::error::Error;
use crate::message::QueueChoice;

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

/// One topic of one producer.
///
/// Senders come here from any thread and go on at once. What takes time (routes, connections, retries, expiry, lingering)
/// is done by the [`keeper`](super::keeper).
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) topic: Arc<str>,
    shared: Arc<super::Shared>,
    /// Senders read; only a change of the queues writes. Under the write lock parked messages go before new ones.
    ready: RwLock<Ready>,
    turn: AtomicUsize,
    later: Mutex<BinaryHeap<Later>>,
    /// Counts retries, so that those due at one instant keep their order.
    retries: AtomicUsize,
    /// The keeper should look at the queues again.
    pub(super) stale: AtomicBool,
    /// Wakes the keeper.
    pub(super) wake: Notify,
    /// The queues have changed, or finding them failed.
    pub(super) changed: Notify,
    pub(super) last_error: Mutex<Option<Error>>,
}

impl Lane {
    pub(super) fn new(topic: Arc<str>, shared: Arc<super::Shared>) -> Self {
        Self {
            topic,
            shared,
            ready: RwLock::default(),
            turn: AtomicUsize::new(fastrand::usize(..1 << 16)),
            later: Mutex::default(),
            retries: AtomicUsize::new(0),
            stale: AtomicBool::new(true),
            wake: Notify::new(),
            changed: Notify::new(),
            last_error: Mutex::new(None),
        }
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
        choose(&*ready, &QueueChoice::Any, 0, None) != Chosen::Wait
    }

    pub(super) fn brokers(&self) -> Vec<BrokerSlot> {
        self.ready.read().brokers.clone()
    }

    /// Whether messages wait for queues that cannot be reached.
    pub(super) fn has_parked(&self) -> bool {
        !self.ready.read().parked.is_empty()
    }

    fn mark_stale(&self) {
        if !self.stale.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
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
        let is_first = ready.parked.is_empty();
        ready.parked.extend(parked);
        drop(ready);
        self.mark_stale();
        if is_first {
            // The keeper may be waiting for longer than messages can.
            self.wake.notify_one();
        }
    }

    /// Gives a message to its queue. Messages that cannot be sent now come back in `left`.
    fn place(&self, ready: &Ready, inflight: Arc<InFlight>, left: &mut Vec<Arc<InFlight>>) {
        let past = inflight.past();
        let batched = inflight.batched && !past.alone && inflight.message.extras.is_none();
        // While messages are gathered, those without a wish stay with a queue until its batch is full.
        let turn = if batched {
            self.turn.load(Ordering::Relaxed)
        } else {
            self.turn.fetch_add(1, Ordering::Relaxed)
        };
        let index = match choose(ready, &inflight.message.choice, turn, past.avoid.as_deref()) {
            Chosen::Queue(index) => index,
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
            return send_one(target, queue.id, inflight, left);
        }
        let mut batcher = queue.batcher.lock();
        queue.gathers.store(true, Ordering::Release);
        let mut full = false;
        let kind = Kind {
            system_flag: inflight.system_flag,
            no_wait: inflight.message.no_wait,
        };
        let bytes = ELEMENT_BYTES + inflight.message.body.len() + inflight.message.properties.len();
        let was_empty = batcher.due().is_none();
        let emit = |batch| {
            full = true;
            send(target, queue.id, batch, left);
        };
        let most = target.session.connection.welcome().limits.max_frame_bytes as usize;
        let mut limits = self.settings().batch;
        limits.bytes = limits.bytes.min(most.saturating_sub(HEADER_BYTES));
        batcher.push(&limits, kind, inflight, bytes, Instant::now(), emit);
        if full {
            self.turn.fetch_add(1, Ordering::Relaxed);
        }
        if was_empty && batcher.due().is_some() {
            self.wake.notify_one();
        }
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
    pub(super) fn failed(&self, inflight: Arc<InFlight>, error: Error) {
        let now = Instant::now();
        if let Some(target) = inflight.target() {
            target.session.forget_if_gone(&self.topic, &error);
        }
        if hints_at_stale_route(&error) {
            self.mark_stale();
        }
        inflight.note(&error);
        let keyed = inflight.message.choice != QueueChoice::Any;
        let past = inflight.past();
        let elsewhere = !keyed && self.is_live_beside(past.avoid.as_deref());
        let verdict = judge(
            &error,
            Case {
                attempts: past.attempts,
                retries: self.settings().retries,
                allow_duplicates: self.settings().allow_duplicates,
                elsewhere,
                deadline: inflight.deadline(),
                now,
            },
        );
        tracing::debug!(topic = %self.topic, %error, ?verdict, "send failed");
        match verdict {
            Verdict::GiveUp => inflight.fail(inflight.final_error(error, now)),
            Verdict::Again { pause, counts } => {
                if !counts {
                    inflight.uncount_attempt();
                }
                if pause.is_zero() {
                    self.dispatch(inflight);
                } else {
                    let number = self.retries.fetch_add(1, Ordering::Relaxed) as u64;
                    let due = Reverse((now + pause, number));
                    self.later.lock().push(Later(due, inflight));
                    self.wake.notify_one();
                }
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
        ready.replace(brokers.to_vec());
        waiting.extend(std::mem::take(&mut ready.parked));
        let mut parked = Vec::new();
        for inflight in waiting {
            self.place(&ready, inflight, &mut parked);
        }
        ready.parked.extend(parked);
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
        self.fail_parked(|inflight| {
            let expired = inflight.deadline() <= now;
            expired.then(|| inflight.expired_error(now, self.last_error.lock().clone()))
        });
    }

    fn pop_due(&self, now: Instant) -> Option<Later> {
        let mut later = self.later.lock();
        let Later(Reverse((due, _)), _) = later.peek()?;
        if *due > now { None } else { later.pop() }
    }

    /// Gives up the parked messages for which there is an error.
    pub(super) fn fail_parked(&self, error: impl Fn(&InFlight) -> Option<Error>) {
        if !self.has_parked() {
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

    /// Gives up everything that is not with a connection.
    pub(super) fn abandon(&self) {
        let closed = || Error::Closed { what: "producer" };
        self.fail_parked(|_| Some(closed()));
        for Later(_, inflight) in std::mem::take(&mut *self.later.lock()) {
            inflight.fail(closed());
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
        drop(ready);
        let retry = self
            .later
            .lock()
            .peek()
            .map(|Later(Reverse((due, _)), _)| *due);
        [batches, parked, retry].into_iter().flatten().min()
    }
}
