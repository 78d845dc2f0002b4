//! The offset that the next message of each queue gets.

use std::collections::HashMap;
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset, TopicName};
use castmq_protocol::record::{Step, step, sys_flag};
use castmq_storage::commit_log::CommitLog;
use castmq_storage::consume_queue::ConsumeQueues;

use crate::broker::topics::Topic;

/// Next offsets by the topics' numbers. What is not known yet is taken from the consume queues.
#[derive(Debug)]
pub(crate) struct QueueOffsets {
    queues: Arc<ConsumeQueues>,
    /// Records in the log that the consume queues may not have yet.
    ahead: HashMap<(TopicName, QueueId), QueueOffset>,
    known: Vec<Vec<Option<QueueOffset>>>,
}

impl QueueOffsets {
    /// Reads what the log has beyond `dispatched`, so that no offset is given twice.
    pub(crate) fn recover(
        log: &CommitLog,
        queues: Arc<ConsumeQueues>,
        dispatched: PhysicalOffset,
    ) -> Self {
        let mut ahead = HashMap::new();
        let mut at = dispatched;
        while at < log.appended() {
            let Some(rest) = log.rest_of_segment(at) else {
                break;
            };
            match step(rest.as_ref()) {
                Ok(Step::Record(record)) => {
                    let phase = record.sys_flag() & sys_flag::TRANSACTION_MASK;
                    if matches!(phase, 0 | sys_flag::TRANSACTION_COMMIT)
                        && let (Ok(topic), Ok(queue), Ok(offset)) =
                            (record.topic(), record.queue(), record.queue_offset())
                        && let Ok(topic) = TopicName::new(topic)
                    {
                        ahead.insert((topic, queue), offset + 1);
                    }
                    at = at + record.total_bytes() as u64;
                }
                Ok(Step::Blank) => {
                    let segment_bytes = log.segment_bytes();
                    at = PhysicalOffset((at.0 / segment_bytes + 1) * segment_bytes);
                }
                Ok(Step::Unwritten) | Err(_) => break,
            }
        }
        Self {
            queues,
            ahead,
            known: Vec::new(),
        }
    }

    /// The next offset of a queue, to be moved on.
    #[inline]
    pub(crate) fn next(&mut self, topic: &Topic, queue: QueueId) -> &mut QueueOffset {
        let (id, number) = (topic.id.0 as usize, queue.0 as usize);
        if self.known.len() <= id {
            self.known.resize(id + 1, Vec::new());
        }
        let of_topic = &mut self.known[id];
        if of_topic.len() <= number {
            of_topic.resize(number + 1, None);
        }
        of_topic[number].get_or_insert_with(|| {
            let in_queue = self
                .queues
                .find(topic.name.as_str(), queue)
                .map_or(QueueOffset::ZERO, |queue| queue.max_offset());
            let ahead = self.ahead.get(&(topic.name.clone(), queue));
            in_queue.max(ahead.copied().unwrap_or_default())
        })
    }

    /// How many queues have an offset here.
    pub(crate) fn len(&self) -> usize {
        self.known.iter().flatten().flatten().count()
    }
}
