//! Half messages: those of open transactions, which nobody sees until their producer commits them.
//!
//! A half message is a record in the half topic. Committing stores the message under its own topic, with the half message's
//! place in the log in it, and a mark in the op topic; rolling back stores the mark alone. So what is open is known from
//! the log: whoever dispatches notes what it meets here. A message that is there without its mark, because the process
//! ended in between, still counts as committed, and its half message is to be marked later.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset, system_topics};
use castmq_protocol::record::RecordView;
use parking_lot::Mutex;

use crate::commit_log::CommitLog;
use crate::consume_queue::{ConsumeQueue, ConsumeQueueError, ConsumeQueues, ConsumeUnit};
use crate::disk::Wait;
use crate::metadata::{Metadata, MetadataError};
use crate::store::StoreError;

/// Where the notes are kept among the key-values.
const NAMESPACE: &str = "transactions";
const FLOOR: &str = "first_open";

/// The only queue of the half topic, and of the op topic.
pub const QUEUE: QueueId = QueueId(0);

/// Units read at once.
const UNITS: usize = 1024;

/// The half message of an open transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Half {
    /// Its place in the half topic.
    pub offset: QueueOffset,
    /// Its place in the log.
    pub physical: PhysicalOffset,
    /// When it was stored, in milliseconds since the epoch.
    pub stored_ms: i64,
}

#[derive(Debug, Default)]
struct Notes {
    open: BTreeMap<QueueOffset, Half>,
    by_place: HashMap<PhysicalOffset, QueueOffset>,
    /// Committed ones without a mark.
    unmarked: BTreeSet<QueueOffset>,
    /// Behind the last half message that was met.
    end: QueueOffset,
    /// What the first open one became, and behind which place of the log: oldest first.
    unsaved: VecDeque<(PhysicalOffset, QueueOffset)>,
    last_floor: QueueOffset,
}

impl Notes {
    /// Everything before is settled and marked.
    fn floor(&self) -> QueueOffset {
        let open = self.open.keys().next().copied();
        let unmarked = self.unmarked.first().copied();
        open.into_iter().chain(unmarked).min().unwrap_or(self.end)
    }

    fn add(&mut self, half: Half) {
        self.end = self.end.max(half.offset + 1);
        self.by_place.insert(half.physical, half.offset);
        self.open.insert(half.offset, half);
    }

    fn committed(&mut self, place: PhysicalOffset) {
        if let Some(offset) = self.by_place.remove(&place) {
            self.open.remove(&offset);
            self.unmarked.insert(offset);
        }
    }

    fn marked(&mut self, offset: QueueOffset) {
        self.unmarked.remove(&offset);
        if let Some(half) = self.open.remove(&offset) {
            self.by_place.remove(&half.physical);
        }
    }
}

/// The half messages of one store.
#[derive(Debug, Default)]
pub struct Halves(Mutex<Notes>);

impl Halves {
    /// Takes up what is open by what the queues know.
    pub(crate) fn load(
        metadata: &Metadata,
        log: &CommitLog,
        queues: &ConsumeQueues,
    ) -> Result<Self, StoreError> {
        let mut notes = Notes::default();
        let floor = match metadata.value(NAMESPACE, FLOOR)? {
            Some(bytes) => {
                let offset = <[u8; 8]>::try_from(bytes.as_slice());
                let offset = offset.map_err(|_| {
                    metadata.damaged(FLOOR.as_bytes(), "it is no offset of a half message")
                })?;
                QueueOffset(u64::from_be_bytes(offset))
            }
            None => QueueOffset::ZERO,
        };
        notes.end = floor;
        if let Some(halves) = queues.find(system_topics::TRANSACTION_HALF, QUEUE) {
            each_unit(&halves, floor.max(halves.min_offset()), |offset, unit| {
                notes.add(Half {
                    offset,
                    physical: unit.physical,
                    stored_ms: log.store_timestamp_ms(unit.physical).unwrap_or(0),
                });
            })?;
        }
        let first = notes.open.values().next().map(|half| half.physical);
        if let (Some(first), Some(marks)) =
            (first, queues.find(system_topics::TRANSACTION_OP, QUEUE))
        {
            // A mark lies behind what it marks.
            each_unit(&marks, marks.min_offset(), |_, unit| {
                if unit.physical > first
                    && let Some(record) = log.record(unit.physical)
                    && let Ok(record) = RecordView::parse(record.as_ref())
                {
                    marked_offsets(record.body()).for_each(|offset| notes.marked(offset));
                }
            })?;
        }
        notes.last_floor = notes.floor();
        Ok(Self(Mutex::new(notes)))
    }

    /// Notes a half message that was stored.
    pub(crate) fn stored(&self, half: Half) {
        self.0.lock().add(half);
    }

    /// Notes that the message of the half message at this place was stored.
    pub(crate) fn committed(&self, place: PhysicalOffset) {
        self.0.lock().committed(place);
    }

