//! Writing a log that is another's: bytes come as they lie in the master's files, cut anywhere.

use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::record::{BLANK_BYTES, RecordError, RecordView, Step, step};
use thiserror::Error;

use super::sealer::SealedPart;
use super::{AppendError, LogWriter};

/// Bytes of a record that say how long it is and what kind.
const HEAD_BYTES: usize = 8;

/// Why bytes are not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CopyError {
    /// They belong elsewhere.
    #[error("bytes of the log at {offered} came where {expected} is to go on")]
    Place {
        /// Where they belong.
        offered: PhysicalOffset,
        /// Where the copy goes on.
        expected: PhysicalOffset,
    },
    /// They are no records.
    #[error("what came for position {at} of the log is no record: {reason}")]
    Record {
        /// Where it belongs.
        at: PhysicalOffset,
        /// What is wrong with it.
        reason: RecordError,
    },
    /// A record runs on beyond its segment.
    #[error(
        "a record at position {at} of the log does not end with its segment of {segment_bytes} bytes: master and slave have to have \
         segments of one size, set commit_log_segment_bytes alike"
    )]
    Segment {
        /// Where the record begins.
        at: PhysicalOffset,
        /// The size of ours.
        segment_bytes: u64,
    },
    /// They cannot be written, or not yet.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl LogWriter {
    /// Where the next byte of a copy belongs.
    pub fn copied(&self) -> PhysicalOffset {
        self.position()
    }

    /// Forgets what came of a record that is not whole: it comes again.
    pub fn forget_unpublished(&mut self) {
        self.drop_unpublished();
    }

    /// Takes bytes of another log, which belong at `at`, and lets readers see what records are whole by them. Returns how many
    /// were taken: fewer than there are when more of the log has to be made ready.
    pub fn copy(&mut self, at: PhysicalOffset, bytes: &[u8]) -> Result<usize, CopyError> {
        let expected = self.copied();
        if at != expected {
            let offered = at;
            return Err(CopyError::Place { offered, expected });
        }
        if let Some(reason) = self.log().failure() {
            return Err(AppendError::Failed { reason }.into());
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.free() == 0 && !self.next_segment()? {
                break;
            }
            if self.open() == 0 {
                self.need_open(rest.len());
                break;
            }
            let (now, later) = rest.split_at(rest.len().min(self.open()));
            self.put(now);
            rest = later;
            self.publish_records()?;
        }
        Ok(bytes.len() - rest.len())
    }

    /// Goes on in the next segment; false when that is not there yet.
    fn next_segment(&mut self) -> Result<bool, CopyError> {
        if self.unpublished_bytes() > 0 {
            return Err(CopyError::Segment {
                at: self.log().appended(),
                segment_bytes: self.log().segment_bytes(),
            });
        }
        match self.enter_next() {
            Ok(()) => Ok(true),
            Err(AppendError::SegmentNotReady) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn publish_records(&mut self) -> Result<(), CopyError> {
        let begin = self.log().appended();
        let free = self.free();
        let (records, result) = whole_records(self.unpublished(), free, begin);
        let whole = records.iter().map(|record| record.bytes).sum();
        self.will_seal(records);
        self.publish_some(whole);
        result
    }
}

/// The whole records at the front of what is written of a segment that has `free` bytes behind that.
fn whole_records(
    written: &[u8],
    free: usize,
    begin: PhysicalOffset,
) -> (Vec<SealedPart>, Result<(), CopyError>) {
    let (mut records, mut whole) = (Vec::new(), 0);
    while let Some(rest) = written.get(whole..)
        && let Some((length, _)) = rest.split_first_chunk::<4>()
        && rest.len() >= HEAD_BYTES
    {
        let at = begin + whole as u64;
        let left = rest.len() + free;
        let refused = |reason| Err(CopyError::Record { at, reason });
        match step(rest) {
            Ok(Step::Record(record)) => {
                if let Err(reason) = check(&record, at) {
                    return (records, refused(reason));
                }
                whole += record.total_bytes();
                records.push(SealedPart {
                    bytes: record.total_bytes(),
                    body: record.body_range(),
                });
            }
            // The filler takes all that is left of the segment.
            Ok(Step::Blank) if free == 0 => {
                whole += rest.len();
                records.push(SealedPart {
                    bytes: rest.len(),
                    body: BLANK_BYTES..rest.len(),
                });
            }
            Ok(Step::Blank) => break,
            Ok(Step::Unwritten) => {
                let (length, available) = (0, rest.len());
                return (records, refused(RecordError::Length { length, available }));
            }
            // The rest of it may come yet, if it can be a record at all.
            Err(RecordError::Length { .. }) => {
                let length = i32::from_be_bytes(*length);
                let fits = usize::try_from(length).is_ok_and(|bytes| bytes + BLANK_BYTES <= left);
                match fits && length as usize > rest.len() {
                    true => break,
                    false => {
                        let length = length.into();
                        let available = left;
                        return (records, refused(RecordError::Length { length, available }));
                    }
                }
            }
            Err(reason) => return (records, refused(reason)),
        }
    }
    (records, Ok(()))
}

fn check(record: &RecordView<'_>, at: PhysicalOffset) -> Result<(), RecordError> {
    record.verify_place(at)?;
    record.verify_body()
}
