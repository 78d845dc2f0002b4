//! The commit log: one sequence of records, cut into segments of one size.
//!
//! - [`CommitLog`] is what everybody shares: the segments, how far they are written and flushed, views of records.
//! - [`LogWriter`] appends; there is one.
//! - `copy`: the writer of a slave takes bytes of its master's log.
//! - [`recovery`] finds the end of a log after a stop, clean or not.
//!
//! A segment's file has RocketMQ's name (its first offset in 20 digits) and layout; a record never spans two segments,
//! and every segment keeps 8 bytes free for the filler that ends it.

mod copy;
mod error;
mod notes;
pub mod recovery;
pub mod restore;
mod sealer;
mod slice;
pub mod spares;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::record::RecordView;
use parking_lot::{Mutex, RwLock};

pub use copy::CopyError;
pub use error::{AppendError, LogError};
#[cfg(test)]
pub(crate) use notes::MOST_NOTES;
pub(crate) use notes::{Note, NotedTopic, Notes};
pub use slice::{Gather, LogSlice};
pub use writer::LogWriter;

use self::spares::Spares;
use crate::disk::ring::{Ring, RingUse};
use crate::disk::{Disk, Grain, Segment};

/// So much is open ahead of the writer in any case, in the ring or not.
const LEAST_OPEN_BYTES: u64 = 4 * 1024 * 1024;

/// A shared segment.
pub type SharedSegment = Arc<dyn Segment>;

/// The commit log, shared by its writer, its flusher and its readers.
#[derive(Debug)]
pub struct CommitLog {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    segment_bytes: u64,
    /// In order, without gaps. The last ones may be empty.
    segments: RwLock<Vec<LoggedSegment>>,
    /// Removed from the log, but still read by somebody.
    retired: Mutex<Vec<LoggedSegment>>,
    appended: AtomicU64,
    /// Behind the last byte that the writer may have changed: at or beyond `appended`.
    touched: AtomicU64,
    flushed: AtomicU64,
    /// How much a sync took on average, of late.
    sync_bytes: AtomicU64,
    /// How far the writer needs the log open.
    needed: AtomicU64,
    ring: OnceLock<Arc<Ring>>,
    spares: OnceLock<Spares>,
    notes: Arc<Notes>,
    failure: Mutex<Option<String>>,
    failed: AtomicBool,
}

/// A segment and its place.
#[derive(Debug, Clone)]
pub struct LoggedSegment {
    /// The position of its first byte.
    pub base: PhysicalOffset,
    /// Its bytes.
    pub segment: SharedSegment,
}

/// What retention needs to know of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The position of its first byte.
    pub base: PhysicalOffset,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was last written.
    pub modified: SystemTime,
}

/// RocketMQ's name for a file that begins at `offset`.
pub fn segment_file_name(offset: u64) -> String {
    format!("{offset:020}")
}

impl CommitLog {
    fn new(
        disk: Arc<dyn Disk>,
        directory: PathBuf,
        segment_bytes: u64,
        segments: Vec<LoggedSegment>,
        end: PhysicalOffset,
        flushed: PhysicalOffset,
    ) -> Self {
        Self {
            disk,
            directory,
            segment_bytes,
            segments: RwLock::new(segments),
            retired: Mutex::default(),
            appended: AtomicU64::new(end.0),
            touched: AtomicU64::new(end.0),
            flushed: AtomicU64::new(flushed.0),
            sync_bytes: AtomicU64::new(0),
            needed: AtomicU64::new(0),
            ring: OnceLock::new(),
            spares: OnceLock::new(),
            notes: Arc::default(),
            failure: Mutex::default(),
            failed: AtomicBool::new(false),
        }
    }

    /// Size of every segment in bytes.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// The folder of the segments.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Longest record that fits a segment, in bytes.
    pub fn max_record_bytes(&self) -> u64 {
        self.segment_bytes - castmq_protocol::record::BLANK_BYTES as u64
    }

    /// The first byte there is.
    pub fn begin(&self) -> PhysicalOffset {
        let segments = self.segments.read();
        segments
            .first()
            .map_or_else(|| self.appended(), |first| first.base)
    }

    /// Behind the last byte that was appended.
    pub fn appended(&self) -> PhysicalOffset {
        PhysicalOffset(self.appended.load(Ordering::Acquire))
    }

    /// Behind the last byte that is durable.
    pub fn flushed(&self) -> PhysicalOffset {
        PhysicalOffset(self.flushed.load(Ordering::Acquire))
    }

