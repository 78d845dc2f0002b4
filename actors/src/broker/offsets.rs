//! How far consumer groups are: the offsets themselves, shared by those who read and change them. The metadata actor
//! writes what has changed to disk every few seconds.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use castmq_protocol::model::{GroupName, QueueId, QueueOffset, TopicName};
use parking_lot::Mutex;

/// A queue of a topic.
pub(crate) type QueueKey = (TopicName, QueueId);

/// Offsets that changed since they were last taken; `None` means removed.
pub(crate) type ChangedOffsets = Vec<(GroupName, QueueKey, Option<QueueOffset>)>;

#[derive(Debug, Default)]
struct Table {
    committed: HashMap<GroupName, BTreeMap<QueueKey, QueueOffset>>,
    changed: HashMap<GroupName, BTreeMap<QueueKey, Option<QueueOffset>>>,
    /// Taken to be written, and not known to be.
    taken: Option<Arc<ChangedOffsets>>,
    /// Who is told of changes besides.
    taps: Vec<Weak<Tap>>,
}

/// Gathers what changes, for somebody else than the disk.
#[derive(Debug, Default)]
pub(crate) struct Tap(Mutex<BTreeMap<(GroupName, QueueKey), Option<QueueOffset>>>);

impl Tap {
    /// What has changed since this was last called.
    pub(crate) fn take(&self) -> BTreeMap<(GroupName, QueueKey), Option<QueueOffset>> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// The next offset to process, by group and queue.
#[derive(Debug, Default)]
pub(crate) struct Offsets(Mutex<Table>);

impl Offsets {
    /// Begins with what was stored.
    pub(crate) fn new(
        stored: impl IntoIterator<Item = (GroupName, QueueKey, QueueOffset)>,
    ) -> Self {
        let mut table = Table::default();
        for (group, key, offset) in stored {
            table
                .committed
                .entry(group)
                .or_default()
                .insert(key, offset);
        }
        Self(Mutex::new(table))
    }

    /// A group's offset in a queue.
    pub(crate) fn get(&self, group: &GroupName, key: &QueueKey) -> Option<QueueOffset> {
        let table = self.0.lock();
        table.committed.get(group)?.get(key).copied()
    }

    /// All offsets of a group.
    pub(crate) fn of_group(&self, group: &GroupName) -> Vec<(QueueKey, QueueOffset)> {
        let table = self.0.lock();
        let offsets = table.committed.get(group).into_iter().flatten();
        offsets
            .map(|(key, offset)| (key.clone(), *offset))
            .collect()
    }

    /// Whether a group has an offset in any queue of a topic.
    pub(crate) fn knows_topic(&self, group: &GroupName, topic: &TopicName) -> bool {
        let table = self.0.lock();
        table.committed.get(group).is_some_and(|offsets| {
            let first = (topic.clone(), QueueId(0));
            let last = (topic.clone(), QueueId(u32::MAX));
            offsets.range(first..=last).next().is_some()
        })
    }

    /// Sets an offset.
    pub(crate) fn set(&self, group: &GroupName, key: QueueKey, offset: QueueOffset) {
        let mut table = self.0.lock();
        let offsets = entry(&mut table.committed, group);
        if offsets.insert(key.clone(), offset) != Some(offset) {
            table.tell(group, &key, Some(offset));
            entry(&mut table.changed, group).insert(key, Some(offset));
        }
    }

    /// Sets or removes an offset as another broker has it, and tells only the disk.
    pub(crate) fn copy(&self, group: &GroupName, key: QueueKey, offset: Option<QueueOffset>) {
        let mut table = self.0.lock();
        let offsets = entry(&mut table.committed, group);
        let before = match offset {
            Some(offset) => offsets.insert(key.clone(), offset),
            None => offsets.remove(&key),
        };
        if before != offset {
            entry(&mut table.changed, group).insert(key, offset);
        }
    }

    /// All offsets.
    pub(crate) fn all(&self) -> Vec<(GroupName, QueueKey, QueueOffset)> {
        let table = self.0.lock();
        let groups = table.committed.iter();
        let all = groups.flat_map(|(group, offsets)| {
            let offsets = offsets.iter();
            offsets.map(|(key, offset)| (group.clone(), key.clone(), *offset))
        });
        all.collect()
    }

    /// Gathers what changes from now on, as long as somebody has it.
    pub(crate) fn tap(&self) -> Arc<Tap> {
        let tap = Arc::default();
        self.0.lock().taps.push(Arc::downgrade(&tap));
        tap
    }

    /// Forgets all offsets in a topic.
    pub(crate) fn forget_topic(&self, topic: &TopicName) {
        let mut table = self.0.lock();
        let Table {
            committed,
            changed,
            taps,
            ..
        } = &mut *table;
        for (group, offsets) in committed {
            let gone: Vec<_> = offsets
                .keys()
                .filter(|key| key.0 == *topic)
                .cloned()
                .collect();
            for key in gone {
                offsets.remove(&key);
                tell(taps, group, &key, None);
                entry(changed, group).insert(key, None);
            }
        }
    }

