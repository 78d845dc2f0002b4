//! When to restart, whom to restart along, how long to wait and when to give up. No runtime: time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// Which siblings go down and come back with a child that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// None: siblings do not depend on each other.
    OneForOne,
    /// Those started after it: each child depends on the ones before it.
    RestForOne,
    /// All: each child depends on every other.
    OneForAll,
}

impl Strategy {
    /// Whether `sibling` goes down when `failed` does. Children compare by the order of their start.
    pub(super) fn takes_down<K: Ord>(self, failed: &K, sibling: &K) -> bool {
        match self {
            Self::OneForOne => false,
            Self::RestForOne => sibling > failed,
            Self::OneForAll => sibling != failed,
        }
    }

    /// Whether a child is started only while all before it are running.
    pub(super) fn is_ordered(self) -> bool {
        self != Self::OneForOne
    }
}

/// How a child left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Departure {
    /// It stopped by itself, with nothing wrong.
    Finished,
    /// It panicked, failed, refused to start, or was lost with its arbiter.
    Failed,
}

/// Whether a child that left is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Always. That it finished counts as a failure.
    Permanent,
    /// When it failed. When it finished, it leaves the tree.
    Transient,
    /// Never. However it left, it leaves the tree, and its failures do not count against the supervisor.
    Temporary,
}

impl Restart {
    /// Whether a child that left this way is started again.
    pub(super) fn applies_after(self, departure: Departure) -> bool {
        match self {
            Self::Permanent => true,
            Self::Transient => departure == Departure::Failed,
            Self::Temporary => false,
        }
    }
}

/// How many failures of its children a supervisor bears before it fails itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intensity {
    /// Failures borne; one more is too many. `u32::MAX` bears everything.
    pub max_failures: u32,
    /// The stretch of time they are counted in. Time spent waiting in back-off does not count, so that a child that
    /// fails at once whenever it is started is given up however long the waits grow.
    pub within: Duration,
}

impl Intensity {
    /// Never give up.
    pub const UNLIMITED: Self = Self {
        max_failures: u32::MAX,
        within: Duration::from_secs(60),
    };

    /// Failures worth remembering: beyond these nothing changes.
    fn remembered(self) -> usize {
        const ENOUGH_FOR_BACKOFF: usize = 64;
        match self.max_failures {
            u32::MAX => ENOUGH_FOR_BACKOFF,
            max => usize::try_from(max).unwrap_or(usize::MAX).saturating_add(1),
        }
    }
}

impl Default for Intensity {
    /// Five failures in ten seconds.
    fn default() -> Self {
        Self {
            max_failures: 5,
            within: Duration::from_secs(10),
        }
    }
}

/// How long a failed child stays down before it is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub base: Duration,
    /// What each further failure inside [`Intensity::within`] multiplies it by.
    pub factor: u32,
    /// The longest wait.
    pub cap: Duration,
}

impl Backoff {
    /// Restart at once, always.
    pub const NONE: Self = Self {
        base: Duration::ZERO,
        factor: 1,
        cap: Duration::ZERO,
    };

    /// The wait after a failure that had `earlier` others shortly before it.
    pub(super) fn delay(self, earlier: u32) -> Duration {
        self.factor
            .checked_pow(earlier)
            .and_then(|growth| self.base.checked_mul(growth))
            .map_or(self.cap, |delay| delay.min(self.cap))
    }
}

impl Default for Backoff {
    /// 50 ms, doubling up to 5 s.
    fn default() -> Self {
        Self {
            base: Duration::from_millis(50),
            factor: 2,
            cap: Duration::from_secs(5),
        }
    }
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Start the child again after this wait.
    RestartAfter(Duration),
    /// Too many failures in too short a time.
    GiveUp,
}

/// The failures of a supervisor's children, as far back as its intensity looks.
#[derive(Debug)]
pub(super) struct FailureWindow {
    intensity: Intensity,
    backoff: Backoff,
    origin: Instant,
    /// When each failure was, in time since `origin` with waits taken out.
    failures: VecDeque<Duration>,
    /// All waits given so far, overlaps counted once.
    waited: Duration,
    waiting_until: Instant,
}

impl FailureWindow {
    /// Nothing has failed yet.
    pub(super) fn new(intensity: Intensity, backoff: Backoff, now: Instant) -> Self {
        Self {
            intensity,
            backoff,
            origin: now,
            failures: VecDeque::new(),
            waited: Duration::ZERO,
            waiting_until: now,
        }
    }

    /// Counts a failure.
    pub(super) fn record(&mut self, now: Instant) -> Verdict {
        let at = self.time_without_waits(now);
        let horizon = at.saturating_sub(self.intensity.within);
        while self.failures.front().is_some_and(|first| *first < horizon) {
            self.failures.pop_front();
        }
        let earlier = u32::try_from(self.failures.len()).unwrap_or(u32::MAX);
        self.failures.push_back(at);
        if self.failures.len() > self.intensity.remembered() {
            self.failures.pop_front();
        }
        if earlier >= self.intensity.max_failures {
            return Verdict::GiveUp;
        }
        let delay = self.backoff.delay(earlier);
        self.add_wait(now, delay);
        Verdict::RestartAfter(delay)
    }

