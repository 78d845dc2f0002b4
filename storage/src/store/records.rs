//! Walking the records of the log, and entering their keys into the index.

use std::ops::Range;

use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::record::RecordView;

use super::StoreError;
use crate::commit_log::{CommitLog, LogError, LogSlice};
use crate::index::{KeyIndex, Keys, TopicHash};

/// The records in a stretch of the log that begins at one of them, or where nothing is any more.
#[derive(Debug)]
pub struct Records<'a> {
    log: &'a CommitLog,
    range: Range<PhysicalOffset>,
}

impl<'a> Records<'a> {
    /// From a record's start on, or from the first there is when that is later.
    pub fn new(log: &'a CommitLog, range: Range<PhysicalOffset>) -> Self {
        let start = range.start.max(log.begin());
        Self {
            log,
            range: start..range.end,
        }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<(PhysicalOffset, LogSlice), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.range.start < self.range.end {
            let at = self.range.start;
            if let Some(record) = self.log.record(at) {
                self.range.start = at + record.len() as u64;
                return Some(Ok((at, record)));
            }
            if self.log.rest_of_segment(at).is_none() {
                self.range.start = self.range.end;
                return Some(Err(LogError::Missing { offset: at }.into()));
            }
            // The filler at a segment's end.
            let segment_bytes = self.log.segment_bytes();
            self.range.start = PhysicalOffset((at.0 / segment_bytes + 1) * segment_bytes);
        }
        None
    }
}

/// Enters messages with keys into the index, from a record's start on, but for keys that it has. Returns where the next
/// record begins. The index must have the keys of all messages before.
pub fn index_keys(
    log: &CommitLog,
    index: &KeyIndex,
    range: Range<PhysicalOffset>,
) -> Result<PhysicalOffset, StoreError> {
    const KEYS_AT_ONCE: usize = 1024;
    index.expect_last_again();
    let mut records = Records::new(log, range);
    let mut keys = Vec::new();
    for record in records.by_ref() {
        let (at, record) = record?;
        let Ok(record) = RecordView::parse(record.as_ref()) else {
            continue;
        };
        let Ok(topic) = record.topic() else {
            continue;
        };
        keys.extend(Keys::of(&record).in_record(&record, TopicHash::of(topic), at));
        if keys.len() >= KEYS_AT_ONCE {
            index.enter(&keys)?;
            keys.clear();
        }
    }
    index.enter(&keys)?;
    index.note_entered(records.range.start);
    Ok(records.range.start)
}
