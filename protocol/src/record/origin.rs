//! Where a message comes from that the broker stored itself.
//!
//! The broker stores a delayed message a second time when it is due, and a popped one that is not processed as a dead letter. So
//! that a crash in between makes it neither two nor
//! none, the second record says which the first was, in the field that holds the half message's place when a transaction
//! commits. Other messages have no use for that field, and RocketMQ looks at it in no others.

use crate::model::{PhysicalOffset, QueueOffset};

/// Bits of the place, the lowest.
const OFFSET_BITS: u32 = 54;
/// Bits of the delay level, above.
const LEVEL_BITS: u32 = 6;
/// Places in the log, which stand in the field of committed messages, are never negative.
pub(super) const MARK: i64 = i64::MIN;
/// The three bits for the kind, above the level.
pub(super) const KIND_MASK: i64 = 7 << (OFFSET_BITS + LEVEL_BITS);
const TIMER: i64 = 1 << (OFFSET_BITS + LEVEL_BITS);
const POPPED: i64 = 2 << (OFFSET_BITS + LEVEL_BITS);
/// No origin: see [`PartOfSend`](super::PartOfSend).
pub(super) const NUMBERED: i64 = 4 << (OFFSET_BITS + LEVEL_BITS);

/// The record that a message was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// One of the schedule topic.
    Schedule {
        /// Its queue: the delay level less one.
        queue: u8,
        /// Its place there.
        offset: QueueOffset,
    },
    /// One of the timer topic.
    Timer {
        /// Its place in the log.
        place: PhysicalOffset,
    },
    /// One that was popped, and is a dead letter now.
    Popped {
        /// Its place in the log.
        place: PhysicalOffset,
    },
}

impl Origin {
    /// As it stands in the record.
    pub fn encode(self) -> i64 {
        let (kind, level, offset) = match self {
            Self::Schedule { queue, offset } => (0, i64::from(queue), offset.0),
            Self::Timer { place } => (TIMER, 0, place.0),
            Self::Popped { place } => (POPPED, 0, place.0),
        };
        let offset = i64::try_from(offset).unwrap_or(i64::MAX) & ((1 << OFFSET_BITS) - 1);
        MARK | kind | ((level & ((1 << LEVEL_BITS) - 1)) << OFFSET_BITS) | offset
    }

    /// From a record that takes no part in a transaction; `None` when a producer made it.
    pub fn decode(field: i64) -> Option<Self> {
        if field >= 0 {
            return None;
        }
        let offset = (field & ((1 << OFFSET_BITS) - 1)) as u64;
        let level = (field >> OFFSET_BITS) & ((1 << LEVEL_BITS) - 1);
        match field & KIND_MASK {
            0 => Some(Self::Schedule {
                queue: level as u8,
                offset: QueueOffset(offset),
            }),
            TIMER => Some(Self::Timer {
                place: PhysicalOffset(offset),
            }),
            POPPED => Some(Self::Popped {
                place: PhysicalOffset(offset),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_comes_back_as_it_was() {
        let origins = [
            Origin::Schedule {
                queue: 0,
                offset: QueueOffset(0),
            },
            Origin::Schedule {
                queue: 63,
                offset: QueueOffset((1 << OFFSET_BITS) - 1),
            },
            Origin::Timer {
                place: PhysicalOffset(123_456_789),
            },
            Origin::Popped {
                place: PhysicalOffset(0),
            },
        ];
        for origin in origins {
            assert!(origin.encode() < 0);
            assert_eq!(Origin::decode(origin.encode()), Some(origin));
        }
    }

    #[test]
    fn what_producers_and_transactions_store_is_no_origin() {
        for field in [0, 1, i64::MAX, -1] {
            assert_eq!(Origin::decode(field), None);
        }
    }
}