    /// Failures that still count.
    pub(super) fn recent(&self) -> usize {
        self.failures.len()
    }

    fn time_without_waits(&self, now: Instant) -> Duration {
        let waits_to_come = self.waiting_until.saturating_duration_since(now);
        let waits_past = self.waited.saturating_sub(waits_to_come);
        now.saturating_duration_since(self.origin)
            .saturating_sub(waits_past)
    }

    fn add_wait(&mut self, now: Instant, delay: Duration) {
        let from = self.waiting_until.max(now);
        let until = (now + delay).max(from);
        self.waited += until - from;
        self.waiting_until = until;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert, proptest};

    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn window(max_failures: u32, within: Duration, backoff: Backoff) -> (FailureWindow, Instant) {
        let now = Instant::now();
        let intensity = Intensity {
            max_failures,
            within,
        };
        (FailureWindow::new(intensity, backoff, now), now)
    }

    const DOUBLING: Backoff = Backoff {
        base: Duration::from_millis(10),
        factor: 2,
        cap: Duration::from_millis(65),
    };

    #[test]
    fn strategies_take_down_nobody_the_later_ones_or_everybody() {
        let others = |strategy: Strategy| -> Vec<u8> {
            (1..=4)
                .filter(|sibling| strategy.takes_down(&2, sibling))
                .collect()
        };
        assert!(others(Strategy::OneForOne).is_empty());
        assert_eq!(others(Strategy::RestForOne), [3, 4]);
        assert_eq!(others(Strategy::OneForAll), [1, 3, 4]);
    }

    #[test]
    fn restart_policies_tell_failing_from_finishing() {
        let again = |policy: Restart| {
            (
                policy.applies_after(Departure::Failed),
                policy.applies_after(Departure::Finished),
            )
        };
        assert_eq!(again(Restart::Permanent), (true, true));
        assert_eq!(again(Restart::Transient), (true, false));
        assert_eq!(again(Restart::Temporary), (false, false));
    }

    #[test]
    fn waits_grow_up_to_the_cap() {
        let waits: Vec<_> = (0..5)
            .map(|earlier| DOUBLING.delay(earlier).as_millis())
            .collect();
        assert_eq!(waits, [10, 20, 40, 65, 65]);
        assert_eq!(DOUBLING.delay(u32::MAX), ms(65));
        assert_eq!(Backoff::NONE.delay(9), Duration::ZERO);
    }

    #[test]
    fn one_failure_more_than_the_intensity_is_too_many() {
        let (mut window, now) = window(2, ms(1_000), Backoff::NONE);
        assert_eq!(window.record(now), Verdict::RestartAfter(Duration::ZERO));
        assert_ne!(window.record(now + ms(500)), Verdict::GiveUp);
        assert_eq!(window.record(now + ms(1_000)), Verdict::GiveUp);
    }

    #[test]
    fn old_failures_are_forgotten_and_the_wait_shrinks_again() {
        let (mut window, now) = window(2, ms(1_000), DOUBLING);
        assert_eq!(window.record(now), Verdict::RestartAfter(ms(10)));
        assert_eq!(window.record(now + ms(100)), Verdict::RestartAfter(ms(20)));
        let later = now + ms(5_000);
        assert_eq!(window.record(later), Verdict::RestartAfter(ms(10)));
        assert_eq!(window.recent(), 1);
    }

    #[test]
    fn waiting_does_not_count_as_time_without_failures() {
        let patient = Backoff {
            base: ms(10_000),
            factor: 1,
            cap: ms(10_000),
        };
        let (mut window, mut now) = window(2, ms(1_000), patient);
        for _ in 0..2 {
            assert_eq!(window.record(now), Verdict::RestartAfter(ms(10_000)));
            now += ms(10_001);
        }
        assert_eq!(window.record(now), Verdict::GiveUp);
    }

    #[test]
    fn without_a_limit_nothing_is_given_up_and_memory_stays_bounded() {
        let now = Instant::now();
        let mut window = FailureWindow::new(Intensity::UNLIMITED, DOUBLING, now);
        for _ in 0..1_000 {
            assert_ne!(window.record(now), Verdict::GiveUp);
        }
        assert!(window.recent() <= 64);
    }

    proptest! {
        #[test]
        fn time_without_waits_never_runs_backward(steps in prop::collection::vec((0_u64..5_000, any::<bool>()), 1..50)) {
            let (mut window, mut now) = window(3, ms(700), DOUBLING);
            let mut last = Duration::ZERO;
            for (step_ms, fails) in steps {
                now += ms(step_ms);
                if fails {
                    window.record(now);
                }
                let at = window.time_without_waits(now);
                prop_assert!(at >= last);
                last = at;
            }
        }
    }
}
