//! Sends that their producer numbered, so that one that comes twice is stored once.
//!
//! What the broker knows of them it takes from the log when it starts. Each record of a numbered send says in the field of
//! [`Origin`](super::Origin) that it is one, and which of the send's records: so copies of it, which keep its properties,
//! are not taken for sends, and a send of which a crash left only the first records is known for what it is. The first
//! record has the numbers themselves among its properties.

use std::io::Write;

use super::origin::{KIND_MASK, MARK, NUMBERED};
use crate::model::{keys, property_value, write_properties};

/// Bits for each of the two counts.
const COUNT_BITS: u32 = 30;
const COUNT_MASK: i64 = (1 << COUNT_BITS) - 1;

/// Which record of a numbered send one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartOfSend {
    /// Records of the send before it.
    pub before: u32,
    /// Records of the send behind it.
    pub behind: u32,
}

impl PartOfSend {
    /// As it stands in the record.
    #[inline]
    pub fn encode(self) -> i64 {
        let before = i64::from(self.before) & COUNT_MASK;
        let behind = i64::from(self.behind) & COUNT_MASK;
        MARK | NUMBERED | before << COUNT_BITS | behind
    }

    /// From a record that takes no part in a transaction; `None` when it belongs to no numbered send.
    #[inline]
    pub fn decode(field: i64) -> Option<Self> {
        if field >= 0 || field & KIND_MASK != NUMBERED {
            return None;
        }
        Some(Self {
            before: (field >> COUNT_BITS & COUNT_MASK) as u32,
            behind: (field & COUNT_MASK) as u32,
        })
    }
}

/// The numbers of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendNumber {
    /// Names the producer; not 0.
    pub producer_id: u64,
    /// Names the send among the producer's; not 0.
    pub sequence: u64,
    /// The producer has settled its sends below; at most `sequence`.
    pub settled_below: u64,
}

impl SendNumber {
    /// Appends encoded properties to `out`, with the number in place of any that is there.
    pub fn append_to(self, properties: &[u8], out: &mut Vec<u8>) {
        write_properties(properties, &[(keys::PRODUCER_SEQUENCE, None)], out);
        let (id, sequence) = (self.producer_id, self.sequence);
        let open = sequence.saturating_sub(self.settled_below);
        // Writing to memory cannot fail.
        let _ = write!(
            out,
            "{}\x01{id:x}-{sequence:x}-{open:x}\x02",
            keys::PRODUCER_SEQUENCE
        );
    }

    /// Encoded properties with the number.
    pub fn added_to(self, properties: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(properties.len() + 64);
        self.append_to(properties, &mut out);
        out
    }

    /// From a record's properties.
    pub fn find(properties: &[u8]) -> Option<Self> {
        let value = property_value(properties, keys::PRODUCER_SEQUENCE)?;
        let mut numbers = value
            .split('-')
            .map(|number| u64::from_str_radix(number, 16).ok());
        let (producer_id, sequence) = (numbers.next()??, numbers.next()??);
        let settled_below = sequence.checked_sub(numbers.next()??)?;
        let is_whole = producer_id > 0 && sequence > 0 && numbers.next().is_none();
        is_whole.then_some(Self {
            producer_id,
            sequence,
            settled_below,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PhysicalOffset, QueueOffset};
    use crate::record::Origin;
    use proptest::prelude::*;

    #[test]
    fn a_part_comes_back_as_it_was_and_is_no_origin() {
        let most = (1 << COUNT_BITS) - 1;
        for (before, behind) in [(0, 0), (0, most), (most, 0), (3, 4)] {
            let part = PartOfSend { before, behind };
            assert_eq!(PartOfSend::decode(part.encode()), Some(part));
            assert_eq!(Origin::decode(part.encode()), None);
        }
    }

    #[test]
    fn what_others_keep_in_the_field_is_no_part() {
        let (queue, offset) = (63, QueueOffset(1 << 53));
        let place = PhysicalOffset(1 << 53);
        let origins = [Origin::Schedule { queue, offset }, Origin::Timer { place }];
        let fields = origins.map(Origin::encode);
        for field in fields.into_iter().chain([0, 1, i64::MAX, -1, i64::MIN]) {
            assert_eq!(PartOfSend::decode(field), None);
        }
    }

    #[test]
    fn a_number_that_the_producer_wrote_itself_is_replaced() {
        let number = SendNumber {
            producer_id: 0xABC,
            sequence: 16,
            settled_below: 13,
        };
        let mut out = b"kept".to_vec();
        number.append_to(b"PSEQ\x011-1-0\x02TAGS\x01a", &mut out);
        assert_eq!(out, b"keptTAGS\x01a\x02PSEQ\x01abc-10-3\x02");
        assert_eq!(SendNumber::find(&out[4..]), Some(number));
    }

    #[test]
    fn what_is_no_number_is_not_taken_for_one() {
        for value in [
            "", "1", "1-2", "0-1-0", "1-0-0", "1-2-3", "1-2-0-0", "x-1-0", "1--0",
        ] {
            let properties = format!("PSEQ\x01{value}\x02");
            assert_eq!(SendNumber::find(properties.as_bytes()), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn a_number_comes_back_as_it_was_behind_any_properties(
            producer_id in 1..=u64::MAX,
            sequence in 1..=u64::MAX,
            open in any::<u64>(),
            properties in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let settled_below = sequence - open % sequence;
            let number = SendNumber { producer_id, sequence, settled_below };
            let mut out = Vec::new();
            number.append_to(&properties, &mut out);
            prop_assert_eq!(SendNumber::find(&out), Some(number));
        }
    }
}
