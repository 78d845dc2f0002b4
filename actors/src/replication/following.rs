//! Whom a slave follows, for those who need to know.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use castmq_protocol::model::{GroupName, QueueOffset};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::broker::offsets::{Offsets, QueueKey, Tap};

/// Offsets by group and queue; `None` means removed.
pub(crate) type Unsaid = BTreeMap<(GroupName, QueueKey), Option<QueueOffset>>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Following {
    master: Mutex<Option<String>>,
    /// Why none is followed.
    lost_because: Mutex<Option<String>>,
    /// Why what comes of one cannot be written.
    stalled_by: Mutex<Option<String>>,
    /// What consumers commit here.
    tap: OnceLock<Arc<Tap>>,
    /// What of that the master has not heard.
    unsaid: Mutex<Unsaid>,
    /// Whether the master knows what consumers committed here while it was away.
    is_told: AtomicBool,
    changed: Notify,
}

impl Following {
    /// Where the master that is followed now takes slaves.
    pub(crate) fn master(&self) -> Option<String> {
        self.master.lock().clone()
    }

    /// What is wrong with the copy, if anything is.
    pub(crate) fn trouble(&self) -> Option<String> {
        let stalled_by = self.stalled_by.lock().clone();
        stalled_by.or_else(|| match self.master() {
            Some(_) => None,
            None => self.lost_because.lock().clone(),
        })
    }

    /// No master is followed, for this reason, or for none that is known yet.
    pub(crate) fn set_lost_because(&self, reason: Option<String>) {
        *self.lost_because.lock() = reason;
    }

    /// The copy stands still for this reason, or goes on.
    pub(crate) fn set_stalled_by(&self, reason: Option<String>) {
        *self.stalled_by.lock() = reason;
    }

    /// Gathers what consumers commit here, from the first call on.
    pub(crate) fn tap(&self, offsets: &Offsets) -> Arc<Tap> {
        self.tap.get_or_init(|| offsets.tap()).clone()
    }

    /// Consumers have committed this.
    pub(crate) fn add_unsaid(&self, committed: Unsaid) {
        self.unsaid.lock().extend(committed);
    }

    /// Some of what the master has not heard, no more than `most`, and whether that is all.
    pub(crate) fn some_unsaid(&self, most: usize) -> (Unsaid, bool) {
        let unsaid = self.unsaid.lock();
        let some = unsaid.iter().take(most);
        let some = some.map(|(key, offset)| (key.clone(), *offset));
        (some.collect(), unsaid.len() <= most)
    }

    /// The master has heard this.
    pub(crate) fn said(&self, said: &Unsaid) {
        let mut unsaid = self.unsaid.lock();
        unsaid.retain(|key, offset| said.get(key) != Some(offset));
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
        self.until(|| self.has_told().then_some(())).await;
    }

    /// Waits until a master is followed, and says which.
    pub(crate) async fn some_master(&self) -> String {
        self.until(|| self.master()).await
    }

    /// Looks at every change until there is something.
    async fn until<T>(&self, look: impl Fn() -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // What changes from here on is heard of.
            changed.as_mut().enable();
            if let Some(found) = look() {
                return found;
            }
            changed.await;
        }
    }
}
