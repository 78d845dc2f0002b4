//! What goes into the timer and what comes out of it.

use castmq_protocol::model::{PhysicalOffset, QueueOffset};

/// What a message of the timer topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It waits to be delivered.
    Message,
    /// It cancels another one of the same time (RocketMQ `TIMER_DEL_UNIQKEY`). Which one only the message tells.
    DeleteMarker,
}

/// A message of the timer topic, as its queue and its record tell of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the queue of the timer topic.
    pub queue_offset: QueueOffset,
    /// Where its record starts in the log. Grows from entry to entry.
    pub physical: PhysicalOffset,
    /// Size of its record, above 0 and below 2^31.
    pub size_bytes: u32,
    /// When it is to be delivered, in milliseconds since the epoch; any value does.
    pub deliver_at_ms: i64,
    /// What it is for.
    pub kind: Kind,
    /// Java's hash of the topic that it is for (RocketMQ `hashTopicForMetrics`), 0 when it names none.
    pub topic_hash: i32,
}

/// Where [`insert`](super::Timer::insert) put an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It waits in its slot.
    Waiting,
    /// It went to a slot that is being read, or its time is past: ask for what is due now.
    Open,
    /// It is there already, from before the last stop, or was and is out.
    Known,
}

/// A message that came out. 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The time for which it waited, in milliseconds since the epoch; of what [cancels](Self::cancels) the start of its
    /// slot. Of one that came too late for its slot a restart only knows the start of the slot that was open then.
    pub deliver_at_ms: i64,
    /// Where its record starts in the log. Names it: no two entries have the same.
    pub physical: PhysicalOffset,
    /// Size of its record.
    pub size_bytes: u32,
    /// Java's hash of the topic that it is for.
    pub topic_hash: i32,
    /// From when it was entered to when it was to come out.
    pub(super) delayed_ms: i32,
    /// What it is for.
    pub kind: Kind,
    /// Its real time is farther away than the wheel reaches: it is to be stored anew, and not to be delivered.
    pub rolls: bool,
}

const _: () = assert!(size_of::<Due>() == 32);

impl Due {
    /// When it was entered, as RocketMQ writes it to `TIMER_ENQUEUE_MS`: the start of a slot, in milliseconds since the
    /// epoch.
    pub fn entered_ms(&self) -> i64 {
        self.deliver_at_ms
            .saturating_sub(i64::from(self.delayed_ms))
    }

    /// Whether it cancels others now: such entries come out before all others of their slot.
    pub fn cancels(&self) -> bool {
        self.kind == Kind::DeleteMarker && !self.rolls
    }
}

/// How far [`take_due`](super::Timer::take_due) came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// There is more to do at this time: call again.
    pub more: bool,
    /// The wheel has turned as far as it may since the last checkpoint that survives a power cut: it waits for another.
    pub checkpoint_first: bool,
    /// When the next entry may be due, in milliseconds since the epoch; of entries inserted later
    /// [`insert`](super::Timer::insert) tells.
    pub next_ms: i64,
}

/// What a checkpoint is to survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survives {
    /// The end of the process. Nothing is synced.
    Kill,
    /// The end of the machine. Blocks.
    PowerCut,
}
