//! Messages that are tried again, and when.

use std::cmp::Reverse;
use std::time::Duration;

use castmq_protocol::model::QueueOffset;
use tokio::time::Instant;

use super::QueueKey;
use crate::consumer::Order;
use crate::message::ReceivedMessage;

/// The first pause before a message is tried again; an ordered queue always waits this long (RocketMQ
/// `suspendCurrentQueueTimeMillis`).
pub(super) const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause before a message is tried again.
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(30);

/// Another try; the earliest is the greatest.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) due: Reverse<(Instant, QueueOffset)>,
    pub(super) key: QueueKey,
    /// `None` when the message waits at the front of its queue.
    pub(super) message: Option<ReceivedMessage>,
}

impl PartialEq for Retry {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}
impl Eq for Retry {}
impl PartialOrd for Retry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Retry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

/// How long to wait after the given number of tries.
pub(super) fn pause(order: Order, attempts: u32) -> Duration {
    match order {
        Order::PerQueue => RETRY_PAUSE,
        Order::None => {
            let doubled = RETRY_PAUSE.saturating_mul(1 << attempts.saturating_sub(1).min(16));
            doubled.min(LONGEST_RETRY_PAUSE)
        }
    }
}
