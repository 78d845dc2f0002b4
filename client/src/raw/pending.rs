//! Requests that wait for their answers, found by correlation without hashing.

use tokio::time::Instant;

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiting<W> {
    /// Who waits.
    pub(super) waiter: W,
    /// What was asked, for errors.
    pub(super) request: &'static str,
    /// When it was asked.
    pub(super) asked: Instant,
    /// When waiting ends.
    pub(super) deadline: Instant,
    /// Length of its frame.
    pub(super) bytes: usize,
    /// Whether its frame was handed to the socket.
    pub(super) written: bool,
}

#[derive(Debug)]
struct Slot<W> {
    /// Counts the requests that had this slot, so that a late answer to an earlier one is recognized.
    generation: u32,
    waiting: Option<Waiting<W>>,
}

/// A slab of waiting requests. A correlation is a slot's number plus one, with the slot's generation above it.
#[derive(Debug)]
pub(super) struct Pending<W> {
    slots: Vec<Slot<W>>,
    free: Vec<u32>,
    /// No deadline is earlier.
    earliest: Option<Instant>,
    /// Bytes of frames that were written and not answered.
    unanswered_bytes: usize,
}

impl<W> Default for Pending<W> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            earliest: None,
            unanswered_bytes: 0,
        }
    }
}

fn split(correlation: u64) -> Option<(usize, u32)> {
    let slot = (correlation as u32).checked_sub(1)?;
    Some((slot as usize, (correlation >> 32) as u32))
}

impl<W> Pending<W> {
    /// The correlation that the next [`Pending::insert`] will give.
    pub(super) fn next_correlation(&self) -> u64 {
        match self.free.last() {
            Some(free) => {
                let generation = self
                    .slots
                    .get(*free as usize)
                    .map_or(0, |slot| slot.generation);
                u64::from(generation) << 32 | u64::from(*free + 1)
            }
            None => self.slots.len() as u64 + 1,
        }
    }

    /// Adds a request and returns its correlation.
    pub(super) fn insert(&mut self, waiting: Waiting<W>) -> u64 {
        let correlation = self.next_correlation();
        self.earliest = Some(match self.earliest {
            Some(earliest) => earliest.min(waiting.deadline),
            None => waiting.deadline,
        });
        let reused = self
            .free
            .pop()
            .and_then(|free| self.slots.get_mut(free as usize));
        match reused {
            Some(slot) => slot.waiting = Some(waiting),
            None => self.slots.push(Slot {
                generation: 0,
                waiting: Some(waiting),
            }),
        }
        correlation
    }

    fn find(&mut self, correlation: u64) -> Option<&mut Slot<W>> {
        let (slot, generation) = split(correlation)?;
        let slot = self.slots.get_mut(slot)?;
        (slot.generation == generation && slot.waiting.is_some()).then_some(slot)
    }

    /// Notes that a request's frame goes to the socket. False when nobody waits for it any more.
    pub(super) fn write(&mut self, correlation: u64) -> bool {
        let Some(waiting) = self
            .find(correlation)
            .and_then(|slot| slot.waiting.as_mut())
        else {
            return false;
        };
        waiting.written = true;
        let bytes = waiting.bytes;
        self.unanswered_bytes += bytes;
        true
    }

    /// Removes a request. `None` when it was answered, given up, or never made.
    pub(super) fn take(&mut self, correlation: u64) -> Option<Waiting<W>> {
        let slot = self.find(correlation)?;
        let waiting = slot.waiting.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push((correlation as u32).wrapping_sub(1));
        if waiting.written {
            self.unanswered_bytes -= waiting.bytes;
        }
        Some(waiting)
    }

    /// Bytes of frames that were written and not answered.
    pub(super) fn unanswered_bytes(&self) -> usize {
        self.unanswered_bytes
    }

