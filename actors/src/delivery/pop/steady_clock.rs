//! Time that does not go back.

/// A clock that follows the one outside, stands still when that steps back, and goes on from there at its pace.
#[derive(Debug, Clone, Copy)]
pub(super) struct SteadyClock {
    /// What it showed last. Milliseconds, like the clock outside.
    pub(super) latest_ms: i64,
    /// How far it is ahead of the clock outside: the sum of all steps back.
    pub(super) ahead_ms: i64,
}

impl SteadyClock {
    /// A clock that nobody has looked at.
    pub(super) fn new() -> Self {
        Self {
            latest_ms: i64::MIN,
            ahead_ms: 0,
        }
    }

    /// Looks at the clock outside; returns whether that has stepped back.
    pub(super) fn look(&mut self, now_ms: i64) -> bool {
        let time_ms = now_ms.saturating_add(self.ahead_ms);
        if time_ms >= self.latest_ms {
            self.latest_ms = time_ms;
            return false;
        }
        self.ahead_ms = self.latest_ms.saturating_sub(now_ms);
        true
    }

    /// When the clock outside will show what this one calls `time_ms`.
    pub(super) fn outside_ms(&self, time_ms: i64) -> i64 {
        time_ms.saturating_sub(self.ahead_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_back_stops_it_and_what_follows_counts() {
        let mut clock = SteadyClock::new();
        assert!(!clock.look(1_000));
        assert!(!clock.look(1_500));
        assert!(clock.look(100), "a step back");
        assert_eq!(clock.latest_ms, 1_500);
        assert!(!clock.look(130));
        assert_eq!(clock.latest_ms, 1_530);
        assert_eq!(clock.outside_ms(1_600), 200);
    }
}
