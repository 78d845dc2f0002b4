//! The messages that a consumer holds, and whose turn it is.
//!
//! Connections put messages in, workers take them out, one lock for both. Nothing here waits or reads the clock. `held`:
//! one queue; `retry`: what is tried again, and when.

mod held;
mod retry;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::task::{Context, Poll, Waker};

use castmq_protocol::model::QueueOffset;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Order;
use super::credit::Window;
use super::handler::Ack;
use crate::message::{Queue, ReceivedMessage};
use held::HeldQueue;
use retry::{Retry, pause};

/// A queue in the dispatcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct QueueKey {
    index: usize,
    generation: u64,
}

/// What a dispatcher is set to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) order: Order,
    /// Workers that share the messages.
    pub(super) workers: usize,
    pub(super) window: Window,
    /// Messages from the first unfinished one on, beyond which credit is held back.
    pub(super) max_span: usize,
    /// Tries after which a message counts as done.
    pub(super) max_attempts: Option<u32>,
}

/// Messages of one queue whose turn it is, in order. `S` says where their credit goes.
#[derive(Debug)]
pub(super) struct Turn<S> {
    pub(super) key: QueueKey,
    pub(super) messages: VecDeque<ReceivedMessage>,
    pub(super) source: S,
    /// See [`Came`].
    pub(super) expires: Option<u64>,
}

/// Messages that came from a queue.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) messages: Vec<ReceivedMessage>,
    /// Where the next come from.
    pub(super) next: QueueOffset,
    /// Whether they may expire: by their property, and so many milliseconds after they were stored, 0 for not.
    pub(super) expires: Option<u64>,
    /// Whether those of higher queues of the topic go first.
    pub(super) by_priority: bool,
}

#[derive(Debug)]
struct Slot<S> {
    generation: u64,
    held: Option<HeldQueue<S>>,
}

#[derive(Debug)]
struct Inner<S> {
    rules: Rules,
    slots: Vec<Slot<S>>,
    ready: VecDeque<QueueKey>,
    retries: BinaryHeap<Retry>,
    /// Workers that wait, by number.
    idle: Vec<(usize, Waker)>,
    stopped: bool,
}

/// The messages that a consumer holds.
#[derive(Debug)]
pub(super) struct Dispatcher<S> {
    inner: Mutex<Inner<S>>,
    /// A handler has finished, or a queue is gone.
    finished: Notify,
    /// There is an earlier retry than before.
    pub(super) rescheduled: Notify,
}

impl<S> Inner<S> {
    fn get(&mut self, key: QueueKey) -> Option<&mut HeldQueue<S>> {
        let slot = self.slots.get_mut(key.index)?;
        slot.held
            .as_mut()
            .filter(|_| slot.generation == key.generation)
    }

    fn list(&mut self, key: QueueKey) {
        let order = self.rules.order;
        if let Some(held) = self.get(key)
            && held.can_start(order)
            && !held.listed
        {
            held.listed = true;
            self.ready.push_back(key);
        }
    }

    fn wake(&mut self, workers: usize) -> Vec<Waker> {
        let keep = self.idle.len().saturating_sub(workers);
        self.idle.drain(keep..).map(|(_, waker)| waker).collect()
    }

    fn free_if_over(&mut self, key: QueueKey) {
        if self
            .get(key)
            .is_some_and(|held| held.removed && held.running == 0)
            && let Some(slot) = self.slots.get_mut(key.index)
        {
            slot.held = None;
            slot.generation += 1;
        }
    }
}

fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}

