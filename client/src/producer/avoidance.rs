//! How long a broker that was slow gets no messages that another can take. Pure.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use castmq_protocol::native::ErrorCode;
use tokio::time::Instant;

use crate::error::Error;

/// How long an answer took, and how long its broker is avoided for that, in milliseconds: RocketMQ's `latencyMax` and
/// `notAvailableDuration`, without the latencies that cost nothing. The slowest first.
const TABLE_MS: [(u64, u64); 5] = [
    (15_000, 30_000),
    (5_000, 10_000),
    (3_000, 6_000),
    (1_800, 5_000),
    (SLOW.as_millis() as u64, 2_000),
];

/// An answer that took less costs its broker nothing.
pub(super) const SLOW: Duration = Duration::from_millis(550);

/// What no answer counts as, and a broker that can take nothing for a while (RocketMQ's isolation).
pub(super) const UNANSWERED: Duration = Duration::from_secs(10);

fn avoided_for(latency: Duration) -> Duration {
    let latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
    let mut table = TABLE_MS.iter();
    let found = table.find(|(least_ms, _)| latency_ms >= *least_ms);
    Duration::from_millis(found.map_or(0, |(_, avoided_ms)| *avoided_ms))
}

/// Whether a failed attempt says that the broker will take nothing for a while. One that is only busy is not passed over: the
/// others would be busy the sooner.
pub(super) fn counts_as_unanswered(error: &Error) -> bool {
    let codes = [
        ErrorCode::SlaveNotAvailable,
        ErrorCode::DiskFull,
        ErrorCode::StorageFailed,
    ];
    error.is_connectivity() || error.code().is_some_and(|code| codes.contains(&code))
}

/// Until when a broker is avoided. As old as the connection to it: one that could be reached anew is no worse than others.
#[derive(Debug)]
pub(super) struct Avoidance {
    start: Instant,
    /// In milliseconds since the start; 0 as long as it was never slow, so that nobody needs to know the time.
    until_ms: AtomicU64,
}

impl Avoidance {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            start: now,
            until_ms: AtomicU64::new(0),
        }
    }

    fn since_start_ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_millis() as u64
    }

    /// An answer took so long.
    pub(super) fn note(&self, latency: Duration, now: Instant) {
        let avoided = avoided_for(latency);
        if !avoided.is_zero() {
            let until_ms = self.since_start_ms(now) + avoided.as_millis() as u64;
            self.until_ms.fetch_max(until_ms, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(super) fn is_avoided(&self, now: Instant) -> bool {
        let until_ms = self.until_ms.load(Ordering::Relaxed);
        until_ms != 0 && self.since_start_ms(now) < until_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use castmq_protocol::native::Failure;

    #[test]
    fn the_slower_an_answer_the_longer_its_broker_is_avoided() {
        let avoided = [0, 50, 549, 550, 1800, 3000, 5000, 14_999, 15_000, 99_000]
            .map(|ms| avoided_for(Duration::from_millis(ms)).as_millis());
        assert_eq!(
            avoided,
            [0, 0, 0, 2000, 5000, 6000, 10_000, 10_000, 30_000, 30_000]
        );
    }

    #[test]
    fn it_ends_by_itself_and_a_faster_answer_does_not_shorten_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let avoidance = Avoidance::new(start);
        assert!(!avoidance.is_avoided(at(0)));
        avoidance.note(Duration::from_secs(2), at(1000));
        avoidance.note(Duration::from_millis(600), at(1100));
        avoidance.note(Duration::from_millis(3), at(1200));
        assert!(avoidance.is_avoided(at(5999)));
        assert!(!avoidance.is_avoided(at(6000)));
    }

    #[test]
    fn a_broker_that_can_store_nothing_is_avoided_and_a_busy_one_is_not() {
        let refused = |code| Error::Refused {
            request: "send",
            address: "b:1".into(),
            failure: Failure::safe(code, "no"),
        };
        assert!(counts_as_unanswered(&refused(ErrorCode::SlaveNotAvailable)));
        assert!(!counts_as_unanswered(&refused(ErrorCode::Busy)));
        assert!(counts_as_unanswered(&Error::Timeout {
            request: "send",
            address: "b:1".into(),
            after: Duration::from_secs(3),
            written: true,
        }));
    }
}
