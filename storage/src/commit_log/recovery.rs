//! Finding the end of a log.
//!
//! Records are walked from a place below which everything is known to be durable and dispatched. The walk ends at the
//! first place that holds no valid record. What that place means depends on what lies around it:
//!
//! - Nothing valid follows, and nothing below was missing: the end of the log, torn or not.
//! - It lies below the durable watermark: bytes that were safe are damaged. The log is refused with a [`Damage`]
//!   report; only `castmq store repair --yes` cuts it, and keeps what it cuts.
//! - It lies above the watermark, but valid records follow: pages of an unsynced tail reached the disk out of order.
//!   The tail is cut, as its policy allows, and what is cut is kept aside and named in the report.
//! - It lies above the watermark, and the records before are the first of a send that its producer numbered, without the
//!   last: nobody was told that they are stored, and the producer sends them again. They are cut like such a tail.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use castmq_protocol::model::{PhysicalOffset, TopicName};
use castmq_protocol::record::{BLANK_BYTES, RecordError, RecordView, Step, step};

use super::{CommitLog, LogError, LoggedSegment, SharedSegment, segment_file_name};
use crate::disk::{Disk, Segment};
use crate::sequences::parts::{Parts, lacks_number};

mod cut;
pub mod inspect;

pub use self::cut::{Cut, cut};

/// The least size of a segment: room for the longest record of RocketMQ's smallest settings.
pub const MIN_SEGMENT_BYTES: u64 = 4096;

/// How far ahead of the walk bytes are brought into memory, once it has gone a step: it waits for the disk otherwise, and for each
/// page to be mapped.
const READ_AHEAD_BYTES: u64 = 16 * 1024 * 1024;
/// What is brought at once.
const READ_AHEAD_STEP: usize = 2 * 1024 * 1024;
/// Steps that wait for the thread that brings them.
const READ_AHEAD_STEPS: usize = READ_AHEAD_BYTES as usize / READ_AHEAD_STEP;

/// What is known before the walk.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Everything below is durable; damage there is refused. `None` when nobody kept note.
    pub durable: Option<PhysicalOffset>,
    /// Where the walk begins.
    pub start: Start,
    /// Whether bodies are compared with their check sums, below what is durable.
    pub verify_bodies: bool,
    /// Whether the power was cut since the log was last sound, so that parts of records that were not durable may be
    /// missing.
    pub may_be_torn: bool,
    /// Whether the last stop was clean: then nothing is searched behind the end.
    pub clean: bool,
    /// Cut the log at damage even where it was durable.
    pub repair: bool,
}

/// Where the walk begins.
#[derive(Debug, Clone, Copy)]
pub enum Start {
    /// At a record's start, or the log's end.
    At(PhysicalOffset),
    /// At the newest segment whose first record was stored at this time or earlier (milliseconds since the epoch), as
    /// RocketMQ does.
    StoredBefore(i64),
    /// At the log's first byte.
    Beginning,
}

/// Durable bytes that are not valid records any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The damaged file.
    pub path: PathBuf,
    /// Where in the file, in bytes.
    pub position: u64,
    /// Where in the log.
    pub offset: PhysicalOffset,
    /// What is wrong with it.
    pub reason: String,
    /// Where valid records go on, when they do.
    pub next_valid: Option<PhysicalOffset>,
    /// How far the log was known to be durable.
    pub durable: Option<PhysicalOffset>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the commit log is damaged at {} of {} (log position {}): {}",
            self.position,
            self.path.display(),
            self.offset,
            self.reason
        )?;
        if let Some(next) = self.next_valid {
            write!(f, "; valid records go on at log position {next}")?;
        }
        if let Some(durable) = self.durable {
            write!(f, "; the log was durable up to {durable}")?;
        }
        write!(
            f,
            "; nothing was changed: restore the file from a backup or a replica, look with `castmq store check`, or cut \
             the log here with `castmq store repair --yes`, which keeps what it cuts"
        )
    }
}

impl std::error::Error for Damage {}

