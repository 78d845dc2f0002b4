//! How much of the log is ready to be written without a page fault, and how much should be.
//!
//! The writer only looks at the numbers; the segment-allocator changes them. A broker at rest keeps a few MiB ready. The
//! faster it writes, the more is prepared ahead: about as much as it writes in a quarter of a second.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use castmq_protocol::model::PhysicalOffset;

/// Ready at least, in bytes.
pub(crate) const MIN_WINDOW_BYTES: u64 = 4 * 1024 * 1024;

/// Ready at most, in bytes.
const MAX_WINDOW_BYTES: u64 = 1024 * 1024 * 1024;

/// Seconds of writing that the window covers.
const WINDOW_SECONDS: f64 = 0.25;

/// Shared by writer and allocator.
#[derive(Debug)]
pub(crate) struct Runway {
    prepared: AtomicU64,
    window_bytes: AtomicU64,
    is_called: AtomicBool,
}

impl Runway {
    pub(crate) fn new(end: PhysicalOffset) -> Self {
        Self {
            prepared: AtomicU64::new(end.0),
            window_bytes: AtomicU64::new(MIN_WINDOW_BYTES),
            is_called: AtomicBool::new(false),
        }
    }

    /// Whether the allocator should be called. Says so once until it has come.
    #[inline]
    pub(crate) fn is_short(&self, end: PhysicalOffset) -> bool {
        let left = self.prepared().distance_from(end);
        left < self.window_bytes.load(Ordering::Relaxed) / 2
            && !self.is_called.swap(true, Ordering::AcqRel)
    }

    /// The allocator is on its way: from now on it may be called again.
    pub(crate) fn answer_call(&self) {
        self.is_called.store(false, Ordering::Release);
    }

    /// Behind the last byte that is ready.
    pub(crate) fn prepared(&self) -> PhysicalOffset {
        PhysicalOffset(self.prepared.load(Ordering::Relaxed))
    }

    pub(crate) fn set_prepared(&self, end: PhysicalOffset) {
        self.prepared.store(end.0, Ordering::Relaxed);
    }

    /// Bytes to keep ready.
    pub(crate) fn window_bytes(&self) -> u64 {
        self.window_bytes.load(Ordering::Relaxed)
    }

    /// Sets them, to no more than can be ready: the writer would always be short of the rest, and call with every batch.
    pub(crate) fn set_window_bytes(&self, bytes: u64, reach: u64) {
        let reach = reach.max(MIN_WINDOW_BYTES);
        self.window_bytes.store(bytes.min(reach), Ordering::Relaxed);
    }
}

/// The window for a rate of writing, grown at once and shrunk by an eighth at a time.
pub(crate) fn window_bytes(before: u64, bytes_per_second: f64) -> u64 {
    let wanted = (bytes_per_second * WINDOW_SECONDS) as u64;
    let wanted = wanted.clamp(MIN_WINDOW_BYTES, MAX_WINDOW_BYTES);
    wanted.max(before - before / 8).max(MIN_WINDOW_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_calls_once_until_it_is_answered() {
        let runway = Runway::new(PhysicalOffset(0));
        runway.set_prepared(PhysicalOffset(MIN_WINDOW_BYTES));
        assert!(!runway.is_short(PhysicalOffset(MIN_WINDOW_BYTES / 2)));
        let short = PhysicalOffset(MIN_WINDOW_BYTES / 2 + 1);
        assert!(runway.is_short(short));
        assert!(!runway.is_short(short));
        runway.answer_call();
        assert!(runway.is_short(short));
    }

    #[test]
    fn the_writer_does_not_call_for_what_is_out_of_reach() {
        const REACH: u64 = 32 * 1024 * 1024;
        let runway = Runway::new(PhysicalOffset(0));
        runway.set_prepared(PhysicalOffset(REACH));
        runway.set_window_bytes(MAX_WINDOW_BYTES, REACH);
        assert!(!runway.is_short(PhysicalOffset(REACH / 2)));
        assert!(runway.is_short(PhysicalOffset(REACH / 2 + 1)));
    }

    #[test]
    fn the_window_follows_the_rate() {
        let mut window = window_bytes(MIN_WINDOW_BYTES, 0.0);
        assert_eq!(window, MIN_WINDOW_BYTES);
        window = window_bytes(window, 1e9);
        assert_eq!(window, 250_000_000);
        assert_eq!(window_bytes(window, 1e12), MAX_WINDOW_BYTES);
        for _ in 0..100 {
            window = window_bytes(window, 0.0);
        }
        assert_eq!(window, MIN_WINDOW_BYTES);
    }
}
