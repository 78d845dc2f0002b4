//! What a timer is made of.

use castmq_protocol::model::{PhysicalOffset, QueueOffset};

use super::check::Check;
use super::log::{Block, TimerLog};
use super::open_slot::OpenSlot;
use super::options::TimerOptions;
use super::retire::Retiring;
use super::wheel::Wheel;

/// Messages that wait for a time. See the [module](super) for what it promises.
#[derive(Debug)]
pub struct Timer {
    pub(super) options: TimerOptions,
    pub(super) log: TimerLog,
    pub(super) wheel: Wheel,
    pub(super) check: Check,
    /// The slot that is being read; those before it are out.
    pub(super) front: OpenSlot,
    /// The slot after it, from when the front's time has come.
    pub(super) next: Option<OpenSlot>,
    /// What was read last of the log.
    pub(super) block: Block,
    /// The last message in the log: entries up to it are known.
    pub(super) last_physical: Option<PhysicalOffset>,
    /// The first message of the timer topic that is not in the log.
    pub(super) resume: QueueOffset,
    pub(super) waiting: i64,
    pub(super) retiring: Retiring,
    /// The sync that failed.
    pub(super) poison: Option<String>,
}

impl Timer {
    pub(super) fn over(
        options: TimerOptions,
        log: TimerLog,
        wheel: Wheel,
        check: Check,
        front: OpenSlot,
    ) -> Self {
        Self {
            options,
            log,
            wheel,
            check,
            front,
            next: None,
            block: Block::default(),
            last_physical: None,
            resume: QueueOffset::ZERO,
            waiting: 0,
            retiring: Retiring::default(),
            poison: None,
        }
    }

    /// When the slot of a time starts, in milliseconds since the epoch.
    pub(super) fn start_ms(&self, time: i64) -> i64 {
        time * self.options.precision_ms
    }

    /// Slots before this time are out, in milliseconds since the epoch; of its own slot a part may be.
    pub fn read_time_ms(&self) -> i64 {
        self.start_ms(self.front.time)
    }

    /// The slot that a power cut would start to read from.
    pub(super) fn durable_time(&self) -> i64 {
        self.check.head.read_ms / self.options.precision_ms
    }

    /// From which message of the timer topic entries have to be inserted: right after opening those that the log may lack,
    /// later the one after the last inserted.
    pub fn resume_offset(&self) -> QueueOffset {
        self.resume
    }

    /// The last message that the log holds or held.
    pub fn last_physical(&self) -> Option<PhysicalOffset> {
        self.last_physical
    }

    /// Messages that wait, less delete markers, as RocketMQ counts them.
    pub fn waiting(&self) -> u64 {
        self.waiting.try_into().unwrap_or(0)
    }
}
