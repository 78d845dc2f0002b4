//! RocketMQ's index file: a header, a hash table of slots, entries chained from the slots. All numbers big endian.

/// Size of the header in bytes (RocketMQ `IndexHeader`).
pub(super) const HEADER_BYTES: usize = 40;
/// Size of a slot in bytes.
pub(super) const SLOT_BYTES: u64 = 4;
/// Size of an entry in bytes.
pub(super) const ENTRY_BYTES: usize = 20;

/// How many slots and entries the files of a store have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) slots: u32,
    /// Entry 0 counts, though it is never used.
    pub(super) max_entries: u32,
}

impl Layout {
    pub(super) fn file_bytes(self) -> u64 {
        self.entry_position(self.max_entries)
    }

    pub(super) fn slot_position(self, slot: u32) -> u64 {
        HEADER_BYTES as u64 + u64::from(slot) * SLOT_BYTES
    }

    pub(super) fn entry_position(self, entry: u32) -> u64 {
        self.slot_position(self.slots) + u64::from(entry) * ENTRY_BYTES as u64
    }

    pub(super) fn slot_of(self, key_hash: u32) -> u32 {
        key_hash % self.slots
    }
}

/// The first 40 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// When the first entry's message was stored; before there is one, the last of the file before.
    pub(super) begin_ms: i64,
    pub(super) end_ms: i64,
    /// Where the first entry's record starts; before there is one, the last of the file before.
    pub(super) begin_physical: i64,
    pub(super) end_physical: i64,
    /// Slots in use.
    pub(super) used_slots: u32,
    /// The number of the next entry: 1 when there is none.
    pub(super) next_entry: u32,
}

impl Header {
    /// The header of a file that follows one that ends there.
    pub(super) fn following(end_ms: i64, end_physical: i64) -> Self {
        Self {
            begin_ms: end_ms,
            end_ms,
            begin_physical: end_physical,
            end_physical,
            used_slots: 0,
            next_entry: 1,
        }
    }

    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let (times, rest) = bytes.split_at_mut(16);
        let (physical, counts) = rest.split_at_mut(16);
        put_pair(
            times,
            &self.begin_ms.to_be_bytes(),
            &self.end_ms.to_be_bytes(),
        );
        put_pair(
            physical,
            &self.begin_physical.to_be_bytes(),
            &self.end_physical.to_be_bytes(),
        );
        put_pair(
            counts,
            &self.used_slots.to_be_bytes(),
            &self.next_entry.to_be_bytes(),
        );
        bytes
    }

    /// `None` when no index file has such a header. One that is all zeros was never written: the file has no entries.
    pub(super) fn from_bytes(bytes: &[u8; HEADER_BYTES], layout: Layout) -> Option<Self> {
        let header = Self {
            begin_ms: i64_at(bytes, 0),
            end_ms: i64_at(bytes, 8),
            begin_physical: i64_at(bytes, 16),
            end_physical: i64_at(bytes, 24),
            used_slots: u32_at(bytes, 32),
            next_entry: u32_at(bytes, 36).max(1),
        };
        let is_valid = header.next_entry <= layout.max_entries
            && header.used_slots < header.next_entry.max(2)
            && 0 <= header.begin_physical
            && header.begin_physical <= header.end_physical;
        is_valid.then_some(header)
    }

    /// Whether messages of this span of time, both ends included, can be among the entries (RocketMQ `isTimeMatched`).
    pub(super) fn overlaps(&self, begin_ms: i64, end_ms: i64) -> bool {
        begin_ms <= self.end_ms && end_ms >= self.begin_ms
    }
}

/// 20 bytes about one key of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key_hash: u32,
    pub(super) physical: i64,
    /// Seconds since the file's begin, cut to whole ones.
    pub(super) seconds: i32,
    /// The entry before it in its slot; 0 when it is the first.
    pub(super) previous: u32,
}

impl Entry {
    pub(super) fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        let (hash, rest) = bytes.split_at_mut(4);
        let (physical, rest) = rest.split_at_mut(8);
        hash.copy_from_slice(&self.key_hash.to_be_bytes());
        physical.copy_from_slice(&self.physical.to_be_bytes());
        put_pair(
            rest,
            &self.seconds.to_be_bytes(),
            &self.previous.to_be_bytes(),
        );
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; ENTRY_BYTES]) -> Self {
        Self {
            key_hash: u32_at(bytes, 0),
            physical: i64_at(bytes, 4),
            seconds: u32_at(bytes, 12).cast_signed(),
            previous: u32_at(bytes, 16),
        }
    }
}

fn put_pair(into: &mut [u8], first: &[u8], second: &[u8]) {
    let (head, tail) = into.split_at_mut(first.len());
    head.copy_from_slice(first);
    tail.copy_from_slice(second);
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    let number = bytes.get(at..).and_then(<[u8]>::first_chunk);
    number.map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let number = bytes.get(at..).and_then(<[u8]>::first_chunk);
    number.map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Seconds from the file's begin to a message (RocketMQ `putKey`): 0 without a begin, and kept inside the field.
pub(super) fn seconds_since(begin_ms: i64, stored_ms: i64) -> i32 {
    if begin_ms <= 0 {
        return 0;
    }
    let seconds = (stored_ms.saturating_sub(begin_ms)) / 1000;
    i32::try_from(seconds.max(0)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout {
        slots: 5_000_000,
        max_entries: 20_000_000,
    };

    #[test]
    fn rocketmqs_defaults_make_420_million_bytes() {
        assert_eq!(LAYOUT.file_bytes(), 420_000_040);
        assert_eq!(LAYOUT.slot_position(1), 44);
        assert_eq!(LAYOUT.entry_position(1), 20_000_060);
    }

    #[test]
    fn the_header_and_the_entry_are_rocketmqs() {
        let header = Header {
            begin_ms: 1,
            end_ms: 2,
            begin_physical: 3,
            end_physical: 0x0102_0304_0506_0708,
            used_slots: 5,
            next_entry: 6,
        };
        let mut bytes = [0; 40];
        bytes[7] = 1;
        bytes[15] = 2;
        bytes[23] = 3;
        bytes[24..32].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        bytes[35] = 5;
        bytes[39] = 6;
        assert_eq!(header.to_bytes(), bytes);
        assert_eq!(Header::from_bytes(&bytes, LAYOUT), Some(header));
        let entry = Entry {
            key_hash: 1,
            physical: 2,
            seconds: 3,
            previous: 4,
        };
        let bytes = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4];
        assert_eq!(entry.to_bytes(), bytes);
        assert_eq!(Entry::from_bytes(&bytes), entry);
    }

    #[test]
    fn headers_that_cannot_be_are_refused() {
        let empty = Header::from_bytes(&[0; 40], LAYOUT).unwrap();
        assert_eq!(empty, Header::following(0, 0));
        assert_eq!(Header::from_bytes(&[0xFF; 40], LAYOUT), None);
        let full = Header {
            next_entry: LAYOUT.max_entries + 1,
            ..empty
        };
        assert_eq!(Header::from_bytes(&full.to_bytes(), LAYOUT), None);
    }

    #[test]
    fn seconds_are_kept_inside_their_field() {
        assert_eq!(seconds_since(0, 99_000), 0);
        assert_eq!(seconds_since(1_000, 4_999), 3);
        assert_eq!(seconds_since(5_000, 1_000), 0);
        assert_eq!(seconds_since(1, i64::MAX), i32::MAX);
    }
}
