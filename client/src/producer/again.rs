//! Sending a message that may be stored once more, so that it is not stored twice.
//!
//! A broker knows a send by its number, and so does not store it again. That is of use only when it is the same broker, and
//! the same messages: from the moment an attempt may have stored something, the request stays as it was. Its first message
//! stands for it; the others come with that one, wherever it waits. Before that moment nothing holds it: a request that was
//! refused for certain, or never left, goes to any broker in any company.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use castmq_protocol::model::QueueId;
use castmq_protocol::native::Retry;

use super::choose::Candidates;
use super::delivery::{BatchInFlight, InFlight};
use super::lane::Lane;
use super::ready::Ready;
use super::request::send;
use crate::error::Error;

/// Where a request may be stored, and what it has.
#[derive(Debug)]
pub(super) struct Kept {
    broker: Arc<str>,
    queue: QueueId,
    /// Its messages but the first, while no connection has them.
    followers: Vec<Arc<InFlight>>,
}

impl InFlight {
    /// Has it stay where it may be stored, if it may and has to be stored once.
    pub(super) fn keep_if_stored(&self) {
        let mut state = self.state.lock();
        if state.kept.is_some() || !state.maybe_stored || self.number().is_none() {
            return;
        }
        if let Some(target) = &state.target {
            state.kept = Some(Box::new(Kept {
                broker: target.broker.clone(),
                queue: state.queue,
                followers: Vec::new(),
            }));
        }
    }

    /// The other messages of its request, to travel with it again.
    pub(super) fn take_followers(&self) -> Vec<Arc<InFlight>> {
        if !self.has_failed.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut state = self.state.lock();
        let kept = state.kept.as_mut();
        kept.map(|kept| std::mem::take(&mut kept.followers))
            .unwrap_or_default()
    }

    fn kept_place(&self) -> Option<(Arc<str>, QueueId)> {
        let state = self.state.lock();
        let kept = state.kept.as_ref()?;
        Some((kept.broker.clone(), kept.queue))
    }
}

impl BatchInFlight {
    /// The messages of a request that failed, each on its own; only the first, with all others, when the request has to be
    /// sent again as it was.
    pub(super) fn apart(&self, error: &Error) -> Vec<Arc<InFlight>> {
        let Some((lead, followers)) = self.members.split_first() else {
            return Vec::new();
        };
        if error.retry() == Retry::MayDuplicate {
            // It is recorded when it is judged, like any other.
            lead.remember(error);
        }
        let mut state = lead.state.lock();
        match &mut state.kept {
            Some(kept) => {
                kept.followers = followers.to_vec();
                vec![lead.clone()]
            }
            None => self.members.clone(),
        }
    }
}

impl Lane {
    /// Gives a message that may be stored to the broker that may have it. It comes back in `left` when that cannot be
    /// reached.
    pub(super) fn place_again(
        &self,
        ready: &Ready,
        inflight: Arc<InFlight>,
        left: &mut Vec<Arc<InFlight>>,
    ) {
        let Some((broker, queue)) = inflight.kept_place() else {
            return left.push(inflight);
        };
        if inflight.number > 0 {
            // Where it waits for its connection, those behind it wait, too.
            let is_it =
                |index: &usize| ready.broker(*index) == &*broker && ready.id(*index) == queue;
            return match (0..ready.len()).find(is_it) {
                Some(index) => self.place_in_order(ready, index, inflight),
                None => left.push(inflight),
            };
        }
        let is_there = |index: &usize| ready.broker(*index) == &*broker && ready.is_usable(*index);
        let index = (0..ready.len()).find(is_there);
        let Some(target) = index.and_then(|index| ready.target(index)) else {
            return left.push(inflight);
        };
        let mut members = vec![inflight.clone()];
        members.extend(inflight.take_followers());
        send(target, queue, members, left);
    }
}
