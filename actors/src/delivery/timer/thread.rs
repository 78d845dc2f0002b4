//! The timer's wheel, on the timer's thread.

use std::collections::HashSet;
use std::sync::Arc;

use castmq_protocol::model::{
    PhysicalOffset, QueueId, QueueOffset, java_string_hash, keys, property_value, system_topics,
};
use castmq_protocol::native::replication::TimerMark;
use castmq_protocol::record::{Origin, RecordView};
use castmq_storage::commit_log::LogSlice;
use castmq_storage::consume_queue::ConsumeQueueError;
use castmq_storage::consume_queue::ConsumeUnit;
use castmq_storage::disk::Wait;
use castmq_storage::metadata::{Metadata, MetadataError};
use castmq_storage::store::Records;
use castmq_storage::timer::{
    Due, Ends, Entry, Kind, Survives, Timer, TimerError, TimerOptions, note_search_from,
    search_from,
};
use parking_lot::Mutex;
use thiserror::Error;

use crate::broker::context::{BrokerContext, Store};
use crate::clock::Clock;

/// Messages entered in one turn.
const MAX_ENTERED: usize = 8_192;

/// Messages taken out in one turn.
const MAX_DUE: usize = 2_048;

/// Where it is kept how far the master's wheel was, on a slave.
const NAMESPACE: &str = "timer";
const MASTERS: &str = "masters";

/// Slots that are out again after a start, and whose messages may have been delivered before.
const SEARCHED_SLOTS: i64 = 3;

