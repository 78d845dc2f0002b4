//! Messages that expired: nobody gets them, and they count as consumed.

use castmq_protocol::model::{QueueOffset, expires_at_ms};
use castmq_protocol::record::RecordView;
use castmq_storage::consume_queue::ConsumeQueue;

use crate::broker::topics::Topic;
use crate::clock::Clock;

/// When messages of a queue are over that are looked at now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expiry {
    now_ms: i64,
    /// The topic's; 0 for none.
    ttl_ms: u64,
}

impl Expiry {
    /// `None` when no message from an offset on can be over: then none has to be looked at.
    #[inline]
    pub(crate) fn of(
        topic: &Topic,
        queue: &ConsumeQueue,
        from: QueueOffset,
        clock: &Clock,
    ) -> Option<Self> {
        let ttl_ms = topic.ttl_ms();
        (ttl_ms > 0 || from < queue.expiring_end()).then(|| Self {
            now_ms: clock.now_ms(),
            ttl_ms,
        })
    }

    /// For a message of this topic, wherever it lies.
    pub(crate) fn of_message(topic: Option<&Topic>, now_ms: i64) -> Self {
        let ttl_ms = topic.map_or(0, Topic::ttl_ms);
        Self { now_ms, ttl_ms }
    }

    /// The topic's, in milliseconds; 0 for none.
    pub(crate) fn ttl_ms(self) -> u64 {
        self.ttl_ms
    }

    /// Whether a message has expired.
    pub(crate) fn is_over(self, record: &RecordView<'_>) -> bool {
        end_ms(record, self.ttl_ms).is_some_and(|end_ms| end_ms <= self.now_ms)
    }
}

/// When a message of a topic with this time to live (0 for none) expires, in milliseconds since the epoch.
pub(crate) fn end_ms(record: &RecordView<'_>, ttl_ms: u64) -> Option<i64> {
    let of_topic =
        (ttl_ms > 0).then(|| record.store_timestamp_ms().saturating_add_unsigned(ttl_ms));
    let own = expires_at_ms(record.properties());
    match (own, of_topic) {
        (Some(own), Some(of_topic)) => Some(own.min(of_topic)),
        (own, of_topic) => own.or(of_topic),
    }
}