    /// Notes marks.
    pub(crate) fn marked(&self, offsets: &[QueueOffset]) {
        let mut notes = self.0.lock();
        offsets.iter().for_each(|offset| notes.marked(*offset));
    }

    /// All that was noted lies below `end`.
    pub(crate) fn noted(&self, end: PhysicalOffset) {
        let mut notes = self.0.lock();
        let floor = notes.floor();
        if floor != notes.last_floor {
            notes.last_floor = floor;
            notes.unsaved.push_back((end, floor));
        }
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.0.lock().open.len()
    }

    /// An open one by its place in the half topic.
    pub fn find(&self, offset: QueueOffset) -> Option<Half> {
        self.0.lock().open.get(&offset).copied()
    }

    /// Open ones stored before a time, the oldest first, from an offset on and at most `max`.
    pub fn stored_before(&self, time_ms: i64, from: QueueOffset, max: usize) -> Vec<Half> {
        let notes = self.0.lock();
        let halves = notes.open.range(from..).map(|(_, half)| *half);
        let old = halves.filter(|half| half.stored_ms < time_ms);
        old.take(max).collect()
    }

    /// Committed ones whose mark is missing.
    pub fn unmarked(&self) -> Vec<QueueOffset> {
        self.0.lock().unmarked.iter().copied().collect()
    }

    /// Writes what was noted of records below `durable`; it survives the end of the process. Blocks.
    pub(crate) fn save(
        &self,
        metadata: &Metadata,
        durable: PhysicalOffset,
    ) -> Result<(), MetadataError> {
        let (count, floor) = {
            let notes = self.0.lock();
            let due = notes.unsaved.iter().take_while(|(end, _)| *end <= durable);
            let count = due.clone().count();
            (count, due.last().map(|(_, floor)| *floor))
        };
        let Some(floor) = floor else {
            return Ok(());
        };
        metadata.put_value(NAMESPACE, FLOOR, &floor.0.to_be_bytes())?;
        metadata.flush()?;
        self.0.lock().unsaved.drain(..count);
        Ok(())
    }
}

/// The half messages that a mark's body names: decimal offsets, each followed by a comma. Older releases of RocketMQ wrote
/// one without a comma.
pub fn marked_offsets(body: &[u8]) -> impl Iterator<Item = QueueOffset> + '_ {
    let numbers = body.split(|byte| *byte == b',');
    numbers.filter_map(|number| {
        let number = std::str::from_utf8(number).ok()?.trim();
        Some(QueueOffset(number.parse().ok()?))
    })
}

fn each_unit(
    queue: &Arc<ConsumeQueue>,
    from: QueueOffset,
    mut seen: impl FnMut(QueueOffset, &ConsumeUnit),
) -> Result<(), ConsumeQueueError> {
    let mut at = from;
    let mut units = Vec::with_capacity(UNITS);
    while at < queue.max_offset() {
        units.clear();
        queue.read(at, UNITS, Wait::ForDisk, &mut units)?;
        if units.is_empty() {
            break;
        }
        for unit in &units {
            seen(at, unit);
            at = at + 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(offset: u64) -> Half {
        Half {
            offset: QueueOffset(offset),
            physical: PhysicalOffset(offset * 100),
            stored_ms: offset as i64,
        }
    }

    #[test]
    fn a_mark_names_several_half_messages_or_one() {
        let offsets = |body| {
            marked_offsets(body)
                .map(|offset| offset.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(offsets(b"12,15,"), [12, 15]);
        assert_eq!(offsets(b"7"), [7]);
        assert_eq!(offsets(b"x,,9,-1,"), [9]);
    }

    #[test]
    fn everything_before_the_first_that_is_open_or_unmarked_is_over() {
        let halves = Halves::default();
        (0..4).for_each(|offset| halves.stored(half(offset)));
        halves.marked(&[QueueOffset(0)]);
        halves.committed(PhysicalOffset(100));
        halves.marked(&[QueueOffset(3)]);
        assert_eq!(halves.open(), 1);
        assert_eq!(halves.unmarked(), [QueueOffset(1)]);
        assert_eq!(halves.0.lock().floor(), QueueOffset(1));
        halves.marked(&[QueueOffset(1)]);
        assert_eq!(halves.0.lock().floor(), QueueOffset(2));
        halves.marked(&[QueueOffset(2)]);
        assert_eq!(halves.0.lock().floor(), QueueOffset(4));
        assert_eq!(halves.find(QueueOffset(2)), None);
    }

    #[test]
    fn old_ones_are_found_oldest_first() {
        let halves = Halves::default();
        (0..10).for_each(|offset| halves.stored(half(offset)));
        let old = halves.stored_before(6, QueueOffset(2), 3);
        assert_eq!(old, [half(2), half(3), half(4)]);
    }
}
