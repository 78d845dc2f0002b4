//! What the log says of messages that nobody sees yet, or will not see for ever.

use std::ops::Range;

use castmq_protocol::model::PhysicalOffset;
use parking_lot::Mutex;

use crate::commit_log::CommitLog;
use crate::consume_queue::ConsumeQueues;
use crate::dispatch::Met;
use crate::expiring::Expiring;
use crate::halves::Halves;
use crate::metadata::{Metadata, MetadataError};
use crate::moved::Moved;
use crate::store::StoreError;

/// The notes of one store.
#[derive(Debug)]
pub struct Unseen {
    /// How far delayed messages were moved to their topics.
    pub moved: Moved,
    /// Half messages.
    pub halves: Halves,
    /// Queues with messages that may expire.
    pub expiring: Expiring,
    /// Held while notes are written: the store may be closed while a checkpoint is still being made, and older notes must
    /// not come after newer ones.
    saving: Mutex<()>,
}

impl Unseen {
    /// Takes up what was saved, and what the queues know.
    pub(crate) fn load(
        metadata: &Metadata,
        log: &CommitLog,
        queues: &ConsumeQueues,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            moved: Moved::load(metadata, queues)?,
            halves: Halves::load(metadata, log, queues)?,
            expiring: Expiring::load(metadata, queues)?,
            saving: Mutex::default(),
        })
    }

    /// Notes what was met in a part of the log, in order.
    pub fn note(&self, met: &[Met], part: Range<PhysicalOffset>) {
        if met.is_empty() {
            return;
        }
        let moved = met.iter().filter_map(|met| match met {
            Met::Moved(origin) => Some(*origin),
            Met::Expires(topic, queue) => {
                self.expiring.note(topic.clone(), *queue);
                None
            }
            Met::Half(_) | Met::Committed { .. } | Met::Marked(_) => None,
        });
        let moved: Vec<_> = moved.collect();
        self.halves.note(met, part.end);
        self.moved.note(&moved, part);
    }

    /// From where on recovery has to read the log again, when everything below `durable` survives. `None` leaves that to
    /// others.
    pub(crate) fn needed_from(&self, durable: PhysicalOffset) -> Option<PhysicalOffset> {
        self.halves.needed_from(durable)
    }

    /// Writes what was noted of records below `durable`. Returns from where on recovery has to look at the log, if there is
    /// anything left that it cannot know otherwise. Blocks.
    pub(crate) fn save(
        &self,
        metadata: &Metadata,
        durable: PhysicalOffset,
    ) -> Result<Option<PhysicalOffset>, MetadataError> {
        let _saving = self.saving.lock();
        self.halves.save(metadata, durable)?;
        self.expiring.save(metadata)?;
        self.moved.save(metadata, durable)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use castmq_protocol::model::QueueOffset;
    use castmq_protocol::record::Origin;

    use super::*;

    #[test]
    fn notes_may_be_saved_by_several_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let metadata = Metadata::open(&folder.path().join("metadata"), 1 << 20).unwrap();
        let unseen = Unseen {
            moved: Moved::default(),
            halves: Halves::default(),
            expiring: Expiring::default(),
            saving: Mutex::default(),
        };
        for offset in 0..1000 {
            let origin = Origin::Schedule {
                queue: 1,
                offset: QueueOffset(offset),
            };
            let marked = Met::Marked(vec![QueueOffset(offset)]);
            let half = Met::Half(crate::halves::Half {
                offset: QueueOffset(offset),
                physical: PhysicalOffset(offset),
                stored_ms: 0,
            });
            let met = [Met::Moved(origin), half, marked];
            unseen.note(&met, PhysicalOffset(offset)..PhysicalOffset(offset + 1));
        }
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| unseen.save(&metadata, PhysicalOffset(1000)).unwrap());
            }
        });
        let saved = metadata.value("transactions", "first_open").unwrap();
        assert_eq!(saved, Some(1000_u64.to_be_bytes().to_vec()));
    }
}
