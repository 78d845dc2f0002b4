//! The one that appends.

use std::collections::VecDeque;
use std::sync::Arc;

use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::record::{BLANK_BYTES, Record, encode_blank};

use super::notes::NoteTaker;
use super::sealer::{SealedPart, Sealer};
use super::{AppendError, CommitLog, LoggedSegment};
use crate::disk::SegmentWriter;

/// So far behind a record the next bytes are fetched: memory that lies ready was in no cache for long.
const FETCH_AHEAD_BYTES: usize = 1024;

/// So many records later one is sealed: reading what was just written waits until the processor has stored it.
const SEALED_LATER: usize = 4;

/// Appends records. What it has written becomes visible with [`LogWriter::publish`], all at once.
pub struct LogWriter {
    log: Arc<CommitLog>,
    current: LoggedSegment,
    writer: Box<dyn SegmentWriter>,
    /// Bytes written behind the published ones.
    pending: usize,
    /// Those of them that are sealed.
    sealed: usize,
    /// What comes behind them.
    unsealed: VecDeque<SealedPart>,
    sealer: Sealer,
    notes: NoteTaker,
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogWriter")
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

impl LogWriter {
    /// Takes up writing at the end of the log. Clears what an earlier writer left behind unpublished, so that it can
    /// never be taken for records.
    pub fn resume(log: Arc<CommitLog>) -> Result<Self, AppendError> {
        let (current, _) = log
            .locate(log.appended())
            .ok_or(AppendError::SegmentNotReady)?;
        let mut writer = current
            .segment
            .clone()
            .writer()
            .ok_or(AppendError::WriterTaken)?;
        let dirty = log.touched().distance_from(log.appended());
        let leftover = writer.unpublished();
        let bytes = leftover
            .len()
            .min(usize::try_from(dirty).unwrap_or(usize::MAX));
        leftover[..bytes].fill(0);
        let segment = &current.segment;
        let written = segment.read(0..segment.published()).unwrap_or_default();
        let sealer = Sealer::resume(segment.chunk_bytes(), current.base.0, written, &mut *writer);
        Ok(Self {
            sealer,
            notes: NoteTaker::new(log.notes.clone()),
            log,
            current,
            writer,
            pending: 0,
            sealed: 0,
            unsealed: VecDeque::new(),
        })
    }

    /// Where the next record begins, as far as this segment goes.
    pub fn position(&self) -> PhysicalOffset {
        self.current.base + (self.current.segment.published() + self.pending) as u64
    }

    /// Makes room for `bytes` bytes in one segment, ending the current one when they do not fit it, and returns where
    /// the first of them will lie.
    pub fn reserve(&mut self, bytes: usize) -> Result<PhysicalOffset, AppendError> {
        if let Some(reason) = self.log.failure() {
            return Err(AppendError::Failed { reason });
        }
        if bytes + BLANK_BYTES > self.free() {
            self.roll(bytes)?;
        }
        let position = self.position();
        if bytes > self.open() {
            self.log.need(position + bytes as u64);
            return Err(AppendError::SegmentNotReady);
        }
        self.log.set_touched(position + bytes as u64);
        Ok(position)
    }

    /// Ends the current segment and goes on in the next.
    fn roll(&mut self, bytes: usize) -> Result<(), AppendError> {
        let limit = self.log.max_record_bytes();
        if bytes as u64 > limit {
            return Err(AppendError::TooLong {
                bytes: bytes as u64,
                limit,
            });
        }
        let (next, writer) = self.find_next()?;
        if self.open() < self.free() {
            self.log.need(next.base);
            return Err(AppendError::SegmentNotReady);
        }
        self.publish();
        let rest = self.writer.unpublished();
        let bytes = rest.len();
        encode_blank(rest);
        let (base, at) = (self.current.base.0, self.log.appended().0);
        self.sealer.add(base, at, rest, BLANK_BYTES..bytes);
        self.sealer.seal(&mut *self.writer);
        self.writer.publish(bytes);
        self.log.set_appended(next.base);
        self.current = next;
        self.writer = writer;
        Ok(())
    }

