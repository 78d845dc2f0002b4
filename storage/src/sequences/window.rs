//! The sends of one producer.

use std::collections::BTreeMap;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset};

/// Where a send is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The queue.
    pub queue: QueueId,
    /// The first message's place in the queue.
    pub offset: QueueOffset,
    /// The first message's place in the log.
    pub physical: PhysicalOffset,
}

/// Exactly which of a producer's newest sends are stored, and where.
///
/// It has a floor. What is stored from there on is in it; of what is below nobody knows any more. Sequences may come in any
/// order and leave gaps: sends fail one by one and are repeated later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Window {
    floor: u64,
    stored: BTreeMap<u64, Place>,
}

impl Window {
    pub(super) fn new(floor: u64, stored: BTreeMap<u64, Place>) -> Self {
        Self { floor, stored }
    }

    /// The first sequence that is known of.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// What is stored, by sequence.
    pub(super) fn stored(&self) -> impl Iterator<Item = (u64, Place)> + '_ {
        self.stored
            .iter()
            .map(|(sequence, place)| (*sequence, *place))
    }

    /// How many sends it has.
    pub(super) fn len(&self) -> usize {
        self.stored.len()
    }

    /// Where a send is stored, when it is known to be. Nothing is known of sequences below the floor.
    pub(super) fn find(&self, sequence: u64) -> Option<Place> {
        self.stored.get(&sequence).copied()
    }

    /// Makes room for a sequence: nothing is known any more of what is settled, or `width` or more below it.
    pub(super) fn advance(&mut self, sequence: u64, settled_below: u64, width: u64) {
        let behind = sequence.saturating_sub(width.saturating_sub(1));
        self.raise(settled_below.min(sequence).max(behind));
    }

    fn raise(&mut self, floor: u64) {
        if floor <= self.floor {
            return;
        }
        self.floor = floor;
        while let Some(first) = self.stored.first_entry()
            && *first.key() < floor
        {
            first.remove();
        }
    }

    /// Notes a send. The first place it was stored at stays.
    pub(super) fn insert(&mut self, sequence: u64, place: Place) {
        if sequence >= self.floor {
            self.stored.entry(sequence).or_insert(place);
        }
    }

    /// Forgets the oldest send.
    pub(super) fn drop_oldest(&mut self) {
        if let Some((sequence, _)) = self.stored.pop_first() {
            self.floor = sequence.saturating_add(1);
        }
    }

    /// Drops what lies behind the end of the log: it is not stored.
    pub(super) fn cut(&mut self, end: PhysicalOffset) {
        self.stored.retain(|_, place| place.physical < end);
    }
}