impl<S: Clone> Dispatcher<S> {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            inner: Mutex::new(Inner {
                rules,
                slots: Vec::new(),
                ready: VecDeque::new(),
                retries: BinaryHeap::new(),
                idle: Vec::new(),
                stopped: false,
            }),
            finished: Notify::new(),
            rescheduled: Notify::new(),
        }
    }

    /// Holds one more queue, from `start` on.
    pub(super) fn add(&self, queue: Queue, start: QueueOffset, source: S) -> QueueKey {
        let mut inner = self.inner.lock();
        let mut held = HeldQueue::new(queue, source, start, inner.rules.window);
        held.draining = inner.stopped;
        let index = inner.slots.iter().position(|slot| slot.held.is_none());
        let index = index.unwrap_or_else(|| {
            inner.slots.push(Slot {
                generation: 0,
                held: None,
            });
            inner.slots.len() - 1
        });
        let mut generation = 0;
        if let Some(slot) = inner.slots.get_mut(index) {
            slot.held = Some(held);
            generation = slot.generation;
        }
        QueueKey { index, generation }
    }

    /// Corrects where a queue starts, as long as nothing came.
    pub(super) fn start_at(&self, key: QueueKey, start: QueueOffset) {
        if let Some(held) = self.inner.lock().get(key) {
            held.tracker.start_at(start);
        }
    }

    /// Messages came. Those that are not `wanted` are done at once. Returns credit to give back.
    pub(super) fn deliver(
        &self,
        key: QueueKey,
        came: Came,
        wanted: impl Fn(&ReceivedMessage) -> bool,
    ) -> Option<Window> {
        let mut inner = self.inner.lock();
        let held = inner.get(key)?;
        // Those that came before may expire still, by their property.
        held.expires = came.expires.or(held.expires.map(|_| 0));
        held.by_priority = came.by_priority;
        let before = held.messages.len();
        for message in came.messages {
            held.tracker.delivered(message.offset());
            if wanted(&message) {
                held.messages.push_back(message);
            } else {
                held.tracker.done(message.offset());
                held.returns.add(message.record_bytes());
            }
        }
        held.tracker.passed(came.next);
        let new = held.messages.len() - before;
        let returned = inner.returned(key);
        inner.list(key);
        let workers = match inner.rules.order {
            Order::PerQueue => new.min(1),
            Order::None => new,
        };
        let wakers = inner.wake(workers);
        drop(inner);
        wake_all(wakers);
        returned
    }

    /// The next messages for a worker, a fair share and at most `most`; `None` when there are none and never will be.
    pub(super) fn poll_next(
        &self,
        worker: usize,
        most: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Turn<S>>> {
        let mut inner = self.inner.lock();
        if let Some(turn) = inner.next(most) {
            return Poll::Ready(Some(turn));
        }
        if inner.stopped {
            return Poll::Ready(None);
        }
        inner.idle.retain(|(other, _)| *other != worker);
        inner.idle.push((worker, cx.waker().clone()));
        Poll::Pending
    }

    /// A worker is through with messages of a turn: those that it handled, and those that it leaves to others. Returns
    /// credit to give back.
    pub(super) fn finish(
        &self,
        key: QueueKey,
        handled: &mut Vec<(ReceivedMessage, Ack)>,
        untouched: VecDeque<ReceivedMessage>,
        now: Instant,
    ) -> Option<Window> {
        let mut inner = self.inner.lock();
        let held = inner.get(key)?;
        held.running -= handled.len() + untouched.len();
        let left = untouched.len();
        if !held.draining {
            for message in untouched.into_iter().rev() {
                held.messages.push_front(message);
            }
        }
        for (message, ack) in handled.drain(..) {
            if inner.settle(key, message, ack, now) {
                self.rescheduled.notify_one();
            }
        }
        let returned = inner.returned(key);
        inner.list(key);
        inner.free_if_over(key);
        let wakers = inner.wake(left);
        drop(inner);
        wake_all(wakers);
        self.finished.notify_waiters();
        returned
    }

    /// Makes the tries that are due by `now` ready.
    pub(super) fn tick(&self, now: Instant) {
        let mut inner = self.inner.lock();
        let mut wakers = Vec::new();
        while inner
            .retries
            .peek()
            .is_some_and(|retry| retry.due.0.0 <= now)
            && let Some(retry) = inner.retries.pop()
        {
            if let Some(held) = inner.get(retry.key) {
                match retry.message {
                    Some(message) => {
                        held.retrying -= 1;
                        held.messages.push_front(message);
                    }
                    None => held.suspended = false,
                }
            }
            inner.list(retry.key);
            wakers.extend(inner.wake(1));
        }
        drop(inner);
        wake_all(wakers);
    }

    /// When [`Dispatcher::tick`] has something to do.
    pub(super) fn next_tick(&self) -> Option<Instant> {
        self.inner.lock().retries.peek().map(|retry| retry.due.0.0)
    }

    /// Starts no more messages of a queue, and forgets those that were not started.
    pub(super) fn drain(&self, key: QueueKey) {
        if let Some(held) = self.inner.lock().get(key) {
            held.draining = true;
            held.messages.clear();
        }
    }

    /// Waits until nothing of a queue runs.
    pub(super) async fn drained(&self, key: QueueKey) {
        self.until(|inner| inner.get(key).is_none_or(|held| held.running == 0))
            .await;
    }

    /// Waits until nothing runs of any queue of this name.
    pub(super) async fn quiet(&self, queue: &Queue) {
        self.until(|inner| {
            let mut held = inner.slots.iter().filter_map(|slot| slot.held.as_ref());
            !held.any(|held| held.running > 0 && held.queue == *queue)
        })
        .await;
    }

    async fn until(&self, is_true: impl Fn(&mut Inner<S>) -> bool) {
        loop {
            let finished = self.finished.notified();
            if is_true(&mut self.inner.lock()) {
                return;
            }
            finished.await;
        }
    }

    /// The offset that a queue may commit.
    pub(super) fn committable(&self, key: QueueKey) -> Option<QueueOffset> {
        self.inner
            .lock()
            .get(key)
            .map(|held| held.tracker.committable())
    }

    /// The queues that are held, sorted.
    pub(super) fn queues(&self) -> Vec<Queue> {
        let inner = self.inner.lock();
        let held = inner.slots.iter().filter_map(|slot| slot.held.as_ref());
        let mut queues: Vec<_> = held
            .filter(|held| !held.removed)
            .map(|held| held.queue.clone())
            .collect();
        queues.sort();
        queues
    }

    /// Holds a queue no longer.
    pub(super) fn remove(&self, key: QueueKey) {
        let mut inner = self.inner.lock();
        if let Some(held) = inner.get(key) {
            held.removed = true;
            held.draining = true;
            held.messages.clear();
        }
        inner.free_if_over(key);
        drop(inner);
        self.finished.notify_waiters();
    }

    /// Starts no more messages of any queue; workers end.
    pub(super) fn stop(&self) {
        let mut inner = self.inner.lock();
        inner.stopped = true;
        for slot in &mut inner.slots {
            if let Some(held) = &mut slot.held {
                held.draining = true;
                held.messages.clear();
            }
        }
        let wakers = inner.wake(usize::MAX);
        drop(inner);
        wake_all(wakers);
    }
}

