//! Which brokers there are, and which topics they have. Pure: what came in, and when.
//!
//! A name server keeps nothing on disk and talks to no other: brokers tell each of them everything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use castmq_protocol::native::route::{
    BrokerQueues, BrokerSet, DataVersion, RegisterBroker, Registered, TopicQueues, TopicRoute,
    TopicsReport,
};
use tokio::time::Instant;

/// A connection's number.
pub(crate) type ConnectionId = u64;

/// A broker: the name of its set, and its number in it.
type BrokerKey = (String, u64);

#[derive(Debug)]
struct Broker {
    cluster: String,
    configured_id: u64,
    epoch: u32,
    address: String,
    ha_address: String,
    version: DataVersion,
    expiry: Duration,
    last_heard: Instant,
    connection: ConnectionId,
    topics: BTreeMap<String, TopicQueues>,
}

/// The routes of a name server.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    brokers: BTreeMap<BrokerKey, Broker>,
    /// Brokers that have each topic.
    by_topic: BTreeMap<String, BTreeSet<BrokerKey>>,
}

impl RouteTable {
    /// Takes note of a broker. The version in the answer differs from the broker's when the changes that it sent do not
    /// fit what is known: then it has to send everything.
    pub(crate) fn register(
        &mut self,
        register: RegisterBroker,
        connection: ConnectionId,
        max_expiry: Duration,
        now: Instant,
    ) -> Registered {
        let key = (register.broker.clone(), register.broker_id);
        let expiry = Duration::from_millis(register.expiry_ms.into()).min(max_expiry);
        let (mut topics, mut version) = match self.brokers.remove(&key) {
            Some(known) if known.address == register.address => (known.topics, known.version),
            Some(known) => {
                self.forget_topics(&key, known.topics.keys());
                Default::default()
            }
            None => Default::default(),
        };
        match register.topics {
            TopicsReport::Full(all) => {
                self.forget_topics(&key, topics.keys());
                topics = by_name(all);
                version = register.version;
            }
            TopicsReport::Changes {
                since,
                changed,
                removed,
            } if version == since => {
                topics.extend(by_name(changed));
                for name in &removed {
                    topics.remove(name);
                }
                self.forget_topics(&key, removed.iter());
                version = register.version;
            }
            TopicsReport::Changes { .. } => {}
        }
        for name in topics.keys() {
            self.by_topic
                .entry(name.clone())
                .or_default()
                .insert(key.clone());
        }
        let broker = Broker {
            cluster: register.cluster,
            configured_id: register.configured_id,
            epoch: register.epoch,
            address: register.address,
            ha_address: register.ha_address,
            version,
            expiry,
            last_heard: now,
            connection,
            topics,
        };
        self.brokers.insert(key.clone(), broker);
        let members = (key.0.clone(), 0)..=(key.0.clone(), u64::MAX);
        let members = self.brokers.range(members);
        let members = members.map(|((_, id), broker)| (*id, broker.address.clone()));
        let members = members.collect();
        let master = self.brokers.get(&(key.0, 0));
        Registered {
            version,
            master_address: master.map_or_else(String::new, |m| m.address.clone()),
            master_ha_address: master.map_or_else(String::new, |m| m.ha_address.clone()),
            master_configured_id: master.map_or(0, |m| m.configured_id),
            master_epoch: master.map_or(0, |m| m.epoch),
            members,
        }
    }

    fn forget_topics<'a>(&mut self, key: &BrokerKey, names: impl Iterator<Item = &'a String>) {
        for name in names {
            if let Some(brokers) = self.by_topic.get_mut(name) {
                brokers.remove(key);
                if brokers.is_empty() {
                    self.by_topic.remove(name);
                }
            }
        }
    }

    fn remove(&mut self, key: &BrokerKey) {
        if let Some(broker) = self.brokers.remove(key) {
            self.forget_topics(key, broker.topics.keys());
        }
    }

    /// A broker says that it goes.
    pub(crate) fn unregister(&mut self, broker: &str, broker_id: u64) {
        self.remove(&(broker.to_owned(), broker_id));
    }

    /// A connection has closed: brokers that registered over it are gone.
    pub(crate) fn connection_closed(&mut self, connection: ConnectionId) -> Vec<String> {
        self.remove_where(|broker| broker.connection == connection)
    }

    /// Removes brokers that were silent for too long.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<String> {
        self.remove_where(|broker| now.duration_since(broker.last_heard) >= broker.expiry)
    }

    fn remove_where(&mut self, is_gone: impl Fn(&Broker) -> bool) -> Vec<String> {
        let gone = self.brokers.iter().filter(|(_, broker)| is_gone(broker));
        let gone: Vec<_> = gone.map(|(key, _)| key.clone()).collect();
        for key in &gone {
            self.remove(key);
        }
        gone.into_iter()
            .map(|(name, id)| format!("{name}:{id}"))
            .collect()
    }

    /// Where a topic is; `None` when no broker has it.
    pub(crate) fn route(&self, topic: &str) -> Option<TopicRoute> {
        let keys = self.by_topic.get(topic)?;
        let names: BTreeSet<&String> = keys.iter().map(|(name, _)| name).collect();
        let queues = names.iter().filter_map(|name| {
            // The master's word counts; without one, that of the slave with the least number.
            let mut members = keys.iter().filter(|(set, _)| set == *name);
            let broker = self.brokers.get(members.next()?)?;
            let topic = broker.topics.get(topic)?;
            Some(BrokerQueues {
                broker: (*name).clone(),
                read_queues: topic.read_queues,
                write_queues: topic.write_queues,
                permission: topic.permission,
                is_traced: topic.is_traced,
            })
        });
        let queues = queues.collect();
        let mut brokers = self.broker_sets();
        brokers.retain(|set| names.contains(&set.name));
        Some(TopicRoute { brokers, queues })
    }

    /// All brokers.
    pub(crate) fn broker_sets(&self) -> Vec<BrokerSet> {
        let mut sets: Vec<BrokerSet> = Vec::new();
        for ((name, id), broker) in &self.brokers {
            let address = (*id, broker.address.clone());
            match sets.last_mut() {
                Some(set) if set.name == *name => set.addresses.push(address),
                _ => sets.push(BrokerSet {
                    cluster: broker.cluster.clone(),
                    name: name.clone(),
                    addresses: vec![address],
                }),
            }
        }
        sets
    }

    /// Names of all topics, sorted.
    pub(crate) fn topics(&self) -> Vec<String> {
        self.by_topic.keys().cloned().collect()
    }

    /// How many brokers and topics there are.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.brokers.len(), self.by_topic.len())
    }
}

