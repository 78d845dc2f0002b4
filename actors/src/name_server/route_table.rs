//! Which brokers there are, and which topics they have. Pure: what came in, and when.
//!
//! A name server keeps nothing on disk and talks to no other: brokers tell each of them everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::permission;
use castmq_protocol::native::Failure as Refusal;
use castmq_protocol::native::route::{
    BrokerQueues, BrokerSet, DataVersion, RegisterBroker, Registered, TopicQueues, TopicRoute,
    TopicsReport,
};
use tokio::time::Instant;

use super::broker::{Broker, BrokerKey, ConnectionId, Kind};
use super::claim::{Claim, check_cluster};
use super::registration;
use super::report_parts::too_many;
use super::topic_index::TopicIndex;

pub(super) mod rocketmq;

/// A broker that went is remembered for this long: one that comes back has only changes to tell, and a master that it
/// replaced does not become the master again because it is not there for a moment.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Brokers that went and are remembered: those that went first are forgotten first.
const MAX_GONE: usize = 256;

/// What a name server takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableLimits {
    /// The longest silence of a broker.
    pub(crate) max_expiry: Duration,
    /// Topics of one broker.
    pub(crate) max_topics: usize,
}

/// What came of a registration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What the broker is told.
    pub(crate) registered: Registered,
    /// The connection of another broker, whose place it has taken.
    pub(crate) replaced: Option<ConnectionId>,
}

/// The routes of a name server.
#[derive(Debug)]
pub(crate) struct RouteTable {
    limits: TableLimits,
    /// Those that are there, and those that went not long ago.
    brokers: BTreeMap<BrokerKey, Broker>,
    topics: TopicIndex,
    /// Sets that producers leave out because an operator wants that.
    unwritten: BTreeSet<Arc<str>>,
}

impl RouteTable {
    pub(crate) fn new(limits: TableLimits) -> Self {
        Self {
            limits,
            brokers: BTreeMap::new(),
            topics: TopicIndex::default(),
            unwritten: BTreeSet::new(),
        }
    }

    /// Takes note of a broker on the native wire. The version in the answer differs from the broker's when the changes that it sent do not
    /// build on what is known, or when it is a master that was replaced.
    pub(crate) fn register(
        &mut self,
        register: RegisterBroker,
        connection: ConnectionId,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        registration::check(&register)?;
        self.register_as(Kind::Native, register, connection, now)
    }

    fn register_as(
        &mut self,
        kind: Kind,
        register: RegisterBroker,
        connection: ConnectionId,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        let key: BrokerKey = (register.broker.as_str().into(), register.broker_id);
        self.check_clusters(&register, now)?;
        let known = self.brokers.get(&key);
        let claim = Claim::of(&register, known, now)?;
        let known = known.filter(|_| claim == Claim::Own);
        let topics = known.map_or(register.topics.changed.len(), |broker| {
            broker.topics_with(&register.topics.changed)
        });
        if topics > self.limits.max_topics {
            return Err(too_many(self.limits.max_topics));
        }
        let mut replaced = None;
        match claim {
            Claim::Own => {}
            Claim::Replaces => replaced = self.remove(&key).and_then(|broker| broker.connection),
            Claim::Outdated => {
                return Ok(Outcome {
                    registered: self.registered(&key.0, DataVersion::default()),
                    replaced,
                });
            }
        }
        self.remove_former(&key, &register.address);
        let version = self.take(&key, (register, kind), connection, now);
        Ok(Outcome {
            registered: self.registered(&key.0, version),
            replaced,
        })
    }

    fn check_clusters(&self, register: &RegisterBroker, now: Instant) -> Result<(), Refusal> {
        for (_, member) in self.set(&register.broker) {
            if member.address != register.address && member.is_alive(now) {
                check_cluster(register, member)?;
            }
        }
        Ok(())
    }

    /// A broker has one number: what it was under another, before it was made the master or a slave, is over.
    fn remove_former(&mut self, key: &BrokerKey, address: &str) {
        let former = self
            .set(&key.0)
            .filter(|(other, member)| *other != key && member.address == address);
        let former: Vec<_> = former.map(|(other, _)| other.clone()).collect();
        for other in former {
            self.remove(&other);
        }
    }

