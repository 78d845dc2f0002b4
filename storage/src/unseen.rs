//! What the log says of messages that nobody sees yet, or will not see for ever.

use std::ops::Range;

use castmq_protocol::model::PhysicalOffset;

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

    /// Writes what was noted of records below `durable`, to be synced by the caller. Returns whether there was anything, and from
    /// where on recovery has to look at the log, if there is anything left that it cannot know otherwise.
    pub(crate) fn save(
        &self,
        metadata: &Metadata,
        durable: PhysicalOffset,
    ) -> Result<(bool, Option<PhysicalOffset>), MetadataError> {
        let of_halves = self.halves.save(metadata, durable)?;
        let of_expiring = self.expiring.save(metadata)?;
        let (of_moved, rest) = self.moved.save(metadata, durable)?;
        Ok((of_halves || of_expiring || of_moved, rest))
    }
}