    /// The next segment and the right to write it.
    fn find_next(&self) -> Result<(LoggedSegment, Box<dyn SegmentWriter>), AppendError> {
        let next_base = self.current.base + self.log.segment_bytes();
        let (next, _) = self
            .log
            .locate(next_base)
            .ok_or(AppendError::SegmentNotReady)?;
        let writer = next
            .segment
            .clone()
            .writer()
            .ok_or(AppendError::WriterTaken)?;
        Ok((next, writer))
    }

    /// Goes on in the next segment, the current one being full.
    pub(super) fn enter_next(&mut self) -> Result<(), AppendError> {
        (self.current, self.writer) = self.find_next()?;
        Ok(())
    }

    /// Bytes of the current segment that nothing was written to.
    pub(super) fn free(&self) -> usize {
        self.current.segment.capacity() - self.current.segment.published() - self.pending
    }

    /// How many of them can be written already.
    pub(super) fn open(&self) -> usize {
        self.current.segment.writable() - self.current.segment.published() - self.pending
    }

    /// Says that more of them are needed: these, or as many as there are.
    pub(super) fn need_open(&self, bytes: usize) {
        self.log
            .need(self.position() + bytes.min(self.free()) as u64);
    }

    /// Writes bytes for which there is room.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.log.set_touched(self.position() + bytes.len() as u64);
        let room = self.writer.unpublished();
        room[self.pending..self.pending + bytes.len()].copy_from_slice(bytes);
        self.pending += bytes.len();
    }

    /// What was written and readers cannot see.
    pub(super) fn unpublished(&mut self) -> &[u8] {
        &self.writer.unpublished()[..self.pending]
    }

    /// Clears it away.
    pub(super) fn drop_unpublished(&mut self) {
        let bytes = std::mem::take(&mut self.pending);
        self.notes.forget();
        self.writer.unpublished()[..bytes].fill(0);
    }

    /// Has the records that lie there sealed before they are published.
    pub(super) fn will_seal(&mut self, records: Vec<SealedPart>) {
        self.unsealed.extend(records);
    }

    /// Seals all but the last `kept` records.
    #[inline]
    fn seal_to(&mut self, kept: usize) {
        let base = self.current.base.0;
        while self.unsealed.len() > kept
            && let Some(part) = self.unsealed.pop_front()
        {
            let at = self.log.appended().0 + self.sealed as u64;
            let end = self.sealed + part.bytes;
            let record = &self.writer.unpublished()[self.sealed..end];
            self.sealer.add(base, at, record, part.body);
            self.sealed = end;
        }
    }

    /// How much that is.
    pub(super) fn unpublished_bytes(&self) -> usize {
        self.pending
    }

    /// Lets readers see the first `bytes` bytes of it, the records to be sealed.
    pub(super) fn publish_some(&mut self, bytes: usize) {
        self.seal_to(0);
        debug_assert_eq!(self.sealed, bytes, "what is published is what is sealed");
        self.sealed = 0;
        self.sealer.seal(&mut *self.writer);
        self.writer.publish(bytes);
        self.pending -= bytes;
        let published = self.current.base + self.current.segment.published() as u64;
        if published > self.log.appended() {
            self.log.set_appended(published);
        }
        self.notes.publish();
    }

    /// Writes a record behind the last one. [`LogWriter::reserve`] must have made room for it and told its place.
    /// Returns its size in bytes.
    pub fn append(&mut self, record: &Record<'_>) -> usize {
        debug_assert_eq!(record.physical_offset, self.position());
        let room = self.writer.unpublished();
        let room = &mut room[self.pending..];
        let bytes = record.encode(room);
        self.pending += bytes;
        self.notes.note(record, bytes);
        let body = record.body_range();
        self.unsealed.push_back(SealedPart { bytes, body });
        self.seal_to(SEALED_LATER);
        let ahead = self.pending + FETCH_AHEAD_BYTES;
        self.writer.fetch(ahead..ahead + bytes);
        bytes
    }

    /// Lets readers see what was appended, and returns the end of the log.
    pub fn publish(&mut self) -> PhysicalOffset {
        self.publish_some(self.pending);
        self.position()
    }

    /// The log.
    pub fn log(&self) -> &Arc<CommitLog> {
        &self.log
    }
}
