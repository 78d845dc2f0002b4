//! Queues that were met while walking the log, and their messages of this walk.

use std::collections::HashMap;
use std::sync::Arc;

use castmq_protocol::model::{NameError, QueueId, QueueOffset, TopicName};

use crate::commit_log::{NotedTopic, Notes};
use crate::consume_queue::{ConsumeQueue, ConsumeQueues, ConsumeUnit};
use crate::index::TopicHash;

/// A queue that was met, so that it need not be looked up among all queues again.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) queue: Arc<ConsumeQueue>,
    /// Its messages of this walk, once there are any.
    pub(super) run: Option<Run>,
}

/// Places of messages that follow each other in a queue.
pub(super) type Run = Vec<(QueueOffset, ConsumeUnit)>;

/// Emptied runs that are kept, however many messages they have room for.
const MAX_SPARE_RUNS: usize = 64;
/// Emptied runs that are kept when they are small: a walk of 1 MiB can meet as many queues.
const MAX_SMALL_RUNS: usize = 2048;
/// Messages that a small run has room for.
const SMALL_RUN: usize = 16;

/// Queues with smaller numbers are found by their number, others by hash: a number in a record can be any.
const NEAR_QUEUES: usize = 4096;

#[derive(Debug)]
pub(super) struct TopicSlots {
    pub(super) name: TopicName,
    pub(super) hash: TopicHash,
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
pub(super) struct Slots {
    pub(super) all: Vec<Slot>,
    topics: Vec<TopicSlots>,
    by_name: HashMap<TopicName, usize>,
    /// Topics by the numbers that notes have for them.
    by_note: Vec<Option<usize>>,
    /// The topic that was looked up last: the next record is often of the same.
    last: usize,
    /// Those with a run.
    pub(super) touched: Vec<usize>,
    spare: Vec<Run>,
}

impl Slots {
    /// A queue, and its run.
    #[inline]
    pub(super) fn find(
        &mut self,
        queues: &ConsumeQueues,
        topic: &str,
        queue: QueueId,
    ) -> Result<(&ConsumeQueue, &mut Run), NameError> {
        let is_last = |slots: &TopicSlots| slots.name.as_str() == topic;
        if !self.last_topic().is_some_and(is_last) {
            self.last = self.topic(topic)?;
        }
        Ok(self.of_topic(queues, self.last, queue))
    }

    /// The run of a queue that a note names; `None` when it cannot be.
    #[inline]
    pub(super) fn find_noted(
        &mut self,
        queues: &ConsumeQueues,
        notes: &Notes,
        topic: NotedTopic,
        queue: QueueId,
    ) -> Option<&mut Run> {
        let index = match self.by_note.get(topic.index()) {
            Some(Some(index)) => *index,
            _ => self.meet_noted(notes, topic)?,
        };
        Some(self.of_topic(queues, index, queue).1)
    }

    #[cold]
    fn meet_noted(&mut self, notes: &Notes, topic: NotedTopic) -> Option<usize> {
        let index = self.topic(notes.topic(topic)?.as_str()).ok()?;
        if self.by_note.len() <= topic.index() {
            self.by_note.resize(topic.index() + 1, None);
        }
        self.by_note[topic.index()] = Some(index);
        Some(index)
    }

    #[inline]
    fn of_topic(
        &mut self,
        queues: &ConsumeQueues,
        topic: usize,
        queue: QueueId,
    ) -> (&ConsumeQueue, &mut Run) {
        let topic = &mut self.topics[topic];
        let index = topic.get(queue).unwrap_or_else(|| {
            let index = self.all.len();
            self.all.push(Slot {
                queue: queues.queue(&topic.name, queue),
                run: None,
            });
            topic.set(queue, index);
            index
        });
        let Slot { queue, run } = &mut self.all[index];
        let run = run.get_or_insert_with(|| {
            self.touched.push(index);
            self.spare.pop().unwrap_or_default()
        });
        (queue, run)
    }

    /// Takes back a run that was used.
    pub(super) fn put_back(&mut self, mut run: Run) {
        run.clear();
        let most = match run.capacity() <= SMALL_RUN {
            true => MAX_SMALL_RUNS,
            false => MAX_SPARE_RUNS,
        };
        if self.spare.len() < most {
            self.spare.push(run);
        }
    }

    pub(super) fn last_topic(&self) -> Option<&TopicSlots> {
        self.topics.get(self.last)
    }

    fn topic(&mut self, name: &str) -> Result<usize, NameError> {
        if let Some(index) = self.by_name.get(name) {
            return Ok(*index);
        }
        let name = TopicName::new(name)?;
        self.by_name.insert(name.clone(), self.topics.len());
        self.topics.push(TopicSlots {
            hash: TopicHash::of(name.as_str()),
            name,
            near: Vec::new(),
            far: HashMap::new(),
        });
        Ok(self.topics.len() - 1)
    }
}
