//! What a start found at the end of the log of a master that shows nothing which slaves lack. Perhaps no slave has it yet, and
//! it vanishes when one becomes the master: nobody sees it until enough of them have it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use castmq_protocol::model::{PhysicalOffset, QueueOffset, system_topics};
use castmq_storage::commit_log::CommitLog;
use castmq_storage::consume_queue::ConsumeQueue;
use parking_lot::RwLock;

use crate::delivery::queues::QueueKey;
use crate::storage::queue_offsets::each_queued;

/// See the module. Costs one look while nothing is hidden.
#[derive(Debug, Default)]
pub(crate) struct Hidden {
    is_there: AtomicBool,
    tail: RwLock<Option<Tail>>,
}

#[derive(Debug)]
struct Tail {
    begin: PhysicalOffset,
    end: PhysicalOffset,
    /// The first message of it in each queue that consumers read.
    first: HashMap<QueueKey, QueueOffset>,
}

impl Hidden {
    /// Hides what the log has from a record on. Reads all of that.
    pub(crate) fn from(log: &CommitLog, begin: PhysicalOffset) -> Self {
        let mut first = HashMap::new();
        each_queued(log, begin, |queue, offset| {
            // The broker itself reads the others, and what comes of that lies behind the tail.
            if !system_topics::is_system(queue.0.as_str()) {
                first.entry(queue).or_insert(offset);
            }
        });
        let end = log.appended();
        Self {
            is_there: AtomicBool::new(begin < end),
            tail: RwLock::new(Some(Tail { begin, end, first })),
        }
    }

    /// Enough slaves have the log up to here. True when nothing is hidden from now on, and something was.
    pub(crate) fn copied(&self, to: PhysicalOffset) -> bool {
        if !self.is_there.load(Ordering::Acquire) {
            return false;
        }
        let mut tail = self.tail.write();
        let is_over = tail.as_ref().is_none_or(|tail| to >= tail.end);
        if is_over {
            *tail = None;
            self.is_there.store(false, Ordering::Release);
        }
        is_over
    }

    /// How far a log may be shown that may be shown up to `committed` otherwise.
    pub(crate) fn limit(&self, committed: PhysicalOffset) -> PhysicalOffset {
        self.look(|tail| tail.begin)
            .map_or(committed, |begin| begin.min(committed))
    }

    /// Behind the last message of a queue that consumers may see.
    #[inline]
    pub(crate) fn end_of(&self, queue: &ConsumeQueue) -> QueueOffset {
        let key = || (queue.topic().clone(), queue.id());
        let first = self.look(|tail| tail.first.get(&key()).copied());
        first.flatten().unwrap_or_else(|| queue.max_offset())
    }

    #[inline]
    fn look<T>(&self, at: impl FnOnce(&Tail) -> T) -> Option<T> {
        if !self.is_there.load(Ordering::Acquire) {
            return None;
        }
        self.tail.read().as_ref().map(at)
    }
}
