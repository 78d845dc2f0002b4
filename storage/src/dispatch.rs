//! The one road from the log to the queues: live traffic, recovery after a crash and a slave's replay all take it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use castmq_protocol::model::{
    NameError, PhysicalOffset, QueueId, QueueOffset, TagsCode, TopicName, keys, property_pairs,
    tags_code,
};
use castmq_protocol::record::{RecordError, RecordView, Step, step, sys_flag};
use thiserror::Error;

use crate::commit_log::CommitLog;
use crate::consume_queue::{Appended, ConsumeQueue, ConsumeQueueError, ConsumeQueues, ConsumeUnit};

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
    /// The stretch of the log from the first to the last record with keys, when there was one: for the index.
    pub keyed: Option<Range<PhysicalOffset>>,
}

/// Walks the log and tells queues where their messages lie.
#[derive(Debug)]
pub struct Dispatch {
    log: Arc<CommitLog>,
    queues: Arc<ConsumeQueues>,
    position: PhysicalOffset,
    last_store_timestamp_ms: i64,
    slots: Slots,
}

impl Dispatch {
    /// Begins at a record's start, or at the end of the log.
    pub fn new(log: Arc<CommitLog>, queues: Arc<ConsumeQueues>, from: PhysicalOffset) -> Self {
        Self {
            log,
            queues,
            position: from,
            last_store_timestamp_ms: 0,
            slots: Slots::default(),
        }
    }

    /// Where the next record to dispatch begins.
    pub fn position(&self) -> PhysicalOffset {
        self.position
    }

    /// When the last record that was dispatched had been stored, in milliseconds since the epoch; 0 before the first.
    pub fn last_store_timestamp_ms(&self) -> i64 {
        self.last_store_timestamp_ms
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
            keyed: None,
        };
        self.slots.touched.clear();
        let result = self.walk(stop, &mut done);
        for slot in self.slots.touched.drain(..) {
            if let Some(slot) = self.slots.all.get_mut(slot) {
                slot.is_touched = false;
                touched(&slot.queue);
            }
        }
        done.position = self.position;
        result.map(|()| done)
    }

    fn walk(&mut self, stop: PhysicalOffset, done: &mut Dispatched) -> Result<(), DispatchError> {
        while self.position < stop {
            let offset = self.position;
            let rest = self
                .log
                .rest_of_segment(offset)
                .ok_or(DispatchError::Missing { offset })?;
            let mut bytes = rest.as_ref();
            while self.position < stop {
                let offset = self.position;
                let found =
                    step(bytes).map_err(|source| DispatchError::Record { offset, source })?;
                match found {
                    Step::Record(record) => {
                        self.record(&record, done)?;
                        self.last_store_timestamp_ms = record.store_timestamp_ms();
                        self.position = offset + record.total_bytes() as u64;
                        bytes = bytes.get(record.total_bytes()..).unwrap_or_default();
                        if bytes.is_empty() {
                            break;
                        }
                    }
                    Step::Blank => {
                        let segment_bytes = self.log.segment_bytes();
                        self.position =
                            PhysicalOffset((offset.0 / segment_bytes + 1) * segment_bytes);
                        break;
                    }
                    Step::Unwritten => return Err(DispatchError::Missing { offset }),
                }
            }
        }
        Ok(())
    }

    fn record(
        &mut self,
        record: &RecordView<'_>,
        done: &mut Dispatched,
    ) -> Result<(), DispatchError> {
        let offset = self.position;
        let damaged = |source| DispatchError::Record { offset, source };
        let properties = Properties::of(record);
        let phase = record.sys_flag() & sys_flag::TRANSACTION_MASK;
        if properties.has_keys && phase != sys_flag::TRANSACTION_ROLLBACK {
            let end = offset + record.total_bytes() as u64;
            let start = done.keyed.as_ref().map_or(offset, |keyed| keyed.start);
            done.keyed = Some(start..end);
        }
        // Half messages and rollbacks are for nobody to consume.
        if !matches!(phase, 0 | sys_flag::TRANSACTION_COMMIT) {
            return Ok(());
        }
        let unit = ConsumeUnit {
            physical: offset,
            size: u32::try_from(record.total_bytes()).unwrap_or(u32::MAX),
            tags_code: properties.tags_code,
        };
        let topic = record.topic().map_err(damaged)?;
        let queue = record.queue().map_err(damaged)?;
        let queue_offset = record.queue_offset().map_err(damaged)?;
        let appended = self.append(topic, queue, queue_offset, unit)?;
        if appended == Appended::New {
            done.messages += 1;
        }
        Ok(())
    }

    fn append(
        &mut self,
        topic: &str,
        queue: QueueId,
        at: QueueOffset,
        unit: ConsumeUnit,
    ) -> Result<Appended, DispatchError> {
        let offset = unit.physical;
        let name_error = |source| DispatchError::Topic { offset, source };
        let slot = self
            .slots
            .find(&self.queues, topic, queue)
            .map_err(name_error)?;
        let appended = slot.queue.append(at, unit);
        appended.map_err(|source| DispatchError::Queue { offset, source })
    }
}

