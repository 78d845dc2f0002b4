//! Which message of a key comes next.

use std::collections::BTreeSet;

use hashbrown::HashMap;

/// Room that is kept when no key is left.
const KEPT_KEYS: usize = 64;

/// The hash of a message group. Journals keep it, so it stays what it is: FNV-1a.
pub(crate) fn key_of(group: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    group.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

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
        if self.of_offset.is_empty() && self.of_offset.capacity() > KEPT_KEYS {
            self.of_offset.shrink_to(KEPT_KEYS);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_stay_what_they_are() {
        assert_eq!(key_of(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(key_of("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn many_keys_leave_no_memory_behind() {
        let mut keys = Keys::default();
        for offset in 0..10_000 {
            assert!(keys.add(offset, key_of(&offset.to_string())));
        }
        for offset in 0..10_000 {
            assert_eq!(keys.remove(offset), None);
        }
        assert!(keys.of_offset.capacity() <= 2 * KEPT_KEYS);
    }
}
