//! Which brokers have a topic.

use std::collections::{BTreeMap, BTreeSet};

use super::broker::BrokerKey;

/// See the module. It has those brokers only that are shown.
#[derive(Debug, Default)]
pub(super) struct TopicIndex(BTreeMap<String, BTreeSet<BrokerKey>>);

impl TopicIndex {
    /// A broker has a topic.
    pub(super) fn add(&mut self, topic: &str, key: &BrokerKey) {
        match self.0.get_mut(topic) {
            Some(brokers) => drop(brokers.insert(key.clone())),
            None => drop(self.0.insert(topic.to_owned(), [key.clone()].into())),
        }
    }

    /// A broker does not have a topic any more.
    pub(super) fn remove(&mut self, topic: &str, key: &BrokerKey) {
        if let Some(brokers) = self.0.get_mut(topic) {
            brokers.remove(key);
            if brokers.is_empty() {
                self.0.remove(topic);
            }
        }
    }

    /// Who has it, the masters of each set first.
    pub(super) fn brokers_of(&self, topic: &str) -> Option<&BTreeSet<BrokerKey>> {
        self.0.get(topic)
    }

    /// Names of all topics, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// How many topics there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
