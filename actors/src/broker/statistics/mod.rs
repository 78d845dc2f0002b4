//! How many messages queues have taken and groups have processed over the last minute, hour and day: told from offsets, at
//! which the census looks every few seconds, so that neither sending nor consuming counts anything.
//!
//! - `history`: one number over time. `census`: the actor that looks.

pub(crate) mod census;
mod history;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use castmq_protocol::model::GroupName;
use parking_lot::Mutex;
use tokio::time::Instant;

pub(crate) use self::history::{Figure, LOOK};
use self::history::{History, Sample};
use super::offsets::QueueKey;

/// Numbers that are followed. Further ones are not.
const MAX_FOLLOWED: usize = 262_144;

/// A number that is followed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Counted {
    /// Messages that a queue has taken.
    Stored(QueueKey),
    /// Messages of a queue that a group has processed.
    Processed(GroupName, QueueKey),
    /// Messages that the broker has stored.
    AllStored,
    /// Messages that the broker has delivered.
    AllDelivered,
}

impl Counted {
    /// What it was at the last look, when it was not there then: a queue that appears was empty, and a group that appears in
    /// a queue may have begun anywhere.
    fn before(&self, now: u64) -> u64 {
        match self {
            Self::Processed(..) => now,
            Self::Stored(_) | Self::AllStored | Self::AllDelivered => 0,
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    looks: u64,
    looked: Option<Instant>,
    /// With the look at which each was there.
    followed: HashMap<Counted, (History, u64)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Statistics(Mutex<Table>);

impl Statistics {
    /// Takes note of all numbers as they are now. Those that are left out are forgotten.
    pub(crate) fn note(&self, at: Instant, values: Vec<(Counted, u64)>) {
        let mut table = self.0.lock();
        let before = table.looked.replace(at);
        table.looks += 1;
        let looks = table.looks;
        for (counted, value) in values {
            let is_full = table.followed.len() >= MAX_FOLLOWED;
            match table.followed.entry(counted) {
                Entry::Occupied(mut known) => {
                    let (history, seen) = known.get_mut();
                    history.note(Sample { at, value }, looks);
                    *seen = looks;
                }
                Entry::Vacant(new) if !is_full => {
                    let first = first_sample(new.key(), before, Sample { at, value });
                    let mut history = History::new(first);
                    history.note(Sample { at, value }, looks);
                    new.insert((history, looks));
                }
                Entry::Vacant(_) => {}
            }
        }
        table.followed.retain(|_, (_, seen)| *seen == looks);
    }

    /// Whether there was a look.
    pub(crate) fn has_looked(&self) -> bool {
        self.0.lock().looked.is_some()
    }

    /// What became of numbers over the last minute, hour and day, taken together; `None` when none of them has changed.
    pub(crate) fn figures(
        &self,
        at: Instant,
        values: impl IntoIterator<Item = (Counted, u64)>,
    ) -> Option<[Figure; 3]> {
        let table = self.0.lock();
        let mut all: Option<[Figure; 3]> = None;
        for (counted, value) in values {
            let now = Sample { at, value };
            let figures = match table.followed.get(&counted) {
                Some((history, _)) => history.figures(now),
                None => History::new(first_sample(&counted, table.looked, now)).figures(now),
            };
            for (sum, figure) in all
                .get_or_insert_default()
                .iter_mut()
                .zip(figures.iter().flatten())
            {
                sum.add(*figure);
            }
        }
        all.filter(|figures| figures.iter().any(|figure| figure.sum > 0))
    }
}

/// What a number that is not followed was at the last look; what it is now, before there was one.
fn first_sample(counted: &Counted, looked: Option<Instant>, now: Sample) -> Sample {
    looked.map_or(now, |at| Sample {
        at,
        value: counted.before(now.value),
    })
}

#[cfg(test)]
mod tests {
    use castmq_protocol::model::{QueueId, TopicName};

    use super::*;

    fn key(queue: u32) -> QueueKey {
        (TopicName::new("t").unwrap(), QueueId(queue))
    }

    fn stored(queue: u32, messages: u64) -> (Counted, u64) {
        (Counted::Stored(key(queue)), messages)
    }

    fn processed(messages: u64) -> (Counted, u64) {
        let group = GroupName::new("g").unwrap();
        (Counted::Processed(group, key(0)), messages)
    }

    #[test]
    fn queues_are_taken_together_and_those_that_appear_count_from_nothing() {
        let statistics = Statistics::default();
        let start = Instant::now();
        statistics.note(start, vec![stored(0, 100)]);
        let at = start + LOOK;
        let [minute, ..] = statistics
            .figures(at, [stored(0, 105), stored(1, 7)])
            .unwrap();
        assert_eq!(minute.sum, 12);
        assert_eq!(minute.per_second, 1.2);
        assert_eq!(statistics.figures(at, [stored(0, 100)]), None);
        assert_eq!(statistics.figures(at, []), None);
    }

    #[test]
    fn where_a_group_begins_is_not_what_it_has_processed() {
        let statistics = Statistics::default();
        let start = Instant::now();
        statistics.note(start, Vec::new());
        assert_eq!(statistics.figures(start + LOOK, [processed(5_000)]), None);
        statistics.note(start + LOOK, vec![processed(5_000)]);
        let [minute, ..] = statistics
            .figures(start + 2 * LOOK, [processed(5_010)])
            .unwrap();
        assert_eq!(minute.sum, 10);
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let statistics = Statistics::default();
        let start = Instant::now();
        statistics.note(start, vec![stored(0, 100)]);
        statistics.note(start + LOOK, vec![stored(0, 110)]);
        statistics.note(start + 2 * LOOK, Vec::new());
        // It came back, and began anew.
        let [minute, ..] = statistics
            .figures(start + 3 * LOOK, [stored(0, 3)])
            .unwrap();
        assert_eq!(minute.sum, 3);
    }
}
