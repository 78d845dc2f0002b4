//! Records of the journal topic: what ledgers of several queues wrote in one turn.
//!
//! A record: version byte, the offset of the journal from which a replay has to begin (u64), sections. A section: the
//! lengths of group and topic (one byte each), both, the queue (u32), the length of what follows (u32), and a record of
//! the ledger's [`Journal`](crate::delivery::pop::journal::Journal), or nothing when the ledger is forgotten. All numbers
//! are big-endian.
//!
//! Where a replay begins is part of every record, and nothing else knows it: so it is as durable as the record is, and
//! what the last record that survived says always fits those that survived with it.

use castmq_protocol::model::{GroupName, QueueId, QueueOffset, TopicName};
use thiserror::Error;

use crate::delivery::pop::encoding::{self, DecodeError};
use crate::delivery::pop::journal::Entry;

/// The version that is written, and the only one there is.
const VERSION: u8 = 1;

/// Bytes that are not a record of the journal topic.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum RecordError {
    /// Written by something newer, or not a journal.
    #[error(
        "the pop journal has version {found}, this broker reads {VERSION}: run the one that wrote it"
    )]
    Version {
        /// The version byte.
        found: u8,
    },
    /// It ends too early.
    #[error("a record of the pop journal ends within a section's {field}: it is passed over")]
    Truncated {
        /// What was being read.
        field: &'static str,
    },
    /// A name that no group or topic can have.
    #[error("a record of the pop journal has a {field} that cannot be one: it is passed over")]
    Name {
        /// What was being read.
        field: &'static str,
    },
    /// Entries that cannot be read.
    #[error(transparent)]
    Entries(#[from] DecodeError),
}

/// A record that is being made.
#[derive(Debug)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// Begins a record.
    pub(super) fn new(replay_from: QueueOffset) -> Self {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&replay_from.0.to_be_bytes());
        Self(bytes)
    }

    /// Adds what a ledger wrote; nothing when it is forgotten.
    pub(super) fn add(
        &mut self,
        (group, topic): &(GroupName, TopicName),
        queue: QueueId,
        entries: &[u8],
    ) {
        // No name is longer than a byte can say.
        self.0.push(group.as_str().len() as u8);
        self.0.push(topic.as_str().len() as u8);
        self.0.extend_from_slice(group.as_str().as_bytes());
        self.0.extend_from_slice(topic.as_str().as_bytes());
        self.0.extend_from_slice(&queue.0.to_be_bytes());
        self.0
            .extend_from_slice(&(entries.len() as u32).to_be_bytes());
        self.0.extend_from_slice(entries);
    }

    /// Its length by now.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The record.
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// What a ledger wrote.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) share: (GroupName, TopicName),
    pub(super) queue: QueueId,
    /// `None`: it is forgotten.
    pub(super) entries: Option<Vec<Entry>>,
}

/// The offset of the journal from which a replay has to begin, by the word of this record.
pub(super) fn replay_from(bytes: &[u8]) -> Result<QueueOffset, RecordError> {
    Ok(header(bytes)?.0)
}

fn header(bytes: &[u8]) -> Result<(QueueOffset, &[u8]), RecordError> {
    let mut rest = bytes;
    let [version] = take(&mut rest, "version")?;
    if version != VERSION {
        return Err(RecordError::Version { found: version });
    }
    let from = take(&mut rest, "beginning")?;
    Ok((QueueOffset(u64::from_be_bytes(from)), rest))
}

/// Reads the sections of a record.
pub(super) fn sections(bytes: &[u8]) -> Result<Vec<Section>, RecordError> {
    let (_, mut rest) = header(bytes)?;
    let mut sections = Vec::new();
    while !rest.is_empty() {
        let [group] = take(&mut rest, "length of the group")?;
        let [topic] = take(&mut rest, "length of the topic")?;
        let group = text(&mut rest, group.into(), "group")?;
        let group = GroupName::new(group).map_err(|_| RecordError::Name { field: "group" })?;
        let topic = text(&mut rest, topic.into(), "topic")?;
        let topic = TopicName::new(topic).map_err(|_| RecordError::Name { field: "topic" })?;
        let queue = QueueId(u32::from_be_bytes(take(&mut rest, "queue")?));
        let length = u32::from_be_bytes(take(&mut rest, "length of the entries")?);
        let entries = slice(&mut rest, length as usize, "entries")?;
        sections.push(Section {
            share: (group, topic),
            queue,
            entries: match entries {
                [] => None,
                entries => Some(encoding::decode(entries)?),
            },
        });
    }
    Ok(sections)
}

fn take<const N: usize>(rest: &mut &[u8], field: &'static str) -> Result<[u8; N], RecordError> {
    let (taken, left) = rest
        .split_first_chunk()
        .ok_or(RecordError::Truncated { field })?;
    *rest = left;
    Ok(*taken)
}

fn slice<'a>(
    rest: &mut &'a [u8],
    length: usize,
    field: &'static str,
) -> Result<&'a [u8], RecordError> {
    let (taken, left) = rest
        .split_at_checked(length)
        .ok_or(RecordError::Truncated { field })?;
    *rest = left;
    Ok(taken)
}

fn text<'a>(
    rest: &mut &'a [u8],
    length: usize,
    field: &'static str,
) -> Result<&'a str, RecordError> {
    let bytes = slice(rest, length, field)?;
    std::str::from_utf8(bytes).map_err(|_| RecordError::Name { field })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> Vec<u8> {
        let share = (
            GroupName::new("billing").unwrap(),
            TopicName::new("orders").unwrap(),
        );
        let settled = Entry::Settled {
            first: QueueOffset(3),
            count: 2,
        };
        let mut writer = Writer::new(QueueOffset(7));
        writer.add(&share, QueueId(1), &encoding::encode(&[settled]));
        writer.add(&share, QueueId(2), &[]);
        writer.finish()
    }

    #[test]
    fn the_form_stays_as_it_is() {
        let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 0, 7];
        bytes.extend(b"\x07\x06billingorders\0\0\0\x01\0\0\0\x05\x01\x01\x04\x03\x02");
        bytes.extend(b"\x07\x06billingorders\0\0\0\x02\0\0\0\0");
        assert_eq!(record(), bytes);
        assert_eq!(replay_from(&bytes), Ok(QueueOffset(7)));
    }

    #[test]
    fn sections_come_back_and_one_without_entries_means_a_forgotten_ledger() {
        let sections = sections(&record()).unwrap();
        assert_eq!(sections.len(), 2);
        assert_eq!(sections[0].queue, QueueId(1));
        assert!(matches!(
            sections[0].entries.as_deref(),
            Some([Entry::Settled {
                first: QueueOffset(3),
                count: 2
            }])
        ));
        assert_eq!(
            (sections[1].queue, &sections[1].entries),
            (QueueId(2), &None)
        );
    }

    #[test]
    fn a_record_that_was_cut_is_refused() {
        let bytes = record();
        let first_section = 9 + 2 + 13 + 4 + 4 + 5;
        for length in 0..bytes.len() {
            // Between sections it is a shorter record.
            let is_whole = [9, first_section].contains(&length);
            assert_eq!(sections(&bytes[..length]).is_ok(), is_whole, "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, which: prop::sample::Index, byte: u8) {
            let _ = sections(&bytes);
            let mut bytes = record();
            let at = which.index(bytes.len());
            bytes[at] = byte;
            let _ = sections(&bytes);
        }
    }
}
