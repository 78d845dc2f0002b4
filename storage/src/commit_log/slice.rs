//! Views of the log that keep their segment alive.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use super::SharedSegment;

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
