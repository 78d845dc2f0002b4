//! Looking at a log that nobody uses, without changing it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::record::{RecordView, Step};

use super::{Damage, Found, Known, Walk, valid_step};
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
        self.walk.data_end()
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use castmq_protocol::model::{QueueId, QueueOffset};
    use castmq_protocol::record::Record;
    use proptest::prelude::*;

    use super::*;
    use crate::commit_log::LogWriter;
    use crate::commit_log::recovery::end_of_data;
    use crate::commit_log::recovery::{Start, open};
    use crate::disk::fault::FaultDisk;

    const SEGMENT: u64 = 4096;

    fn folder() -> &'static Path {
        Path::new("/store/commitlog")
    }

    fn known(durable: Option<u64>) -> Known {
        Known {
            durable: durable.map(PhysicalOffset),
            start: Start::Beginning,
            verify_bodies: true,
            may_be_torn: false,
            clean: false,
            repair: false,
        }
    }

    /// A log of records with bodies of 500 bytes, and where each begins.
    fn log(records: u64) -> (FaultDisk, Vec<PhysicalOffset>) {
        let disk = FaultDisk::new();
        let opened = open(Arc::new(disk.clone()), folder(), SEGMENT, known(Some(0)));
        let (log, _) = opened.unwrap();
        let mut writer = LogWriter::resume(log.clone()).unwrap();
        let body = [b'x'; 500];
        let places = (0..records).map(|number| {
            let mut record = Record {
                topic: "T",
                queue: QueueId(0),
                queue_offset: QueueOffset(number),
                physical_offset: PhysicalOffset(0),
                flag: 0,
                sys_flag: 0,
                born_timestamp_ms: 1,
                born_host: "127.0.0.1:1".parse().unwrap(),
                store_timestamp_ms: 1,
                store_host: "127.0.0.1:2".parse().unwrap(),
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: &body,
                body_crc: None,
                properties: b"",
            };
            let bytes = record.encoded_bytes();
            if writer.reserve(bytes).is_err() {
                log.add_segment().unwrap();
            }
            record.physical_offset = writer.reserve(bytes).unwrap();
            writer.append(&record);
            writer.publish();
            record.physical_offset
        });
        let places = places.collect();
        (disk, places)
    }

    fn flip(disk: &FaultDisk, at: PhysicalOffset) {
        let base = at.0 / SEGMENT * SEGMENT;
        let path = folder().join(segment_file_name(base));
        disk.flip_bit(&path, at.0 - base, 3).unwrap();
    }

    fn inspect(disk: &FaultDisk) -> Inspection<'_> {
        Inspection::open(disk, folder(), SEGMENT).unwrap()
    }

    #[test]
    fn a_sound_log_is_read_from_its_first_record_to_its_last_over_all_segments() {
        let (disk, places) = log(20);
        let log = inspect(&disk);
        assert!(log.segments() > 2);
        let found = log.items(PhysicalOffset::ZERO).map(|item| match item {
            Ok(Item::Record(at, _)) => at,
            other => panic!("{other:?}"),
        });
        assert_eq!(found.collect::<Vec<_>>(), places);
        assert_eq!(log.next_record(places[3] + 1).unwrap(), Some(places[4]));
        assert!(log.record(places[7]).is_some());
        assert!(log.record(places[7] + 1).is_none());
    }

    #[test]
    fn damage_is_passed_over_to_the_next_record_and_named() {
        let (disk, places) = log(20);
        flip(&disk, places[8] + 200);
        let log = inspect(&disk);
        let items: Result<Vec<_>, _> = log.items(places[8]).collect();
        let items = items.unwrap();
        let Item::Damaged(stretch) = &items[0] else {
            panic!("{items:?}")
        };
        assert_eq!(stretch.range, places[8]..places[9]);
        assert_eq!(stretch.path, folder().join(segment_file_name(SEGMENT)));
        assert_eq!(stretch.position, places[8].0 - SEGMENT);
        assert_eq!(items.len(), 12);
    }

    #[test]
    fn space_that_was_made_ready_is_no_data() {
        let (disk, places) = log(3);
        let log = inspect(&disk);
        // The record ends in the length of its properties, which is zero.
        let end = places[2].0 + (places[2].0 - places[1].0) - 2;
        assert_eq!(log.data_end().unwrap().0, end);
        assert_eq!(end_of_data(&[0; 10_000]), None);
        let mut bytes = vec![0; 10_000];
        for last in [0, 4095, 4096, 8192, 9_999] {
            bytes[last] = 1;
            assert_eq!(end_of_data(&bytes), Some(last + 1));
        }
    }

    proptest! {
        #[test]
        fn a_start_finds_what_the_outlook_says(
            flips in prop::collection::vec(0_u64..11_000, 0..4),
            durable in prop::option::of(0_u64..11_000),
        ) {
            let (disk, _) = log(18);
            for at in flips {
                flip(&disk, PhysicalOffset(at));
            }
            let outlook = inspect(&disk).outlook(&known(durable)).unwrap();
            let before = disk.changes();
            prop_assert_eq!(inspect(&disk).outlook(&known(durable)).unwrap(), outlook.clone());
            prop_assert_eq!(disk.changes(), before);
            match open(Arc::new(disk.clone()), folder(), SEGMENT, known(durable)) {
                Ok((_, recovered)) => {
                    prop_assert_eq!(outlook.refusal, None);
                    prop_assert_eq!(recovered.end, outlook.end);
                    prop_assert_eq!(recovered.cut.is_some(), outlook.next_valid.is_some());
                }
                Err(LogError::Damaged(damage)) => prop_assert_eq!(outlook.refusal, Some(*damage)),
                Err(error) => panic!("{error}"),
            }
        }
    }
}
