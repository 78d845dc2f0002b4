//! The broker's memory for requests that are under way, shared by all connections.

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

/// Bytes in flight, counted and bounded. A session that finds none left stops reading its socket and is woken when
/// some come back.
#[derive(Debug)]
pub(crate) struct Credits {
    limit_bytes: u64,
    used_bytes: AtomicU64,
    waiting: Mutex<Vec<Waker>>,
}

impl Credits {
    /// So many bytes for all.
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            used_bytes: AtomicU64::new(0),
            waiting: Mutex::default(),
        }
    }

    /// Counts bytes that are in memory already.
    pub(crate) fn take(&self, bytes: u64) {
        self.used_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Gives bytes back.
    pub(crate) fn give_back(&self, bytes: u64) {
        let before = self.used_bytes.fetch_sub(bytes, Ordering::AcqRel);
        if before >= self.limit_bytes && before - bytes < self.limit_bytes {
            for waker in self.waiting.lock().drain(..) {
                waker.wake();
            }
        }
    }

    /// Whether there are bytes left. When not, `waker` is woken once there are.
    pub(crate) fn has_room(&self, waker: &Waker) -> bool {
        if self.used_bytes() < self.limit_bytes {
            return true;
        }
        let mut waiting = self.waiting.lock();
        // Looked at again under the lock: whoever gives back takes it after having counted.
        if self.used_bytes() < self.limit_bytes {
            return true;
        }
        if !waiting.iter().any(|waiter| waiter.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        false
    }

    /// Bytes in flight now.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicU64);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_waiter_is_woken_once_when_room_comes_back() {
        let credits = Credits::new(100);
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        assert!(credits.has_room(&waker));
        credits.take(150);
        assert!(!credits.has_room(&waker));
        assert!(!credits.has_room(&waker));
        credits.give_back(40);
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        credits.give_back(40);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(credits.has_room(&waker));
        assert_eq!(credits.used_bytes(), 70);
    }
}
