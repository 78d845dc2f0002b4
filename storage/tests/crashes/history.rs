//! What was sent, and whether what is found agrees with it.

use std::collections::BTreeMap;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset, TopicName, tags_code};
use castmq_protocol::record::{Record, Step, step};
use castmq_storage::disk::Wait;
use castmq_storage::store::Store;

use super::support;

/// A queue of a topic.
pub(crate) type Key = (TopicName, QueueId);

/// A message, and where it was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) key: Key,
    pub(crate) offset: QueueOffset,
    pub(crate) physical: PhysicalOffset,
    pub(crate) body: Vec<u8>,
    pub(crate) properties: String,
    /// Several messages have it.
    pub(crate) shared_key: String,
    /// No other message has it.
    pub(crate) unique_key: String,
    pub(crate) tag: &'static str,
    pub(crate) stored_ms: i64,
}

impl Sent {
    pub(crate) fn record(&self) -> Record<'_> {
        Record {
            physical_offset: self.physical,
            born_timestamp_ms: self.stored_ms,
            store_timestamp_ms: self.stored_ms,
            properties: self.properties.as_bytes(),
            ..support::message(self.key.0.as_str(), self.key.1, self.offset.0, &self.body)
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.record().encoded_bytes()
    }

    pub(crate) fn end(&self) -> PhysicalOffset {
        self.physical + self.bytes() as u64
    }
}

/// All messages that can be in the log, in its order.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) sent: Vec<Sent>,
    /// Where each topic that was deleted begins anew.
    pub(crate) deleted_below: BTreeMap<TopicName, PhysicalOffset>,
    /// Retention has begun to remove what lies below, and perhaps not come far.
    pub(crate) expired_below: PhysicalOffset,
}

impl History {
    /// Checks the log against what was sent: a prefix of it that holds everything below `durable`. Forgets the rest.
    pub(crate) fn check_log(&mut self, store: &Store, durable: PhysicalOffset) {
        let log = &store.log;
        let begin = log.begin();
        let mut expected = self.sent.iter().skip_while(|sent| sent.physical < begin);
        let mut at = begin;
        let mut end = begin;
        while at < log.appended() {
            let rest = log
                .rest_of_segment(at)
                .expect("what is appended can be read");
            match step(rest.as_ref()).expect("only records are left") {
                Step::Record(found) => {
                    let sent = expected
                        .next()
                        .unwrap_or_else(|| panic!("nobody sent what is at {at}"));
                    assert_eq!(sent.physical, at, "a message is lost or in another place");
                    let mut bytes = vec![0; sent.bytes()];
                    sent.record().encode(&mut bytes);
                    assert!(
                        found.as_bytes() == bytes,
                        "the message at {at} is another one"
                    );
                    at = sent.end();
                    end = at;
                }
                Step::Blank => {
                    at = PhysicalOffset((at.0 / log.segment_bytes() + 1) * log.segment_bytes())
                }
                Step::Unwritten => panic!("nothing is at {at}, before the end {}", log.appended()),
            }
        }
        if let Some(lost) = expected.find(|sent| sent.end() <= durable) {
            panic!("lost {lost:?}, though everything below {durable} was durable");
        }
        self.sent.retain(|sent| sent.end() <= end);
        for below in self.deleted_below.values_mut() {
            *below = end.min(*below);
        }
    }

    /// Messages that consumers can see, by queue.
    pub(crate) fn visible(
        &self,
        begin: PhysicalOffset,
        end: PhysicalOffset,
    ) -> BTreeMap<Key, Vec<&Sent>> {
        let mut queues = BTreeMap::<Key, Vec<&Sent>>::new();
        for sent in &self.sent {
            let deleted = self.deleted_below.get(&sent.key.0);
            let is_deleted = deleted.is_some_and(|below| sent.physical < *below);
            if sent.physical >= begin && sent.end() <= end && !is_deleted {
                queues.entry(sent.key.clone()).or_default().push(sent);
            }
        }
        queues
    }

    /// Checks that queues have exactly the messages in `begin..end`, in order and without gaps.
    pub(crate) fn check_queues(&self, store: &Store, begin: PhysicalOffset, end: PhysicalOffset) {
        let visible = self.visible(begin, end);
        for queue in store.queues.iter() {
            let key = (queue.topic().clone(), queue.id());
            if !visible.contains_key(&key) {
                let (min, max) = (queue.min_offset(), queue.max_offset());
                assert_eq!(min, max, "{queue:?} has messages that are not in the log");
            }
        }
        for (key, messages) in visible {
            let queue = store.queues.find(key.0.as_str(), key.1);
            let next = messages
                .last()
                .map_or(QueueOffset::ZERO, |last| last.offset + 1);
            let min = queue.as_ref().map_or(next, |queue| queue.min_offset());
            let (gone, left) =
                messages.split_at(messages.partition_point(|sent| sent.offset < min));
            if let Some(lost) = gone.iter().find(|sent| sent.physical >= self.expired_below) {
                panic!("queue {key:?} begins at {min} and has lost {lost:?}");
            }
            let Some(queue) = queue else { continue };
            assert_eq!(queue.max_offset(), next, "{queue:?} ends elsewhere");
            let mut units = Vec::new();
            queue
                .read(min, messages.len() + 1, Wait::ForDisk, &mut units)
                .unwrap_or_else(|error| panic!("{queue:?}: {error}"));
            assert_eq!(units.len(), left.len(), "{queue:?} has another length");
            for (index, (unit, sent)) in units.iter().zip(left).enumerate() {
                assert_eq!(
                    sent.offset,
                    min + index as u64,
                    "an offset of {queue:?} is skipped"
                );
                assert_eq!(unit.physical, sent.physical, "{queue:?} at {}", sent.offset);
                assert_eq!(
                    unit.size as usize,
                    sent.bytes(),
                    "{queue:?} at {}",
                    sent.offset
                );
                assert_eq!(unit.tags_code, tags_code(Some(sent.tag)));
            }
        }
    }

    /// Checks that the index finds each message in `begin..end` once under each of its keys, the newest first.
    pub(crate) fn check_index(&self, store: &Store, begin: PhysicalOffset, end: PhysicalOffset) {
        let Some(index) = &store.index else { return };
        let begin = begin.max(self.expired_below);
        let mut expected = BTreeMap::<(&str, &str), Vec<PhysicalOffset>>::new();
        for sent in self.sent.iter().rev() {
            if sent.physical >= begin && sent.end() <= end {
                for key in [&sent.shared_key, &sent.unique_key] {
                    let places = expected.entry((sent.key.0.as_str(), key)).or_default();
                    places.push(sent.physical);
                }
            }
        }
        for ((topic, key), places) in expected {
            let mut found = index
                .query(topic, key, usize::MAX, 0, i64::MAX)
                .expect("the index can be read");
            found.retain(|place| *place >= begin);
            assert_eq!(found, places, "key {key} of topic {topic}");
        }
    }
}