fn by_name(topics: Vec<TopicQueues>) -> BTreeMap<String, TopicQueues> {
    topics
        .into_iter()
        .map(|queues| (queues.topic.clone(), queues))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_EXPIRY: Duration = Duration::from_secs(120);

    fn queues(topic: &str) -> TopicQueues {
        TopicQueues {
            topic: topic.into(),
            read_queues: 4,
            write_queues: 4,
            permission: 6,
            system_flag: 0,
            is_traced: false,
        }
    }

    fn version(counter: u64) -> DataVersion {
        DataVersion {
            timestamp_ms: 5,
            counter,
        }
    }

    fn register(broker: &str, id: u64, counter: u64, topics: TopicsReport) -> RegisterBroker {
        RegisterBroker {
            cluster: "c".into(),
            broker: broker.into(),
            broker_id: id,
            configured_id: id,
            epoch: 1,
            address: format!("{broker}-{id}:1"),
            ha_address: format!("{broker}-{id}:2"),
            expiry_ms: 120_000,
            version: version(counter),
            topics,
        }
    }

    fn full(names: &[&str]) -> TopicsReport {
        TopicsReport::Full(names.iter().map(|name| queues(name)).collect())
    }

    fn changes(since: u64, changed: &[&str], removed: &[&str]) -> TopicsReport {
        TopicsReport::Changes {
            since: version(since),
            changed: changed.iter().map(|name| queues(name)).collect(),
            removed: removed.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn take(table: &mut RouteTable, register: RegisterBroker) -> Registered {
        table.register(register, 1, MAX_EXPIRY, Instant::now())
    }

    #[test]
    fn a_topic_is_routed_to_all_its_brokers() {
        let mut table = RouteTable::default();
        take(&mut table, register("a", 0, 1, full(&["t", "only-a"])));
        take(&mut table, register("b", 0, 1, full(&["t"])));
        let slave = take(&mut table, register("a", 1, 1, full(&["t"])));
        assert_eq!(slave.master_address, "a-0:1");
        let route = table.route("t").unwrap();
        assert_eq!(route.queues.len(), 2);
        assert_eq!(route.brokers.len(), 2);
        assert_eq!(route.brokers[0].addresses.len(), 2);
        assert_eq!(table.route("only-a").unwrap().queues[0].broker, "a");
        assert!(table.route("none").is_none());
    }

    #[test]
    fn changes_are_taken_on_what_is_known_and_else_everything_is_asked_for() {
        let mut table = RouteTable::default();
        let unknown = take(&mut table, register("a", 0, 9, changes(8, &["t"], &[])));
        assert_ne!(unknown.version, version(9));
        let known = take(&mut table, register("a", 0, 9, full(&["t", "u"])));
        assert_eq!(known.version, version(9));
        let changed = take(&mut table, register("a", 0, 10, changes(9, &["v"], &["t"])));
        assert_eq!(changed.version, version(10));
        assert_eq!(table.topics(), ["u", "v"]);
        let unchanged = take(&mut table, register("a", 0, 10, changes(10, &[], &[])));
        assert_eq!(unchanged.version, version(10));
        let missed = take(&mut table, register("a", 0, 12, changes(11, &["w"], &[])));
        assert_ne!(missed.version, version(12));
    }

    #[test]
    fn silent_brokers_and_closed_connections_are_dropped() {
        let mut table = RouteTable::default();
        let start = Instant::now();
        table.register(register("a", 0, 1, full(&["t"])), 1, MAX_EXPIRY, start);
        table.register(register("b", 0, 1, full(&["t"])), 2, MAX_EXPIRY, start);
        assert_eq!(table.connection_closed(2), ["b:0"]);
        assert_eq!(table.route("t").unwrap().queues.len(), 1);
        assert!(table.expire(start + Duration::from_secs(119)).is_empty());
        assert_eq!(table.expire(start + Duration::from_secs(120)), ["a:0"]);
        assert!(table.route("t").is_none());
        assert_eq!(table.counts(), (0, 0));
    }

    #[test]
    fn a_broker_that_comes_back_over_a_new_connection_survives_the_old_ones_end() {
        let mut table = RouteTable::default();
        let now = Instant::now();
        table.register(register("a", 0, 1, full(&["t"])), 1, MAX_EXPIRY, now);
        table.register(
            register("a", 0, 1, changes(1, &[], &[])),
            2,
            MAX_EXPIRY,
            now,
        );
        assert!(table.connection_closed(1).is_empty());
        assert!(table.route("t").is_some());
        table.unregister("a", 0);
        assert!(table.route("t").is_none());
    }
}
