//! What is kept of a topic that was deleted: where its queues go on, should a topic of that name be made again.
//!
//! Offsets of a queue are never given twice. If they were, an offset that a consumer, a client or a message id kept would
//! mean another message than it did, and records of the deleted topic, which stay in the log until retention takes them,
//! would be taken for the new topic's when queues are filled from the log after a crash.

use std::collections::BTreeMap;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset};

/// Where the queues of a deleted topic go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deletion {
    /// Messages of the topic that lie below are deleted.
    pub below: PhysicalOffset,
    /// The next offset of each queue that ever had a message.
    pub next: BTreeMap<QueueId, QueueOffset>,
}

const QUEUE_BYTES: usize = 12;

impl Deletion {
    /// Notes that a queue goes on at `next` at the least.
    pub fn raise(&mut self, queue: QueueId, next: QueueOffset) {
        let known = self.next.entry(queue).or_default();
        *known = next.max(*known);
    }

    /// Where a queue goes on.
    pub fn next_of(&self, queue: QueueId) -> QueueOffset {
        self.next.get(&queue).copied().unwrap_or_default()
    }

    /// Big endian: the position, then number and offset of each queue.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.below.0.to_be_bytes().to_vec();
        for (queue, next) in &self.next {
            bytes.extend_from_slice(&queue.0.to_be_bytes());
            bytes.extend_from_slice(&next.0.to_be_bytes());
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (below, rest) = bytes.split_first_chunk::<8>()?;
        let (queues, []) = rest.as_chunks::<QUEUE_BYTES>() else {
            return None;
        };
        let queue = |bytes: &[u8; QUEUE_BYTES]| {
            let (queue, next) = bytes.split_first_chunk::<4>()?;
            let next = u64::from_be_bytes(*next.first_chunk()?);
            Some((QueueId(u32::from_be_bytes(*queue)), QueueOffset(next)))
        };
        Some(Self {
            below: PhysicalOffset(u64::from_be_bytes(*below)),
            next: queues.iter().map(queue).collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written() {
        let mut deletion = Deletion {
            below: PhysicalOffset(7),
            ..Deletion::default()
        };
        assert_eq!(Deletion::decode(&deletion.encode()), Some(deletion.clone()));
        deletion.raise(QueueId(3), QueueOffset(5));
        deletion.raise(QueueId(3), QueueOffset(4));
        assert_eq!(deletion.next_of(QueueId(3)), QueueOffset(5));
        assert_eq!(deletion.next_of(QueueId(4)), QueueOffset(0));
        let bytes = deletion.encode();
        assert_eq!(Deletion::decode(&bytes), Some(deletion));
        assert_eq!(Deletion::decode(&bytes[..19]), None);
        assert_eq!(Deletion::decode(&[0; 7]), None);
    }
}
