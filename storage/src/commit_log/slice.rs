//! Views of the log that keep their segment alive.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use castmq_protocol::model::PhysicalOffset;

use super::{CommitLog, LoggedSegment, SharedSegment};

/// Published bytes of one segment. Cloning is cheap; the segment stays as long as a view of it does.
#[derive(Clone)]
pub struct LogSlice {
    segment: SharedSegment,
    range: Range<usize>,
}

impl LogSlice {
    pub(super) fn new(segment: SharedSegment, range: Range<usize>) -> Option<Self> {
        segment.read(range.clone())?;
        Some(Self { segment, range })
    }

    /// Bytes in the view.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The first `bytes` bytes; `None` when there are fewer.
    pub fn prefix(mut self, bytes: usize) -> Option<Self> {
        if bytes > self.len() {
            return None;
        }
        self.range.end = self.range.start + bytes;
        Some(self)
    }

    /// Makes one view of this and the next when they touch; gives `next` back when they do not.
    pub fn join(&mut self, next: Self) -> Result<(), Self> {
        if self.range.end == next.range.start && std::ptr::addr_eq(&*self.segment, &*next.segment) {
            self.range.end = next.range.end;
            return Ok(());
        }
        Err(next)
    }

    /// Whether reading it would not wait for the disk.
    pub fn is_resident(&self) -> bool {
        self.segment.is_resident(self.range.clone())
    }

    /// Brings it into memory. Blocks.
    pub fn load(&self) -> std::io::Result<()> {
        self.segment.load(self.range.clone())
    }

    /// The same bytes as a buffer that can be sent.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for LogSlice {
    fn as_ref(&self) -> &[u8] {
        // The range was published when the view was made, and what is published stays.
        self.segment.read(self.range.clone()).unwrap_or_default()
    }
}

impl fmt::Debug for LogSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogSlice({:?})", self.range)
    }
}

/// Joins records that lie behind each other into long views, looking up each segment once.
#[derive(Debug, Default)]
pub struct Gather {
    slices: Vec<LogSlice>,
    bytes: usize,
    current: Option<LoggedSegment>,
}

impl Gather {
    /// Adds a record; false when it is not in the log (any more).
    pub fn add(&mut self, log: &CommitLog, offset: PhysicalOffset, bytes: u32) -> bool {
        let bytes = bytes as usize;
        let within = |logged: &LoggedSegment| {
            let distance = offset.0.checked_sub(logged.base.0)?;
            usize::try_from(distance)
                .ok()
                .filter(|at| at + bytes <= logged.segment.published())
        };
        let start = match self.current.as_ref().and_then(within) {
            Some(start) => start,
            None => {
                self.current = log.locate(offset).map(|(logged, _)| logged);
                match self.current.as_ref().and_then(within) {
                    Some(start) => start,
                    None => return false,
                }
            }
        };
        let range = start..start + bytes;
        self.bytes += bytes;
        let Some(current) = &self.current else {
            return false;
        };
        if let Some(last) = self.slices.last_mut()
            && last.range.end == range.start
            && std::ptr::addr_eq(&*last.segment, &*current.segment)
        {
            last.range.end = range.end;
            return true;
        }
        self.slices.push(LogSlice {
            segment: current.segment.clone(),
            range,
        });
        true
    }

    /// Bytes gathered.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The views, in the order in which records were added.
    pub fn finish(self) -> Vec<LogSlice> {
        self.slices
    }
}
