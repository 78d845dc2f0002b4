//! Half messages: those of open transactions, which nobody sees until their producer commits them.
//!
//! A half message is a record in the half topic. Committing stores the message under its own topic, with the half message's
//! place in the log in it, and a mark in the op topic; rolling back stores the mark alone. So what is open is known from
//! the log: whoever dispatches notes what it meets here. A message that is there without its mark, because the process
//! ended in between, still counts as committed, and its half message is to be marked later.

mod notes;

use std::collections::HashSet;

use castmq_protocol::model::{
    PhysicalOffset, QueueId, QueueOffset, keys, property_value, system_topics,
};
use castmq_protocol::record::RecordView;
use parking_lot::Mutex;

use self::notes::Notes;
use crate::commit_log::CommitLog;
use crate::consume_queue::{ConsumeQueueError, ConsumeQueues};
use crate::dispatch::Met;
use crate::metadata::{Metadata, MetadataError, Value};
use crate::store::StoreError;

/// Where the notes are kept among the key-values.
pub(crate) const NAMESPACE: &str = "transactions";
const FLOOR: &str = "first_open";
const ASKED: &str = "asked";

/// A key-value that says that every half message before this one is over.
pub(crate) fn floor_value(floor: QueueOffset) -> Value {
    (NAMESPACE, FLOOR.to_owned(), floor.0.to_be_bytes().to_vec())
}

/// The only queue of the half topic, and of the op topic.
pub const QUEUE: QueueId = QueueId(0);

/// Half messages of which it is kept how often their producers were asked, when more are open than that the oldest.
const MAX_KEPT_QUESTIONS: usize = 4096;

