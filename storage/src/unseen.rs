//! What the log says of messages that nobody sees yet.

use std::ops::Range;

use castmq_protocol::model::PhysicalOffset;

use crate::commit_log::CommitLog;
use crate::consume_queue::ConsumeQueues;
use crate::dispatch::Met;
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
        })
    }

    /// Notes what was met in a part of the log, in order.
    pub fn note(&self, met: &[Met], part: Range<PhysicalOffset>) {
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
            }
        }
        self.halves.noted(part.end);
        self.moved.note(&moved, part);
    }

    /// Writes what was noted of records below `durable`. Returns from where on recovery has to look at the log, if there is
    /// anything left that it cannot know otherwise. Blocks.
    pub(crate) fn save(
        &self,
        metadata: &Metadata,
        durable: PhysicalOffset,
    ) -> Result<Option<PhysicalOffset>, MetadataError> {
        self.halves.save(metadata, durable)?;
        self.moved.save(metadata, durable)
    }
}
