//! Messages that have to stay in order: of one queue's, at most one request is under way.
//!
//! What comes meanwhile waits for the answer and then goes together, in one batch. So a request that is refused, or lost
//! with its connection, is sent again before anything behind it, and waiting costs little.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::batcher::Limits;
use super::delivery::{BatchInFlight, InFlight};
use super::lane::Lane;
use super::ready::Ready;
use super::request::{check_length, send_in_order};

/// The ordered messages of one queue.
#[derive(Debug, Default)]
pub(super) struct Strand {
    waiting: VecDeque<Arc<InFlight>>,
    /// A request was handed to a connection and is not answered.
    is_under_way: bool,
    /// Another attempt is not made earlier.
    not_before: Option<Instant>,
}

/// Adds a message to those that wait. One that was given to the producer earlier comes earlier.
pub(super) fn insert_in_order(waiting: &mut VecDeque<Arc<InFlight>>, inflight: Arc<InFlight>) {
    let number = inflight.number;
    if waiting.back().is_none_or(|last| last.number < number) {
        return waiting.push_back(inflight);
    }
    let later = waiting.iter().position(|other| other.number > number);
    waiting.insert(later.unwrap_or(waiting.len()), inflight);
}

impl Strand {
    fn can_send(&self, now: Instant) -> bool {
        let is_paused = self.not_before.is_some_and(|earliest| earliest > now);
        !self.is_under_way && !is_paused && !self.waiting.is_empty()
    }

    /// Whether messages wait for a connection.
    pub(super) fn is_stalled(&self) -> bool {
        !self.is_under_way && self.not_before.is_none() && !self.waiting.is_empty()
    }

    /// When there is something to do without an answer: another attempt, or the end of the first message's time.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.is_under_way {
            return None;
        }
        let end = self.waiting.front()?.deadline();
        Some(self.not_before.map_or(end, |earliest| earliest.min(end)))
    }

    /// The messages that go next, in one request.
    fn take(&mut self, limits: &Limits) -> Vec<Arc<InFlight>> {
        let mut taken: Vec<Arc<InFlight>> = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.waiting.front() {
            bytes += next.element_bytes();
            let joins = |first: &Arc<InFlight>| {
                let fits = taken.len() < limits.messages && bytes <= limits.bytes;
                fits && first.can_travel() && next.can_travel() && first.kind() == next.kind()
            };
            if !taken.first().is_none_or(joins) {
                break;
            }
            taken.extend(self.waiting.pop_front());
        }
        taken
    }

    /// All messages that wait, unless an answer is awaited: then that decides where they go.
    pub(super) fn take_idle(&mut self) -> VecDeque<Arc<InFlight>> {
        if self.is_under_way {
            return VecDeque::new();
        }
        self.take_all()
    }

    fn take_all(&mut self) -> VecDeque<Arc<InFlight>> {
        std::mem::take(&mut self.waiting)
    }
}

impl Lane {
    /// Gives a message to an ordered queue.
    pub(super) fn place_in_order(&self, ready: &Ready, index: usize, inflight: Arc<InFlight>) {
        let Some(queue) = ready.queues.get(index) else {
            return;
        };
        let was_stalled = {
            let mut strand = queue.strand.lock();
            let was_stalled = strand.is_stalled();
            insert_in_order(&mut strand.waiting, inflight);
            was_stalled
        };
        if !self.pump(ready, index) && !was_stalled {
            self.look_again();
        }
    }

    /// Sends what an ordered queue may send. False when messages wait for a connection.
    fn pump(&self, ready: &Ready, index: usize) -> bool {
        let Some(queue) = ready.queues.get(index) else {
            return true;
        };
        let now = Instant::now();
        let mut strand = queue.strand.lock();
        if self.is_abandoned() {
            // Nobody will be there when the pause is over.
            strand.not_before = None;
        }
        while strand.can_send(now) {
            strand.not_before = None;
            // Looked at each time: a connection may end while messages are given to it.
            let target = ready.target(index);
            let Some(target) = target.filter(|target| target.is_usable()) else {
                if self.is_abandoned() {
                    self.give_up(strand.take_all());
                }
                return false;
            };
            let mut members = strand.take(&self.batch_limits(target));
            members.retain(|inflight| self.is_sendable(inflight, target, now));
            let mut left = Vec::new();
            strand.is_under_way =
                send_in_order(target, queue.id, index, &queue.strand, members, &mut left);
            for inflight in left {
                insert_in_order(&mut strand.waiting, inflight);
            }
        }
        true
    }

    /// Whether there is sense in sending a message now; it is given up otherwise.
    fn is_sendable(
        &self,
        inflight: &Arc<InFlight>,
        target: &super::ready::Target,
        now: Instant,
    ) -> bool {
        if inflight.deadline() <= now {
            inflight.fail(self.expired_error(inflight, now));
            return false;
        }
        match check_length(inflight, target) {
            Ok(()) => true,
            Err(error) => {
                inflight.fail(error);
                false
            }
        }
    }

    /// A request of an ordered queue was answered, or never will be. `again` are those of its messages that are sent again.
    pub(super) fn go_on(
        &self,
        index: usize,
        strand: &Arc<Mutex<Strand>>,
        again: Vec<Arc<InFlight>>,
        not_before: Option<Instant>,
    ) {
        let ready = self.ready.read();
        let is_same = |index: &usize| {
            let queue = ready.queues.get(*index);
            queue.is_some_and(|queue| Arc::ptr_eq(&queue.strand, strand))
        };
        // Queues keep their places for the most part.
        let index = Some(index).filter(is_same);
        let index = index.or_else(|| (0..ready.queues.len()).find(is_same));
        let mut locked = strand.lock();
        locked.is_under_way = false;
        locked.not_before = not_before;
        for inflight in again {
            insert_in_order(&mut locked.waiting, inflight);
        }
        let Some(index) = index else {
            // The queue is none of the topic's any more.
            let left = locked.take_all();
            drop(locked);
            drop(ready);
            left.into_iter()
                .for_each(|inflight| self.dispatch(inflight));
            return;
        };
        drop(locked);
        if !self.pump(&ready, index) {
            self.look_again();
        } else if not_before.is_some() {
            self.wake.notify_one();
        }
    }

    /// Goes on with all ordered queues.
    pub(super) fn pump_all(&self, ready: &Ready) {
        for index in 0..ready.queues.len() {
            self.pump(ready, index);
        }
    }

    /// Gives up the ordered messages whose time is over while they wait for a connection.
    pub(super) fn expire_strands(&self, ready: &Ready, now: Instant) {
        for queue in &ready.queues {
            let mut strand = queue.strand.lock();
            while !strand.is_under_way
                && let Some(first) = strand.waiting.pop_front_if(|first| first.deadline() <= now)
            {
                first.fail(self.expired_error(&first, now));
            }
        }
    }
}

impl BatchInFlight {
    /// The whole request failed, or its answer makes no sense.
    pub(super) fn failed_in_order(
        &self,
        index: usize,
        strand: &Arc<Mutex<Strand>>,
        error: &crate::error::Error,
    ) {
        let Some(first) = self.members.first() else {
            return;
        };
        let lane = first.lane.clone();
        let members = self.apart(error);
        let is_apart = members.len() > 1 && error.is_final();
        let mut again = Vec::new();
        let mut not_before = None;
        for member in &members {
            if is_apart {
                member.set_alone();
                again.push(member.clone());
            } else if let Some(due) = lane.judge(member, error) {
                not_before = not_before.max(due);
                again.push(member.clone());
            }
        }
        lane.go_on(index, strand, again, not_before);
    }
}
