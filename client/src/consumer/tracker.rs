//! How far a queue has been processed, whatever the order in which its messages finish. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use castmq_protocol::model::QueueOffset;

use super::lease::Lease;

/// The messages of one queue that were delivered, and which of them are done.
///
/// What may be committed is the offset of the first message that is not done, or, when all are, the offset behind the last
/// one that was delivered or passed over.
#[derive(Debug)]
pub(super) struct OffsetTracker {
    /// By offset. The first is never done.
    open: VecDeque<(QueueOffset, bool)>,
    /// Behind everything delivered or passed over.
    next: QueueOffset,
}

impl OffsetTracker {
    /// A queue from `start` on.
    pub(super) fn new(start: QueueOffset) -> Self {
        Self {
            open: VecDeque::new(),
            next: start,
        }
    }

    /// Corrects the start, as long as nothing was delivered.
    pub(super) fn start_at(&mut self, start: QueueOffset) {
        if self.open.is_empty() {
            self.next = start;
        }
    }

    /// A message came. One that lies before what came already means that the queue was set back: what was known of it is
    /// forgotten.
    pub(super) fn delivered(&mut self, offset: QueueOffset) {
        if offset < self.next {
            self.open.clear();
        }
        self.open.push_back((offset, false));
        self.next = offset + 1;
    }

    /// Everything before `next` came, or is not wanted.
    pub(super) fn passed(&mut self, next: QueueOffset) {
        self.next = self.next.max(next);
    }

    fn find(&self, offset: QueueOffset) -> Option<usize> {
        let (first, _) = self.open.front()?;
        // Without gaps, which is the rule, its distance is its place.
        let distance = usize::try_from(offset.0.checked_sub(first.0)?).ok()?;
        match self.open.get(distance) {
            Some((there, _)) if *there == offset => Some(distance),
            _ => self
                .open
                .binary_search_by_key(&offset, |(offset, _)| *offset)
                .ok(),
        }
    }

    /// A message is done. One that is not known any more is ignored.
    pub(super) fn done(&mut self, offset: QueueOffset) {
        if let Some(index) = self.find(offset)
            && let Some((_, done)) = self.open.get_mut(index)
        {
            *done = true;
        }
        while let Some((_, true)) = self.open.front() {
            self.open.pop_front();
        }
    }

    /// The first message that is not done.
    pub(super) fn committable(&self) -> QueueOffset {
        self.open.front().map_or(self.next, |(offset, _)| *offset)
    }

    /// Messages from the first that is not done to the last that came.
    pub(super) fn span(&self) -> usize {
        self.open.len()
    }
}

/// Where a broker has a queue begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Assigned {
    pub(super) offset: QueueOffset,
    /// Whose log it has.
    pub(super) epoch: u32,
}

/// How far a queue was when the connection to its broker was lost, or left for another's.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// The broker's address.
    pub(super) at: Arc<str>,
    /// Whose log it had.
    pub(super) epoch: u32,
    /// With which the queue was held.
    pub(super) lease: Arc<Lease>,
    /// What the broker knew: the offset committed last, or the one that it gave when the queue was assigned.
    pub(super) known: QueueOffset,
    /// The first message that was not done.
    pub(super) committable: QueueOffset,
}

