//! When each topic last changed, so that name servers are told of that only.

use std::collections::{BTreeMap, HashMap};

use castmq_protocol::model::TopicName;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct TopicChanges {
    count: u64,
    /// The number of each name's last change, deletions included.
    last_of: HashMap<TopicName, u64>,
    /// The names by these numbers.
    by_number: BTreeMap<u64, TopicName>,
}

impl TopicChanges {
    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// One more.
    pub(super) fn note(&mut self, name: &TopicName) {
        self.count += 1;
        if let Some(last) = self.last_of.insert(name.clone(), self.count) {
            self.by_number.remove(&last);
        }
        self.by_number.insert(self.count, name.clone());
    }

    /// Names that changed after the first `count` changes.
    pub(super) fn after(&self, count: u64) -> impl Iterator<Item = &TopicName> {
        let later = self.by_number.range(count.saturating_add(1)..);
        later.map(|(_, name)| name)
    }
}