/// How a log was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Where the walk began.
    pub start: PhysicalOffset,
    /// Behind the last valid record.
    pub end: PhysicalOffset,
    /// Records walked.
    pub records: u64,
    /// The last record's store timestamp, in milliseconds since the epoch; 0 when none was walked.
    pub last_store_timestamp_ms: i64,
    /// Where an unsynced tail with valid records in it was kept, when one was cut.
    pub cut: Option<Cut>,
}

/// Opens the segments of a folder and finds the log's end.
pub fn open(
    disk: Arc<dyn Disk>,
    directory: &Path,
    segment_bytes: u64,
    known: Known,
) -> Result<(Arc<CommitLog>, Recovered), LogError> {
    if segment_bytes < MIN_SEGMENT_BYTES {
        return Err(LogError::SegmentTooSmall {
            segment_bytes,
            minimum: MIN_SEGMENT_BYTES,
        });
    }
    let segments = open_segments(&*disk, directory, segment_bytes)?;
    let mut walk = Walk {
        disk: &*disk,
        directory,
        segment_bytes,
        segments,
    };
    let start = walk.start(known.start);
    let mut recovered = walk.find_end(start, &known);
    let end = recovered.end;
    let tail = if known.clean && !recovered.is_damaged() {
        None
    } else {
        walk.valid_record_after(end)?
    };
    let is_damaged = known.durable.is_some_and(|durable| end < durable);
    // Without a note, and without one record at the front, nothing says that this is a log at all.
    let is_foreign = known.durable.is_none() && end == walk.begin() && recovered.is_damaged();
    let is_doubtful = is_foreign || (tail.is_some() && known.durable.is_none());
    if (is_damaged || is_doubtful) && !known.repair {
        return Err(Box::new(walk.damage(&recovered, tail, known.durable)).into());
    }
    let cut = match tail {
        Some(_) => Some(walk.keep_tail(end, recovered.reason())?),
        None if is_damaged || is_foreign => Some(walk.keep_tail(end, recovered.reason())?),
        None => None,
    };
    walk.truncate(end)?;
    recovered.report.cut = cut;
    // What was only found, and not known to be durable, may still be in memory alone: the first sync takes it along.
    // The note of what is durable may be older than the first segment.
    let flushed = known.durable.unwrap_or_default().max(walk.begin()).min(end);
    let segments = walk.segments.into_iter().map(Found::share).collect();
    let log = CommitLog::new(
        disk,
        directory.to_owned(),
        segment_bytes,
        segments,
        end,
        flushed,
    );
    if log.segments.read().is_empty() || log.locate(end).is_none() {
        log.add_segment()?;
    }
    Ok((Arc::new(log), recovered.report))
}

/// A segment that nobody shares yet.
struct Found {
    base: PhysicalOffset,
    segment: Box<dyn Segment>,
}

impl Found {
    fn share(self) -> LoggedSegment {
        LoggedSegment {
            base: self.base,
            segment: SharedSegment::from(self.segment),
        }
    }

    /// All bytes from `within` on.
    fn rest(&self, within: usize) -> &[u8] {
        self.segment
            .read(within..self.segment.capacity())
            .unwrap_or_default()
    }
}

