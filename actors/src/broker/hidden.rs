//! What a start found at the end of the log of a broker that shows nothing which too few others have. Perhaps no other has it
//! yet, and it vanishes when one of those becomes the master: nobody sees it until enough of them have it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use castmq_config::{Role, Settings, WithoutSlaves};
use castmq_protocol::model::{PhysicalOffset, QueueOffset, system_topics};
use castmq_storage::commit_log::CommitLog;
use castmq_storage::consume_queue::ConsumeQueue;
use castmq_storage::epochs::{note_shown, shown};
use castmq_storage::store::{Store, StoreError};
use parking_lot::RwLock;

use crate::delivery::queues::QueueKey;
use crate::storage::queue_offsets::each_queued;

/// See the module. Costs one look while nothing is hidden.
#[derive(Debug, Default)]
pub(crate) struct Hidden {
    /// Whether anything ever is.
    is_kept: bool,
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
    /// Hides the end of the log that other brokers may lack, as was noted before the last stop.
    pub(crate) fn at_start(
        settings: &Settings,
        store: &Store,
        role: Role,
    ) -> Result<Self, StoreError> {
        let (log, metadata) = (&store.log, &store.metadata);
        if !hides(settings, role) {
            note_shown(metadata, None)?;
            return Ok(Self::default());
        }
        let end = shown(metadata)?.map_or(log.appended(), |end| end.min(log.appended()));
        note_shown(metadata, Some(end))?;
        metadata.flush()?;
        Ok(Self::from(log, end.max(log.begin())))
    }

    /// Hides what the log has from a record on. Reads all of that.
    fn from(log: &CommitLog, begin: PhysicalOffset) -> Self {
        let mut first = HashMap::new();
        each_queued(log, begin, |queue, offset| {
            // The broker itself reads the others, and what comes of that lies behind the tail.
            if !system_topics::is_system(queue.0.as_str()) {
                first.entry(queue).or_insert(offset);
            }
        });
        let end = log.appended();
        Self {
            is_kept: true,
            is_there: AtomicBool::new(begin < end),
            tail: RwLock::new(Some(Tail { begin, end, first })),
        }
    }

    /// Whether the next start may have something to hide.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Enough brokers have the log up to here. True when nothing is hidden from now on, and something was.
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

/// Whether nobody sees what fewer brokers have than the policy wants. A slave is told by its master what that is.
fn hides(settings: &Settings, role: Role) -> bool {
    let replication = &settings.replication;
    let is_told = match role {
        Role::SyncMaster => true,
        Role::AsyncMaster => false,
        Role::Slave => !replication.ha_master_is_rocketmq,
    };
    let goes_on_alone = replication.without_slaves == WithoutSlaves::Accept;
    is_told && !goes_on_alone && settings.in_sync_replicas(Role::SyncMaster) > 1
}
