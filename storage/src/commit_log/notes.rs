//! What the writer notes of plain messages, so that dispatching need not read them again.
//!
//! By the time a record is dispatched its bytes are in no cache any more, and waiting for them takes longer than all else that
//! dispatching does. Notes only spare that: whoever finds none for a record reads it, as after a restart, on a slave, or when
//! more wait to be dispatched than notes are kept for.

use std::collections::HashMap;
use std::sync::Arc;

use castmq_protocol::model::{
    PhysicalOffset, QueueId, QueueOffset, TagsCode, TopicName, system_topics,
};
use castmq_protocol::record::{Record, sys_flag};
use parking_lot::Mutex;

use crate::properties::LastProperties;

/// Notes that are kept until they are taken, but for those of one batch: what is usually in flight fits, and they take 1.5 MiB.
pub(crate) const MOST_NOTES: usize = 32 * 1024;

/// Topics that are known by numbers, at most. Messages of others are not noted.
const MOST_TOPICS: usize = 64 * 1024;

/// Where a message lies that goes to its queue, and of which nobody else has to hear: no part of a transaction, neither to be
/// delivered later nor to expire, and without keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) physical: PhysicalOffset,
    pub(crate) queue_offset: QueueOffset,
    pub(crate) tags_code: TagsCode,
    pub(crate) store_timestamp_ms: i64,
    /// Length of its record in bytes.
    pub(crate) bytes: u32,
    pub(crate) queue: QueueId,
    pub(crate) topic: NotedTopic,
}

/// A topic's number, the same for as long as the log is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotedTopic(u32);

impl NotedTopic {
    #[cfg(test)]
    pub(crate) fn new(number: u32) -> Self {
        Self(number)
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Notes of published records that nobody took yet, and the topics they name.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    waiting: Mutex<Vec<Note>>,
    topics: Mutex<Vec<TopicName>>,
}

impl Notes {
    /// The name of a topic.
    pub(crate) fn topic(&self, topic: NotedTopic) -> Option<TopicName> {
        self.topics.lock().get(topic.index()).cloned()
    }

    /// Takes all there are, in the order of the log. What `taken` held before is forgotten.
    pub(crate) fn take(&self, taken: &mut Vec<Note>) {
        taken.clear();
        std::mem::swap(&mut *self.waiting.lock(), taken);
    }

    /// Adds what `pending` holds, as much of it as there is room for, and leaves that empty.
    fn add(&self, pending: &mut Vec<Note>) {
        let mut waiting = self.waiting.lock();
        if waiting.is_empty() {
            std::mem::swap(&mut *waiting, pending);
        } else {
            let room = MOST_NOTES.saturating_sub(waiting.len());
            pending.truncate(room);
            waiting.append(pending);
        }
    }
}

/// Makes the notes, on the writer's side.
#[derive(Debug)]
pub(super) struct NoteTaker {
    notes: Arc<Notes>,
    /// Of records that are not published yet.
    pending: Vec<Note>,
    properties: LastProperties,
    /// The topic of the last record, and its number if its messages are noted.
    last: Option<(TopicName, Option<NotedTopic>)>,
    topics: HashMap<TopicName, Option<NotedTopic>>,
}

impl NoteTaker {
    pub(super) fn new(notes: Arc<Notes>) -> Self {
        let known = notes.topics.lock().clone();
        let numbered = (0..).map(|number| Some(NotedTopic(number)));
        Self {
            topics: known.into_iter().zip(numbered).collect(),
            notes,
            pending: Vec::new(),
            properties: LastProperties::default(),
            last: None,
        }
    }

    /// Notes a record of so many bytes, if it is a plain message.
    #[inline]
    pub(super) fn note(&mut self, record: &Record<'_>, bytes: usize) {
        let note = self.note_of(record, bytes);
        self.pending.extend(note);
    }

    #[inline]
    fn note_of(&mut self, record: &Record<'_>, bytes: usize) -> Option<Note> {
        let is_plain = record.sys_flag & sys_flag::TRANSACTION_MASK == 0
            && record.prepared_transaction_offset == 0;
        let properties = self.properties.read(record.properties);
        if !is_plain || properties.expires || !properties.keys.is_empty() {
            return None;
        }
        // What does not fit the record's signed fields is for whoever reads it to refuse.
        i32::try_from(record.queue.0).ok()?;
        i64::try_from(record.queue_offset.0).ok()?;
        Some(Note {
            physical: record.physical_offset,
            queue_offset: record.queue_offset,
            tags_code: properties.tags_code,
            store_timestamp_ms: record.store_timestamp_ms,
            bytes: u32::try_from(bytes).ok()?,
            queue: record.queue,
            topic: self.topic(record.topic)?,
        })
    }

    #[inline]
    fn topic(&mut self, name: &str) -> Option<NotedTopic> {
        match &self.last {
            Some((last, topic)) if last.as_str() == name => *topic,
            _ => self.change_topic(name),
        }
    }

    fn change_topic(&mut self, name: &str) -> Option<NotedTopic> {
        let (name, topic) = match self.topics.get_key_value(name) {
            Some((known, topic)) => (known.clone(), *topic),
            None => self.meet(name)?,
        };
        self.last = Some((name, topic));
        topic
    }

    fn meet(&mut self, name: &str) -> Option<(TopicName, Option<NotedTopic>)> {
        if self.topics.len() >= MOST_TOPICS {
            return None;
        }
        let name = TopicName::new(name).ok()?;
        let topic = match name.as_str() {
            system_topics::SCHEDULE
            | system_topics::TRANSACTION_HALF
            | system_topics::TRANSACTION_OP => None,
            _ => {
                let mut topics = self.notes.topics.lock();
                topics.push(name.clone());
                Some(NotedTopic(topics.len() as u32 - 1))
            }
        };
        self.topics.insert(name.clone(), topic);
        Some((name, topic))
    }

    /// What was noted is published.
    pub(super) fn publish(&mut self) {
        if !self.pending.is_empty() {
            self.notes.add(&mut self.pending);
        }
    }

    /// What was noted is gone.
    pub(super) fn forget(&mut self) {
        self.pending.clear();
    }
}
