//! Whether messages of a queue may expire. Nothing of it is in the files, which are RocketMQ's.

use std::sync::atomic::Ordering;

use castmq_protocol::model::QueueOffset;

use super::queue::ConsumeQueue;

impl ConsumeQueue {
    /// Notes that the message at this offset may expire. Returns whether none was noted before.
    pub fn note_expiring(&self, at: QueueOffset) -> bool {
        let end = at.0.saturating_add(1);
        self.expiring_end.fetch_max(end, Ordering::AcqRel) == 0
    }

    /// No message from here on expires by itself.
    pub fn expiring_end(&self) -> QueueOffset {
        QueueOffset(self.expiring_end.load(Ordering::Acquire))
    }
}