/// What dispatching needs of a record's properties, found in one pass.
struct Properties {
    tags_code: TagsCode,
    has_keys: bool,
}

impl Properties {
    #[inline]
    fn of(record: &RecordView<'_>) -> Self {
        let mut found = Self {
            tags_code: 0,
            has_keys: false,
        };
        let encoded = record.properties();
        if encoded.is_empty() {
            return found;
        }
        for (name, value) in property_pairs(encoded) {
            if name == keys::TAGS.as_bytes() {
                found.tags_code = tags_code(std::str::from_utf8(value).ok());
            } else if name == keys::KEYS.as_bytes() || name == keys::UNIQ_KEY.as_bytes() {
                found.has_keys = true;
            }
        }
        found
    }
}

/// A queue that was met, so that it need not be looked up among all queues again.
#[derive(Debug)]
struct Slot {
    queue: Arc<ConsumeQueue>,
    is_touched: bool,
}

/// Queues with smaller numbers are found by their number, others by hash: a number in a record can be any.
const NEAR_QUEUES: usize = 4096;

#[derive(Debug)]
struct TopicSlots {
    name: TopicName,
    near: Vec<Option<usize>>,
    far: HashMap<QueueId, usize>,
}

impl TopicSlots {
    fn get(&self, queue: QueueId) -> Option<usize> {
        match usize::try_from(queue.0) {
            Ok(number) if number < NEAR_QUEUES => self.near.get(number).copied().flatten(),
            _ => self.far.get(&queue).copied(),
        }
    }

    fn set(&mut self, queue: QueueId, slot: usize) {
        match usize::try_from(queue.0) {
            Ok(number) if number < NEAR_QUEUES => {
                if self.near.len() <= number {
                    self.near.resize(number + 1, None);
                }
                self.near[number] = Some(slot);
            }
            _ => {
                self.far.insert(queue, slot);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Slots {
    all: Vec<Slot>,
    topics: Vec<TopicSlots>,
    by_name: HashMap<TopicName, usize>,
    /// The topic that was looked up last: the next record is often of the same.
    last: usize,
    touched: Vec<usize>,
}

impl Slots {
    fn find(
        &mut self,
        queues: &ConsumeQueues,
        topic: &str,
        queue: QueueId,
    ) -> Result<&mut Slot, NameError> {
        let is_last = |slots: &TopicSlots| slots.name.as_str() == topic;
        if !self.topics.get(self.last).is_some_and(is_last) {
            self.last = self.topic(topic)?;
        }
        let topic = &mut self.topics[self.last];
        let index = topic.get(queue).unwrap_or_else(|| {
            let index = self.all.len();
            self.all.push(Slot {
                queue: queues.queue(&topic.name, queue),
                is_touched: false,
            });
            topic.set(queue, index);
            index
        });
        let slot = &mut self.all[index];
        if !slot.is_touched {
            slot.is_touched = true;
            self.touched.push(index);
        }
        Ok(slot)
    }

    fn topic(&mut self, name: &str) -> Result<usize, NameError> {
        if let Some(index) = self.by_name.get(name) {
            return Ok(*index);
        }
        let name = TopicName::new(name)?;
        self.by_name.insert(name.clone(), self.topics.len());
        self.topics.push(TopicSlots {
            name,
            near: Vec::new(),
            far: HashMap::new(),
        });
        Ok(self.topics.len() - 1)
    }
}
