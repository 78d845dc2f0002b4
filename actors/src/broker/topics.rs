//! The broker's topics as everybody reads them. Only the metadata actor changes them, after the change is durable.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use castmq_protocol::model::{QueueId, TopicConfig, TopicName, permission};
use castmq_protocol::native::route::{DataVersion, TopicQueues, TopicsReport};
use castmq_protocol::native::{ErrorCode, Failure};
use parking_lot::RwLock;

use super::topic_changes::TopicChanges;

/// A topic's number in this process: dense, and never used for another topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TopicId(pub(crate) u32);

/// A topic. Sessions keep a reference and see changes at once.
#[derive(Debug)]
pub(crate) struct Topic {
    /// Its number in this process.
    pub(crate) id: TopicId,
    /// Its name.
    pub(crate) name: TopicName,
    config: RwLock<TopicConfig>,
    write_queues: AtomicU32,
    read_queues: AtomicU32,
    permission: AtomicU32,
    /// 0 for none.
    ttl_ms: AtomicU64,
    is_by_priority: AtomicBool,
    is_deleted: AtomicBool,
}

impl Topic {
    fn new(id: TopicId, name: TopicName, config: TopicConfig) -> Self {
        let topic = Self {
            id,
            name,
            config: RwLock::new(config.clone()),
            write_queues: AtomicU32::default(),
            read_queues: AtomicU32::default(),
            permission: AtomicU32::default(),
            ttl_ms: AtomicU64::default(),
            is_by_priority: AtomicBool::default(),
            is_deleted: AtomicBool::default(),
        };
        topic.change(config);
        topic
    }

    fn change(&self, config: TopicConfig) {
        self.write_queues
            .store(config.write_queues, Ordering::Release);
        self.read_queues
            .store(config.read_queues, Ordering::Release);
        self.permission.store(config.permission, Ordering::Release);
        let ttl_ms = config.ttl_ms().unwrap_or_default();
        self.ttl_ms.store(ttl_ms, Ordering::Release);
        let is_by_priority = config.is_by_priority();
        self.is_by_priority.store(is_by_priority, Ordering::Release);
        *self.config.write() = config;
    }

    /// Its settings now.
    pub(crate) fn config(&self) -> TopicConfig {
        self.config.read().clone()
    }

    /// Queues that producers write.
    pub(crate) fn write_queues(&self) -> u32 {
        self.write_queues.load(Ordering::Acquire)
    }

    /// Queues that consumers read.
    pub(crate) fn read_queues(&self) -> u32 {
        self.read_queues.load(Ordering::Acquire)
    }

    /// Milliseconds after which its messages expire; 0 when they do not.
    #[inline]
    pub(crate) fn ttl_ms(&self) -> u64 {
        self.ttl_ms.load(Ordering::Acquire)
    }

    /// Whether its queues are those of priorities.
    #[inline]
    pub(crate) fn is_by_priority(&self) -> bool {
        self.is_by_priority.load(Ordering::Acquire)
    }

    fn allows(&self, bit: u32) -> bool {
        self.permission.load(Ordering::Acquire) & bit != 0
    }

    /// Whether it is no more.
    pub(crate) fn is_deleted(&self) -> bool {
        self.is_deleted.load(Ordering::Acquire)
    }

    fn check_exists(&self) -> Result<(), Failure> {
        if self.is_deleted() {
            return Err(Failure::never(
                ErrorCode::TopicNotFound,
                format!("topic {} was deleted: announce it anew", self.name),
            ));
        }
        Ok(())
    }

    /// Whether a message may be written to `queue`.
    #[inline]
    pub(crate) fn check_write(&self, queue: Option<QueueId>) -> Result<(), Failure> {
        self.check_exists()?;
        if !self.allows(permission::WRITE) {
            return Err(Failure::never(
                ErrorCode::NotWritable,
                format!(
                    "topic {} may not be written: change its permission",
                    self.name
                ),
            ));
        }
        match queue {
            Some(queue) => self.check_queue(queue, self.write_queues(), "written"),
            None => Ok(()),
        }
    }

    /// Whether `queue` may be read.
    pub(crate) fn check_read(&self, queue: QueueId) -> Result<(), Failure> {
        self.check_exists()?;
        if !self.allows(permission::READ) {
            return Err(Failure::never(
                ErrorCode::NotReadable,
                format!("topic {} may not be read: change its permission", self.name),
            ));
        }
        self.check_queue(queue, self.read_queues(), "read")
    }