    /// Forgets all offsets of a group whose stored ones are gone already.
    pub(crate) fn forget_group(&self, group: &GroupName) {
        let mut table = self.0.lock();
        let forgotten = table.committed.remove(group).unwrap_or_default();
        for key in forgotten.keys() {
            table.tell(group, key, None);
        }
        // What was taken to be written before may still be on its way.
        let removed = forgotten.into_keys().map(|key| (key, None)).collect();
        table.changed.insert(group.clone(), removed);
    }

    /// Takes what has changed, to be written, together with what was taken before and never came back.
    pub(crate) fn take_changed(&self) -> Arc<ChangedOffsets> {
        let mut table = self.0.lock();
        table.put_back();
        let changed = std::mem::take(&mut table.changed);
        let changed: ChangedOffsets = changed
            .into_iter()
            .flat_map(|(group, offsets)| {
                offsets
                    .into_iter()
                    .map(move |(key, offset)| (group.clone(), key, offset))
            })
            .collect();
        let taken = Arc::new(changed);
        table.taken = Some(taken.clone());
        taken
    }

    /// To be told when what was taken is on the disk.
    pub(crate) fn written(&self, changed: &Arc<ChangedOffsets>) {
        let mut table = self.0.lock();
        // An earlier incarnation of the writer may have taken others.
        table.taken.take_if(|taken| Arc::ptr_eq(taken, changed));
    }
}

/// Tells those who gather what changes.
fn tell(taps: &mut Vec<Weak<Tap>>, group: &GroupName, key: &QueueKey, offset: Option<QueueOffset>) {
    taps.retain(|tap| {
        let tap = tap.upgrade();
        if let Some(tap) = &tap {
            let key = (group.clone(), key.clone());
            tap.0.lock().insert(key, offset);
        }
        tap.is_some()
    });
}

impl Table {
    fn tell(&mut self, group: &GroupName, key: &QueueKey, offset: Option<QueueOffset>) {
        if !self.taps.is_empty() {
            tell(&mut self.taps, group, key, offset);
        }
    }

    /// What could not be written has changed again; what changed meanwhile is newer and stays.
    fn put_back(&mut self) {
        let unwritten = self.taken.take();
        for (group, key, offset) in unwritten.iter().flat_map(|taken| taken.iter()) {
            entry(&mut self.changed, group)
                .entry(key.clone())
                .or_insert(*offset);
        }
    }
}

fn entry<'a, V>(
    map: &'a mut HashMap<GroupName, BTreeMap<QueueKey, V>>,
    group: &GroupName,
) -> &'a mut BTreeMap<QueueKey, V> {
    if !map.contains_key(group) {
        map.insert(group.clone(), BTreeMap::new());
    }
    map.entry(group.clone()).or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(topic: &str, queue: u32) -> QueueKey {
        (TopicName::new(topic).unwrap(), QueueId(queue))
    }

    fn group() -> GroupName {
        GroupName::new("g").unwrap()
    }

    /// Takes what changed and writes it.
    fn write(offsets: &Offsets) -> ChangedOffsets {
        let taken = offsets.take_changed();
        offsets.written(&taken);
        let mut changed = taken.to_vec();
        changed.sort();
        changed
    }

    #[test]
    fn only_what_changed_is_written_and_only_once() {
        let offsets = Offsets::new([(group(), key("t", 0), QueueOffset(5))]);
        assert_eq!(write(&offsets), []);
        offsets.set(&group(), key("t", 0), QueueOffset(5));
        assert_eq!(write(&offsets), []);
        offsets.set(&group(), key("t", 0), QueueOffset(6));
        offsets.set(&group(), key("t", 0), QueueOffset(7));
        let changed = (group(), key("t", 0), Some(QueueOffset(7)));
        assert_eq!(write(&offsets), [changed]);
        assert_eq!(write(&offsets), []);
    }

    #[test]
    fn what_was_lost_on_the_way_is_written_again_and_does_not_hide_what_is_newer() {
        let offsets = Offsets::default();
        offsets.set(&group(), key("t", 0), QueueOffset(1));
        offsets.set(&group(), key("t", 1), QueueOffset(1));
        let lost = offsets.take_changed();
        offsets.set(&group(), key("t", 0), QueueOffset(2));
        let taken = offsets.take_changed();
        // The writer that lost them comes late, and has nothing to say any more.
        offsets.written(&lost);
        drop(taken);
        assert_eq!(
            write(&offsets),
            [
                (group(), key("t", 0), Some(QueueOffset(2))),
                (group(), key("t", 1), Some(QueueOffset(1)))
            ]
        );
        assert_eq!(write(&offsets), []);
    }

    #[test]
    fn a_topic_is_forgotten_whole() {
        let offsets = Offsets::default();
        offsets.set(&group(), key("a", 0), QueueOffset(1));
        offsets.set(&group(), key("b", 3), QueueOffset(2));
        write(&offsets);
        let topic = TopicName::new("a").unwrap();
        assert!(offsets.knows_topic(&group(), &topic));
        offsets.forget_topic(&topic);
        assert!(!offsets.knows_topic(&group(), &topic));
        assert_eq!(offsets.get(&group(), &key("b", 3)), Some(QueueOffset(2)));
        assert_eq!(write(&offsets), [(group(), key("a", 0), None)]);
    }
}
