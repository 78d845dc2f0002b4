//! The one road from the log to the queues: live traffic, recovery after a crash and a slave's replay all take it.

use std::ops::Range;
use std::sync::Arc;

use castmq_protocol::model::{
    DelayLevels, NameError, PhysicalOffset, QueueId, QueueOffset, TopicName, system_topics,
};
use castmq_protocol::record::{Origin, RecordError, RecordView, Step, step, sys_flag};
use thiserror::Error;

use self::noted::Noted;
use self::slots::Slots;
use crate::commit_log::{CommitLog, Note};
use crate::consume_queue::{ConsumeQueue, ConsumeQueueError, ConsumeQueues, ConsumeUnit};
use crate::halves::{Half, marked_offsets};
use crate::index::{IndexKey, Keys, TopicHash};
use crate::properties::{LastProperties, Properties};
use crate::sequences::{SendWalk, StoredSend};

mod noted;
mod slots;

/// Why a record could not be dispatched. The dispatcher stays in front of it.
#[derive(Debug, Error)]
pub enum DispatchError {
    /// The log does not hold a record where one must begin.
    #[error("cannot dispatch from log position {offset}: {source}")]
    Record {
        /// Where in the log.
        offset: PhysicalOffset,
        /// What is wrong.
        source: RecordError,
    },
    /// The log has nothing at a place below its end.
    #[error("cannot dispatch from log position {offset}: it is not in the log")]
    Missing {
        /// Where in the log.
        offset: PhysicalOffset,
    },
    /// The record's topic cannot be one.
    #[error("cannot dispatch the record at log position {offset}: {source}")]
    Topic {
        /// Where in the log.
        offset: PhysicalOffset,
        /// What is wrong.
        source: NameError,
    },
    /// The queue refuses.
    #[error("cannot dispatch the record at log position {offset}: {source}")]
    Queue {
        /// Where in the log.
        offset: PhysicalOffset,
        /// What the queue says.
        source: ConsumeQueueError,
    },
}

/// What one call of [`Dispatch::advance`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatched {
    /// Where the next record to dispatch begins.
    pub position: PhysicalOffset,
    /// Records that went to queues.
    pub messages: u64,
}

/// Records with keys, for the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    /// The stretch of the log from the first of them to the last.
    pub range: Range<PhysicalOffset>,
    /// Their keys; `None` when these are so many that they are better read from the log.
    pub keys: Option<Vec<IndexKey>>,
}

impl Keyed {
    /// What of it lies below a record's start.
    fn below(mut self, offset: PhysicalOffset) -> Option<Self> {
        self.range.end = self.range.end.min(offset);
        if let Some(keys) = &mut self.keys {
            keys.retain(|key| key.physical() < offset);
        }
        (self.range.start < self.range.end).then_some(self)
    }
}

/// Keys that are listed at most until they are taken.
const MAX_KEYS: usize = 16 * 1024;

/// How many queues ahead of the one that gets its messages the processor is told of one.
const QUEUES_AHEAD: usize = 8;

/// A record that means something for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Met {
    /// The broker stored it itself: what it was before.
    Moved(Origin),
    /// It is a half message.
    Half(Half),
    /// It is the message of a half message that was committed.
    Committed {
        /// Where the half message lies.
        half: PhysicalOffset,
        /// Where it lies itself.
        at: PhysicalOffset,
    },
    /// It marks half messages as settled.
    Marked(Vec<QueueOffset>),
    /// It may expire, and is the first of its queue since that was opened that does.
    Expires(TopicName, QueueId),
}

/// Walks the log and tells queues where their messages lie.
#[derive(Debug)]
pub struct Dispatch {
    log: Arc<CommitLog>,
    queues: Arc<ConsumeQueues>,
    delays: DelayLevels,
    position: PhysicalOffset,
    last_store_timestamp_ms: i64,
    met: Vec<Met>,
    /// Whether records with keys are noted.
    finds_keys: bool,
    keyed: Option<Keyed>,
    /// Finds numbered sends, where nobody knows them yet.
    sends: Option<SendWalk>,
    slots: Slots,
    properties: LastProperties,
    noted: Noted,
}

impl Dispatch {
    /// Begins at a record's start, or at the end of the log.
    pub fn new(
        log: Arc<CommitLog>,
        queues: Arc<ConsumeQueues>,
        delays: DelayLevels,
        from: PhysicalOffset,
    ) -> Self {
        Self {
            log,
            queues,
            delays,
            position: from,
            last_store_timestamp_ms: 0,
            met: Vec::new(),
            finds_keys: false,
            keyed: None,
            sends: None,
            slots: Slots::default(),
            properties: LastProperties::default(),
            noted: Noted::default(),
        }
    }

    /// Finds numbered sends, too: whoever stores them knows them already, so that only a start has to.
    pub fn finding_sends(mut self) -> Self {
        self.sends = Some(SendWalk::default());
        self
    }

    /// Finds records with keys, too, for an index.
    pub fn finding_keys(mut self) -> Self {
        self.finds_keys = true;
        self
    }