impl Progress {
    /// Where to go on when the queue is assigned again by the broker at `address`.
    ///
    /// What was done here need not be done again. But a broker that knows less than it did before was told so, by an
    /// operator who wants messages to come again. Another of its set may never have known it: a master hears from its slave
    /// what was committed there, and the other way round, after a while. The master of another epoch may have lacked what was
    /// seen, and has other messages there that were not.
    pub(super) fn resume(&self, assigned: Assigned, address: &str) -> QueueOffset {
        let Assigned { offset, epoch } = assigned;
        let was_reset = offset < self.known && *self.at == *address;
        if was_reset || epoch != self.epoch {
            offset
        } else {
            offset.max(self.committable)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;
    use tokio::time::Instant;

    fn offset(offset: u64) -> QueueOffset {
        QueueOffset(offset)
    }

    #[test]
    fn the_first_unfinished_message_holds_the_offset() {
        let mut tracker = OffsetTracker::new(offset(10));
        for number in 10..14 {
            tracker.delivered(offset(number));
        }
        tracker.done(offset(11));
        tracker.done(offset(13));
        assert_eq!(tracker.committable(), offset(10));
        tracker.done(offset(10));
        assert_eq!(tracker.committable(), offset(12));
        assert_eq!(tracker.span(), 2);
        tracker.done(offset(12));
        assert_eq!(tracker.committable(), offset(14));
    }

    #[test]
    fn messages_that_a_filter_passed_over_do_not_hold_it() {
        let mut tracker = OffsetTracker::new(offset(0));
        tracker.passed(offset(50));
        assert_eq!(tracker.committable(), offset(50));
        tracker.delivered(offset(60));
        tracker.passed(offset(90));
        assert_eq!(tracker.committable(), offset(60));
        tracker.done(offset(60));
        assert_eq!(tracker.committable(), offset(90));
    }

    #[test]
    fn a_queue_that_is_set_back_starts_over() {
        let mut tracker = OffsetTracker::new(offset(100));
        tracker.start_at(offset(90));
        assert_eq!(tracker.committable(), offset(90));
        tracker.delivered(offset(90));
        tracker.start_at(offset(7));
        tracker.delivered(offset(5));
        tracker.done(offset(90));
        assert_eq!(tracker.committable(), offset(5));
        tracker.done(offset(5));
        assert_eq!(tracker.committable(), offset(6));
    }

    #[test]
    fn what_was_done_before_a_connection_was_lost_is_not_done_again_unless_offsets_were_reset() {
        let progress = Progress {
            at: "a:1".into(),
            epoch: 1,
            lease: Arc::new(Lease::new(Instant::now(), Duration::ZERO)),
            known: offset(10),
            committable: offset(50),
        };
        let resume = |assigned, epoch, address| {
            let offset = offset(assigned);
            progress.resume(Assigned { offset, epoch }, address).0
        };
        assert_eq!(resume(10, 1, "a:1"), 50);
        assert_eq!(resume(60, 1, "a:1"), 60);
        assert_eq!(resume(9, 1, "a:1"), 9);
        // Another broker of the set has not heard of it yet.
        assert_eq!(resume(9, 1, "a:2"), 50);
        // One that was promoted may have other messages there.
        assert_eq!(resume(10, 2, "a:2"), 10);
        assert_eq!(resume(10, 2, "a:1"), 10);
    }

    proptest! {
        #[test]
        fn the_committable_offset_never_passes_an_unfinished_message(
            gaps in prop::collection::vec(0_u64..3, 1..60),
            order in any::<prop::sample::Index>(),
            finish in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
        ) {
            let mut tracker = OffsetTracker::new(offset(0));
            let mut next = 0;
            let mut unfinished: Vec<u64> = Vec::new();
            let mut finish = finish.into_iter();
            let mut before = offset(0);
            for (number, gap) in gaps.iter().enumerate() {
                next += gap;
                tracker.delivered(offset(next));
                unfinished.push(next);
                next += 1;
                // Some finish while others still come.
                if number % (order.index(4) + 1) == 0
                    && let Some(pick) = finish.next()
                {
                    tracker.done(offset(unfinished.remove(pick.index(unfinished.len()))));
                }
                let first = unfinished.iter().min().copied().unwrap_or(next);
                prop_assert_eq!(tracker.committable(), offset(first));
                prop_assert!(tracker.committable() >= before);
                before = tracker.committable();
            }
            for pick in finish {
                if unfinished.is_empty() {
                    break;
                }
                tracker.done(offset(unfinished.remove(pick.index(unfinished.len()))));
                let first = unfinished.iter().min().copied().unwrap_or(next);
                prop_assert_eq!(tracker.committable(), offset(first));
            }
            for left in std::mem::take(&mut unfinished) {
                tracker.done(offset(left));
            }
            prop_assert_eq!(tracker.committable(), offset(next));
            prop_assert_eq!(tracker.span(), 0);
        }
    }
}
