//! What an acknowledgement has to show.

use castmq_protocol::model::QueueOffset;

/// Says which delivery of a message is meant. A message handed out again, or whose invisible time was changed, has a
/// new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Receipt {
    /// Where the message is in its queue.
    pub(crate) offset: QueueOffset,
    /// When it was handed out, on the broker's clock, in milliseconds since the epoch.
    pub(crate) popped_at_ms: i64,
    /// How long nobody else gets it.
    pub(crate) invisible_ms: u32,
    /// How often it has been handed out, this time included; or [`Receipt::ANY_ATTEMPT`].
    pub(crate) attempt: u32,
}

impl Receipt {
    /// The attempt of a receipt of RocketMQ's, which does not say it: its clients are told when and for how long once for all
    /// messages of an answer.
    pub(crate) const ANY_ATTEMPT: u32 = 0;
}