    /// What is noted of published records.
    pub(crate) fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Why the log takes no more records; `None` while it does.
    pub fn failure(&self) -> Option<String> {
        if !self.failed.load(Ordering::Acquire) {
            return None;
        }
        self.failure.lock().clone()
    }

    fn poison(&self, reason: String) {
        tracing::error!(reason, "the commit log takes no more writes");
        self.failure.lock().get_or_insert(reason);
        self.failed.store(true, Ordering::Release);
    }

    fn set_appended(&self, end: PhysicalOffset) {
        debug_assert!(end >= self.appended(), "the log only grows");
        self.appended.store(end.0, Ordering::Release);
    }

    fn touched(&self) -> PhysicalOffset {
        PhysicalOffset(self.touched.load(Ordering::Relaxed))
    }

    fn set_touched(&self, end: PhysicalOffset) {
        self.touched.store(end.0, Ordering::Relaxed);
    }

    /// The segment that holds a position, and the position inside it.
    pub fn locate(&self, offset: PhysicalOffset) -> Option<(LoggedSegment, usize)> {
        let segments = self.segments.read();
        let first = segments.first()?.base;
        let index = usize::try_from(offset.0.checked_sub(first.0)? / self.segment_bytes).ok()?;
        let logged = segments.get(index)?.clone();
        let within = usize::try_from(offset.0 - logged.base.0).ok()?;
        Some((logged, within))
    }

    /// A view of `bytes` bytes from `offset` on; `None` when they are not all in one segment, or not there (any more).
    pub fn slice(&self, offset: PhysicalOffset, bytes: usize) -> Option<LogSlice> {
        let (logged, within) = self.locate(offset)?;
        LogSlice::new(logged.segment, within..within.checked_add(bytes)?)
    }

    /// A view of everything appended from `offset` to the end of its segment.
    pub fn rest_of_segment(&self, offset: PhysicalOffset) -> Option<LogSlice> {
        let (logged, within) = self.locate(offset)?;
        let end = logged.segment.published();
        LogSlice::new(logged.segment, within..end)
    }

    /// Whether reading `begin..end` would not wait for the disk. A stretch over several segments is looked at in the first
    /// of them.
    pub fn is_resident(&self, begin: PhysicalOffset, end: PhysicalOffset) -> bool {
        let Some((logged, within)) = self.locate(begin) else {
            return true;
        };
        let to = within + usize::try_from(end.distance_from(begin)).unwrap_or(usize::MAX / 2);
        logged
            .segment
            .is_resident(within..to.min(logged.segment.capacity()))
    }

    /// The record at `offset`, when one begins there.
    pub fn record(&self, offset: PhysicalOffset) -> Option<LogSlice> {
        let rest = self.rest_of_segment(offset)?;
        let bytes = {
            let view = RecordView::parse(rest.as_ref()).ok()?;
            view.verify_place(offset).ok()?;
            view.total_bytes()
        };
        rest.prefix(bytes)
    }

    /// When the message at `offset` was stored, in milliseconds since the epoch.
    pub fn store_timestamp_ms(&self, offset: PhysicalOffset) -> Option<i64> {
        let record = self.record(offset)?;
        let view = RecordView::parse(record.as_ref()).ok()?;
        Some(view.store_timestamp_ms())
    }

    /// Makes everything below `end` durable. Blocks; only one caller at a time.
    ///
    /// A sync that fails poisons the log: what the disk did with the bytes is not known, and asking again would be
    /// answered with a lie.
    pub fn sync(&self, end: PhysicalOffset) -> Result<PhysicalOffset, LogError> {
        // What retention took before it was durable needs to be so no more.
        let mut from = self.flushed().max(self.begin());
        let end = end.min(self.appended());
        if from < end {
            self.note_sync(end.distance_from(from));
        }
        while from < end {
            if let Some(reason) = self.failure() {
                return Err(LogError::Failed { reason });
            }
            let (logged, within) = self
                .locate(from)
                .ok_or(LogError::Missing { offset: from })?;
            let to = (logged.base + self.segment_bytes).min(end);
            let bytes = usize::try_from(to.0 - from.0).unwrap_or(usize::MAX);
            if let Err(source) = logged.segment.sync(within..within + bytes) {
                let path = self.path_of(logged.base);
                self.poison(format!(
                    "syncing {} bytes at {within} of {} failed: {source}",
                    bytes,
                    path.display()
                ));
                return Err(LogError::Io {
                    action: "sync",
                    path,
                    source,
                });
            }
            self.flushed.fetch_max(to.0, Ordering::AcqRel);
            from = to;
        }
        Ok(from)
    }

