//! How far the broker is with messages that wait elsewhere before they reach their topic.
//!
//! A message is moved by storing it again; the second record names the first ([`Origin`]). Whoever dispatches meets the
//! second record and notes it here, so that what is known is what the log holds, after a crash as well: a message is moved
//! once, whenever the process ends. The notes are saved before recovery stops looking at the records they were taken from,
//! and not before those are durable: a power cut could leave the note and take the message.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset, TopicName, system_topics};
use castmq_protocol::record::Origin;
use parking_lot::Mutex;

use crate::consume_queue::ConsumeQueues;
use crate::metadata::{Metadata, MetadataError, Value};

/// Where the notes are kept among the key-values.
pub(crate) const NAMESPACE: &str = "delay_offsets";

/// A key-value that says how far a queue of the schedule topic is.
pub(crate) fn progress_value(queue: u8, next: QueueOffset) -> Value {
    (NAMESPACE, queue.to_string(), next.0.to_be_bytes().to_vec())
}

#[derive(Debug, Default)]
struct Notes {
    /// The first message of each queue of the schedule topic that was not moved yet.
    next: BTreeMap<u8, QueueOffset>,
    /// The same when what was passed over without being moved counts, too: what had expired, or has no topic to go to.
    passed: BTreeMap<u8, QueueOffset>,
    /// What `next` became, and by records of which part of the log: oldest first.
    unsaved: VecDeque<(Range<PhysicalOffset>, BTreeMap<u8, QueueOffset>)>,
}

/// The notes of one store.
#[derive(Debug, Default)]
pub struct Moved(Mutex<Notes>);

impl Moved {
    /// Takes up what was saved. What a crash took out of the queues since is not moved yet.
    pub(crate) fn load(metadata: &Metadata, queues: &ConsumeQueues) -> Result<Self, MetadataError> {
        let mut next = BTreeMap::new();
        for (key, value) in metadata.values(NAMESPACE)? {
            let queue = key.parse::<u8>().ok();
            let offset = <[u8; 8]>::try_from(value.as_slice()).ok();
            let (Some(queue), Some(offset)) = (queue, offset) else {
                return Err(metadata.damaged(key.as_bytes(), "it is no progress of a delay"));
            };
            next.insert(queue, QueueOffset(u64::from_be_bytes(offset)));
        }
        if let Ok(topic) = TopicName::new(system_topics::SCHEDULE) {
            for (queue, offset) in &mut next {
                let end = queues.next_offset(&topic, QueueId(u32::from(*queue)));
                *offset = end.min(*offset);
            }
        }
        Ok(Self(Mutex::new(Notes {
            next,
            passed: BTreeMap::new(),
            unsaved: VecDeque::new(),
        })))
    }

    /// Forgets what was saved: the log is read for it again.
    pub(crate) fn forget(metadata: &Metadata) -> Result<(), MetadataError> {
        for (key, _) in metadata.values(NAMESPACE)? {
            metadata.remove_value(NAMESPACE, &key)?;
        }
        Ok(())
    }

    /// Notes messages that were moved, by records of this part of the log.
    pub fn note(&self, origins: &[Origin], part: Range<PhysicalOffset>) {
        let mut notes = self.0.lock();
        let mut changed = BTreeMap::new();
        for origin in origins {
            if let Origin::Schedule { queue, offset } = *origin {
                let next = notes.next.entry(queue).or_default();
                *next = (*next).max(offset + 1);
                changed.insert(queue, *next);
            }
        }
        if !changed.is_empty() {
            notes.unsaved.push_back((part, changed));
        }
    }

    /// The first message of a queue of the schedule topic that was not moved yet.
    pub fn next_scheduled(&self, queue: u8) -> QueueOffset {
        self.0.lock().next.get(&queue).copied().unwrap_or_default()
    }

    /// How far each queue of the schedule topic is.
    pub fn all_next(&self) -> Vec<(u8, QueueOffset)> {
        let notes = self.0.lock();
        notes
            .next
            .iter()
            .map(|(queue, next)| (*queue, *next))
            .collect()
    }

    /// Another broker has moved everything before this one, by records that do not say so.
    pub(crate) fn adopt(&self, queue: u8, next: QueueOffset) {
        let mut notes = self.0.lock();
        let known = notes.next.entry(queue).or_default();
        *known = next.max(*known);
    }