    fn check_queue(&self, queue: QueueId, queues: u32, what: &str) -> Result<(), Failure> {
        if queue.0 >= queues {
            return Err(Failure::never(
                ErrorCode::QueueOutOfRange,
                format!(
                    "queue {queue} of topic {} cannot be {what}: it has queues 0 to {}",
                    self.name,
                    queues.saturating_sub(1)
                ),
            ));
        }
        Ok(())
    }

    fn queues(&self) -> TopicQueues {
        let config = self.config.read();
        TopicQueues {
            topic: self.name.to_string(),
            read_queues: config.read_queues,
            write_queues: config.write_queues,
            permission: config.permission,
            system_flag: config.system_flag,
            is_traced: config.traces() == Some(true),
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    by_name: HashMap<TopicName, Arc<Topic>>,
    /// By number; deleted ones stay, so that numbers are never used again.
    by_id: Vec<Arc<Topic>>,
    changes: TopicChanges,
}

/// All topics of a broker.
#[derive(Debug)]
pub(crate) struct Topics {
    table: RwLock<Table>,
    began_ms: i64,
}

impl Topics {
    /// Begins with what was stored, at the wall clock's `now_ms`.
    pub(crate) fn new(
        stored: impl IntoIterator<Item = (TopicName, TopicConfig)>,
        now_ms: i64,
    ) -> Self {
        let topics = Self {
            table: RwLock::default(),
            began_ms: now_ms,
        };
        for (name, config) in stored {
            topics.put(&name, config);
        }
        topics
    }

    /// The topic of this name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Topic>> {
        self.table.read().by_name.get(name).cloned()
    }

    /// Like [`Topics::find`], for a name that is often the one that was looked up before: `last` keeps what was found then.
    pub(crate) fn find_again<'a>(
        &self,
        last: &'a mut Option<Arc<Topic>>,
        name: &str,
    ) -> Option<&'a Arc<Topic>> {
        let is_last = |topic: &Arc<Topic>| topic.name.as_str() == name && !topic.is_deleted();
        if !last.as_ref().is_some_and(is_last) {
            *last = self.find(name);
        }
        last.as_ref()
    }

    /// The topic with this number, even when it was deleted.
    pub(crate) fn by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.table.read().by_id.get(id.0 as usize).cloned()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.table.read().by_name.len()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        self.table.read().by_name.values().cloned().collect()
    }

    /// Their names, sorted.
    pub(crate) fn names(&self) -> Vec<TopicName> {
        let mut names: Vec<_> = self.table.read().by_name.keys().cloned().collect();
        names.sort();
        names
    }

    /// The state that name servers compare.
    pub(crate) fn version(&self) -> DataVersion {
        self.version_of(&self.table.read())
    }

    fn version_of(&self, table: &Table) -> DataVersion {
        DataVersion {
            timestamp_ms: self.began_ms,
            counter: table.changes.count(),
        }
    }

    /// The state, and what a name server is told of it that knows the topics as they were `since`. Everything, when
    /// that was in another life of the broker, or is shorter.
    pub(crate) fn report(&self, since: Option<DataVersion>) -> (DataVersion, TopicsReport) {
        let table = self.table.read();
        let version = self.version_of(&table);
        let known = since.filter(|since| {
            since.timestamp_ms == version.timestamp_ms
                && since.counter <= version.counter
                && table.changes.after(since.counter).count() <= table.by_name.len()
        });
        let Some(since) = known else {
            let all = table.by_name.values().map(|topic| topic.queues());
            let report = TopicsReport {
                changed: all.collect(),
                ..TopicsReport::default()
            };
            return (version, report);
        };
        let mut report = TopicsReport {
            since: Some(since),
            ..TopicsReport::default()
        };
        for name in table.changes.after(since.counter) {
            match table.by_name.get(name) {
                Some(topic) => report.changed.push(topic.queues()),
                None => report.removed.push(name.to_string()),
            }
        }
        (version, report)
    }

    /// Adds a topic or changes it.
    pub(crate) fn put(&self, name: &TopicName, config: TopicConfig) -> Arc<Topic> {
        let mut table = self.table.write();
        table.changes.note(name);
        if let Some(topic) = table.by_name.get(name) {
            topic.change(config);
            return topic.clone();
        }
        let id = TopicId(u32::try_from(table.by_id.len()).unwrap_or(u32::MAX));
        let topic = Arc::new(Topic::new(id, name.clone(), config));
        table.by_id.push(topic.clone());
        table.by_name.insert(name.clone(), topic.clone());
        topic
    }

    /// Takes a topic out.
    pub(crate) fn remove(&self, name: &TopicName) -> Option<Arc<Topic>> {
        let mut table = self.table.write();
        let topic = table.by_name.remove(name)?;
        topic.is_deleted.store(true, Ordering::Release);
        table.changes.note(name);
        Some(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    #[test]
    fn sessions_see_changes_of_a_topic_they_hold() {
        let topics = Topics::new([(name("t"), TopicConfig::with_queues(2))], 5);
        let topic = topics.find("t").unwrap();
        assert!(topic.check_write(Some(QueueId(1))).is_ok());
        assert_eq!(
            topic.check_write(Some(QueueId(2))).unwrap_err().code,
            ErrorCode::QueueOutOfRange
        );
        topics.put(&name("t"), TopicConfig::with_queues(3));
        assert!(topic.check_write(Some(QueueId(2))).is_ok());
        topics.remove(&name("t"));
        assert_eq!(
            topic.check_write(None).unwrap_err().code,
            ErrorCode::TopicNotFound
        );
        assert!(topics.find("t").is_none());
    }

    #[test]
    fn a_topic_made_again_is_another_one() {
        let topics = Topics::new([(name("t"), TopicConfig::with_queues(2))], 5);
        let first = topics.find("t").unwrap();
        topics.remove(&name("t"));
        let second = topics.put(&name("t"), TopicConfig::with_queues(2));
        assert_ne!(first.id, second.id);
        assert!(first.check_write(None).is_err());
        assert!(second.check_write(None).is_ok());
    }

    #[test]
    fn permissions_are_kept() {
        let closed = TopicConfig {
            permission: 0,
            ..TopicConfig::with_queues(1)
        };
        let topics = Topics::new([(name("t"), closed)], 5);
        let topic = topics.find("t").unwrap();
        assert_eq!(
            topic.check_write(None).unwrap_err().code,
            ErrorCode::NotWritable
        );
        assert_eq!(
            topic.check_read(QueueId(0)).unwrap_err().code,
            ErrorCode::NotReadable
        );
    }

    #[test]
    fn name_servers_are_told_only_what_changed() {
        let topics = Topics::new([(name("a"), TopicConfig::with_queues(1))], 5);
        topics.put(&name("b"), TopicConfig::with_queues(1));
        let (version, nothing) = topics.report(Some(topics.version()));
        assert_eq!(version, topics.version());
        assert!(nothing.changed.is_empty() && nothing.removed.is_empty());
        topics.put(&name("c"), TopicConfig::with_queues(1));
        topics.remove(&name("a"));
        let (_, report) = topics.report(Some(version));
        assert_eq!(report.since, Some(version));
        assert_eq!(report.changed.len(), 1);
        assert_eq!(report.changed[0].topic, "c");
        assert_eq!(report.removed, ["a"]);
        let (_, all) = topics.report(None);
        assert_eq!((all.since, all.changed.len()), (None, 2));
    }

    #[test]
    fn a_state_of_another_life_leads_to_everything() {
        let topics = Topics::new([(name("a"), TopicConfig::with_queues(1))], 5);
        let now = topics.version();
        let (earlier, later) = (
            DataVersion {
                timestamp_ms: 4,
                ..now
            },
            DataVersion {
                counter: now.counter + 1,
                ..now
            },
        );
        for other in [earlier, later, DataVersion::default()] {
            assert_eq!(topics.report(Some(other)).1.since, None);
        }
    }

    #[test]
    fn more_changes_than_topics_are_told_as_all_topics() {
        let topics = Topics::new([(name("a"), TopicConfig::with_queues(1))], 5);
        let version = topics.version();
        for number in 0..3 {
            let passing = name(&format!("passing-{number}"));
            topics.put(&passing, TopicConfig::with_queues(1));
            topics.remove(&passing);
        }
        let (_, report) = topics.report(Some(version));
        assert_eq!((report.since, report.changed.len()), (None, 1));
    }
}
