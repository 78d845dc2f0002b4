//! Reading messages of a queue.

use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueOffset};
use castmq_protocol::native::response::PullStatus;
use castmq_storage::commit_log::{CommitLog, Gather, LogSlice};
use castmq_storage::consume_queue::{ConsumeQueue, ConsumeQueueError, ConsumeUnit};
use castmq_storage::disk::Wait;
use tokio::time::Instant;

use crate::supervision::Reply;

/// Units looked at in one fetch.
const MAX_UNITS: u32 = 4096;

/// Records this close to the end of the log are in memory: they were just written.
const HOT_BYTES: u64 = 32 * 1024 * 1024;

/// How long a fetch that finds nothing waits for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not at all.
    None,
    /// Until then.
    Until(Instant),
    /// As long as the queue is awake.
    Forever,
}

/// Asks a queue for messages.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) offset: QueueOffset,
    pub(crate) max_messages: u32,
    pub(crate) max_bytes: u32,
    pub(crate) patience: Patience,
    pub(crate) reply: Reply<Fetched>,
}

/// Messages of a queue, or why there are none.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) status: PullStatus,
    pub(crate) next_offset: QueueOffset,
    pub(crate) min_offset: QueueOffset,
    pub(crate) max_offset: QueueOffset,
    pub(crate) messages: u32,
    pub(crate) records: Vec<LogSlice>,
    /// How far the last of them lies from the end of the log.
    pub(crate) behind_bytes: u64,
}

impl Fetched {
    /// Nothing, and where to go on.
    fn nothing(queue: &ConsumeQueue, status: PullStatus, next_offset: QueueOffset) -> Self {
        Self {
            status,
            next_offset,
            min_offset: queue.min_offset(),
            max_offset: queue.max_offset(),
            messages: 0,
            records: Vec::new(),
            behind_bytes: 0,
        }
    }
}

/// What reading came to.
#[derive(Debug)]
pub(crate) enum Read {
    /// There is something to answer.
    Done(Fetched),
    /// There is no message at the offset yet.
    Empty(Fetched),
    /// Reading on would wait for the disk.
    Cold,
}

/// Reads messages from `offset` on: at most `max_messages`, at most `max_bytes` but always one.
pub(crate) fn read(
    log: &CommitLog,
    queue: &Arc<ConsumeQueue>,
    offset: QueueOffset,
    max_messages: u32,
    max_bytes: u32,
    wait: Wait,
) -> Result<Read, ConsumeQueueError> {
    let (min, max) = (queue.min_offset(), queue.max_offset());
    if offset < min {
        return Ok(Read::Done(Fetched::nothing(
            queue,
            PullStatus::OffsetTooSmall,
            min,
        )));
    }
    if offset > max {
        return Ok(Read::Done(Fetched::nothing(
            queue,
            PullStatus::OffsetTooLarge,
            max,
        )));
    }
    if offset == max {
        return Ok(Read::Empty(Fetched::nothing(
            queue,
            PullStatus::NoNewMessage,
            offset,
        )));
    }
    let mut units = Vec::new();
    let wanted = max_messages.clamp(1, MAX_UNITS) as usize;
    match queue.read(offset, wanted, wait, &mut units) {
        Err(error) if error.is_would_block() => return Ok(Read::Cold),
        result => result?,
    }
    let taken = fitting(&units, max_bytes);
    let units = units.get(..taken).unwrap_or_default();
    if wait == Wait::Never && !is_hot(log, units) {
        return Ok(Read::Cold);
    }
    let mut gather = Gather::default();
    let mut messages = 0;
    for unit in units {
        // A record that retention has just removed is passed over.
        messages += u32::from(gather.add(log, unit.physical, unit.size));
    }
    let records = gather.finish();
    if wait == Wait::ForDisk {
        for record in &records {
            // Without it the read takes page faults later, which is slow but right.
            if let Err(error) = record.load() {
                tracing::debug!(%error, "records cannot be loaded ahead");
            }
        }
    }
    Ok(Read::Done(Fetched {
        status: if messages > 0 {
            PullStatus::Found
        } else {
            PullStatus::NoMatch
        },
        next_offset: offset + taken as u64,
        min_offset: min,
        max_offset: queue.max_offset(),
        messages,
        records,
        behind_bytes: units
            .last()
            .map_or(0, |last| log.appended().distance_from(last.end())),
    }))
}

/// How many units fit, at least one.
fn fitting(units: &[ConsumeUnit], max_bytes: u32) -> usize {
    let mut bytes = 0_u64;
    let fits = |unit: &&ConsumeUnit| {
        bytes += u64::from(unit.size);
        bytes <= u64::from(max_bytes)
    };
    units
        .iter()
        .take_while(fits)
        .count()
        .max(1)
        .min(units.len())
}

/// Whether reading these records would not wait for the disk.
pub(crate) fn is_hot(log: &CommitLog, units: &[ConsumeUnit]) -> bool {
    let (Some(first), Some(last)) = (units.first(), units.last()) else {
        return true;
    };
    let hot = PhysicalOffset(log.appended().0.saturating_sub(HOT_BYTES));
    first.physical >= hot || log.is_resident(first.physical, last.end())
}