/// Bytes of each: its offset and the number, big endian.
const QUESTION_BYTES: usize = 8 + 4;

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
        let mut notes = Notes::starting_at(floor);
        if let Some(halves) = queues.find(system_topics::TRANSACTION_HALF, QUEUE) {
            halves.each_unit(floor.max(halves.min_offset()), |offset, unit| {
                notes.add(Half {
                    offset,
                    physical: unit.physical,
                    stored_ms: log.store_timestamp_ms(unit.physical).unwrap_or(0),
                });
            })?;
        }
        let first = notes.all_open_from(QueueOffset::ZERO).next();
        let first = first.map(|half| half.physical);
        if let (Some(first), Some(marks)) =
            (first, queues.find(system_topics::TRANSACTION_OP, QUEUE))
        {
            // A mark lies behind what it marks.
            marks.each_unit(marks.min_offset(), |_, unit| {
                if unit.physical > first
                    && let Some(record) = log.record(unit.physical)
                    && let Ok(record) = RecordView::parse(record.as_ref())
                {
                    marked_offsets(record.body()).for_each(|offset| notes.marked(offset));
                }
            })?;
        }
        let asked = metadata.value(NAMESPACE, ASKED)?.unwrap_or_default();
        let asked = decode_questions(&asked).ok_or_else(|| {
            metadata.damaged(ASKED.as_bytes(), "it is no list of questions to producers")
        })?;
        notes.take_up(asked);
        Ok(Self(Mutex::new(notes)))
    }

    /// Forgets what was saved: the log is read for it again.
    pub(crate) fn forget(metadata: &Metadata) -> Result<(), MetadataError> {
        for key in [FLOOR, ASKED] {
            metadata.remove_value(NAMESPACE, key)?;
        }
        Ok(())
    }

    /// Notes what was met below `end`, in order.
    pub(crate) fn note(&self, met: &[Met], end: PhysicalOffset) {
        let mut notes = self.0.lock();
        for met in met {
            match met {
                Met::Moved(_) | Met::Expires(..) => {}
                Met::Half(half) => notes.add(*half),
                Met::Committed { half, at } => notes.committed(*half, *at),
                Met::Marked(offsets) => offsets.iter().for_each(|offset| notes.marked(*offset)),
            }
        }
        notes.noted(end);
    }

    /// Another broker is done with everything before this one, marked or not. All of it lies below `end`.
    pub(crate) fn adopt(&self, floor: QueueOffset, end: PhysicalOffset) {
        let mut notes = self.0.lock();
        notes.over_before(floor);
        notes.noted(end);
    }

    /// RocketMQ stores a half message again each time that it asks about it, and notes later that the one before is done with: of
    /// open ones of one transaction all but the last are over.
    pub(crate) fn settle_repeated(&self, log: &CommitLog) {
        let mut notes = self.0.lock();
        let open: Vec<_> = notes.all_open_from(QueueOffset::ZERO).collect();
        let mut seen = HashSet::new();
        for half in open.iter().rev() {
            let Some(slice) = log.record(half.physical) else {
                continue;
            };
            let id = RecordView::parse(slice.as_ref()).ok().and_then(|record| {
                property_value(record.properties(), keys::UNIQ_KEY).map(str::to_owned)
            });
            if id.is_some_and(|id| !seen.insert(id)) {
                notes.marked(half.offset);
            }
        }
        notes.noted(log.appended());
    }

    /// Everything before is settled and marked.
    pub(crate) fn floor(&self) -> QueueOffset {
        self.0.lock().floor()
    }

    /// The first mark behind the first half message that is not over: those before are of others.
    pub(crate) fn first_mark_needed(
        &self,
        queues: &ConsumeQueues,
    ) -> Result<Option<QueueOffset>, ConsumeQueueError> {
        let first = self.0.lock().first_place();
        let marks = queues.find(system_topics::TRANSACTION_OP, QUEUE);
        let (Some(first), Some(marks)) = (first, marks) else {
            return Ok(None);
        };
        let mut found = None;
        marks.each_unit(marks.min_offset(), |offset, unit| {
            if unit.physical > first && found.is_none() {
                found = Some(offset);
            }
        })?;
        Ok(found)
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.0.lock().open()
    }

    /// An open one by its place in the half topic.
    pub fn find(&self, offset: QueueOffset) -> Option<Half> {
        self.0.lock().find(offset)
    }

    /// Open ones stored before a time, the oldest first, from an offset on and at most `max`.
    pub fn stored_before(&self, time_ms: i64, from: QueueOffset, max: usize) -> Vec<Half> {
        let notes = self.0.lock();
        let halves = notes.all_open_from(from);
        let old = halves.filter(|half| half.stored_ms < time_ms);
        old.take(max).collect()
    }

    /// How often the producers of an open one were asked what became of it.
    pub fn asked(&self, offset: QueueOffset) -> u32 {
        self.0.lock().asked(offset)
    }

    /// Counts a question to the producers of an open one, and says how many there were. The next
    /// [checkpoint](crate::store::Store::save_checkpoint) keeps the number.
    pub fn ask(&self, offset: QueueOffset) -> u32 {
        self.0.lock().ask(offset)
    }

    /// Has the producers of an open one be asked as often as if they never had been.
    pub fn ask_anew(&self, offset: QueueOffset) {
        self.0.lock().ask_anew(offset);
    }

    /// Whether questions were counted that no checkpoint has kept.
    pub fn has_unsaved_questions(&self) -> bool {
        self.0.lock().has_unsaved_questions
    }

    /// Committed ones whose mark is missing.
    pub fn unmarked(&self) -> Vec<QueueOffset> {
        let notes = self.0.lock();
        notes.all_unmarked().map(|(offset, _)| offset).collect()
    }

    /// From where on recovery has to read the log again, when everything below `durable` survives. `None` leaves that to
    /// others.
    pub(crate) fn needed_from(&self, durable: PhysicalOffset) -> Option<PhysicalOffset> {
        self.0.lock().needed_from(durable)
    }

    /// Writes what was noted of records below `durable`, to be synced by the caller. Returns whether there was anything.
    pub(crate) fn save(
        &self,
        metadata: &Metadata,
        durable: PhysicalOffset,
    ) -> Result<bool, MetadataError> {
        let has_questions = self.save_questions(metadata)?;
        let (count, floor) = {
            let notes = self.0.lock();
            let changes = notes.unsaved.iter();
            let due = changes.take_while(|change| change.end <= durable);
            let count = due.clone().count();
            (count, due.last().map(|change| change.floor))
        };
        let Some(floor) = floor else {
            return Ok(has_questions);
        };
        metadata.put_value(NAMESPACE, FLOOR, &floor.0.to_be_bytes())?;
        self.0.lock().unsaved.drain(..count);
        Ok(true)
    }

    fn save_questions(&self, metadata: &Metadata) -> Result<bool, MetadataError> {
        let mut questions = Vec::new();
        {
            let mut notes = self.0.lock();
            if !std::mem::take(&mut notes.has_unsaved_questions) {
                return Ok(false);
            }
            for (offset, count) in notes.questions().take(MAX_KEPT_QUESTIONS) {
                questions.extend_from_slice(&offset.0.to_be_bytes());
                questions.extend_from_slice(&count.to_be_bytes());
            }
        }
        let written = metadata.put_value(NAMESPACE, ASKED, &questions);
        written
            .map(|()| true)
            .inspect_err(|_| self.0.lock().has_unsaved_questions = true)
    }
}

fn decode_questions(bytes: &[u8]) -> Option<Vec<(QueueOffset, u32)>> {
    let (questions, []) = bytes.as_chunks::<QUESTION_BYTES>() else {
        return None;
    };
    let question = |bytes: &[u8; QUESTION_BYTES]| {
        let (offset, count) = bytes.split_first_chunk::<8>()?;
        let count = u32::from_be_bytes(count.try_into().ok()?);
        Some((QueueOffset(u64::from_be_bytes(*offset)), count))
    };
    questions.iter().map(question).collect()
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
    fn old_ones_are_found_oldest_first() {
        let halves = Halves::default();
        let met: Vec<_> = (0..10).map(|offset| Met::Half(half(offset))).collect();
        halves.note(&met, PhysicalOffset(1000));
        let old = halves.stored_before(6, QueueOffset(2), 3);
        assert_eq!(old, [half(2), half(3), half(4)]);
    }
}
