//! Units of a queue that are not in its files yet.

use std::sync::Arc;

use super::unit::{ConsumeUnit, Stored, UNIT_BYTES};

/// Room that a queue keeps for units at the most, in bytes.
const MAX_ROOM_BYTES: usize = 4096;

/// The end of a queue, encoded: what is being written back, and what came since.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// The first unit in memory.
    start: u64,
    /// Stays readable until all of it is in files; kept for another attempt when writing fails.
    writing: Option<Arc<Vec<u8>>>,
    fresh: Vec<u8>,
}

impl Tail {
    /// An empty tail behind `start` units.
    pub(super) fn starting_at(start: u64) -> Self {
        Self {
            start,
            ..Self::default()
        }
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// The first unit that is not here yet.
    pub(super) fn end(&self) -> u64 {
        self.start + ((self.writing_bytes().len() + self.fresh.len()) / UNIT_BYTES) as u64
    }

    fn writing_bytes(&self) -> &[u8] {
        self.writing.as_ref().map_or(&[], |bytes| bytes.as_slice())
    }

    pub(super) fn push(&mut self, unit: ConsumeUnit) {
        self.fresh.extend_from_slice(&unit.to_bytes());
    }

    /// Units from `from` on; none when that lies before the tail.
    pub(super) fn units(&self, from: u64) -> impl Iterator<Item = ConsumeUnit> {
        let skipped = from
            .checked_sub(self.start)
            .and_then(|units| usize::try_from(units).ok())
            .unwrap_or(usize::MAX);
        let writing = Stored::all(self.writing_bytes());
        let skipped_fresh = skipped.saturating_sub(writing.len());
        writing
            .skip(skipped)
            .chain(Stored::all(&self.fresh).skip(skipped_fresh))
            .filter_map(|stored| match stored {
                Stored::Unit(unit) => Some(unit),
                Stored::Filler | Stored::Nothing => None,
            })
    }

    /// What is to be written next, and its first unit.
    pub(super) fn chunk_to_write(&mut self) -> Option<(u64, Arc<Vec<u8>>)> {
        if self.writing.is_none() && !self.fresh.is_empty() {
            // About as much will come until the next time.
            let next = Vec::with_capacity(self.fresh.len().min(MAX_ROOM_BYTES));
            self.writing = Some(Arc::new(std::mem::replace(&mut self.fresh, next)));
        }
        self.writing.clone().map(|chunk| (self.start, chunk))
    }

    /// Forgets the chunk, which is in files now.
    pub(super) fn chunk_is_written(&mut self) {
        self.start += (self.writing_bytes().len() / UNIT_BYTES) as u64;
        self.writing = None;
    }
}

#[cfg(test)]
mod tests {
    use castmq_protocol::model::PhysicalOffset;

    use super::*;

    fn push(tail: &mut Tail, physical: u64) {
        tail.push(ConsumeUnit {
            physical: PhysicalOffset(physical),
            size: 1,
            tags_code: 0,
        });
    }

    fn from(tail: &Tail, from: u64) -> Vec<u64> {
        tail.units(from).map(|unit| unit.physical.0).collect()
    }

    #[test]
    fn units_stay_readable_while_they_are_written() {
        let mut tail = Tail::starting_at(10);
        push(&mut tail, 1);
        push(&mut tail, 2);
        let (start, chunk) = tail.chunk_to_write().unwrap();
        assert_eq!((start, chunk.len()), (10, 40));
        push(&mut tail, 3);
        assert_eq!(tail.end(), 13);
        assert_eq!(from(&tail, 10), [1, 2, 3]);
        assert_eq!(from(&tail, 11), [2, 3]);
        assert_eq!(from(&tail, 12), [3]);
        assert_eq!(from(&tail, 13), []);
        assert_eq!(from(&tail, 9), [], "that is in files");
        let (start, again) = tail.chunk_to_write().unwrap();
        assert_eq!((start, again), (10, chunk), "until it is written");
        tail.chunk_is_written();
        assert_eq!((tail.start(), tail.end()), (12, 13));
        assert_eq!(from(&tail, 12), [3]);
    }
}