    /// Notes what a broker says of itself, and returns the state that is known of its topics then. One that is not known
    /// whole is not shown: half a broker would be a wrong route.
    fn take(
        &mut self,
        key: &BrokerKey,
        (register, kind): (RegisterBroker, Kind),
        connection: ConnectionId,
        now: Instant,
    ) -> DataVersion {
        let said = (&register, kind);
        let max_expiry = self.limits.max_expiry;
        let broker = self
            .brokers
            .entry(key.clone())
            .or_insert_with(|| Broker::new(said, None, max_expiry, now));
        let was_here = broker.is_here();
        let is_missing = |since| since != broker.version;
        if register.topics.since.is_some_and(is_missing) {
            broker.hear(said, was_here.then_some(connection), max_expiry, now);
            return broker.version;
        }
        broker.hear(said, Some(connection), max_expiry, now);
        if !was_here {
            for topic in broker.topics.keys() {
                self.topics.add(topic, key);
            }
        }
        broker.version = register.version;
        take_topics(broker, key, register.topics, &mut self.topics);
        register.version
    }

    /// What is known of a set, for a broker whose topics are known up to `version`.
    pub(crate) fn registered(&self, set: &str, version: DataVersion) -> Registered {
        let master = self.brokers.get(&(set.into(), 0));
        let here = master.filter(|master| master.is_here());
        let members = self.here(set);
        Registered {
            version,
            master_address: here.map_or_else(String::new, |m| m.address.clone()),
            master_ha_address: here.map_or_else(String::new, |m| m.ha_address.clone()),
            master_configured_id: here.map_or(0, |m| m.configured_id),
            master_epoch: master.map_or(0, |m| m.epoch),
            members: members
                .map(|((_, id), broker)| (*id, broker.address.clone()))
                .collect(),
        }
    }

    /// What each broker of a set that is there is told of it, by its connection.
    pub(crate) fn tidings(&self, set: &str) -> Vec<(ConnectionId, Registered)> {
        let members = self.here(set).filter_map(|(_, broker)| {
            Some((broker.connection?, self.registered(set, broker.version)))
        });
        members.collect()
    }

    /// A broker says that it goes. What one says that did not register over this connection is not heard: it may be a
    /// master that was replaced.
    pub(crate) fn unregister(
        &mut self,
        broker: &str,
        broker_id: u64,
        connection: ConnectionId,
        now: Instant,
    ) {
        let key = (broker.into(), broker_id);
        let known = self.brokers.get(&key);
        if known.is_some_and(|known| known.connection == Some(connection)) {
            self.hide(&key, now);
        }
    }

    /// A connection has closed: brokers that registered over it are gone.
    pub(crate) fn connection_closed(
        &mut self,
        connection: ConnectionId,
        now: Instant,
    ) -> Vec<BrokerKey> {
        self.hide_where(|broker| broker.connection == Some(connection), now)
    }