    fn note_sync(&self, bytes: u64) {
        let before = self.sync_bytes.load(Ordering::Relaxed);
        let average = before - before / 4 + bytes / 4;
        self.sync_bytes.store(average, Ordering::Relaxed);
    }

    /// What suits syncs as they are of late, and the next one.
    fn grain(&self) -> Grain {
        let waits = self.appended().distance_from(self.flushed());
        Grain::for_syncs_of(waits.max(self.sync_bytes.load(Ordering::Relaxed)))
    }

    fn path_of(&self, base: PhysicalOffset) -> PathBuf {
        self.directory.join(segment_file_name(base.0))
    }

    /// Whether there is a segment behind the one that is written.
    pub fn has_next_segment(&self) -> bool {
        let segments = self.segments.read();
        segments
            .last()
            .is_some_and(|last| last.base > self.appended())
    }

    /// Makes the segment behind the last one, with its space reserved. Blocks; only one caller at a time.
    pub fn add_segment(&self) -> Result<LoggedSegment, LogError> {
        let base = self
            .segments
            .read()
            .last()
            .map_or(PhysicalOffset(self.appended().0), |last| {
                last.base + self.segment_bytes
            });
        let path = self.path_of(base);
        let io = |action| {
            let path = path.clone();
            move |source| LogError::Io {
                action,
                path,
                source,
            }
        };
        let reused = self.spares().and_then(|spares| spares.take(&path));
        let segment = match reused {
            Some(segment) => segment,
            None => {
                let made = self.disk.create_segment(&path, self.segment_bytes);
                made.map_err(io("reserve"))?
            }
        };
        // Length first, name second: a file of another length would keep the log from opening.
        let synced = segment.sync(0..1).map_err(io("sync")).and_then(|()| {
            let synced = self.disk.sync_directory(&self.directory);
            synced.map_err(io("sync the folder of"))
        });
        if synced.is_err() {
            // Another try would find it in its way.
            let _ = self.disk.remove(&path);
        }
        synced?;
        let logged = LoggedSegment {
            base,
            segment: Arc::from(segment),
        };
        if let Some(ring) = self.ring.get() {
            logged.segment.join_ring(ring, base.0);
        }
        self.segments.write().push(logged.clone());
        Ok(logged)
    }

    /// From now on the newest bytes lie in a ring until they are in the log's files. Only before there is a writer.
    pub fn use_ring(&self, ring: Arc<Ring>) {
        let segments = self.segments.read();
        for logged in segments.iter() {
            if logged.base + self.segment_bytes > self.appended() {
                logged.segment.join_ring(&ring, logged.base.0);
            }
        }
        let _ = self.ring.set(ring);
    }

    /// From now on files of segments that are removed are kept for new ones.
    pub fn use_spares(&self, spares: Spares) {
        let _ = self.spares.set(spares);
    }

    /// Files that are kept for new segments.
    pub fn spares(&self) -> Option<&Spares> {
        self.spares.get()
    }

    /// Brings what lies in the ring to the log's files, and has no part of the log lie in it any more. Nobody may append.
    pub(crate) fn leave_ring(&self) -> std::io::Result<()> {
        let segments = self.segments.read().clone();
        segments
            .iter()
            .try_for_each(|logged| logged.segment.leave_ring())
    }

    /// How much of the ring is in use; `None` when there is none, and while that changes.
    pub fn ring_use(&self) -> Option<RingUse> {
        self.ring.get()?.usage()
    }

    /// How far ahead of its end the log can be made ready at once.
    pub fn reach(&self) -> u64 {
        self.ring.get().map_or(u64::MAX, |ring| ring.reach())
    }

    /// Brings the pages of `bytes` bytes from `from` on into memory, ready to be written. Blocks. Stops at the end of
    /// what is reserved, or where nothing is free to lie in, and returns how far it came.
    pub fn prepare(&self, from: PhysicalOffset, bytes: u64) -> Result<PhysicalOffset, LogError> {
        let end = from + bytes;
        let needed = self.needed().max(self.appended() + LEAST_OPEN_BYTES);
        let grain = self.grain();
        let mut at = from;
        while at < end {
            let Some((logged, within)) = self.locate(at) else {
                break;
            };
            let within_segment = |place: PhysicalOffset| {
                let place = place.min(logged.base + self.segment_bytes);
                usize::try_from(place.distance_from(logged.base)).unwrap_or(usize::MAX)
            };
            let to = within_segment(end);
            let prepared = logged
                .segment
                .open_to(to, within_segment(needed))
                .and_then(|open| {
                    let to = to.min(open).max(within);
                    logged.segment.prepare(within..to, grain).map(|()| to)
                });
            let prepared = prepared.map_err(|source| LogError::Io {
                action: "prepare",
                path: self.path_of(logged.base),
                source,
            })?;
            at = logged.base + prepared as u64;
            if prepared < to {
                break;
            }
        }
        Ok(at)
    }