    /// Where the next record to dispatch begins.
    pub fn position(&self) -> PhysicalOffset {
        self.position
    }

    /// When the last record that was dispatched had been stored, in milliseconds since the epoch; 0 before the first.
    pub fn last_store_timestamp_ms(&self) -> i64 {
        self.last_store_timestamp_ms
    }

    /// What was met since this was last called.
    pub fn take_met(&mut self) -> Vec<Met> {
        std::mem::take(&mut self.met)
    }

    /// Records with keys that were met since this was last called.
    pub fn take_keyed(&mut self) -> Option<Keyed> {
        self.keyed.take()
    }

    /// Numbered sends that were found since this was last called.
    pub fn take_sends(&mut self) -> Vec<StoredSend> {
        self.sends.as_mut().map(SendWalk::take).unwrap_or_default()
    }

    /// Dispatches what lies below `end`, but stops after about `max_bytes`. Tells `touched` of each queue that got
    /// messages, once, and of its next offset.
    pub fn advance(
        &mut self,
        end: PhysicalOffset,
        max_bytes: u64,
        mut touched: impl FnMut(&Arc<ConsumeQueue>),
    ) -> Result<Dispatched, DispatchError> {
        let stop = end.min(self.position + max_bytes);
        let mut done = Dispatched {
            position: self.position,
            messages: 0,
        };
        let walked = self.walk(stop);
        let appended = self.append_runs(&mut done, &mut touched);
        done.position = self.position;
        walked.and(appended).map(|()| done)
    }

    /// Appends what the walk found. Goes back to the first record that a queue refuses; what others have of those behind
    /// it does not harm them when it comes again.
    fn append_runs(
        &mut self,
        done: &mut Dispatched,
        touched: &mut impl FnMut(&Arc<ConsumeQueue>),
    ) -> Result<(), DispatchError> {
        let mut refused: Option<(PhysicalOffset, ConsumeQueueError)> = None;
        let mut indexes = std::mem::take(&mut self.slots.touched);
        for (at, index) in indexes.iter().copied().enumerate() {
            if let Some(later) = indexes.get(at + QUEUES_AHEAD) {
                self.slots.all[*later].queue.fetch();
            }
            if let Some(soon) = indexes.get(at + QUEUES_AHEAD / 2) {
                self.slots.all[*soon].queue.fetch_end();
            }
            let Some(slot) = self.slots.all.get_mut(index) else {
                continue;
            };
            let Some(run) = slot.run.take() else {
                continue;
            };
            let appended = slot.queue.append_run(&run);
            done.messages += appended.new;
            if let (Some(source), Some((_, unit))) = (appended.error, run.get(appended.taken))
                && refused
                    .as_ref()
                    .is_none_or(|(first, _)| unit.physical < *first)
            {
                refused = Some((unit.physical, source));
            }
            touched(&slot.queue);
            self.slots.put_back(run);
        }
        indexes.clear();
        self.slots.touched = indexes;
        match refused {
            None => Ok(()),
            Some((offset, source)) => {
                self.position = offset;
                // Those from there on come again.
                self.keyed = self.keyed.take().and_then(|keyed| keyed.below(offset));
                Err(DispatchError::Queue { offset, source })
            }
        }
    }

    fn walk(&mut self, stop: PhysicalOffset) -> Result<(), DispatchError> {
        while self.position < stop {
            let read_to = match self.sends {
                // Notes tell nothing of them.
                Some(_) => stop,
                None => self.walk_notes(stop).min(stop),
            };
            if self.position < read_to {
                self.walk_segment(read_to)?;
            }
        }
        Ok(())
    }

    /// Takes what is noted from here on. Says where the next note is: up to there, records are to be read.
    fn walk_notes(&mut self, stop: PhysicalOffset) -> PhysicalOffset {
        while self.position < stop {
            let Some(note) = self.noted.next(self.position, self.log.notes()) else {
                return stop;
            };
            if note.physical > self.position {
                return note.physical;
            }
            debug_assert!(self.is_true(&note), "{note:?} is not what the log holds");
            let (queues, notes) = (&self.queues, self.log.notes());
            let Some(run) = self.slots.find_noted(queues, notes, note.topic, note.queue) else {
                return self.position + u64::from(note.bytes);
            };
            let unit = ConsumeUnit {
                physical: note.physical,
                size: note.bytes,
                tags_code: note.tags_code,
            };
            run.push((note.queue_offset, unit));
            self.last_store_timestamp_ms = note.store_timestamp_ms;
            self.position = self.position + u64::from(note.bytes);
        }
        stop
    }

    /// Whether reading the record would have the same come of it.
    fn is_true(&self, note: &Note) -> bool {
        let record = self.log.record(note.physical);
        let Some(Ok(record)) = record
            .as_ref()
            .map(|record| RecordView::parse(record.as_ref()))
        else {
            return false;
        };
        let properties = Properties::of(record.properties());
        let topic = self.log.notes().topic(note.topic);
        let read = Note {
            physical: note.physical,
            queue_offset: record.queue_offset().unwrap_or_default(),
            tags_code: properties.tags_code,
            store_timestamp_ms: record.store_timestamp_ms(),
            bytes: record.total_bytes() as u32,
            queue: record.queue().unwrap_or_default(),
            topic: note.topic,
        };
        read == *note
            && topic.is_some_and(|topic| Ok(topic.as_str()) == record.topic())
            && record.sys_flag() & sys_flag::TRANSACTION_MASK == 0
            && record.prepared_transaction_offset() == 0
            && !properties.expires
            && properties.keys.is_empty()
    }

