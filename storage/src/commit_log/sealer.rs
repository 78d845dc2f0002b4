//! Seals for what is appended, chunk by chunk: see [`Seal`].

use std::ops::Range;

use castmq_protocol::record::{BLANK_BYTES, Step, step};

use crate::disk::SegmentWriter;
use crate::disk::ring::Seal;

/// A record, or the filler at the end of a segment, as seals see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SealedPart {
    /// Its length.
    pub(super) bytes: usize,
    /// What of it is a body, which has a check sum of its own, or means nothing.
    pub(super) body: Range<usize>,
}

/// What is sealed of the log's end.
#[derive(Debug, Default)]
pub(super) struct Sealer {
    chunk_bytes: u64,
    /// The chunk in which the last record began or ended, and its seal; `None` where nothing is sealed until the next chunk.
    open: Option<(u64, Seal)>,
    /// Those before it that were not given to the writer yet.
    closed: Vec<(u64, Seal)>,
}

impl Sealer {
    /// Goes on where the log ends: `written` lies in front of it, from the start of its segment at `base` on.
    pub(super) fn resume(
        chunk_bytes: u64,
        base: u64,
        written: &[u8],
        writer: &mut dyn SegmentWriter,
    ) -> Self {
        let mut sealer = Self {
            chunk_bytes,
            ..Self::default()
        };
        let end = written.len() as u64;
        if chunk_bytes == 0 || end.is_multiple_of(chunk_bytes) {
            return sealer;
        }
        let start = end - end % chunk_bytes;
        let chunk = base + start;
        let Some(last) = writer.sealed(chunk) else {
            return sealer;
        };
        // An earlier writer may have sealed what it never published.
        if let Some(seal) = seal_of(&written[start as usize..], chunk, last.begin) {
            writer.seal(chunk, &seal);
            sealer.open = Some((chunk, seal));
        }
        sealer
    }

    /// Takes in a record that lies at `at`, in a segment that begins at `base`.
    #[inline]
    pub(super) fn add(&mut self, base: u64, at: u64, record: &[u8], body: Range<usize>) {
        if self.chunk_bytes == 0 {
            return;
        }
        let end = at + record.len() as u64;
        let chunk = at - (at - base) % self.chunk_bytes;
        if at == chunk && self.open.is_none_or(|(open, _)| open != chunk) {
            self.begin(chunk, Seal::of_end(&[], at));
        }
        match &mut self.open {
            Some((open, seal)) if *open == chunk && seal.end == at => {
                seal.add(&record[..body.start], &record[body.end..], end - at);
            }
            // Its beginning is not sealed.
            open => *open = None,
        }
        let mut next = chunk + self.chunk_bytes;
        while next <= end {
            let rest = &record[(next - at) as usize..];
            let of_chunk = rest.len().min(self.chunk_bytes as usize);
            let begin = next + of_chunk as u64;
            self.begin(next, Seal::of_end(&rest[..of_chunk], begin));
            next += self.chunk_bytes;
        }
    }

    fn begin(&mut self, chunk: u64, seal: Seal) {
        self.closed.extend(self.open.replace((chunk, seal)));
    }

    /// Gives the writer what has changed, before it publishes what that proves.
    #[inline]
    pub(super) fn seal(&mut self, writer: &mut dyn SegmentWriter) {
        for (chunk, seal) in self.closed.drain(..).chain(self.open) {
            writer.seal(chunk, &seal);
        }
    }
}

/// The seal of a chunk at `chunk` of which `written` is written, and whose first record begins at `begin`.
///
/// `None` when that are not whole records.
pub(super) fn seal_of(written: &[u8], chunk: u64, begin: u64) -> Option<Seal> {
    let first = usize::try_from(begin.checked_sub(chunk)?).ok()?;
    let mut seal = Seal::of_end(written.get(..first)?, begin);
    let mut rest = &written[first..];
    while !rest.is_empty() {
        let (bytes, body) = match step(rest).ok()? {
            Step::Record(record) => (record.total_bytes(), record.body_range()),
            Step::Blank => (rest.len(), BLANK_BYTES..rest.len()),
            Step::Unwritten => return None,
        };
        seal.add(&rest[..body.start], &rest[body.end..bytes], bytes as u64);
        rest = &rest[bytes..];
    }
    Some(seal)
}
