//! Popping messages: handing them out for a time, and what consumers say of those that they have.

use super::{FieldError, FieldWriter, Fields, ReadFields, WriteFields, headers};

headers! {
    /// Hands out messages.
    PopMessage<'a> {
        /// The group.
        "consumerGroup" => group: &'a str,
        /// The topic.
        "topic" => topic: &'a str,
        /// The queue; negative for all.
        "queueId" => queue: i32 = 0,
        /// The most messages that are wanted.
        "maxMsgNums" => max_messages: i32 = 0,
        /// For how long they are the consumer's.
        "invisibleTime" => invisible_ms: i64 = 0,
        /// How long to wait for messages.
        "pollTime" => poll_ms: i64 = 0,
        /// When the request was made, in milliseconds since the epoch; 0 for now.
        "bornTime" => born_ms: i64 = 0,
        /// Where a new group begins: one of [`init_mode`].
        "initMode" => init_mode: i32 = 0,
        /// `TAG`, which it is without, or `SQL92`.
        "expType" => expression_type: Option<&'a str>,
        /// The filter.
        "exp" => expression: Option<&'a str>,
        /// Whether messages of a queue are handed out one after the other.
        "order" => in_order: bool = false,
        /// Tells a request that is sent again from a new one.
        "attemptId" => attempt_id: Option<&'a str>,
    }

    /// Messages. The body is records, one behind the other.
    PopMessageResponse<'a> {
        /// When they were handed out, in milliseconds since the epoch.
        "popTime" => popped_ms: i64 = 0,
        /// For how long.
        "invisibleTime" => invisible_ms: i64 = 0,
        /// The broker's own queue that watches over them; [`ORDER_REVIVE_QUEUE`] for messages in order.
        "reviveQid" => revive_queue: i32 = 0,
        /// Messages that are left.
        "restNum" => rest: i64 = 0,
        /// [`StartOffsets`](crate::remoting::pop::StartOffsets) of the queues.
        "startOffsetInfo" => start_offsets: Option<&'a str>,
        /// [`MessageOffsets`](crate::remoting::pop::MessageOffsets) of the queues.
        "msgOffsetInfo" => message_offsets: Option<&'a str>,
        /// [`OrderCounts`](crate::remoting::pop::OrderCounts) of queues and messages in order.
        "orderCountInfo" => order_counts: Option<&'a str>,
    }

    /// A message is done.
    AckMessage<'a> {
        /// The group.
        "consumerGroup" => group: &'a str,
        /// The topic, which is that of retries for a message of that.
        "topic" => topic: &'a str,
        /// The queue.
        "queueId" => queue: i32,
        /// The message's [`Receipt`](crate::remoting::pop::Receipt).
        "extraInfo" => receipt: &'a str,
        /// The message's place in the queue.
        "offset" => offset: i64,
    }

    /// Changes for how long a message is the consumer's.
    ChangeInvisible<'a> {
        /// The group.
        "consumerGroup" => group: &'a str,
        /// The topic, which is that of retries for a message of that.
        "topic" => topic: &'a str,
        /// The queue.
        "queueId" => queue: i32,
        /// The message's [`Receipt`](crate::remoting::pop::Receipt).
        "extraInfo" => receipt: &'a str,
        /// The message's place in the queue.
        "offset" => offset: i64,
        /// From now on, for how long.
        "invisibleTime" => invisible_ms: i64,
    }

    /// What a new receipt is made of.
    ChangeInvisibleResponse {
        /// When it was changed, in milliseconds since the epoch.
        "popTime" => popped_ms: i64 = 0,
        /// For how long the message is the consumer's.
        "invisibleTime" => invisible_ms: i64 = 0,
        /// The broker's own queue that watches over it.
        "reviveQid" => revive_queue: i32 = 0,
    }

    /// Shows messages without handing them out. It is answered as [`PopMessage`] is.
    PeekMessage<'a> {
        /// The topic.
        "topic" => topic: &'a str,
        /// The queue; negative for all.
        "queueId" => queue: i32 = 0,
        /// The most messages that are wanted.
        "maxMsgNums" => max_messages: i32 = 0,
        /// The group.
        "consumerGroup" => group: &'a str,
    }

    /// Waits until there are messages.
    Notification<'a> {
        /// The group.
        "consumerGroup" => group: &'a str,
        /// The topic.
        "topic" => topic: &'a str,
        /// The queue; negative for all.
        "queueId" => queue: i32 = 0,
        /// How long to wait.
        "pollTime" => poll_ms: i64 = 0,
        /// When the request was made, in milliseconds since the epoch; 0 for now.
        "bornTime" => born_ms: i64 = 0,
        /// Whether messages of a queue are handed out one after the other.
        "order" => in_order: bool = false,
        /// Tells a request that is sent again from a new one.
        "attemptId" => attempt_id: Option<&'a str>,
    }

    /// Whether there are.
    NotificationResponse {
        /// Whether there are.
        "hasMsg" => has_messages: bool = false,
        /// Whether too many wait already.
        "pollingFull" => is_full: bool = false,
    }

    /// How many wait for a group's messages.
    PollingInfo<'a> {
        /// The group.
        "consumerGroup" => group: &'a str,
        /// The topic.
        "topic" => topic: &'a str,
        /// The queue; negative for all.
        "queueId" => queue: i32 = 0,
    }

    /// How many.
    PollingInfoResponse {
        /// How many.
        "pollingNum" => waiting: i32 = 0,
    }
}

/// Values of [`PopMessage::init_mode`].
pub mod init_mode {
    /// At the first message there is.
    pub const MIN: i32 = 0;
    /// At the end.
    pub const MAX: i32 = 1;
}

/// What [`PopMessageResponse::revive_queue`] is for messages that are handed out in order.
pub const ORDER_REVIVE_QUEUE: i32 = 999;