    /// Reads records up to `stop` or the end of their segment.
    fn walk_segment(&mut self, stop: PhysicalOffset) -> Result<(), DispatchError> {
        let offset = self.position;
        let rest = self
            .log
            .rest_of_segment(offset)
            .ok_or(DispatchError::Missing { offset })?;
        let mut bytes = rest.as_ref();
        while self.position < stop {
            let offset = self.position;
            let found = step(bytes).map_err(|source| DispatchError::Record { offset, source })?;
            match found {
                Step::Record(record) => {
                    if let Some(sends) = &mut self.sends {
                        sends.pass(offset, &record);
                    }
                    self.find_place(&record)?;
                    self.last_store_timestamp_ms = record.store_timestamp_ms();
                    self.position = offset + record.total_bytes() as u64;
                    bytes = bytes.get(record.total_bytes()..).unwrap_or_default();
                    if bytes.is_empty() {
                        break;
                    }
                }
                Step::Blank => {
                    let segment_bytes = self.log.segment_bytes();
                    self.position = PhysicalOffset((offset.0 / segment_bytes + 1) * segment_bytes);
                    break;
                }
                Step::Unwritten => return Err(DispatchError::Missing { offset }),
            }
        }
        Ok(())
    }

    fn list_keys(&mut self, record: &RecordView<'_>, keys: Keys<'_>) {
        let Ok(topic) = record.topic() else {
            return;
        };
        let topic = match self.slots.last_topic() {
            Some(last) if last.name.as_str() == topic => last.hash,
            _ => TopicHash::of(topic),
        };
        let offset = self.position;
        let keyed = self.keyed.get_or_insert_with(|| Keyed {
            range: offset..offset,
            keys: Some(Vec::new()),
        });
        keyed.range.end = offset + record.total_bytes() as u64;
        if let Some(listed) = &mut keyed.keys {
            listed.extend(keys.in_record(record, topic, offset));
            if listed.len() > MAX_KEYS {
                keyed.keys = None;
            }
        }
    }

    /// Adds a record to the run of its queue.
    fn find_place(&mut self, record: &RecordView<'_>) -> Result<(), DispatchError> {
        let offset = self.position;
        let damaged = |source| DispatchError::Record { offset, source };
        let properties = self.properties.read(record.properties());
        if self.finds_keys && !properties.keys.is_empty() {
            self.list_keys(record, properties.keys);
        }
        let phase = record.sys_flag() & sys_flag::TRANSACTION_MASK;
        // Half messages and rollbacks are for nobody to consume.
        if !matches!(phase, 0 | sys_flag::TRANSACTION_COMMIT) {
            return Ok(());
        }
        let before = record.prepared_transaction_offset();
        if before != 0 {
            self.met.extend(match phase {
                0 => Origin::decode(before).map(Met::Moved),
                _ => PhysicalOffset::from_i64(before)
                    .ok()
                    .map(|half| Met::Committed { half, at: offset }),
            });
        }
        let topic = record.topic().map_err(damaged)?;
        let queue = record.queue().map_err(damaged)?;
        let unit = ConsumeUnit {
            physical: offset,
            size: u32::try_from(record.total_bytes()).unwrap_or(u32::MAX),
            tags_code: match topic {
                system_topics::SCHEDULE => deliver_at_ms(record, &self.delays, queue),
                _ => properties.tags_code,
            },
        };
        let queue_offset = record.queue_offset().map_err(damaged)?;
        match topic {
            system_topics::TRANSACTION_HALF => self.met.push(Met::Half(Half {
                offset: queue_offset,
                physical: offset,
                stored_ms: record.store_timestamp_ms(),
            })),
            system_topics::TRANSACTION_OP => {
                let marked = marked_offsets(record.body()).collect();
                self.met.push(Met::Marked(marked));
            }
            _ => {}
        }
        let name_error = |source| DispatchError::Topic { offset, source };
        let found = self.slots.find(&self.queues, topic, queue);
        let (known, run) = found.map_err(name_error)?;
        // Before anybody can see it.
        if properties.expires && known.note_expiring(queue_offset) {
            self.met.push(Met::Expires(known.topic().clone(), queue));
        }
        run.push((queue_offset, unit));
        Ok(())
    }
}

/// When a message of the schedule topic is due.
fn deliver_at_ms(record: &RecordView<'_>, delays: &DelayLevels, queue: QueueId) -> i64 {
    let delay_ms = i64::try_from(delays.of_queue(queue.0)).unwrap_or(i64::MAX);
    record.store_timestamp_ms().saturating_add(delay_ms)
}

#[cfg(test)]
mod tests;
