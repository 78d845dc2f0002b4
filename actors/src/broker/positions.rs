//! How far the log is known: `dispatched ≤ committed ≤ appended`, asserted at every change.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use castmq_protocol::model::PhysicalOffset;
use castmq_storage::commit_log::CommitLog;

/// Positions that actors leave for each other and for their next incarnations.
#[derive(Debug)]
pub(crate) struct Positions {
    log: Arc<CommitLog>,
    committed: AtomicU64,
    dispatched: AtomicU64,
    store_ms: AtomicI64,
}

impl Positions {
    /// Begins with a log whose records are dispatched up to here.
    pub(crate) fn new(log: Arc<CommitLog>, dispatched: PhysicalOffset) -> Self {
        Self {
            log,
            committed: AtomicU64::new(dispatched.0),
            dispatched: AtomicU64::new(dispatched.0),
            store_ms: AtomicI64::new(0),
        }
    }

    /// Behind the last byte appended.
    pub(crate) fn appended(&self) -> PhysicalOffset {
        self.log.appended()
    }

    /// The log is as safe as the policy wants up to here.
    pub(crate) fn committed(&self) -> PhysicalOffset {
        PhysicalOffset(self.committed.load(Ordering::Acquire))
    }

    /// Queues know the log up to here.
    pub(crate) fn dispatched(&self) -> PhysicalOffset {
        PhysicalOffset(self.dispatched.load(Ordering::Acquire))
    }

    /// When the last record that was dispatched had been stored, in milliseconds since the epoch.
    pub(crate) fn store_ms(&self) -> i64 {
        self.store_ms.load(Ordering::Acquire)
    }

    /// # Panics
    /// When it would pass what is appended.
    pub(crate) fn set_committed(&self, committed: PhysicalOffset) {
        let appended = self.appended();
        assert!(
            committed <= appended,
            "committed {committed} passes appended {appended}"
        );
        self.committed.fetch_max(committed.0, Ordering::AcqRel);
    }

    /// # Panics
    /// When it would pass what is committed.
    pub(crate) fn set_dispatched(&self, dispatched: PhysicalOffset, store_ms: i64) {
        let committed = self.committed();
        assert!(
            dispatched <= committed,
            "dispatched {dispatched} passes committed {committed}"
        );
        self.dispatched.store(dispatched.0, Ordering::Release);
        self.store_ms.fetch_max(store_ms, Ordering::AcqRel);
    }
}
