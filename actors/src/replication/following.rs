//! Whom a slave follows, for those who need to know.

use parking_lot::Mutex;
use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Following {
    master: Mutex<Option<String>>,
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
        self.changed.notify_waiters();
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
