//! Finding out which messages are dead letters already.

use std::collections::HashSet;
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueOffset, TopicName};
use castmq_protocol::record::{Origin, RecordView};
use castmq_storage::consume_queue::{ConsumeQueue, ConsumeQueueError, ConsumeUnit};
use castmq_storage::disk::Wait;

use super::cold_reader::offset_at_time;
use crate::broker::context::Store;

/// Units read at once.
const UNITS: usize = 256;

/// Asks which messages are among the dead letters of their group.
#[derive(Debug)]
pub(crate) struct FindLetters {
    /// The topic of the dead letters.
    pub(crate) topic: TopicName,
    /// None of them became one before, in milliseconds since the epoch.
    pub(crate) since_ms: i64,
    /// Where they were popped.
    pub(crate) messages: Vec<(Arc<ConsumeQueue>, QueueOffset)>,
}

/// For each of the messages whether it is there. Waits for the disk.
pub(crate) fn find_letters(
    store: &Store,
    question: &FindLetters,
) -> Result<Vec<bool>, ConsumeQueueError> {
    let mut places = HashSet::new();
    for queue in store.queues.of_topic(&question.topic) {
        let mut at = offset_at_time(store, &queue, question.since_ms)?;
        while at < queue.max_offset() {
            let mut units = Vec::new();
            queue.read(at, UNITS, Wait::ForDisk, &mut units)?;
            places.extend(units.iter().filter_map(|unit| popped_place(store, unit)));
            if units.is_empty() {
                break;
            }
            at = at + units.len() as u64;
        }
    }
    let is_there = |(queue, offset): &(Arc<ConsumeQueue>, QueueOffset)| {
        if places.is_empty() || *offset < queue.min_offset() {
            return Ok(false);
        }
        let mut units = Vec::new();
        queue.read(*offset, 1, Wait::ForDisk, &mut units)?;
        Ok(units.iter().any(|unit| places.contains(&unit.physical)))
    };
    question.messages.iter().map(is_there).collect()
}

/// Where the message lies that became this letter, if it was popped.
fn popped_place(store: &Store, unit: &ConsumeUnit) -> Option<PhysicalOffset> {
    let record = store.log.slice(unit.physical, unit.size as usize)?;
    let record = RecordView::parse(record.as_ref()).ok()?;
    match Origin::decode(record.prepared_transaction_offset())? {
        Origin::Popped { place } => Some(place),
        _ => None,
    }
}