    /// Whether the writer can go on as far as it last wanted to.
    pub fn is_open_as_needed(&self) -> bool {
        let needed = self.needed();
        let last = PhysicalOffset(needed.0.saturating_sub(1));
        self.locate(last)
            .is_some_and(|(logged, _)| logged.base + logged.segment.writable() as u64 >= needed)
    }

    /// How far the writer needs the log to be open before it goes on, if it waits for that.
    pub fn needed(&self) -> PhysicalOffset {
        PhysicalOffset(self.needed.load(Ordering::Relaxed))
    }

    /// The writer goes on when the log is open so far.
    fn need(&self, end: PhysicalOffset) {
        self.needed.store(end.0, Ordering::Relaxed);
    }

    /// Brings what lies in the ring to the log's files, in whole chunks, and makes nothing durable. Says whether there was
    /// anything: then there may be more by now. Blocks; while the device syncs, this goes on. Poisons the log when it fails, as a
    /// sync does.
    pub fn write_out(&self) -> Result<bool, LogError> {
        let mut has_written = false;
        let mut at = self.flushed().max(self.begin());
        while let Some((logged, within)) = self.locate(at) {
            let (written, end) = (logged.segment.write_out(), logged.segment.published());
            has_written |= written.map_err(|source| {
                let path = self.path_of(logged.base);
                self.poison(format!("writing to {} failed: {source}", path.display()));
                LogError::Io {
                    action: "write",
                    path,
                    source,
                }
            })?;
            if end < logged.segment.capacity() {
                break;
            }
            at = at + (end - within) as u64;
        }
        Ok(has_written)
    }

    /// Segments that retention may decide about, oldest first; those that nothing was written to are left out.
    pub fn segments(&self) -> Result<Vec<SegmentInfo>, LogError> {
        let entries = self
            .disk
            .list(&self.directory)
            .map_err(|source| LogError::Io {
                action: "list",
                path: self.directory.clone(),
                source,
            })?;
        let segments = self.segments.read();
        let written = segments
            .iter()
            .filter(|logged| logged.segment.published() > 0);
        Ok(written
            .filter_map(|logged| {
                let name = segment_file_name(logged.base.0);
                let entry = entries.iter().find(|entry| entry.name == name)?;
                Some(SegmentInfo {
                    base: logged.base,
                    bytes: self.segment_bytes,
                    modified: entry.modified,
                })
            })
            .collect())
    }

    /// Takes the oldest segment out of the log. Its file goes when its last reader has: see
    /// [`CommitLog::remove_retired`]. Refuses to touch the one that is written, and anything but the oldest.
    pub fn retire(&self, base: PhysicalOffset) -> bool {
        let mut segments = self.segments.write();
        let is_oldest = segments.first().is_some_and(|first| first.base == base);
        if !is_oldest || base + self.segment_bytes > self.appended() {
            return false;
        }
        let retired = segments.remove(0);
        self.retired.lock().push(retired);
        true
    }

    /// Removes the files of retired segments that nobody reads any more, and with `force` those of all. Blocks.
    /// Returns how many segments still wait.
    ///
    /// They go in order, each removal durable before the next: a power cut never leaves a gap.
    pub fn remove_retired(&self, force: bool) -> Result<usize, LogError> {
        let mut retired = self.retired.lock();
        while let Some(oldest) = retired.first() {
            let is_read = Arc::strong_count(&oldest.segment) > 1;
            if !force && is_read {
                break;
            }
            let path = self.path_of(oldest.base);
            // Who still reads it would see it change.
            let is_kept = !is_read && self.spares().is_some_and(|spares| spares.put(&path));
            let removed = match is_kept {
                true => Ok(()),
                false => self.disk.remove(&path),
            };
            removed
                .and_then(|()| self.disk.sync_directory(&self.directory))
                .map_err(|source| LogError::Io {
                    action: "remove",
                    path,
                    source,
                })?;
            retired.remove(0);
        }
        Ok(retired.len())
    }
}