/// What can go wrong.
#[derive(Debug, Error)]
pub(super) enum WheelError {
    #[error(transparent)]
    Timer(#[from] TimerError),
    #[error(transparent)]
    Queue(#[from] ConsumeQueueError),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

/// Work for the thread.
#[derive(Debug, Clone, Copy)]
pub(super) enum Job {
    /// Open the files, as they are after whatever stop.
    Open,
    /// Enter what is new and take out what is due.
    Turn { now_ms: i64 },
    /// Write down how far the wheel is; everything that came out is stored.
    Checkpoint { now_ms: i64 },
}

/// A message that is due.
#[derive(Debug)]
pub(super) struct DueRecord {
    /// It is not due yet, but too far away for the wheel: it is to be stored anew.
    pub(super) rolls: bool,
    pub(super) record: LogSlice,
}

/// What came of a job.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) due: Vec<DueRecord>,
    /// There is more to do at this time.
    pub(super) more: bool,
    /// The wheel turns no further before a checkpoint that survives a power cut.
    pub(super) checkpoint_first: bool,
    /// The log is not durable as far as a checkpoint that survives a power cut needs it.
    pub(super) is_uncovered: bool,
    /// A checkpoint leaves something to be written down later: until then it keeps its part of the log.
    pub(super) is_behind: bool,
    /// When the next message may be due, in milliseconds since the epoch.
    pub(super) next_ms: i64,
    /// Messages that wait.
    pub(super) waiting: u64,
    /// Before this time everything is out, in milliseconds since the epoch.
    pub(super) read_to_ms: i64,
    /// Messages that were gone when their time came: nothing of the broker's takes them, but somebody may have removed files.
    pub(super) gone: u64,
}

/// The wheel survives the actor, so that two never write its files; the actor that comes next opens it anew.
pub(crate) type SharedWheel = Arc<Mutex<Option<Timer>>>;

/// A place from which the log has all that came out of slots from a time on.
#[derive(Debug, Clone, Copy)]
struct Mark {
    read_to_ms: i64,
    log: PhysicalOffset,
}

/// See the module.
pub(super) struct Wheel {
    store: Arc<Store>,
    clock: Clock,
    shared: SharedWheel,
    /// For slaves: see [`TimerMark`].
    mark: Arc<Mutex<Option<TimerMark>>>,
    /// What was due at this time is out, of the messages before this one, and stored once the next turn begins.
    drained: Option<(i64, QueueOffset)>,
    /// A wheel that is filled from what a master did: until it is.
    refilling: Option<Refilling>,
    /// Where messages lay that were delivered before the start, as far as they may come out again: once the log was searched
    /// for them.
    delivered: HashSet<PhysicalOffset>,
    /// From where it is to be searched, until it was, or need not be any more. A wheel from which nothing comes again costs
    /// no look at the log.
    search_from: Option<PhysicalOffset>,
    /// The end of the log at the start: only messages below can come out again.
    opened_at: PhysicalOffset,
    /// Until the wheel is here.
    delivered_until_ms: i64,
    /// Messages that were cancelled, as RocketMQ names them: topic, plus sign, unique id.
    cancelled: HashSet<String>,
    cancelled_until_ms: i64,
    /// The slot that is being read, and what was the end of the log when it began to be.
    front: Mark,
    /// A mark that may be written down durably once the log is durable up to there.
    pending: Option<(Mark, PhysicalOffset)>,
    /// Messages that were gone when their time came, since that was last said.
    gone: u64,
    missed: Missed,
}

/// A wheel is filled from the timer topic, by what was known of the master's: nobody kept one here.
#[derive(Debug)]
struct Refilling {
    mark: TimerMark,
    /// Where messages lay that were stored anew, being too far away for the wheel.
    rolled: HashSet<PhysicalOffset>,
    /// Behind the last that is to be looked at so.
    end: QueueOffset,
}

/// Messages that were gone before they were entered. The wheel does not know that it is beyond them until it enters one.
#[derive(Debug, Default)]
struct Missed {
    /// Those before are counted.
    counted: QueueOffset,
}

impl Missed {
    /// How many there are, from what the wheel knows to what there still is, that were not counted before.
    fn count(&mut self, known: QueueOffset, from: QueueOffset) -> u64 {
        let first = known.max(self.counted);
        self.counted = first.max(from);
        self.counted.0 - first.0
    }
}

impl Refilling {
    /// Whether a message was still waiting.
    fn waits(&self, entry: &Entry) -> bool {
        let is_out = entry.queue_offset < self.mark.entered
            && (entry.deliver_at_ms <= self.mark.out_to_ms
                || self.rolled.contains(&entry.physical));
        !is_out
    }
}

impl Wheel {
    pub(super) fn new(context: &BrokerContext) -> Self {
        let end = context.store.log.appended();
        Self {
            store: context.store.clone(),
            clock: context.clock.clone(),
            shared: context.wheel.clone(),
            mark: context.timer_mark.clone(),
            drained: None,
            refilling: None,
            delivered: HashSet::new(),
            search_from: None,
            opened_at: end,
            delivered_until_ms: 0,
            cancelled: HashSet::new(),
            cancelled_until_ms: 0,
            front: Mark {
                read_to_ms: 0,
                log: end,
            },
            pending: None,
            gone: 0,
            missed: Missed::default(),
        }
    }

    pub(super) fn work(&mut self, job: Job) -> Result<Turn, WheelError> {
        let shared = self.shared.clone();
        let mut shared = shared.lock();
        // A job that panics leaves nothing behind that could be wrong.
        let timer = shared.take();
        let mut timer = match (job, timer) {
            (Job::Open, _) | (_, None) => self.open()?,
            (_, Some(timer)) => timer,
        };
        let turn = match job {
            Job::Open => Ok(Turn {
                more: true,
                ..Turn::default()
            }),
            Job::Turn { now_ms } => self.turn(&mut timer, now_ms),
            Job::Checkpoint { now_ms } => self.checkpoint(&mut timer, now_ms),
        };
        let turn = turn.map(|turn| Turn {
            waiting: timer.waiting(),
            read_to_ms: timer.read_time_ms(),
            ..turn
        });
        *shared = Some(timer);
        turn
    }

    fn open(&mut self) -> Result<Timer, WheelError> {
        let store = &self.store;
        let ends = Ends {
            physical: store.log.appended(),
            queue: store
                .queues
                .find(system_topics::TIMER, QueueId(0))
                .map_or(QueueOffset::ZERO, |queue| queue.max_offset()),
        };
        let options = TimerOptions::default();
        let now_ms = self.clock.now_ms();
        let is_missing = store.disk.open(&store.root().join("timerwheel")).is_err();
        let timer = Timer::open(store.disk.clone(), store.root(), options, ends, now_ms)?;
        let from = match search_from(&store.metadata)? {
            Some(from) => from,
            // What came out lies behind the first that was entered.
            None => {
                let first =
                    store
                        .queues
                        .place(system_topics::TIMER, QueueId(0), QueueOffset::ZERO)?;
                first.unwrap_or(ends.physical)
            }
        };
        self.delivered = HashSet::new();
        self.opened_at = ends.physical;
        let read_to_ms = timer.read_time_ms();
        self.delivered_until_ms = read_to_ms.max(now_ms) + SEARCHED_SLOTS * options.precision_ms;
        self.drained = None;
        self.refilling = match is_missing {
            true => self.refilling(ends.queue)?,
            false => None,
        };
        let from = self
            .refilling
            .as_ref()
            .map_or(from, |refilling| refilling.mark.log);
        self.search_from = Some(from.max(self.store.log.begin()));
        if self.refilling.is_some() {
            self.delivered_until_ms = i64::MAX;
        }
        self.front = Mark {
            read_to_ms,
            log: from,
        };
        self.pending = None;
        self.cancelled.clear();
        Ok(timer)
    }

    /// What a wheel is to be filled with that a master had, if there was one.
    fn refilling(&self, end: QueueOffset) -> Result<Option<Refilling>, WheelError> {
        let Some(mark) = masters_mark(&self.store.metadata)? else {
            return Ok(None);
        };
        let mut rolled = HashSet::new();
        if let Some(queue) = self.store.queues.find(system_topics::TIMER, QueueId(0)) {
            let mut from = queue.min_offset();
            while from < end {
                let mut units: Vec<ConsumeUnit> = Vec::new();
                queue.read(from, MAX_ENTERED, Wait::ForDisk, &mut units)?;
                if units.is_empty() {
                    break;
                }
                for unit in &units {
                    rolled.extend(self.store.log.record(unit.physical).and_then(origin));
                    from = from + 1;
                }
            }
        }
        tracing::info!(to = %end, rolled = rolled.len(), "messages that wait for a time are read from the log");
        Ok(Some(Refilling { mark, rolled, end }))
    }

    /// The messages that the log says were delivered, from a record's start on.
    fn search(&self, from: PhysicalOffset) -> HashSet<PhysicalOffset> {
        let log = &self.store.log;
        let records = Records::new(log, from..log.appended());
        // What retention takes while this reads is from before anything that may come out again.
        let read = records.map_while(Result::ok);
        read.filter_map(|(_, record)| origin(record)).collect()
    }

    fn turn(&mut self, timer: &mut Timer, now_ms: i64) -> Result<Turn, WheelError> {
        let log_end = self.store.log.appended();
        if let Some((out_to_ms, entered)) = self.drained.take() {
            let log = log_end;
            *self.mark.lock() = Some(TimerMark {
                out_to_ms,
                entered,
                log,
            });
        }
        let entered = self.enter(timer, now_ms)?;
        let mut due = Vec::new();
        let progress = timer.take_due(now_ms, MAX_DUE, &mut due)?;
        if timer.read_time_ms() > self.front.read_to_ms {
            // What comes out of the slot that is being read now is stored behind this.
            self.front = Mark {
                read_to_ms: timer.read_time_ms(),
                log: log_end,
            };
        }
        let due = due.iter().filter_map(|due| self.look_up(due)).collect();
        if !progress.more && self.refilling.is_none() {
            self.drained = Some((now_ms, timer.resume_offset()));
        }
        self.forget(timer.read_time_ms());
        Ok(Turn {
            due,
            more: progress.more || entered == MAX_ENTERED,
            checkpoint_first: progress.checkpoint_first,
            next_ms: progress.next_ms,
            gone: std::mem::take(&mut self.gone),
            ..Turn::default()
        })
    }

    /// Enters what the timer topic has beyond what the wheel knows.
    fn enter(&mut self, timer: &mut Timer, now_ms: i64) -> Result<usize, WheelError> {
        let Some(queue) = self.store.queues.find(system_topics::TIMER, QueueId(0)) else {
            return Ok(0);
        };
        let known = timer.resume_offset();
        let from = known.max(queue.min_offset());
        let missed = self.missed.count(known, from);
        // A wheel that knows nothing yet may be new beside a log that is old.
        if known > QueueOffset::ZERO {
            self.gone += missed;
        }
        if from >= queue.max_offset() {
            return Ok(0);
        }
        let mut units: Vec<ConsumeUnit> = Vec::new();
        queue.read(from, MAX_ENTERED, Wait::ForDisk, &mut units)?;
        let mut offset = from;
        for unit in &units {
            if let Some(entry) = self.entry(offset, unit)
                && self.refilling.as_ref().is_none_or(|all| all.waits(&entry))
            {
                timer.insert(&entry, now_ms)?;
            }
            offset = offset + 1;
        }
        timer.flush()?;
        if self.refilling.take_if(|all| all.end <= offset).is_some() {
            let slot_ms = TimerOptions::default().precision_ms;
            self.delivered_until_ms = timer.read_time_ms().max(now_ms) + SEARCHED_SLOTS * slot_ms;
        }
        Ok(units.len())
    }

    fn entry(&self, queue_offset: QueueOffset, unit: &ConsumeUnit) -> Option<Entry> {
        let record = self.store.log.record(unit.physical)?;
        let record = RecordView::parse(record.as_ref()).ok()?;
        let properties = record.properties();
        let deliver_at_ms = property_value(properties, keys::TIMER_OUT_MS)?
            .parse()
            .ok()?;
        let topic = property_value(properties, keys::REAL_TOPIC);
        Some(Entry {
            queue_offset,
            physical: unit.physical,
            size_bytes: unit.size,
            deliver_at_ms,
            kind: match property_value(properties, keys::TIMER_CANCELS) {
                Some(_) => Kind::DeleteMarker,
                None => Kind::Message,
            },
            topic_hash: topic.map_or(0, java_string_hash),
        })
    }

    /// The record of what is due; `None` when nothing is to be done with it.
    fn look_up(&mut self, due: &Due) -> Option<DueRecord> {
        if due.physical < self.opened_at
            && let Some(from) = self.search_from.take()
        {
            self.delivered = self.search(from);
        }
        if self.delivered.contains(&due.physical) {
            return None;
        }
        let Some(slice) = self.store.log.record(due.physical) else {
            let is_taken = due.physical < self.store.log.begin();
            self.gone += u64::from(is_taken && !due.cancels());
            return None;
        };
        let record = RecordView::parse(slice.as_ref()).ok()?;
        let properties = record.properties();
        if due.cancels() {
            let cancelled = property_value(properties, keys::TIMER_CANCELS)?;
            self.cancelled.insert(cancelled.to_owned());
            self.cancelled_until_ms = due.deliver_at_ms;
            return None;
        }
        if !due.rolls && !self.cancelled.is_empty() {
            let topic = property_value(properties, keys::REAL_TOPIC).unwrap_or_default();
            let id = property_value(properties, keys::UNIQ_KEY).unwrap_or_default();
            if self.cancelled.contains(&cancel_key(topic, id)) {
                return None;
            }
        }
        Some(DueRecord {
            rolls: due.rolls,
            record: slice,
        })
    }

    /// Drops what only messages of slots need that are out.
    fn forget(&mut self, read_to_ms: i64) {
        if read_to_ms > self.delivered_until_ms {
            self.search_from = None;
            self.delivered = HashSet::new();
        }
        let slot_ms = TimerOptions::default().precision_ms;
        if !self.cancelled.is_empty()
            && read_to_ms > self.cancelled_until_ms + SEARCHED_SLOTS * slot_ms
        {
            self.cancelled.clear();
        }
    }

    fn checkpoint(&mut self, timer: &mut Timer, now_ms: i64) -> Result<Turn, WheelError> {
        let log = &self.store.log;
        let next = self.pending.get_or_insert((self.front, log.appended()));
        let (mark, end) = *next;
        let is_covered = log.flushed() >= end;
        if is_covered {
            timer.checkpoint(now_ms, mark.read_to_ms, Survives::PowerCut)?;
            self.pending = None;
            // Behind the checkpoint, and never of a later one: an older place is searched in vain, a newer one would hide
            // what was delivered.
            note_search_from(&self.store.metadata, mark.log)?;
            self.store.metadata.flush()?;
            while timer.retire()? {}
        } else {
            timer.checkpoint(now_ms, self.front.read_to_ms, Survives::Kill)?;
        }
        Ok(Turn {
            is_uncovered: !is_covered,
            is_behind: timer.first_waiting()?.is_some(),
            more: true,
            ..Turn::default()
        })
    }
}

/// Where the message lay that was stored anew when its time came, if the record is such a one.
fn origin(record: LogSlice) -> Option<PhysicalOffset> {
    let record = RecordView::parse(record.as_ref()).ok()?;
    match Origin::decode(record.prepared_transaction_offset())? {
        Origin::Timer { place } => Some(place),
        Origin::Schedule { .. } | Origin::Popped { .. } => None,
    }
}

/// Notes on a slave how far the master's wheel is. Blocks.
pub(crate) fn note_masters(metadata: &Metadata, mark: TimerMark) -> Result<(), MetadataError> {
    let mut bytes = mark.out_to_ms.to_be_bytes().to_vec();
    bytes.extend_from_slice(&mark.entered.0.to_be_bytes());
    bytes.extend_from_slice(&mark.log.0.to_be_bytes());
    metadata.put_value(NAMESPACE, MASTERS, &bytes)
}

fn masters_mark(metadata: &Metadata) -> Result<Option<TimerMark>, MetadataError> {
    let bytes = metadata.value(NAMESPACE, MASTERS)?.unwrap_or_default();
    let ([out_to, entered, log], []) = bytes.as_chunks::<8>() else {
        return Ok(None);
    };
    Ok(Some(TimerMark {
        out_to_ms: i64::from_be_bytes(*out_to),
        entered: QueueOffset(u64::from_be_bytes(*entered)),
        log: PhysicalOffset(u64::from_be_bytes(*log)),
    }))
}

/// How RocketMQ names a message that is to be cancelled.
pub(crate) fn cancel_key(topic: &str, unique_id: &str) -> String {
    format!("{topic}+{unique_id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_gone_before_it_was_entered_is_counted_once() {
        let mut missed = Missed::default();
        let mut count = |known, from| missed.count(QueueOffset(known), QueueOffset(from));
        assert_eq!(count(5, 5), 0);
        assert_eq!(count(5, 8), 3);
        assert_eq!(count(5, 8), 0, "nothing was entered since");
        assert_eq!(count(5, 9), 1);
        assert_eq!(count(20, 20), 0);
        assert_eq!(count(20, 22), 2);
    }
}
