//! Reading messages of a queue.

use std::sync::Arc;

use castmq_protocol::filter::CompiledFilter;
use castmq_protocol::model::{PhysicalOffset, QueueOffset};
use castmq_protocol::native::response::PullStatus;
use castmq_protocol::record::RecordView;
use castmq_storage::commit_log::{CommitLog, Gather, LogSlice};
use castmq_storage::consume_queue::{ConsumeQueue, ConsumeQueueError, ConsumeUnit};
use castmq_storage::disk::Wait;
use tokio::time::Instant;

use super::expiry::Expiry;
use crate::broker::topics::Topic;
use crate::clock::Clock;
use crate::supervision::Reply;

/// Units looked at in one fetch.
const MAX_UNITS: u32 = 4096;

/// And where a filter passes over most of them, by their codes alone.
const MAX_FILTERED_UNITS: u32 = 16_384;

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

/// Which messages of a queue are wanted.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) offset: QueueOffset,
    pub(crate) max_messages: u32,
    /// One message is always possible.
    pub(crate) max_bytes: u32,
    /// `None` for all.
    pub(crate) filter: Option<Arc<CompiledFilter>>,
    /// The topic, where messages that have expired are passed over.
    pub(crate) passes_expired: Option<Arc<Topic>>,
}

/// Asks a queue for messages.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) wanted: Wanted,
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
    /// Those that were passed over because they have expired.
    pub(crate) expired: u32,
    /// Whether some of the messages may expire, and by what.
    pub(crate) expiry: Option<Expiry>,
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
            expired: 0,
            expiry: None,
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

/// Reads messages of a queue that may be seen up to `end`, in a step of bounded length: where a filter lets few through, that
/// can be none.
pub(crate) fn read(
    log: &CommitLog,
    queue: &Arc<ConsumeQueue>,
    end: QueueOffset,
    wanted: &Wanted,
    wait: Wait,
    clock: &Clock,
) -> Result<Read, ConsumeQueueError> {
    let offset = wanted.offset;
    let (min, max) = (queue.min_offset(), queue.max_offset());
    let nothing = |status, next| Fetched::nothing(queue, status, next);
    if offset < min {
        return Ok(Read::Done(nothing(PullStatus::OffsetTooSmall, min)));
    }
    if offset > max {
        return Ok(Read::Done(nothing(PullStatus::OffsetTooLarge, max)));
    }
    if offset >= end {
        return Ok(Read::Empty(nothing(PullStatus::NoNewMessage, offset)));
    }
    let mut units = Vec::new();
    let topic = wanted.passes_expired.as_deref();
    let expiry = topic.and_then(|topic| Expiry::of(topic, queue, offset, clock));
    let most = match (&wanted.filter, expiry) {
        (None, None) => wanted.max_messages.clamp(1, MAX_UNITS),
        (None, Some(_)) => MAX_UNITS,
        (Some(_), _) => MAX_FILTERED_UNITS,
    };
    let most = u64::from(most).min(end.distance_from(offset));
    match queue.read(offset, most as usize, wait, &mut units) {
        Err(error) if error.is_would_block() => return Ok(Read::Cold),
        result => result?,
    }
    let mut expired = 0;
    let seen = match (&wanted.filter, expiry) {
        (None, None) => {
            let taken = fitting(&units, wanted.max_bytes);
            units.truncate(taken);
            if wait == Wait::Never && !is_hot(log, &units) {
                return Ok(Read::Cold);
            }
            taken
        }
        (filter, expiry) => {
            let choice = Choice {
                filter: filter.as_deref(),
                expiry,
            };
            match choice.choose(log, &mut units, wanted, wait) {
                Some((seen, over)) => {
                    expired = over;
                    seen
                }
                None => return Ok(Read::Cold),
            }
        }
    };
    let mut gather = Gather::default();
    let mut messages = 0;
    for unit in &units {
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
        next_offset: offset + seen as u64,
        min_offset: min,
        max_offset: queue.max_offset(),
        messages,
        records,
        behind_bytes: units
            .last()
            .map_or(0, |last| log.appended().distance_from(last.end())),
        expired,
        expiry,
    }))
}

/// Which messages go out.
struct Choice<'a> {
    filter: Option<&'a CompiledFilter>,
    expiry: Option<Expiry>,
}

impl Choice<'_> {
    /// Leaves the units whose messages go out, and returns how many were looked at, and how many of those have expired.
    /// `None` when the first would have to be waited for.
    fn choose(
        &self,
        log: &CommitLog,
        units: &mut Vec<ConsumeUnit>,
        wanted: &Wanted,
        wait: Wait,
    ) -> Option<(usize, u32)> {
        let hot = PhysicalOffset(log.appended().0.saturating_sub(HOT_BYTES));
        let mut chosen = Vec::new();
        let mut expired = 0;
        let mut bytes = 0_u64;
        let mut seen = units.len();
        for (index, unit) in units.iter().enumerate() {
            if self
                .filter
                .is_some_and(|filter| !filter.may_match_code(unit.tags_code))
            {
                continue;
            }
            let is_full = chosen.len() >= wanted.max_messages.clamp(1, MAX_UNITS) as usize
                || (!chosen.is_empty() && bytes + u64::from(unit.size) > wanted.max_bytes.into());
            let is_near = wait == Wait::ForDisk
                || unit.physical >= hot
                || log.is_resident(unit.physical, unit.end());
            if is_full || !is_near {
                seen = index;
                break;
            }
            // Only now the record itself is looked at.
            let record = log.slice(unit.physical, unit.size as usize);
            let Some(Ok(record)) = record
                .as_ref()
                .map(|record| RecordView::parse(record.as_ref()))
            else {
                continue;
            };
            if self.expiry.is_some_and(|expiry| expiry.is_over(&record)) {
                expired += 1;
            } else if self
                .filter
                .is_none_or(|filter| filter.matches_record(&record))
            {
                bytes += u64::from(unit.size);
                chosen.push(*unit);
            }
        }
        *units = chosen;
        (seen > 0).then_some((seen, expired))
    }
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