impl<S: Clone> Inner<S> {
    fn next(&mut self, most: usize) -> Option<Turn<S>> {
        let Rules { order, workers, .. } = self.rules;
        while let Some(key) = self.ready.pop_front() {
            let key = self.overtaking(key);
            let Some(held) = self.get(key) else {
                continue;
            };
            held.listed = false;
            if !held.can_start(order) {
                continue;
            }
            let share = match order {
                Order::PerQueue => held.messages.len(),
                Order::None => held.messages.len() / workers.max(1),
            };
            let count = share.clamp(1, most.max(1)).min(held.messages.len());
            held.running += count;
            let messages = held.messages.drain(..count).collect();
            let source = held.source.clone();
            let expires = held.expires;
            self.list(key);
            return Some(Turn {
                key,
                messages,
                source,
                expires,
            });
        }
        None
    }
}

impl<S> Inner<S> {
    /// The queue that takes this one's turn: itself, or by priority the highest of its topic that waits. That one's place in
    /// the list goes to this one, so that topics have as many turns as before.
    fn overtaking(&mut self, key: QueueKey) -> QueueKey {
        let order = self.rules.order;
        let Some(held) = self.get(key).filter(|held| held.by_priority) else {
            return key;
        };
        let (topic, mut highest) = (held.queue.topic.clone(), held.queue.id);
        let mut place = None;
        for at in 0..self.ready.len() {
            let Some(other) = self.ready.get(at).copied() else {
                break;
            };
            if let Some(held) = self.get(other)
                && held.queue.topic == topic
                && held.queue.id > highest
                && held.can_start(order)
            {
                highest = held.queue.id;
                place = Some(at);
            }
        }
        match place.and_then(|at| self.ready.get_mut(at)) {
            Some(other) => std::mem::replace(other, key),
            None => key,
        }
    }

    /// What came of a message. Returns whether it is tried again.
    fn settle(
        &mut self,
        key: QueueKey,
        mut message: ReceivedMessage,
        ack: Ack,
        now: Instant,
    ) -> bool {
        let Rules {
            order,
            max_attempts,
            ..
        } = self.rules;
        let Some(held) = self.get(key) else {
            return false;
        };
        let is_given_up = max_attempts.is_some_and(|most| message.attempts() >= most);
        if ack != Ack::Done && is_given_up {
            tracing::error!(
                ?message,
                "message was tried as often as allowed and is given up"
            );
        }
        if !ack.is_retry() || is_given_up {
            held.tracker.done(message.offset());
            held.returns.add(message.record_bytes());
            return false;
        }
        if held.removed {
            return false;
        }
        let due = Reverse((now + pause(order, message.attempts()), message.offset()));
        message.next_attempt();
        let message = match order {
            Order::PerQueue => {
                held.messages.push_front(message);
                held.suspended = true;
                None
            }
            Order::None => {
                held.retrying += 1;
                Some(message)
            }
        };
        self.retries.push(Retry { due, key, message });
        true
    }

    fn returned(&mut self, key: QueueKey) -> Option<Window> {
        let max_span = self.rules.max_span;
        let held = self.get(key)?;
        if held.draining || held.tracker.span() > max_span {
            return None;
        }
        let holds_nothing = held.running == 0 && held.retrying == 0 && held.messages.is_empty();
        held.returns.take(holds_nothing)
    }
}
