//! Whom a slave follows, for those who need to know.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Following {
    master: Mutex<Option<String>>,
    /// Whether the master knows what consumers committed here while it was away.
    is_told: AtomicBool,
    changed: Notify,
}

impl Following {
    /// Where the master that is followed now takes slaves.
    pub(crate) fn master(&self) -> Option<String> {
        self.master.lock().clone()
    }

    pub(crate) fn found(&self, master: String) {
        *self.master.lock() = Some(master);
        self.changed.notify_waiters();
    }

    pub(crate) fn lost(&self) {
        *self.master.lock() = None;
        self.is_told.store(false, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// The master knows what consumers committed here.
    pub(crate) fn told(&self) {
        if self.master().is_some() && !self.is_told.swap(true, Ordering::AcqRel) {
            self.changed.notify_waiters();
        }
    }

    /// Whether consumers can go on at the master where they are here.
    pub(crate) fn has_told(&self) -> bool {
        self.is_told.load(Ordering::Acquire)
    }

    /// Waits until they can.
    pub(crate) async fn until_told(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.has_told() {
                return;
            }
            changed.await;
        }
    }

    /// Waits until a master is followed, and says which.
    pub(crate) async fn some_master(&self) -> String {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(master) = self.master() {
                return master;
            }
            changed.await;
        }
    }
}
