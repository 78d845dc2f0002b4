//! The time of day, at the price of a subtraction.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tokio::time::Instant;

use crate::message::now_ms;

/// How often the time of day is asked for, in milliseconds. Between, the monotonic clock tells how it went on.
const SYNC_MS: u64 = 1000;

/// Turns instants, which each message needs anyhow, into times of day.
#[derive(Debug)]
pub(super) struct WallClock {
    start: Instant,
    /// The time of day at `start`, in milliseconds since the epoch.
    start_ms: AtomicI64,
    /// When that was found, in milliseconds since `start`.
    synced_ms: AtomicU64,
}

impl WallClock {
    pub(super) fn start(now: Instant) -> Self {
        Self {
            start: now,
            start_ms: AtomicI64::new(now_ms()),
            synced_ms: AtomicU64::new(0),
        }
    }

    /// The time of day at `now`, in milliseconds since the epoch.
    pub(super) fn at(&self, now: Instant) -> i64 {
        self.at_with(now, now_ms)
    }

    fn at_with(&self, now: Instant, now_ms: impl FnOnce() -> i64) -> i64 {
        let since_ms = now.duration_since(self.start).as_millis() as u64;
        if since_ms >= self.synced_ms.load(Ordering::Relaxed) + SYNC_MS {
            self.synced_ms.store(since_ms, Ordering::Relaxed);
            let start_ms = now_ms() - since_ms as i64;
            self.start_ms.store(start_ms, Ordering::Relaxed);
        }
        self.start_ms.load(Ordering::Relaxed) + since_ms as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn time_goes_on_between_looks_and_follows_a_clock_that_was_set() {
        let start = Instant::now();
        let clock = WallClock::start(start);
        let at = |ms, seen| clock.at_with(start + Duration::from_millis(ms), || seen);
        assert_eq!(at(1000, 5_000_000), 5_000_000);
        assert_eq!(at(1400, 9), 5_000_400);
        assert_eq!(at(2000, 3_000_000), 3_000_000);
        assert_eq!(at(2001, 9), 3_000_001);
    }
}
