//! Which queues hold messages that may expire, so that only those who read from them look for such messages.
//!
//! Whoever dispatches meets the messages and notes their queues. A queue is written down once, before recovery stops looking
//! at the record that it was noted for; a queue that is noted without need costs its readers a look at each record, and
//! nothing else. After a start every message that such a queue has by then may expire.

use castmq_protocol::model::{QueueId, QueueOffset, TopicName};
use parking_lot::Mutex;

use crate::consume_queue::ConsumeQueues;
use crate::metadata::{Metadata, MetadataError};

/// Where the notes are kept among the key-values.
const NAMESPACE: &str = "expiring_queues";

/// The notes of one store.
#[derive(Debug, Default)]
pub struct Expiring {
    unsaved: Mutex<Vec<(TopicName, QueueId)>>,
}

impl Expiring {
    /// Takes up what was saved, and forgets queues that have nothing left.
    pub(crate) fn load(metadata: &Metadata, queues: &ConsumeQueues) -> Result<Self, MetadataError> {
        for (key, _) in metadata.values(NAMESPACE)? {
            let Some((topic, id)) = decode(&key) else {
                return Err(metadata.damaged(key.as_bytes(), "it is no queue"));
            };
            let queue = queues.find(topic.as_str(), id);
            let held = queue.filter(|queue| queue.min_offset() < queue.max_offset());
            match held {
                Some(queue) => {
                    queue.note_expiring(QueueOffset(queue.max_offset().0 - 1));
                }
                None => metadata.remove_value(NAMESPACE, &key)?,
            }
        }
        Ok(Self::default())
    }

    /// A queue has got its first message that may expire, since it was opened.
    pub fn note(&self, topic: TopicName, queue: QueueId) {
        self.unsaved.lock().push((topic, queue));
    }

    /// Writes what was noted, to be synced by the caller. Returns whether there was anything.
    pub(crate) fn save(&self, metadata: &Metadata) -> Result<bool, MetadataError> {
        let unsaved = self.unsaved.lock().clone();
        for (topic, queue) in &unsaved {
            metadata.put_value(NAMESPACE, &encode(topic, *queue), &[])?;
        }
        self.unsaved.lock().drain(..unsaved.len());
        Ok(!unsaved.is_empty())
    }
}

fn encode(topic: &TopicName, queue: QueueId) -> String {
    format!("{queue}/{topic}")
}

fn decode(key: &str) -> Option<(TopicName, QueueId)> {
    let (queue, topic) = key.split_once('/')?;
    Some((TopicName::new(topic).ok()?, QueueId(queue.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use castmq_protocol::model::PhysicalOffset;

    use super::*;
    use crate::consume_queue::ConsumeUnit;
    use crate::disk::fault::FaultDisk;

    #[test]
    fn a_queue_that_was_written_down_is_looked_into_after_a_start_as_far_as_it_goes_then() {
        let folder = tempfile::tempdir().unwrap();
        let metadata = Metadata::open(&folder.path().join("metadata"), 1 << 20).unwrap();
        let topic = TopicName::new("%RETRY%a_b-c").unwrap();
        let open = |messages: u64| {
            let queues = ConsumeQueues::open(Arc::new(FaultDisk::new()), "/q", 200).unwrap();
            for offset in 0..messages {
                let unit = ConsumeUnit {
                    physical: PhysicalOffset(offset * 100),
                    size: 100,
                    tags_code: 0,
                };
                let queue = queues.queue(&topic, QueueId(12));
                queue.append(QueueOffset(offset), unit).unwrap();
            }
            queues
        };
        let queues = open(3);
        let expiring = Expiring::load(&metadata, &queues).unwrap();
        let queue = queues.queue(&topic, QueueId(12));
        assert_eq!(queue.expiring_end(), QueueOffset(0));
        assert!(queue.note_expiring(QueueOffset(1)), "it is the first");
        assert!(!queue.note_expiring(QueueOffset(0)));
        assert_eq!(queue.expiring_end(), QueueOffset(2));
        expiring.note(topic.clone(), QueueId(12));
        expiring.save(&metadata).unwrap();
        expiring.save(&metadata).unwrap();

        let queues = open(5);
        Expiring::load(&metadata, &queues).unwrap();
        let queue = queues.queue(&topic, QueueId(12));
        assert_eq!(queue.expiring_end(), QueueOffset(5));
        let other = queues.queue(&topic, QueueId(0));
        assert_eq!(other.expiring_end(), QueueOffset(0));

        Expiring::load(&metadata, &open(0)).unwrap();
        assert_eq!(
            metadata.values(NAMESPACE).unwrap(),
            [],
            "nothing is left in it"
        );
    }
}