    /// Everything before this one was moved, by records that are in the log by now, or is not to be. After a start what is
    /// not is looked at once more.
    pub fn pass(&self, queue: u8, next: QueueOffset) {
        let mut notes = self.0.lock();
        let passed = notes.passed.entry(queue).or_default();
        *passed = next.max(*passed);
    }

    /// The first message of a queue of the schedule topic that still has to be read.
    pub fn needed_from(&self, queue: u8) -> QueueOffset {
        let notes = self.0.lock();
        let both = [notes.next.get(&queue), notes.passed.get(&queue)];
        both.into_iter()
            .flatten()
            .copied()
            .max()
            .unwrap_or_default()
    }

    /// Writes what was noted of records below `durable`, to be synced by the caller. Returns whether there was anything, and from
    /// where on the log has records whose notes are not saved, if it has: recovery must look at them.
    pub(crate) fn save(
        &self,
        metadata: &Metadata,
        durable: PhysicalOffset,
    ) -> Result<(bool, Option<PhysicalOffset>), MetadataError> {
        let (count, changed, rest) = {
            let notes = self.0.lock();
            let mut changed = BTreeMap::<u8, QueueOffset>::new();
            let mut count = 0;
            for (_, later) in notes.unsaved.iter().take_while(|(p, _)| p.end <= durable) {
                changed.extend(later);
                count += 1;
            }
            let rest = notes.unsaved.get(count).map(|(part, _)| part.start);
            (count, changed, rest)
        };
        for (queue, offset) in &changed {
            metadata.put_value(NAMESPACE, &queue.to_string(), &offset.0.to_be_bytes())?;
        }
        self.0.lock().unsaved.drain(..count);
        Ok((count > 0, rest))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::consume_queue::ConsumeUnit;
    use crate::disk::fault::FaultDisk;

    fn moved(queue: u8, offset: u64) -> [Origin; 1] {
        [Origin::Schedule {
            queue,
            offset: QueueOffset(offset),
        }]
    }

    #[test]
    fn only_notes_of_durable_records_are_saved_and_none_goes_beyond_its_queue() {
        let folder = tempfile::tempdir().unwrap();
        let metadata = Metadata::open(&folder.path().join("metadata"), 1 << 20).unwrap();
        let queues = ConsumeQueues::open(Arc::new(FaultDisk::new()), "/q", 200).unwrap();
        let schedule = TopicName::new(system_topics::SCHEDULE).unwrap();
        for offset in 0..8 {
            let unit = ConsumeUnit {
                physical: PhysicalOffset(offset * 100),
                size: 100,
                tags_code: 0,
            };
            let queue = queues.queue(&schedule, QueueId(3));
            queue.append(QueueOffset(offset), unit).unwrap();
        }
        let notes = Moved::load(&metadata, &queues).unwrap();
        assert_eq!(notes.next_scheduled(3), QueueOffset(0));
        let part = |from, to| PhysicalOffset(from)..PhysicalOffset(to);
        notes.note(&moved(3, 4), part(900, 1000));
        notes.note(&moved(3, 5), part(1500, 2000));
        assert_eq!(notes.next_scheduled(3), QueueOffset(6));
        // What was passed over is not needed, and no record says that it was moved.
        notes.pass(3, QueueOffset(7));
        assert_eq!(notes.needed_from(3), QueueOffset(7));
        assert_eq!(notes.next_scheduled(3), QueueOffset(6));
        // The record may lie before what is durable: recovery has to read it again all the same.
        let (_, unsaved) = notes.save(&metadata, PhysicalOffset(1999)).unwrap();
        assert_eq!(unsaved, Some(PhysicalOffset(1500)));
        let again = Moved::load(&metadata, &queues).unwrap();
        assert_eq!(again.next_scheduled(3), QueueOffset(5));
        notes.note(&moved(3, 30), part(2000, 3000));
        let (_, unsaved) = notes.save(&metadata, PhysicalOffset(3000)).unwrap();
        assert_eq!(unsaved, None);
        let again = Moved::load(&metadata, &queues).unwrap();
        assert_eq!(again.next_scheduled(3), QueueOffset(8));
    }
}