fn open_segments(
    disk: &dyn Disk,
    directory: &Path,
    segment_bytes: u64,
) -> Result<Vec<Found>, LogError> {
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| LogError::Io {
            action,
            path,
            source,
        }
    };
    disk.create_directory_durably(directory)
        .map_err(io("create", directory))?;
    // A process that ended between making a segment and syncing its name left one that a power cut could still take.
    disk.sync_directory(directory)
        .map_err(io("sync the folder", directory))?;
    let entries = disk.list(directory).map_err(io("list", directory))?;
    let count = entries.len();
    let mut segments: Vec<Found> = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let path = directory.join(&entry.name);
        let base = match entry.name.parse::<u64>() {
            Ok(base) if entry.name.len() == 20 && !entry.is_directory => base,
            _ => return Err(LogError::Foreign { path }),
        };
        if entry.bytes == 0 && index + 1 == count {
            disk.remove(&path).map_err(io("remove", &path))?;
            continue;
        }
        if entry.bytes != segment_bytes || base % segment_bytes != 0 {
            return Err(LogError::SegmentSize {
                path,
                actual: entry.bytes,
                expected: segment_bytes,
            });
        }
        if let Some(before) = segments.last() {
            let expected = before.base + segment_bytes;
            if base != expected.0 {
                return Err(LogError::Gap {
                    path: directory.join(segment_file_name(expected.0)),
                });
            }
        }
        let segment = disk.open_segment(&path).map_err(io("map", &path))?;
        segments.push(Found {
            base: PhysicalOffset(base),
            segment,
        });
    }
    Ok(segments)
}

struct Walk<'a> {
    disk: &'a dyn Disk,
    directory: &'a Path,
    segment_bytes: u64,
    segments: Vec<Found>,
}

/// Has another thread bring into memory what the walk comes to.
struct ReadAhead<'a> {
    walk: &'a Walk<'a>,
    steps: SyncSender<(&'a Found, Range<usize>)>,
    next: PhysicalOffset,
}

impl ReadAhead<'_> {
    /// Asks for what lies up to a distance from where the walk is, as far as the other thread takes it.
    #[inline]
    fn ask(&mut self, at: PhysicalOffset) {
        while self.next + READ_AHEAD_STEP as u64 <= at + READ_AHEAD_BYTES
            && let Some((found, within)) = self.walk.at(self.next)
        {
            let to = (within + READ_AHEAD_STEP).min(found.segment.capacity());
            if self.steps.try_send((found, within..to)).is_err() {
                return;
            }
            self.next = found.base + to as u64;
        }
    }
}

/// How the walk ended.
struct WalkEnd {
    report: Recovered,
    end: PhysicalOffset,
    error: Option<RecordError>,
    /// Whether the records behind the end are sound, and a part of a send.
    is_part: bool,
}

impl WalkEnd {
    fn is_damaged(&self) -> bool {
        self.error.is_some()
    }

    fn reason(&self) -> String {
        if self.is_part {
            return "the first messages of a batch without the last".to_owned();
        }
        self.error.map_or_else(
            || "zeros where a record should be".to_owned(),
            |error| error.to_string(),
        )
    }
}

