//! One number over the last minute, hour and day. Pure: what it was, and when that was looked at.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The time between two looks.
pub(crate) const LOOK: Duration = Duration::from_secs(10);

/// For each of minute, hour and day: every how many looks one is kept, and how many are (the steps of RocketMQ's counters).
const KEPT: [(u64, usize); 3] = [(1, 7), (60, 7), (360, 25)];

/// A number at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) value: u64,
}

/// By how much a number grew over some time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Figure {
    pub(crate) sum: u64,
    pub(crate) per_second: f64,
}

impl Figure {
    pub(crate) fn add(&mut self, other: Self) {
        self.sum = self.sum.saturating_add(other.sum);
        self.per_second += other.per_second;
    }
}

/// A number that has not changed for a day is kept as what it is.
#[derive(Debug)]
pub(crate) struct History {
    last: Sample,
    kept: Option<Box<[VecDeque<Sample>; 3]>>,
}

impl History {
    pub(crate) fn new(first: Sample) -> Self {
        Self {
            last: first,
            kept: None,
        }
    }

    /// Takes note of what it is at this look.
    pub(crate) fn note(&mut self, now: Sample, look: u64) {
        let before = std::mem::replace(&mut self.last, now);
        if now.value < before.value {
            // What it counts began anew.
            self.kept = None;
        }
        if self.kept.is_none() && now.value <= before.value {
            return;
        }
        let kept = self
            .kept
            .get_or_insert_with(|| Box::new([(); 3].map(|()| VecDeque::from([before]))));
        for (samples, (every, most)) in kept.iter_mut().zip(KEPT) {
            if look.is_multiple_of(every) {
                samples.push_back(now);
                if samples.len() > most {
                    samples.pop_front();
                }
            }
        }
        let mut all = kept.iter().flatten();
        if all.all(|sample| sample.value == now.value) {
            self.kept = None;
        }
    }

    /// By how much it has grown over the last minute, hour and day; `None` when it has not.
    pub(crate) fn figures(&self, now: Sample) -> Option<[Figure; 3]> {
        let since = |first: Sample| {
            let seconds = now.at.duration_since(first.at).as_secs_f64().max(1.0);
            let sum = now.value.saturating_sub(first.value);
            Figure {
                sum,
                per_second: sum as f64 / seconds,
            }
        };
        match &self.kept {
            Some(kept) => {
                let first = |samples: &VecDeque<Sample>| samples.front().copied();
                let [minute, hour, day] = &**kept;
                Some([minute, hour, day].map(|of| since(first(of).unwrap_or(self.last))))
            }
            None if now.value > self.last.value => Some([since(self.last); 3]),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(values: impl IntoIterator<Item = u64>) -> (History, Instant) {
        let mut at = Instant::now();
        let mut history = History::new(Sample { at, value: 0 });
        for (look, value) in values.into_iter().enumerate() {
            at += LOOK;
            history.note(Sample { at, value }, look as u64 + 1);
        }
        (history, at)
    }

    fn sums(history: &History, at: Instant, value: u64) -> Option<[u64; 3]> {
        let figures = history.figures(Sample { at, value })?;
        Some(figures.map(|figure| figure.sum))
    }

    #[test]
    fn each_window_forgets_what_is_before_it() {
        // Ten a second for a day and a half.
        let (history, at) = run((1..=360 * 36).map(|look| look * 100));
        let now = 360 * 36 * 100;
        assert_eq!(sums(&history, at, now), Some([600, 36_000, 864_000]));
        let [minute, hour, day] = history.figures(Sample { at, value: now }).unwrap();
        for figure in [minute, hour, day] {
            assert_eq!(figure.per_second, 10.0);
        }
    }

    #[test]
    fn a_number_that_stands_still_for_a_day_is_kept_without_samples() {
        let (history, at) = run(std::iter::repeat_n(5, 360 * 26));
        assert!(history.kept.is_none());
        assert_eq!(sums(&history, at, 5), None);
        assert_eq!(sums(&history, at + LOOK, 8), Some([3, 3, 3]));
        let (history, at) = run(std::iter::repeat_n(5, 360 * 20));
        assert_eq!(sums(&history, at, 5), Some([0, 0, 5]));
    }

    #[test]
    fn a_number_that_falls_begins_anew() {
        let (history, at) = run([10, 20, 3]);
        assert_eq!(sums(&history, at, 3), None);
        assert_eq!(sums(&history, at, 4), Some([1, 1, 1]));
    }
}
