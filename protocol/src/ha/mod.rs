//! RocketMQ's wire between a slave and its master: the log itself, as it lies in the files.
//!
//! The slave reports, in 8 bytes, where its log ends: first that it may be sent what follows, and again with everything it
//! has stored. The master sends blocks: 12 bytes of place and length, then bytes of the log. A block of no bytes is a sign of
//! life. Both count in big endian.
//!
//! Behind [`Follow`](crate::native::replication::Follow) a CastMQ master also sends headers of the length -1, which say how far
//! its consumers may see. RocketMQ's slaves never ask to follow, and are never sent one.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use crate::model::PhysicalOffset;

/// Bytes of a slave's report.
pub const REPORT_BYTES: usize = 8;

/// Bytes of a block's header.
pub const HEADER_BYTES: usize = 12;

/// The most bytes of a block that RocketMQ's masters send by default (`haTransferBatchSize`).
pub const CLASSIC_BLOCK_BYTES: usize = 32 * 1024;

/// The length that says how far consumers may see.
const COMMITTED: i32 = -1;

/// What came over the connection is none of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HaError {
    /// A slave's log cannot end there.
    #[error("{0} is no place in a log: this port takes slaves that report where their log ends")]
    Report(i64),
    /// A block cannot begin there.
    #[error("a block of the log at {0}: that is no place in one")]
    Place(i64),
    /// A block cannot be as long.
    #[error("a block of {0} bytes: that is no length")]
    Length(i32),
}

/// A slave's report.
pub fn encode_report(end: PhysicalOffset) -> [u8; REPORT_BYTES] {
    end.0.to_be_bytes()
}

/// Takes a report from the front of what came; `None` when it is not all there.
pub fn take_report(input: &mut BytesMut) -> Result<Option<PhysicalOffset>, HaError> {
    if input.len() < REPORT_BYTES {
        return Ok(None);
    }
    let reported = input.get_i64();
    PhysicalOffset::from_i64(reported)
        .map(Some)
        .map_err(|_| HaError::Report(reported))
}

/// A block's header.
pub fn encode_header(at: PhysicalOffset, bytes: usize) -> [u8; HEADER_BYTES] {
    debug_assert!(i32::try_from(bytes).is_ok(), "blocks are short");
    header(at, bytes as i32)
}

/// Says how far consumers may see.
pub fn encode_committed(committed: PhysicalOffset) -> [u8; HEADER_BYTES] {
    header(committed, COMMITTED)
}

fn header(place: PhysicalOffset, length: i32) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let (at, rest) = bytes.split_at_mut(8);
    at.copy_from_slice(&place.0.to_be_bytes());
    rest.copy_from_slice(&length.to_be_bytes());
    bytes
}

/// What a master sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// It lives; its log ends here, or did.
    Heartbeat(PhysicalOffset),
    /// Consumers may see up to here.
    Committed(PhysicalOffset),
    /// Bytes of the log, all or some of a block's.
    Bytes {
        /// Where the first of them belongs.
        at: PhysicalOffset,
        /// The bytes.
        bytes: Bytes,
    },
}

/// Takes apart what a master sends. A block's bytes are given out as they come, so that a length that lies costs nothing.
#[derive(Debug, Default)]
pub struct Blocks {
    at: PhysicalOffset,
    left: usize,
}

