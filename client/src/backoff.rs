//! How long to wait before trying again.

use std::time::Duration;

/// The first wait after a failure.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait, unless it is said otherwise.
const LONGEST: Duration = Duration::from_secs(10);

/// Waits that double from 100 ms on, each shortened at random by up to half, so that many clients of a broker that comes
/// back do not all come back at one instant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    failures: u32,
    longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::up_to(LONGEST)
    }
}

impl Backoff {
    /// Waits that double up to `longest`.
    pub(crate) fn up_to(longest: Duration) -> Self {
        Self {
            failures: 0,
            longest,
        }
    }

    /// The wait after another failure. `random` is from 0.0 to 1.0.
    pub(crate) fn after_failure(&mut self, random: f64) -> Duration {
        let wait = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(self.longest);
        self.failures = self.failures.saturating_add(1);
        wait.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
    }

    /// Whether the last failure was the first in a row.
    pub(crate) fn is_first_failure(&self) -> bool {
        self.failures == 1
    }

    /// It worked: the next failure starts at the first wait again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_over_after_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..9)
            .map(|_| backoff.after_failure(0.0).as_millis())
            .collect();
        assert_eq!(
            waits,
            [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
        );
        backoff.reset();
        assert_eq!(backoff.after_failure(0.0), FIRST);
        assert!(backoff.is_first_failure());
        backoff.after_failure(0.0);
        assert!(!backoff.is_first_failure());
    }

    #[test]
    fn jitter_takes_at_most_half() {
        let longest = Duration::from_secs(1);
        let mut backoff = Backoff {
            failures: 40,
            longest,
        };
        assert_eq!(backoff.after_failure(1.0), longest / 2);
        assert_eq!(backoff.after_failure(0.5), longest.mul_f64(0.75));
    }
}
