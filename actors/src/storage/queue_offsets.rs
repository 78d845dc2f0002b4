//! The offset that the next message of each queue gets.

use std::collections::HashMap;
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset, TopicName};
use castmq_protocol::record::{Step, step, sys_flag};
use castmq_storage::commit_log::CommitLog;
use castmq_storage::consume_queue::ConsumeQueues;

use crate::broker::topics::Topic;
use crate::delivery::queues::QueueKey;

/// Next offsets by the topics' numbers. What is not known yet is taken from the consume queues.
///
/// A topic that is deleted and made again has another number and the same counters: messages to the old one may still be
/// on their way, and no offset is given twice under one name.
#[derive(Debug)]
pub(crate) struct QueueOffsets {
    queues: Arc<ConsumeQueues>,
    /// Records in the log that the consume queues may not have yet.
    ahead: HashMap<QueueKey, QueueOffset>,
    /// Which counters are those of a topic, by its number.
    counters_of: Vec<Option<usize>>,
    by_name: HashMap<TopicName, usize>,
    counters: Vec<Vec<Option<QueueOffset>>>,
}

impl QueueOffsets {
    /// Reads what the log has beyond `dispatched`, so that no offset is given twice.
    pub(crate) fn recover(
        log: &CommitLog,
        queues: Arc<ConsumeQueues>,
        dispatched: PhysicalOffset,
    ) -> Self {
        let mut ahead = HashMap::new();
        each_queued(log, dispatched, |queue, offset| {
            ahead.insert(queue, offset + 1);
        });
        Self::new(queues, ahead)
    }

    fn new(queues: Arc<ConsumeQueues>, ahead: HashMap<QueueKey, QueueOffset>) -> Self {
        Self {
            queues,
            ahead,
            counters_of: Vec::new(),
            by_name: HashMap::new(),
            counters: Vec::new(),
        }
    }

    /// The next offset of a queue, to be moved on.
    #[inline]
    pub(crate) fn next(&mut self, topic: &Topic, queue: QueueId) -> &mut QueueOffset {
        let (id, number) = (topic.id.0 as usize, queue.0 as usize);
        let counters = match self.counters_of.get(id) {
            Some(Some(counters)) => *counters,
            _ => self.meet(topic),
        };
        let of_topic = &mut self.counters[counters];
        if of_topic.len() <= number {
            of_topic.resize(number + 1, None);
        }
        of_topic[number].get_or_insert_with(|| {
            let in_queue = self.queues.next_offset(&topic.name, queue);
            let ahead = self.ahead.get(&(topic.name.clone(), queue));
            in_queue.max(ahead.copied().unwrap_or_default())
        })
    }

    /// Finds the counters of a topic that comes for the first time.
    #[cold]
    fn meet(&mut self, topic: &Topic) -> usize {
        let new = self.counters.len();
        let counters = *self.by_name.entry(topic.name.clone()).or_insert(new);
        if counters == new {
            self.counters.push(Vec::new());
        }
        let id = topic.id.0 as usize;
        if self.counters_of.len() <= id {
            self.counters_of.resize(id + 1, None);
        }
        self.counters_of[id] = Some(counters);
        counters
    }

    /// How many queues have an offset here.
    pub(crate) fn len(&self) -> usize {
        self.counters.iter().flatten().flatten().count()
    }
}

/// Tells of every message that the log has from a place on where it stands in its queue.
pub(crate) fn each_queued(
    log: &CommitLog,
    from: PhysicalOffset,
    mut tell: impl FnMut(QueueKey, QueueOffset),
) {
    let mut at = from;
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
                    tell((topic, queue), offset);
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
}

#[cfg(test)]
mod tests {
    use castmq_protocol::model::TopicConfig;
    use castmq_storage::consume_queue::ConsumeUnit;
    use castmq_storage::deletion::Deletion;
    use castmq_storage::disk::fault::FaultDisk;

    use super::*;
    use crate::broker::topics::Topics;

    #[test]
    fn a_topic_made_again_goes_on_counting_with_messages_to_the_old_one_on_their_way() {
        let name = TopicName::new("t").unwrap();
        let config = TopicConfig::with_queues(1);
        let topics = Topics::new([(name.clone(), config.clone())], 0);
        let queues = ConsumeQueues::open(Arc::new(FaultDisk::new()), "/q", 200).unwrap();
        let unit = ConsumeUnit {
            physical: PhysicalOffset(100),
            size: 100,
            tags_code: 0,
        };
        let queue = queues.queue(&name, QueueId(0));
        queue.append(QueueOffset(6), unit).unwrap();
        let mut offsets = QueueOffsets::new(Arc::new(queues), HashMap::new());
        let mut send = |topic: &Topic| {
            let next = offsets.next(topic, QueueId(0));
            *next = *next + 1;
            next.0
        };
        let old = topics.find("t").unwrap();
        assert_eq!(send(&old), 8);
        topics.remove(&name);
        let new = topics.put(&name, config);
        assert_eq!((send(&new), send(&old), send(&new)), (9, 10, 11));
    }

    #[test]
    fn a_topic_made_again_after_a_restart_goes_on_where_it_was_deleted() {
        let name = TopicName::new("t").unwrap();
        let topics = Topics::new([(name.clone(), TopicConfig::with_queues(2))], 0);
        let queues = ConsumeQueues::open(Arc::new(FaultDisk::new()), "/q", 200).unwrap();
        let kept = Deletion {
            below: PhysicalOffset::ZERO,
            next: [(QueueId(1), QueueOffset(77))].into(),
        };
        queues.restore_deletions([(name, kept)]);
        let mut offsets = QueueOffsets::new(Arc::new(queues), HashMap::new());
        let topic = topics.find("t").unwrap();
        assert_eq!(*offsets.next(&topic, QueueId(0)), QueueOffset(0));
        assert_eq!(*offsets.next(&topic, QueueId(1)), QueueOffset(77));
    }
}
