//! Walking the records of the log, and entering their keys into the index.

use std::iter;
use std::ops::Range;

use castmq_protocol::model::{PhysicalOffset, keys, property_pairs};
use castmq_protocol::record::{RecordView, sys_flag};

use super::StoreError;
use crate::commit_log::{CommitLog, LogError, LogSlice};
use crate::index::KeyIndex;

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

/// Enters messages with keys into the index, from a record's start on. Returns where the next record begins.
pub fn index_keys(
    log: &CommitLog,
    index: &KeyIndex,
    range: Range<PhysicalOffset>,
) -> Result<PhysicalOffset, StoreError> {
    let mut records = Records::new(log, range);
    for record in records.by_ref() {
        let (at, record) = record?;
        if let Ok(record) = RecordView::parse(record.as_ref()) {
            enter(index, &record, at)?;
        }
    }
    Ok(records.range.start)
}

/// Enters one message under each of its keys, its unique one first (RocketMQ `IndexService.buildIndex`).
fn enter(index: &KeyIndex, record: &RecordView<'_>, at: PhysicalOffset) -> Result<(), StoreError> {
    if record.sys_flag() & sys_flag::TRANSACTION_MASK == sys_flag::TRANSACTION_ROLLBACK {
        return Ok(());
    }
    let Ok(topic) = record.topic() else {
        return Ok(());
    };
    let stored = record.store_timestamp_ms();
    let (mut unique, mut keyed) = (None, None);
    for (name, value) in property_pairs(record.properties()) {
        if name == keys::UNIQ_KEY.as_bytes() {
            unique.get_or_insert(value);
        } else if name == keys::KEYS.as_bytes() {
            keyed.get_or_insert(value);
        }
    }
    let text =
        |value: Option<_>| std::str::from_utf8(value.unwrap_or_default()).unwrap_or_default();
    let (unique, keyed) = (text(unique), text(keyed));
    for key in iter::once(unique)
        .chain(keyed.split(' '))
        .filter(|key| !key.is_empty())
    {
        index.put(topic, key, at, stored, stored)?;
    }
    Ok(())
}
