//! One unit of a consume queue: 20 bytes, big endian.

use castmq_protocol::model::{PhysicalOffset, TagsCode};

/// Size of a unit in bytes (RocketMQ `ConsumeQueue`: offset 8, size 4, tags code 8).
pub const UNIT_BYTES: usize = 20;
pub(super) const UNIT: u64 = UNIT_BYTES as u64;

/// Where a message of a queue lies in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumeUnit {
    /// Start of its record.
    pub physical: PhysicalOffset,
    /// Length of its record in bytes.
    pub size: u32,
    /// What consumers filter by.
    pub tags_code: TagsCode,
}

/// What 20 bytes of a file stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Unit(ConsumeUnit),
    /// Stands before the first unit of a queue that does not start at 0.
    Filler,
    /// Never written, or damaged.
    Nothing,
}

/// RocketMQ's filler: offset 0, the largest size, tags code 0.
pub(super) const FILLER: [u8; UNIT_BYTES] = [
    0, 0, 0, 0, 0, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0,
];

impl ConsumeUnit {
    /// The end of the record: the first byte after it.
    pub fn end(&self) -> PhysicalOffset {
        PhysicalOffset(self.physical.0.saturating_add(u64::from(self.size)))
    }

    /// Whether RocketMQ's signed fields can hold it, and a reader can tell it from a filler and from nothing.
    pub(super) fn is_storable(&self) -> bool {
        let fits = i64::try_from(self.physical.0).is_ok() && i32::try_from(self.size).is_ok();
        fits && self.size > 0 && self.to_bytes() != FILLER
    }

    pub(super) fn to_bytes(self) -> [u8; UNIT_BYTES] {
        let mut bytes = [0; UNIT_BYTES];
        let (physical, rest) = bytes.split_at_mut(8);
        let (size, tags_code) = rest.split_at_mut(4);
        physical.copy_from_slice(&self.physical.0.to_be_bytes());
        size.copy_from_slice(&self.size.to_be_bytes());
        tags_code.copy_from_slice(&self.tags_code.to_be_bytes());
        bytes
    }
}

impl Stored {
    /// RocketMQ takes for a unit whatever has offset ≥ 0 and size > 0.
    pub(super) fn from_bytes(bytes: &[u8; UNIT_BYTES]) -> Self {
        if *bytes == FILLER {
            return Self::Filler;
        }
        let [p0, p1, p2, p3, p4, p5, p6, p7, s0, s1, s2, s3, tags @ ..] = *bytes;
        let physical = i64::from_be_bytes([p0, p1, p2, p3, p4, p5, p6, p7]);
        let size = i32::from_be_bytes([s0, s1, s2, s3]);
        match (u64::try_from(physical), u32::try_from(size)) {
            (Ok(physical), Ok(size)) if size > 0 => Self::Unit(ConsumeUnit {
                physical: PhysicalOffset(physical),
                size,
                tags_code: i64::from_be_bytes(tags),
            }),
            _ => Self::Nothing,
        }
    }

    /// All units of these bytes.
    pub(super) fn all(bytes: &[u8]) -> impl ExactSizeIterator<Item = Self> {
        bytes.as_chunks().0.iter().map(Self::from_bytes)
    }

    /// Whether `next` can follow: records do not overlap, and fillers stand in front of everything.
    pub(super) fn can_precede(self, next: Self) -> bool {
        match (self, next) {
            (Self::Unit(unit), Self::Unit(next)) => unit.end() <= next.physical,
            (Self::Filler, Self::Unit(_) | Self::Filler) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_rocketmqs() {
        let unit = ConsumeUnit {
            physical: PhysicalOffset(0x0102_0304_0506_0708),
            size: 0x1112_1314,
            tags_code: -2,
        };
        let bytes = [
            1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
            0xFF, 0xFE,
        ];
        assert_eq!(unit.to_bytes(), bytes);
        assert_eq!(Stored::from_bytes(&bytes), Stored::Unit(unit));
    }

    #[test]
    fn zeros_negative_numbers_and_fillers_are_no_units() {
        assert_eq!(Stored::from_bytes(&[0; 20]), Stored::Nothing);
        assert_eq!(Stored::from_bytes(&[0xFF; 20]), Stored::Nothing);
        assert_eq!(Stored::from_bytes(&FILLER), Stored::Filler);
        assert_eq!(Stored::all(&[1; 39]).len(), 1);
        let unit = |physical, size| ConsumeUnit {
            physical: PhysicalOffset(physical),
            size,
            tags_code: 0,
        };
        assert!(unit(0, 1).is_storable());
        assert!(!unit(0, 0).is_storable());
        assert!(!unit(0, 0x7FFF_FFFF).is_storable());
        assert!(!unit(0, 0x8000_0000).is_storable());
        assert!(!unit(1 << 63, 1).is_storable());
    }
}