impl Walk<'_> {
    /// Behind the last byte that is not zero.
    fn data_end(&self) -> Result<PhysicalOffset, LogError> {
        for found in self.segments.iter().rev() {
            let end = found.segment.data_end().map_err(|source| LogError::Io {
                action: "find the data in",
                path: self.path(found.base),
                source,
            })?;
            // Space that was made ready counts as data and holds zeros.
            let bytes = found.segment.read(0..end).unwrap_or_default();
            if let Some(end) = end_of_data(bytes) {
                return Ok(found.base + end as u64);
            }
        }
        Ok(self.begin())
    }

    fn begin(&self) -> PhysicalOffset {
        self.segments
            .first()
            .map_or(PhysicalOffset::ZERO, |s| s.base)
    }

    fn log_end(&self) -> PhysicalOffset {
        self.segments
            .last()
            .map_or(PhysicalOffset::ZERO, |s| s.base + self.segment_bytes)
    }

    fn at(&self, offset: PhysicalOffset) -> Option<(&Found, usize)> {
        let distance = offset.0.checked_sub(self.begin().0)?;
        let index = usize::try_from(distance / self.segment_bytes).ok()?;
        let within = usize::try_from(distance % self.segment_bytes).ok()?;
        Some((self.segments.get(index)?, within))
    }

    fn start(&self, start: Start) -> PhysicalOffset {
        match start {
            Start::Beginning => self.begin(),
            // A place outside the log was noted for another one: everything has to be walked.
            Start::At(offset) if offset < self.begin() || offset > self.log_end() => self.begin(),
            Start::At(offset) => offset,
            Start::StoredBefore(timestamp_ms) => {
                let stored_before = |found: &&Found| {
                    matches!(step(found.rest(0)), Ok(Step::Record(record))
                        if (1..=timestamp_ms).contains(&record.store_timestamp_ms()))
                };
                let newest = self.segments.iter().rev().find(stored_before);
                newest.map_or_else(|| self.begin(), |found| found.base)
            }
        }
    }

    fn find_end(&self, start: PhysicalOffset, known: &Known) -> WalkEnd {
        thread::scope(|scope| {
            let (ahead, steps) = mpsc::sync_channel::<(&Found, Range<usize>)>(READ_AHEAD_STEPS);
            scope.spawn(move || {
                for (found, range) in steps {
                    // What cannot be read is found by the walk.
                    let _ = found.segment.load(range);
                }
            });
            let ahead = ReadAhead {
                walk: self,
                steps: ahead,
                next: start + READ_AHEAD_BYTES,
            };
            self.walk(start, known, ahead)
        })
    }

    fn walk(&self, start: PhysicalOffset, known: &Known, mut ahead: ReadAhead<'_>) -> WalkEnd {
        let durable = known.durable.unwrap_or(PhysicalOffset(u64::MAX));
        let mut at = start;
        let mut records = 0;
        let mut last_store_timestamp_ms = 0;
        let mut parts = Parts::default();
        // As it was before the first record of the last numbered send.
        let mut before_send = (0, 0);
        let error = loop {
            ahead.ask(at);
            let Some((found, within)) = self.at(at) else {
                break None;
            };
            let is_unsure = known.may_be_torn && at >= durable;
            match valid_step(found.rest(within), at, known.verify_bodies || is_unsure) {
                Ok(Step::Record(record))
                    if (is_unsure && is_torn(&record, within))
                        || (at >= durable
                            && (lacks_number(&record) || self.is_cut_short(&record, at))) =>
                {
                    break Some(RecordError::Field {
                        field: "topic or properties",
                    });
                }
                Ok(Step::Record(record)) => {
                    parts.pass(at, &record);
                    if parts.unfinished(at + record.total_bytes() as u64) == Some(at) {
                        before_send = (records, last_store_timestamp_ms);
                    }
                    records += 1;
                    last_store_timestamp_ms = record.store_timestamp_ms();
                    at = at + record.total_bytes() as u64;
                }
                Ok(Step::Blank) => at = found.base + self.segment_bytes,
                Ok(Step::Unwritten) => break None,
                Err(error) => break Some(error),
            }
        };
        let part = parts.unfinished(at).filter(|begin| *begin >= durable);
        if let Some(begin) = part {
            at = begin;
            (records, last_store_timestamp_ms) = before_send;
        }
        WalkEnd {
            report: Recovered {
                start,
                end: at,
                records,
                last_store_timestamp_ms,
                cut: None,
            },
            end: at,
            error,
            is_part: part.is_some(),
        }
    }

    /// Whether the log may end inside this record's properties, which have no check sum: a process that was killed while it wrote
    /// them, or a slave that had no more of them, leaves zeros. Properties that end so are not taken from producers.
    fn is_cut_short(&self, record: &RecordView<'_>, at: PhysicalOffset) -> bool {
        let end = at + record.total_bytes() as u64;
        record.properties().last() == Some(&0)
            && self.at(end).is_none_or(|(found, within)| {
                !matches!(step(found.rest(within)), Ok(Step::Record(_) | Step::Blank))
            })
    }

    /// The first valid record behind `end` that is not where the walk would look: it says itself where it lies, and
    /// its body has its check sum, so nothing else is taken for one.
    fn valid_record_after(&self, end: PhysicalOffset) -> Result<Option<PhysicalOffset>, LogError> {
        for found in &self.segments {
            if found.base + self.segment_bytes <= end {
                continue;
            }
            let from = usize::try_from(end.distance_from(found.base)).unwrap_or(usize::MAX);
            let data_end = found.segment.data_end().map_err(|source| LogError::Io {
                action: "find the data in",
                path: self.path(found.base),
                source,
            })?;
            if let Some(within) = find_record(found, from, data_end) {
                return Ok(Some(found.base + within as u64));
            }
        }
        Ok(None)
    }

    fn path(&self, base: PhysicalOffset) -> PathBuf {
        self.directory.join(segment_file_name(base.0))
    }

    fn damage(
        &self,
        walked: &WalkEnd,
        next_valid: Option<PhysicalOffset>,
        durable: Option<PhysicalOffset>,
    ) -> Damage {
        let (base, position) = self
            .at(walked.end)
            .map_or((self.log_end(), 0), |(found, within)| {
                (found.base, within as u64)
            });
        Damage {
            path: self.path(base),
            position,
            offset: walked.end,
            reason: walked.reason(),
            next_valid,
            durable,
        }
    }
}

