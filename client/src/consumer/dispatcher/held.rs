//! What a dispatcher holds of one queue.

use std::collections::VecDeque;

use castmq_protocol::model::QueueOffset;

use crate::consumer::Order;
use crate::consumer::credit::{Returns, Window};
use crate::consumer::tracker::OffsetTracker;
use crate::message::{Queue, ReceivedMessage};

/// What is held of one queue.
#[derive(Debug)]
pub(super) struct HeldQueue<S> {
    pub(super) queue: Queue,
    pub(super) source: S,
    pub(super) messages: VecDeque<ReceivedMessage>,
    pub(super) tracker: OffsetTracker,
    pub(super) returns: Returns,
    /// Messages that workers have.
    pub(super) running: usize,
    /// Messages that wait for another try, outside of `messages`.
    pub(super) retrying: usize,
    /// In order, and waiting for another try of the first message.
    pub(super) suspended: bool,
    /// Nothing more is started.
    pub(super) draining: bool,
    /// Nobody asks for it any more; it stays until nothing runs.
    pub(super) removed: bool,
    /// Whether it stands in the ready list.
    pub(super) listed: bool,
    /// Messages may expire, and the topic has them do so after this time; 0 when it does not.
    pub(super) expires: Option<u64>,
    /// Messages of higher queues of the topic go first.
    pub(super) by_priority: bool,
}

impl<S> HeldQueue<S> {
    /// Nothing yet, from `start` on.
    pub(super) fn new(queue: Queue, source: S, start: QueueOffset, window: Window) -> Self {
        Self {
            queue,
            source,
            messages: VecDeque::new(),
            tracker: OffsetTracker::new(start),
            returns: Returns::new(window),
            running: 0,
            retrying: 0,
            suspended: false,
            draining: false,
            removed: false,
            listed: false,
            expires: None,
            by_priority: false,
        }
    }

    /// Whether one of its messages may be started.
    pub(super) fn can_start(&self, order: Order) -> bool {
        let free = match order {
            Order::PerQueue => self.running == 0 && !self.suspended,
            Order::None => true,
        };
        free && !self.draining && !self.messages.is_empty()
    }
}
