//! Units of a queue that are not in its files yet.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::unit::{ConsumeUnit, Stored, UNIT_BYTES};

/// What a chunk holds at most, in bytes: some three thousand units.
const CHUNK_BYTES: usize = 3 * 1024 * UNIT_BYTES;

/// Most that a chunk holds of a queue that gets little, in bytes: it is not made larger when it is full.
const SMALL_BYTES: usize = 200 * UNIT_BYTES;

/// The end of a queue, encoded: chunks that wait to be written back, and the one that grows.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// They stay readable until all of each is in files; kept for another attempt when writing fails.
    closed: VecDeque<Chunk>,
    /// The first unit of the one that grows.
    fresh_start: u64,
    fresh: Vec<u8>,
}

#[derive(Debug)]
struct Chunk {
    /// Its first unit.
    start: u64,
    bytes: Arc<Vec<u8>>,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.start + units_in(&self.bytes)
    }
}

fn units_in(bytes: &[u8]) -> u64 {
    (bytes.len() / UNIT_BYTES) as u64
}

impl Tail {
    /// An empty tail behind `start` units.
    pub(super) fn starting_at(start: u64) -> Self {
        Self {
            fresh_start: start,
            ..Self::default()
        }
    }

    /// The first unit in memory.
    pub(super) fn start(&self) -> u64 {
        self.closed
            .front()
            .map_or(self.fresh_start, |chunk| chunk.start)
    }

    /// The first unit that is not here yet.
    pub(super) fn end(&self) -> u64 {
        self.fresh_start + units_in(&self.fresh)
    }

    pub(super) fn push(&mut self, unit: ConsumeUnit, spares: &Spares) {
        let most = match self.fresh.capacity() < CHUNK_BYTES {
            true => SMALL_BYTES,
            false => CHUNK_BYTES,
        };
        if self.fresh.len() >= most {
            self.close(spares.take());
        }
        self.fresh.extend_from_slice(&unit.to_bytes());
    }

    /// Where in memory the next unit goes.
    pub(super) fn next_unit(&self) -> *const u8 {
        self.fresh.as_ptr().wrapping_add(self.fresh.len())
    }

    /// Goes on in another chunk.
    fn close(&mut self, next: Vec<u8>) {
        let start = self.fresh_start;
        self.fresh_start = self.end();
        self.closed.push_back(Chunk {
            start,
            bytes: Arc::new(std::mem::replace(&mut self.fresh, next)),
        });
    }

    /// Units from `from` on; none when that lies before the tail.
    pub(super) fn units(&self, from: u64) -> impl Iterator<Item = ConsumeUnit> {
        let is_here = from >= self.start();
        let passed = self.closed.partition_point(|chunk| chunk.end() <= from);
        let closed = self.closed.range(passed..);
        closed
            .map(|chunk| (chunk.start, &**chunk.bytes))
            .chain([(self.fresh_start, &*self.fresh)])
            .filter(move |_| is_here)
            .flat_map(move |(start, bytes)| {
                let skipped = usize::try_from(from.saturating_sub(start)).unwrap_or(usize::MAX);
                let rest = bytes.get(skipped.saturating_mul(UNIT_BYTES)..);
                Stored::all(rest.unwrap_or_default())
            })
            .filter_map(|stored| match stored {
                Stored::Unit(unit) => Some(unit),
                Stored::Filler | Stored::Nothing => None,
            })
    }

    /// What is to be written next, and its first unit.
    pub(super) fn chunk_to_write(&mut self) -> Option<(u64, Arc<Vec<u8>>)> {
        if self.closed.is_empty() && !self.fresh.is_empty() {
            // As much may come until the next time, or nothing for days: what a queue at rest keeps is small.
            self.close(Vec::with_capacity(self.fresh.len().min(SMALL_BYTES)));
        }
        let chunk = self.closed.front()?;
        Some((chunk.start, chunk.bytes.clone()))
    }

    /// Forgets the chunk, which is in files now.
    pub(super) fn chunk_is_written(&mut self) {
        self.closed.pop_front();
    }
}

/// Chunks that were written back and can be filled again: memory that is new costs a page fault each 4 KiB.
#[derive(Debug, Default)]
pub(super) struct Spares(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    chunks: Vec<Vec<u8>>,
    most: usize,
}

