//! From where on the log is needed for more than to be read: what lies there is stored again when its time comes.
//!
//! A place is only told once the log is durable to where it was when the place was found: what made earlier messages
//! superfluous is not lost after they are.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset, system_topics};
use castmq_storage::consume_queue::ConsumeQueueError;
use castmq_storage::timer::TimerError;
use thiserror::Error;

use crate::broker::context::BrokerContext;

/// The timer is waited for no longer than this: the disk is looked at meanwhile, too.
const MOST_WAIT: Duration = Duration::from_secs(1);

/// Why it cannot be said.
#[derive(Debug, Error)]
pub(crate) enum NeededError {
    #[error(transparent)]
    Timer(#[from] TimerError),
    #[error(transparent)]
    Queue(#[from] ConsumeQueueError),
}

/// See the module.
pub(crate) struct Needed {
    context: Arc<BrokerContext>,
    from: PhysicalOffset,
    /// What is told once the log is durable to the second place.
    next: Option<(PhysicalOffset, PhysicalOffset)>,
}

impl Needed {
    /// Nothing is known: all is needed.
    pub(crate) fn new(context: Arc<BrokerContext>) -> Self {
        Self {
            context,
            from: PhysicalOffset::ZERO,
            next: None,
        }
    }

    /// Where the first message lies that is needed, or an earlier place.
    pub(crate) fn from(&mut self) -> Result<PhysicalOffset, NeededError> {
        if self.context.standing.is_slave() {
            // Nothing is stored again here, but may have to be one day: the master says.
            return Ok(self.context.needed_from());
        }
        if self.next.is_none()
            && let Some(from) = find(&self.context)?
        {
            self.next = Some((from, self.context.store.log.appended()));
        }
        if let Some((from, end)) = self.next
            && self.context.store.log.flushed() >= end
        {
            self.from = from;
            self.next = None;
            self.context.set_needed_from(from);
        }
        Ok(self.from)
    }
}

/// `None` when it cannot be said now, because the timer is busy for long or not open yet.
fn find(context: &BrokerContext) -> Result<Option<PhysicalOffset>, NeededError> {
    let store = &context.store;
    let queues = &store.queues;
    // Nobody has looked at what comes behind.
    let mut needed = context.positions.dispatched();
    let Some(mut wheel) = context.wheel.try_lock_for(MOST_WAIT) else {
        return Ok(None);
    };
    let Some(timer) = wheel.as_mut() else {
        return Ok(None);
    };
    let (entered, resume) = (timer.first_waiting()?, timer.resume_offset());
    drop(wheel);
    let to_enter = queues.place(system_topics::TIMER, QueueId(0), resume)?;
    let places = [entered, to_enter];
    needed = places.into_iter().flatten().fold(needed, Ord::min);
    for queue in 0..context.delays.count() {
        let next = store.unseen.moved.needed_from(queue);
        let id = QueueId(queue.into());
        if let Some(first) = queues.place(system_topics::SCHEDULE, id, next)? {
            needed = needed.min(first);
        }
    }
    let replay_from = context.pops_replay_from.load(Ordering::Acquire);
    if replay_from < u64::MAX {
        let (topic, from) = (system_topics::POP_JOURNAL, QueueOffset(replay_from));
        let first = queues.place(topic, QueueId(0), from)?;
        needed = first.map_or(needed, |first| needed.min(first));
    }
    let halves = store
        .unseen
        .halves
        .stored_before(i64::MAX, QueueOffset::ZERO, 1);
    let places = halves.iter().map(|half| half.physical);
    Ok(Some(places.fold(needed, Ord::min)))
}
