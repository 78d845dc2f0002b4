//! How long what a member was given is its own: as long as the broker has heard of it lately.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// A part of the broker's lease is for the way there: a member stops before others begin.
const SAFE_PART: f64 = 0.8;

/// Longer than anything runs.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// See the module. A process that was stopped or starved for longer must not go on with queues that others have by now.
#[derive(Debug)]
pub(super) struct Lease {
    start: Instant,
    /// How long it is after the broker was asked; zero for one without end.
    length: Duration,
    /// When it ends, in milliseconds after the start.
    until_ms: AtomicU64,
}

impl Lease {
    /// One that the broker granted when asked at `asked`.
    pub(super) fn new(asked: Instant, granted: Duration) -> Self {
        let lease = Self {
            start: asked,
            length: granted.mul_f64(SAFE_PART),
            until_ms: AtomicU64::new(0),
        };
        lease.renew(asked);
        lease
    }

    /// The broker has answered what it was asked at `asked`.
    pub(super) fn renew(&self, asked: Instant) {
        let until = asked + self.length - self.start;
        let until_ms = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.until_ms.fetch_max(until_ms, Ordering::AcqRel);
    }

    /// How often to renew it.
    pub(super) fn renewal(&self) -> Duration {
        match self.length.is_zero() {
            true => NEVER,
            false => (self.length / 3).max(Duration::from_millis(1)),
        }
    }

    /// Whether it has not ended by `now`.
    pub(super) fn is_valid(&self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.start);
        self.length.is_zero()
            || elapsed < Duration::from_millis(self.until_ms.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_before_the_brokers_does_unless_it_is_renewed() {
        let start = Instant::now();
        let second = |seconds| start + Duration::from_secs(seconds);
        let lease = Lease::new(start, Duration::from_secs(30));
        assert!(lease.is_valid(second(23)));
        assert!(!lease.is_valid(second(24)));
        lease.renew(second(10));
        assert!(lease.is_valid(second(33)));
        // An answer that was asked for earlier takes nothing away.
        lease.renew(second(5));
        assert!(lease.is_valid(second(33)));
        assert!(!lease.is_valid(second(34)));
        assert_eq!(lease.renewal(), Duration::from_secs(8));
    }

    #[test]
    fn a_broker_that_grants_none_asks_for_nothing() {
        let start = Instant::now();
        let lease = Lease::new(start, Duration::ZERO);
        assert!(lease.is_valid(start + Duration::from_secs(1_000_000)));
    }
}