    /// Hides brokers that were silent for too long, and forgets those that went long ago.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<BrokerKey> {
        self.hide_where(|broker| broker.is_here() && broker.is_silent(now), now)
    }

    fn hide_where(&mut self, is_gone: impl Fn(&Broker) -> bool, now: Instant) -> Vec<BrokerKey> {
        let gone = self.brokers.iter().filter(|(_, broker)| is_gone(broker));
        let gone: Vec<_> = gone.map(|(key, _)| key.clone()).collect();
        for key in &gone {
            self.hide(key, now);
        }
        self.forget_gone(now);
        gone
    }

    fn hide(&mut self, key: &BrokerKey, now: Instant) {
        if let Some(broker) = self.brokers.get_mut(key) {
            broker.connection = None;
            broker.last_heard = now;
            for topic in broker.topics.keys() {
                self.topics.remove(topic, key);
            }
        }
    }

    fn forget_gone(&mut self, now: Instant) {
        let gone = self.brokers.iter().filter(|(_, broker)| !broker.is_here());
        let mut gone: Vec<_> = gone
            .map(|(key, broker)| (broker.last_heard, key.clone()))
            .collect();
        gone.sort();
        let surplus = gone.len().saturating_sub(MAX_GONE);
        for (nth, (since, key)) in gone.iter().enumerate() {
            if nth < surplus || now.duration_since(*since) >= REMEMBERED {
                self.brokers.remove(key);
            }
        }
    }

    fn remove(&mut self, key: &BrokerKey) -> Option<Broker> {
        let broker = self.brokers.remove(key)?;
        if broker.is_here() {
            for topic in broker.topics.keys() {
                self.topics.remove(topic, key);
            }
        }
        Some(broker)
    }

    /// All that is known of a set, by id.
    fn set(&self, name: &str) -> impl Iterator<Item = (&BrokerKey, &Broker)> {
        let name: Arc<str> = name.into();
        self.brokers.range((name.clone(), 0)..=(name, u64::MAX))
    }

    fn here(&self, set: &str) -> impl Iterator<Item = (&BrokerKey, &Broker)> {
        self.set(set).filter(|(_, broker)| broker.is_here())
    }

    /// Where a topic is; `None` when no broker has it.
    pub(crate) fn route(&self, topic: &str) -> Option<TopicRoute> {
        let having = self.topics.brokers_of(topic)?;
        let sets: BTreeSet<&str> = having.iter().map(|(set, _)| &**set).collect();
        let mut route = TopicRoute::default();
        for set in sets {
            if let Some(queues) = self.queues_in(set, topic) {
                route.queues.push(queues);
                route.brokers.extend(self.broker_set(set));
            }
        }
        (!route.queues.is_empty()).then_some(route)
    }

    /// The master's word counts; without one, that of the slave with the least number among those that have the topic,
    /// and then nobody can write.
    fn queues_in(&self, set: &str, topic: &str) -> Option<BrokerQueues> {
        let mut members = self.here(set).peekable();
        let has_master = members.peek().is_some_and(|((_, id), _)| *id == 0);
        let queues = match has_master {
            true => members.next()?.1.topics.get(topic)?,
            false => members.find_map(|(_, slave)| slave.topics.get(topic))?,
        };
        let is_written = has_master && !self.unwritten.contains(set);
        let allowed = match is_written {
            true => queues.permission,
            false => queues.permission & !permission::WRITE,
        };
        Some(BrokerQueues {
            broker: set.to_owned(),
            read_queues: queues.read_queues,
            write_queues: queues.write_queues,
            permission: allowed,
            is_traced: queues.is_traced,
        })
    }

    /// A set, while any of it is there.
    pub(crate) fn broker_set(&self, set: &str) -> Option<BrokerSet> {
        let mut members = self.here(set).peekable();
        let cluster = members.peek()?.1.cluster.clone();
        let addresses = members.map(|((_, id), broker)| (*id, broker.address.clone()));
        Some(BrokerSet {
            cluster,
            name: set.to_owned(),
            addresses: addresses.collect(),
        })
    }

    /// All brokers.
    pub(crate) fn broker_sets(&self) -> Vec<BrokerSet> {
        let names: BTreeSet<&str> = self.brokers.keys().map(|(set, _)| &**set).collect();
        names
            .into_iter()
            .filter_map(|set| self.broker_set(set))
            .collect()
    }

    /// Names of all topics, sorted.
    pub(crate) fn topics(&self) -> Vec<String> {
        self.topics.names().cloned().collect()
    }

    /// Names of topics whose flag has these bits, and lacks those, sorted.
    pub(crate) fn flagged_topics(&self, has: u32, lacks: u32) -> Vec<String> {
        let here = self.brokers.values().filter(|broker| broker.is_here());
        let topics = here.flat_map(|broker| broker.topics.values());
        let flagged = topics
            .filter(|topic| topic.system_flag & has == has && topic.system_flag & lacks == 0)
            .map(|topic| topic.topic.clone());
        let names: BTreeSet<_> = flagged.collect();
        names.into_iter().collect()
    }

    /// Has producers use the brokers of a set, or leave them out, until something else is said: how many topics they have. A
    /// topic that may not be written by its own settings is not written either way.
    pub(crate) fn let_write(&mut self, set: &str, writes: bool) -> usize {
        let topics: BTreeSet<_> = self
            .here(set)
            .flat_map(|(_, broker)| broker.topics.keys())
            .collect();
        let topics = topics.len();
        // Sets that nobody remembers need not be remembered here.
        let brokers = &self.brokers;
        self.unwritten.retain(|set| {
            let of_set = (set.clone(), 0)..=(set.clone(), u64::MAX);
            brokers.range(of_set).next().is_some()
        });
        match writes || topics == 0 {
            true => drop(self.unwritten.remove(set)),
            false => drop(self.unwritten.insert(set.into())),
        }
        topics
    }

    /// How many brokers and topics there are.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let here = self.brokers.values().filter(|broker| broker.is_here());
        (here.count(), self.topics.len())
    }
}

/// Takes a report that builds on what is known of a broker that is shown.
fn take_topics(broker: &mut Broker, key: &BrokerKey, report: TopicsReport, index: &mut TopicIndex) {
    if report.since.is_none() {
        let all: BTreeMap<String, TopicQueues> = report
            .changed
            .into_iter()
            .map(|queues| (queues.topic.clone(), queues))
            .collect();
        for gone in broker.topics.keys().filter(|name| !all.contains_key(*name)) {
            index.remove(gone, key);
        }
        for name in all.keys() {
            index.add(name, key);
        }
        broker.topics = all;
        return;
    }
    for gone in &report.removed {
        broker.topics.remove(gone);
        index.remove(gone, key);
    }
    for queues in report.changed {
        index.add(&queues.topic, key);
        broker.topics.insert(queues.topic.clone(), queues);
    }
}

#[cfg(test)]
pub(super) mod tests;