    /// When [`Pending::expire`] has something to do at the earliest.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.earliest
    }

    /// Removes the requests whose time is over.
    pub(super) fn expire(&mut self, now: Instant, expired: &mut Vec<Waiting<W>>) {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return;
        }
        self.remove(expired, |waiting| waiting.deadline <= now);
        let deadlines = self.slots.iter().filter_map(|slot| slot.waiting.as_ref());
        self.earliest = deadlines.map(|waiting| waiting.deadline).min();
    }

    /// Removes all requests.
    pub(super) fn drain(&mut self, drained: &mut Vec<Waiting<W>>) {
        self.remove(drained, |_| true);
        self.earliest = None;
    }

    fn remove(&mut self, removed: &mut Vec<Waiting<W>>, which: impl Fn(&Waiting<W>) -> bool) {
        let chosen: Vec<u64> = (1_u64..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.waiting.as_ref().is_some_and(&which))
            .map(|(number, slot)| u64::from(slot.generation) << 32 | number)
            .collect();
        removed.extend(
            chosen
                .into_iter()
                .filter_map(|correlation| self.take(correlation)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::time::Duration;

    fn waiting(waiter: u32, deadline: Instant) -> Waiting<u32> {
        Waiting {
            waiter,
            request: "send",
            asked: deadline,
            deadline,
            bytes: 10,
            written: false,
        }
    }

    #[test]
    fn correlations_count_from_one_and_a_late_answer_finds_nobody() {
        let now = Instant::now();
        let mut pending = Pending::default();
        assert_eq!(pending.insert(waiting(1, now)), 1);
        assert_eq!(pending.insert(waiting(2, now)), 2);
        assert_eq!(pending.take(1).map(|w| w.waiter), Some(1));
        let again = pending.insert(waiting(3, now));
        assert_ne!(again, 1);
        assert!(pending.take(1).is_none());
        assert_eq!(pending.take(again).map(|w| w.waiter), Some(3));
        assert!(pending.take(0).is_none());
        assert!(pending.take(u64::MAX).is_none());
    }

    #[test]
    fn only_written_requests_count_as_unanswered() {
        let mut pending = Pending::default();
        let first = pending.insert(waiting(1, Instant::now()));
        assert_eq!(pending.unanswered_bytes(), 0);
        assert!(pending.write(first));
        assert_eq!(pending.unanswered_bytes(), 10);
        pending.take(first);
        assert_eq!(pending.unanswered_bytes(), 0);
        assert!(!pending.write(first));
    }

    #[test]
    fn requests_expire_at_their_own_deadlines() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut pending = Pending::default();
        for (waiter, ms) in [(1, 30), (2, 10), (3, 20)] {
            pending.insert(waiting(waiter, at(ms)));
        }
        let mut expired = Vec::new();
        pending.expire(at(9), &mut expired);
        assert!(expired.is_empty());
        pending.expire(at(20), &mut expired);
        let who: Vec<_> = expired.iter().map(|w| w.waiter).collect();
        assert_eq!(who, [2, 3]);
        assert_eq!(pending.earliest(), Some(at(30)));
    }

    proptest! {
        #[test]
        fn every_answer_reaches_the_one_who_asked(steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..200)) {
            let now = Instant::now();
            let mut pending = Pending::default();
            let mut open: HashMap<u64, u32> = HashMap::new();
            for (number, (ask, pick)) in steps.into_iter().enumerate() {
                if ask || open.is_empty() {
                    let correlation = pending.insert(waiting(number as u32, now));
                    prop_assert!(correlation != 0);
                    prop_assert_eq!(open.insert(correlation, number as u32), None);
                } else {
                    let correlation = *pick.get(&open.keys().copied().collect::<Vec<_>>());
                    let waiter = open.remove(&correlation);
                    prop_assert_eq!(pending.take(correlation).map(|w| w.waiter), waiter);
                    prop_assert!(pending.take(correlation).is_none());
                }
            }
            let mut rest = Vec::new();
            pending.drain(&mut rest);
            prop_assert_eq!(rest.len(), open.len());
        }
    }
}