impl Spares {
    fn take(&self) -> Vec<u8> {
        let kept = self.0.lock().chunks.pop();
        kept.unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES))
    }

    /// Takes a chunk that nobody needs any more.
    pub(super) fn put(&self, chunk: Arc<Vec<u8>>) {
        let Some(mut chunk) = Arc::into_inner(chunk) else {
            return;
        };
        let mut kept = self.0.lock();
        if chunk.capacity() >= CHUNK_BYTES && kept.chunks.len() < kept.most {
            chunk.clear();
            kept.chunks.push(chunk);
        }
    }

    /// Keeps as many as so many units need.
    pub(super) fn keep_for(&self, units: u64) {
        let most = units.saturating_mul(UNIT_BYTES as u64) / CHUNK_BYTES as u64;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut kept = self.0.lock();
        kept.most = most;
        kept.chunks.truncate(most);
        kept.chunks.shrink_to(most);
    }
}

#[cfg(test)]
mod tests {
    use castmq_protocol::model::PhysicalOffset;

    use super::*;

    fn push(tail: &mut Tail, physical: u64, spares: &Spares) {
        let unit = ConsumeUnit {
            physical: PhysicalOffset(physical),
            size: 1,
            tags_code: 0,
        };
        tail.push(unit, spares);
    }

    fn from(tail: &Tail, from: u64) -> Vec<u64> {
        tail.units(from).map(|unit| unit.physical.0).collect()
    }

    #[test]
    fn units_stay_readable_while_they_are_written() {
        let spares = &Spares::default();
        let mut tail = Tail::starting_at(10);
        push(&mut tail, 1, spares);
        push(&mut tail, 2, spares);
        let (start, chunk) = tail.chunk_to_write().unwrap();
        assert_eq!((start, chunk.len()), (10, 40));
        push(&mut tail, 3, spares);
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

    #[test]
    fn chunks_are_read_over_their_borders_and_written_one_after_the_other() {
        let spares = &Spares::default();
        let mut tail = Tail::starting_at(7);
        let count = 3 * (CHUNK_BYTES / UNIT_BYTES) as u64;
        for physical in 0..count {
            push(&mut tail, physical, spares);
        }
        assert_eq!((tail.start(), tail.end()), (7, 7 + count));
        let borders = tail.closed.iter().map(|chunk| chunk.start);
        for at in borders.chain([7 + count]).flat_map(|at| at - 1..at + 2) {
            let expected: Vec<_> = match at < 7 {
                true => Vec::new(),
                false => (at - 7..count).collect(),
            };
            assert_eq!(from(&tail, at), expected, "from {at}");
        }
        let mut written = 7;
        while let Some((start, chunk)) = tail.chunk_to_write() {
            assert_eq!(start, written);
            written += units_in(&chunk);
            tail.chunk_is_written();
            assert_eq!(tail.start(), written);
            assert_eq!(from(&tail, written).len() as u64, 7 + count - written);
        }
        assert_eq!(written, 7 + count);
    }

    #[test]
    fn as_many_spare_chunks_are_kept_as_are_needed() {
        let spares = &Spares::default();
        let fill = |tail: &mut Tail| {
            for physical in 0..10 * (CHUNK_BYTES / UNIT_BYTES) as u64 {
                push(tail, physical, spares);
            }
            let mut pointers = Vec::new();
            while let Some((_, chunk)) = tail.chunk_to_write() {
                tail.chunk_is_written();
                pointers.push(chunk.as_ptr());
                spares.put(chunk);
            }
            pointers
        };
        let kept = || spares.0.lock().chunks.len();
        let mut tail = Tail::default();
        fill(&mut tail);
        assert_eq!(kept(), 0);
        spares.keep_for(10 * (CHUNK_BYTES / UNIT_BYTES) as u64);
        let first = fill(&mut tail);
        assert_eq!(kept(), 10);
        assert!(tail.fresh.capacity() <= SMALL_BYTES, "at rest");
        let again = fill(&mut tail);
        // The first one is small, and is not kept.
        assert!(again.iter().skip(1).all(|chunk| first.contains(chunk)));
        spares.keep_for(1);
        assert_eq!(kept(), 0);
    }
}