impl Blocks {
    /// Takes the next part from the front of what came; `None` when there is none yet.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<Part>, HaError> {
        if self.left == 0 {
            if input.len() < HEADER_BYTES {
                return Ok(None);
            }
            let (place, length) = (input.get_i64(), input.get_i32());
            let at = PhysicalOffset::from_i64(place).map_err(|_| HaError::Place(place))?;
            match length {
                0 => return Ok(Some(Part::Heartbeat(at))),
                COMMITTED => return Ok(Some(Part::Committed(at))),
                _ => {}
            }
            self.left = usize::try_from(length).map_err(|_| HaError::Length(length))?;
            self.at = at;
        }
        if input.is_empty() {
            return Ok(None);
        }
        let bytes = input.split_to(input.len().min(self.left)).freeze();
        let at = self.at;
        self.at = at + bytes.len() as u64;
        self.left -= bytes.len();
        Ok(Some(Part::Bytes { at, bytes }))
    }

    /// Bytes of the block under way that have not come.
    pub fn left(&self) -> usize {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_are_rocketmqs() {
        let place = PhysicalOffset(0x0102_0304_0506_0708);
        assert_eq!(encode_report(place), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(
            encode_header(place, 0x0a0b),
            [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 10, 11]
        );
        assert_eq!(encode_committed(place)[8..], [0xff; 4]);
    }

    #[test]
    fn reports_are_taken_whole() {
        let mut input = BytesMut::new();
        input.extend_from_slice(&encode_report(PhysicalOffset(7)));
        input.extend_from_slice(&encode_report(PhysicalOffset(9))[..7]);
        assert_eq!(take_report(&mut input), Ok(Some(PhysicalOffset(7))));
        assert_eq!(take_report(&mut input), Ok(None));
        input.extend_from_slice(&[9]);
        assert_eq!(take_report(&mut input), Ok(Some(PhysicalOffset(9))));
        input.extend_from_slice(&[0xff; 8]);
        assert_eq!(take_report(&mut input), Err(HaError::Report(-1)));
    }

    #[test]
    fn what_is_none_of_it_is_refused_and_a_length_that_lies_costs_nothing() {
        let refused = |bytes: &[u8]| Blocks::default().next(&mut BytesMut::from(bytes));
        assert_eq!(
            refused(&header(PhysicalOffset(1), -2)),
            Err(HaError::Length(-2))
        );
        assert_eq!(refused(&[0xff; 12]), Err(HaError::Place(-1)));
        let mut blocks = Blocks::default();
        let mut input = BytesMut::from(&header(PhysicalOffset(5), i32::MAX)[..]);
        assert_eq!(blocks.next(&mut input), Ok(None));
        input.extend_from_slice(b"ab");
        let bytes = Bytes::from_static(b"ab");
        let at = PhysicalOffset(5);
        assert_eq!(blocks.next(&mut input), Ok(Some(Part::Bytes { at, bytes })));
        assert_eq!(blocks.left(), i32::MAX as usize - 2);
    }

    proptest! {
        #[test]
        fn a_stream_is_the_same_however_it_is_cut(
            blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..12),
            cuts in prop::collection::vec(1usize..30, 1..200),
        ) {
            let mut wire = Vec::new();
            let mut log = Vec::new();
            for block in &blocks {
                let at = PhysicalOffset(100 + log.len() as u64);
                wire.extend_from_slice(&encode_header(at, block.len()));
                wire.extend_from_slice(block);
                log.extend_from_slice(block);
            }
            let (mut reader, mut input, mut got, mut beats) = (Blocks::default(), BytesMut::new(), Vec::new(), 0);
            let mut cuts = cuts.into_iter().cycle();
            let mut rest = &wire[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
                rest = later;
                input.extend_from_slice(now);
                while let Some(part) = reader.next(&mut input).unwrap() {
                    match part {
                        Part::Bytes { at, bytes } => {
                            prop_assert_eq!(at, PhysicalOffset(100 + got.len() as u64));
                            got.extend_from_slice(&bytes);
                        }
                        Part::Heartbeat(_) => beats += 1,
                        Part::Committed(_) => prop_assert!(false),
                    }
                }
            }
            prop_assert_eq!(got, log);
            prop_assert_eq!(beats, blocks.iter().filter(|block| block.is_empty()).count());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let (mut reader, mut input) = (Blocks::default(), BytesMut::from(&bytes[..]));
            while let Ok(Some(_)) = reader.next(&mut input) {}
        }
    }
}