fn valid_step(
    rest: &[u8],
    at: PhysicalOffset,
    verify_bodies: bool,
) -> Result<Step<'_>, RecordError> {
    let found = step(rest)?;
    if let Step::Record(record) = &found {
        record.verify_place(at)?;
        record.queue()?;
        record.queue_offset()?;
        record.topic()?;
        if record.total_bytes() + BLANK_BYTES > rest.len() {
            return Err(RecordError::Length {
                length: record.total_bytes() as i64,
                available: rest.len().saturating_sub(BLANK_BYTES),
            });
        }
        if verify_bodies {
            record.verify_body()?;
        }
    }
    Ok(found)
}

/// Whether a power cut can have taken a part of a record that has no check sum, given where in its segment it begins.
///
/// Bytes that never reached the device read as zeros, whole sectors of them. Lengths and body are checked otherwise:
/// this leaves topic and properties.
fn is_torn(record: &RecordView<'_>, within: usize) -> bool {
    const SECTOR_BYTES: usize = 512;
    let is_topic = record
        .topic()
        .is_ok_and(|topic| TopicName::new(topic).is_ok());
    let properties = record.properties();
    let begin = within + record.total_bytes() - properties.len();
    let (first, rest) = properties
        .split_at_checked(SECTOR_BYTES - begin % SECTOR_BYTES)
        .unwrap_or((properties, &[]));
    let is_lost = |sector: &[u8]| !sector.is_empty() && sector.iter().all(|byte| *byte == 0);
    !is_topic || is_lost(first) || rest.chunks(SECTOR_BYTES).any(is_lost)
}

/// Looks at every byte of `from..data_end` for the start of a record that says it lies right there.
fn find_record(found: &Found, from: usize, data_end: usize) -> Option<usize> {
    // The first three bytes of both magic numbers; the record begins 4 bytes before.
    const MAGIC: [u8; 3] = [0xDA, 0xA3, 0x20];
    const MAGIC_AT: usize = 4;
    let bytes = found.segment.read(0..data_end)?;
    let mut at = from;
    while let Some(hit) = memchr::memmem::find(bytes.get(at..)?, &MAGIC) {
        let magic_at = at + hit;
        if let Some(start) = magic_at.checked_sub(MAGIC_AT)
            && start >= from
            && let Ok(record) = RecordView::parse(found.rest(start))
            && record
                .verify_place(found.base + start as u64)
                .and_then(|()| record.verify_body())
                .is_ok()
        {
            return Some(start);
        }
        at = magic_at + 1;
    }
    None
}

/// Behind the last byte that is not zero.
fn end_of_data(bytes: &[u8]) -> Option<usize> {
    const PAGE: [u8; 4096] = [0; 4096];
    let (pages, rest) = bytes.as_chunks();
    let within = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0);
    if let Some(last) = within(rest) {
        return Some(bytes.len() - rest.len() + last + 1);
    }
    let page = pages.iter().rposition(|page| *page != PAGE)?;
    let last = within(pages.get(page)?)?;
    Some(page * PAGE.len() + last + 1)
}
