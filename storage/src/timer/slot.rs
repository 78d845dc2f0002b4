//! A slot of the wheel: 32 bytes about all messages of one stretch of time. All numbers big endian.

use super::unit::{i32_at, i64_at};

/// Size of a slot in bytes (RocketMQ `Slot.SIZE`).
pub(super) const SLOT_BYTES: usize = 32;

/// What the wheel knows of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// Its time in units of the precision. The places of the wheel are used again and again: a slot whose time is another
    /// than the wanted one is not there.
    pub(super) time: i64,
    /// Where its first unit starts in the timer log.
    pub(super) first: Option<u64>,
    /// Where its last unit starts: the head of the chain.
    pub(super) last: Option<u64>,
    /// Messages less delete markers.
    pub(super) count: i32,
    /// RocketMQ keeps it and makes no use of it.
    magic: i32,
}

impl Slot {
    /// The slot of a time that nothing waits for.
    pub(super) fn empty(time: i64) -> Self {
        Self {
            time,
            first: None,
            last: None,
            count: 0,
            magic: 0,
        }
    }

    /// The slot with one more unit.
    pub(super) fn with(self, at: u64, counts: i32) -> Self {
        Self {
            first: self.first.or(Some(at)),
            last: Some(at),
            count: self.count.wrapping_add(counts),
            ..self
        }
    }

    /// The slot without its last unit, which followed `previous`.
    pub(super) fn without_last(self, previous: Option<u64>, counts: i32) -> Self {
        match previous {
            None => Self::empty(self.time),
            Some(_) => Self {
                last: previous,
                count: self.count.wrapping_sub(counts),
                ..self
            },
        }
    }

    pub(super) fn to_bytes(self) -> [u8; SLOT_BYTES] {
        let position = |at: Option<u64>| at.map_or(-1, u64::cast_signed);
        let mut bytes = [0; SLOT_BYTES];
        let (longs, ints) = bytes.split_at_mut(24);
        let fields = [self.time, position(self.first), position(self.last)];
        for (place, field) in longs.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        for (place, field) in ints.chunks_exact_mut(4).zip([self.count, self.magic]) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; SLOT_BYTES]) -> Self {
        let position = |at| u64::try_from(i64_at(bytes, at)).ok();
        Self {
            time: i64_at(bytes, 0),
            first: position(8),
            last: position(16),
            count: i32_at(bytes, 24),
            magic: i32_at(bytes, 28),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_rocketmqs_byte_for_byte() {
        let slot = Slot::empty(1_700_000_090).with(0x1122, 1).with(0x3344, 1);
        let expected = [
            0, 0, 0, 0, 0x65, 0x53, 0xF1, 0x5A, // time
            0, 0, 0, 0, 0, 0, 0x11, 0x22, // first unit
            0, 0, 0, 0, 0, 0, 0x33, 0x44, // last unit
            0, 0, 0, 2, // number
            0, 0, 0, 0, // magic
        ];
        assert_eq!(slot.to_bytes(), expected);
        assert_eq!(Slot::from_bytes(&expected), slot);
    }

    #[test]
    fn a_marker_takes_one_off_and_an_empty_slot_leads_nowhere() {
        let slot = Slot::empty(7).with(52, -1);
        assert_eq!(slot.to_bytes()[24..28], [0xFF; 4]);
        let empty = slot.without_last(None, -1);
        assert_eq!(empty, Slot::empty(7));
        assert_eq!(empty.to_bytes()[8..24], [0xFF; 16]);
        assert_eq!(Slot::from_bytes(&empty.to_bytes()), empty);
    }
}
