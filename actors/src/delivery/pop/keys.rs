//! Which message of a key comes next.

use std::collections::BTreeSet;

use hashbrown::HashMap;

/// The unsettled offsets of each key. A key is the 64-bit hash of a message group: two groups with the same hash wait
/// for each other, which costs time and breaks nothing.
#[derive(Debug, Default)]
pub(super) struct Keys {
    of_offset: HashMap<u64, u64>,
    by_key: BTreeSet<(u64, u64)>,
}

impl Keys {
    /// Adds an offset higher than all others; returns whether no earlier one of its key is unsettled.
    pub(super) fn add(&mut self, offset: u64, key: u64) -> bool {
        let is_free = self.first(key).is_none();
        self.of_offset.insert(offset, key);
        self.by_key.insert((key, offset));
        is_free
    }

    /// Removes a settled offset; returns the one of its key that is first now.
    pub(super) fn remove(&mut self, offset: u64) -> Option<u64> {
        let key = self.of_offset.remove(&offset)?;
        self.by_key.remove(&(key, offset));
        self.first(key)
    }

    /// The key of an offset.
    pub(super) fn get(&self, offset: u64) -> Option<u64> {
        self.of_offset.get(&offset).copied()
    }

    fn first(&self, key: u64) -> Option<u64> {
        let mut offsets = self.by_key.range((key, 0)..=(key, u64::MAX));
        offsets.next().map(|(_, offset)| *offset)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.of_offset.len(), self.by_key.len());
        self.by_key.len()
    }
}
