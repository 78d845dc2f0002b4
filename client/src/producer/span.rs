//! The sequences of an idempotent producer, from the oldest that is not settled on. Pure.

use std::collections::VecDeque;

use castmq_protocol::native::request::SEQUENCE_WINDOW;

/// Messages from the oldest that is not settled to the newest, at most. Brokers know twice as many: several threads that
/// find room at once may all take it.
pub(super) const MAX_SPAN: usize = (SEQUENCE_WINDOW / 2) as usize;

/// See the module.
#[derive(Debug)]
pub(super) struct Span {
    oldest: u64,
    /// Whether each from the oldest on is settled; the first is not.
    settled: VecDeque<bool>,
}

impl Default for Span {
    fn default() -> Self {
        Self {
            oldest: 1,
            settled: VecDeque::new(),
        }
    }
}

impl Span {
    /// The oldest sequence that is not settled, or the next one.
    pub(super) fn oldest(&self) -> u64 {
        self.oldest
    }

    pub(super) fn has_room(&self) -> bool {
        self.settled.len() < MAX_SPAN
    }

    /// The next sequence.
    pub(super) fn take(&mut self) -> u64 {
        self.settled.push_back(false);
        self.oldest + self.settled.len() as u64 - 1
    }

    /// A sequence will not be sent again.
    pub(super) fn settle(&mut self, sequence: u64) {
        let index = sequence.checked_sub(self.oldest);
        let index = index.and_then(|index| usize::try_from(index).ok());
        if let Some(settled) = index.and_then(|index| self.settled.get_mut(index)) {
            *settled = true;
        }
        while self.settled.pop_front_if(|settled| *settled).is_some() {
            self.oldest += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn there_is_no_room_while_the_oldest_is_too_far_back() {
        let mut span = Span::default();
        for _ in 0..MAX_SPAN {
            assert!(span.has_room());
            span.take();
        }
        assert!(!span.has_room());
        (2..=MAX_SPAN as u64).for_each(|sequence| span.settle(sequence));
        assert!(!span.has_room());
        span.settle(1);
        assert!(span.has_room());
        assert_eq!(span.oldest(), MAX_SPAN as u64 + 1);
    }

    proptest! {
        #[test]
        fn the_oldest_is_the_first_that_is_not_settled(steps in prop::collection::vec(prop::option::of(any::<prop::sample::Index>()), 0..300)) {
            let mut span = Span::default();
            let (mut open, mut next) = (BTreeSet::new(), 1);
            for step in steps {
                match step {
                    None => {
                        prop_assert_eq!(span.take(), next);
                        open.insert(next);
                        next += 1;
                    }
                    Some(_) if open.is_empty() => {}
                    Some(which) => {
                        let sequence = *open.iter().nth(which.index(open.len())).unwrap();
                        open.remove(&sequence);
                        span.settle(sequence);
                        span.settle(sequence);
                    }
                }
                prop_assert_eq!(span.oldest(), open.first().copied().unwrap_or(next));
            }
        }
    }
}
