//! What the log says of messages that nobody sees yet, or will not see for ever.

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

    /// Notes what was met below `end`, in order.
    pub fn note(&self, met: &[Met], end: PhysicalOffset) {
        if met.is_empty() {
            return;
        }
        let mut moved = Vec::new();
        for met in met {
            match met {
                Met::Moved(origin) => moved.push(*origin),
                Met::Half(half) => self.halves.stored(*half),
                Met::Committed(place) => self.halves.committed(*place),
                Met::Marked(offsets) => self.halves.marked(offsets),
                Met::Expires(topic, queue) => self.expiring.note(topic.clone(), *queue),
            }
        }
        self.moved.note(&moved, end);
        self.halves.noted(end);
    }

    /// Writes what was noted of records below `durable`. Blocks.
    pub(crate) fn save(
        &self,
        metadata: &Metadata,
        durable: PhysicalOffset,
    ) -> Result<(), MetadataError> {
        self.moved.save(metadata, durable)?;
        self.halves.save(metadata, durable)?;
        self.expiring.save(metadata)
    }
}
