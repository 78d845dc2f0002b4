//! Looking at a log that nobody uses, without changing it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::record::{RecordView, Step};

use super::{Damage, Found, Known, Start, Walk, valid_step};
use crate::commit_log::{LogError, segment_file_name};
use crate::disk::Disk;

/// The segments of a log, to be read.
pub struct Inspection<'a> {
    walk: Walk<'a>,
}

/// What a start would find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// Where the log would end.
    pub end: PhysicalOffset,
    /// Why the start would be refused, if it would.
    pub refusal: Option<Damage>,
    /// Where whole records go on behind the end, when they do: a start without a refusal cuts them and keeps them aside.
    pub next_valid: Option<PhysicalOffset>,
    /// What lies behind the end and would be cut: from the end to the last byte that is not zero. Empty when nothing does.
    pub behind: Range<PhysicalOffset>,
}

/// What stands somewhere in a log.
#[derive(Debug)]
pub enum Item<'a> {
    /// A whole record.
    Record(PhysicalOffset, RecordView<'a>),
    /// Bytes that are none.
    Damaged(Stretch),
}

/// Bytes that are no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Where they are in the log; the end is where the next record begins, or the log ends.
    pub range: Range<PhysicalOffset>,
    /// The file in which they begin.
    pub path: PathBuf,
    /// Where in that file, in bytes.
    pub position: u64,
    /// What is wrong with them.
    pub reason: String,
}

impl<'a> Inspection<'a> {
    /// Opens the segments of a folder.
    ///
    /// # Errors
    ///
    /// When files are not those of a log with segments of this size, or cannot be read.
    pub fn open(
        disk: &'a dyn Disk,
        directory: &'a Path,
        segment_bytes: u64,
    ) -> Result<Self, LogError> {
        let segments = open_segments(disk, directory, segment_bytes)?;
        Ok(Self {
            walk: Walk {
                disk,
                directory,
                segment_bytes,
                segments,
            },
        })
    }

    /// The first byte there is.
    pub fn begin(&self) -> PhysicalOffset {
        self.walk.begin()
    }

    /// Behind the last byte that is not zero.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn data_end(&self) -> Result<PhysicalOffset, LogError> {
        for found in self.walk.segments.iter().rev() {
            let end = found.segment.data_end().map_err(|source| LogError::Io {
                action: "find the data in",
                path: self.walk.path(found.base),
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

    /// How many segments there are.
    pub fn segments(&self) -> usize {
        self.walk.segments.len()
    }

    /// What a start that knows this would find.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn outlook(&self, known: &Known) -> Result<Outlook, LogError> {
        let walked = self.walk.find_end(self.walk.start(known.start), known);
        let end = walked.end;
        let next_valid = match known.clean && !walked.is_damaged() {
            true => None,
            false => self.walk.valid_record_after(end)?,
        };
        let is_refused = match known.durable {
            Some(durable) => end < durable,
            None => next_valid.is_some(),
        };
        Ok(Outlook {
            end,
            next_valid,
            refusal: is_refused.then(|| self.walk.damage(&walked, next_valid, known.durable)),
            behind: end..self.data_end()?.max(end),
        })
    }

    /// Everything from a record's start on, up to the last whole record. What is no record is passed over, to where the
    /// next begins.
    pub fn items(&self, from: PhysicalOffset) -> Items<'_> {
        Items {
            walk: &self.walk,
            at: from.max(self.walk.begin()),
        }
    }

    /// The record that begins at a place, when its bytes are whole.
    pub fn record(&self, at: PhysicalOffset) -> Option<RecordView<'_>> {
        let (found, within) = self.walk.at(at)?;
        match valid_step(found.rest(within), at, false) {
            Ok(Step::Record(record)) => Some(record),
            _ => None,
        }
    }

    /// Where the first whole record at a place or behind it begins.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn next_record(&self, from: PhysicalOffset) -> Result<Option<PhysicalOffset>, LogError> {
        self.walk.valid_record_after(from)
    }

    /// Where a walk would begin that knows nothing.
    pub fn start(&self) -> PhysicalOffset {
        self.walk.start(Start::Beginning)
    }
}

/// See [`Inspection::items`].
pub struct Items<'a> {
    walk: &'a Walk<'a>,
    at: PhysicalOffset,
}

impl<'a> Items<'a> {
    /// Passes over what is no record. `None` at the end of the log.
    fn pass(&mut self, reason: String) -> Result<Option<Item<'a>>, LogError> {
        let from = self.at;
        let Some(next) = self.walk.valid_record_after(from)? else {
            return Ok(None);
        };
        self.at = next;
        let (base, position) = self
            .walk
            .at(from)
            .map_or((from, 0), |(found, within)| (found.base, within as u64));
        Ok(Some(Item::Damaged(Stretch {
            range: from..next,
            path: self.walk.path(base),
            position,
            reason,
        })))
    }

    fn advance(&mut self) -> Result<Option<Item<'a>>, LogError> {
        loop {
            let Some((found, within)) = self.walk.at(self.at) else {
                return Ok(None);
            };
            match valid_step(found.rest(within), self.at, true) {
                Ok(Step::Record(record)) => {
                    let at = self.at;
                    self.at = at + record.total_bytes() as u64;
                    return Ok(Some(Item::Record(at, record)));
                }
                Ok(Step::Blank) => self.at = found.base + self.walk.segment_bytes,
                Ok(Step::Unwritten) => return self.pass("zeros where a record should be".into()),
                Err(error) => return self.pass(error.to_string()),
            }
        }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
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
    let entries = disk.list(directory).map_err(io("list", directory))?;
    let mut segments: Vec<Found> = Vec::new();
    let count = entries.len();
    for (index, entry) in entries.into_iter().enumerate() {
        let path = directory.join(&entry.name);
        let base = match entry.name.parse::<u64>() {
            Ok(base) if entry.name.len() == 20 && !entry.is_directory => base,
            _ => return Err(LogError::Foreign { path }),
        };
        // The making of a segment was cut off: the next start removes it.
        if entry.bytes == 0 && index + 1 == count {
            break;
        }
        if entry.bytes != segment_bytes || base % segment_bytes != 0 {
            return Err(LogError::SegmentSize {
                path,
                actual: entry.bytes,
                expected: segment_bytes,
            });
        }
        let expected = segments.last().map(|last| last.base + segment_bytes);
        if let Some(expected) = expected.filter(|expected| expected.0 != base) {
            let path = directory.join(segment_file_name(expected.0));
            return Err(LogError::Gap { path });
        }
        let segment = disk.open_segment(&path).map_err(io("map", &path))?;
        segments.push(Found {
            base: PhysicalOffset(base),
            segment,
        });
    }
    Ok(segments)
}
