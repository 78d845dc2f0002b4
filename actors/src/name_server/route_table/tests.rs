//! The rules of the table.

use castmq_protocol::native::ErrorCode;

use super::*;

mod claims;
mod hostile;
mod rocketmq;

pub(in super::super) fn queues(topic: &str) -> TopicQueues {
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

/// Where the broker of this name and id is.
fn at(broker: &str, id: u64) -> String {
    let set: u32 = broker.bytes().map(u32::from).sum();
    format!("10.0.{}.{}:10911", set % 256, id % 256)
}

pub(in super::super) fn register(
    broker: &str,
    id: u64,
    counter: u64,
    topics: TopicsReport,
) -> RegisterBroker {
    RegisterBroker {
        cluster: "c".into(),
        broker: broker.into(),
        broker_id: id,
        configured_id: id,
        epoch: 1,
        address: at(broker, id),
        ha_address: String::new(),
        expiry_ms: 120_000,
        version: version(counter),
        topics,
    }
}

pub(in super::super) fn full(names: &[&str]) -> TopicsReport {
    TopicsReport {
        changed: names.iter().map(|name| queues(name)).collect(),
        ..TopicsReport::default()
    }
}

fn changes(since: u64, changed: &[&str], removed: &[&str]) -> TopicsReport {
    TopicsReport {
        since: Some(version(since)),
        removed: removed.iter().map(|name| (*name).to_owned()).collect(),
        ..full(changed)
    }
}

/// A table at a time of its own, in which each broker has the connection of its address.
struct Server {
    table: RouteTable,
    now: Instant,
}

fn connection(address: &str) -> ConnectionId {
    address.bytes().fold(7, |sum, byte| {
        sum * 31 % 1_000_003 + ConnectionId::from(byte)
    })
}

impl Server {
    fn new() -> Self {
        let limits = TableLimits {
            max_expiry: Duration::from_secs(120),
            max_topics: 5,
        };
        Self {
            table: RouteTable::new(limits),
            now: Instant::now(),
        }
    }

    fn take(&mut self, register: RegisterBroker) -> Registered {
        self.outcome(register).unwrap().registered
    }

    fn outcome(&mut self, register: RegisterBroker) -> Result<Outcome, Refusal> {
        let connection = connection(&register.address);
        self.table.register(register, connection, self.now)
    }

    fn closed(&mut self, address: &str) -> usize {
        let gone = self.table.connection_closed(connection(address), self.now);
        gone.len()
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Ids of the brokers on a topic's route.
    fn ids(&self, topic: &str) -> Vec<u64> {
        let route = self.table.route(topic).unwrap_or_default();
        let sets = route.brokers.into_iter();
        sets.flat_map(|set| set.addresses)
            .map(|(id, _)| id)
            .collect()
    }
}

#[test]
fn a_topic_is_routed_to_all_its_brokers() {
    let mut server = Server::new();
    server.take(register("a", 0, 1, full(&["t", "only-a"])));
    server.take(register("b", 0, 1, full(&["t"])));
    let slave = server.take(register("a", 1, 1, full(&["t"])));
    assert_eq!(slave.master_address, at("a", 0));
    assert_eq!(slave.members, [(0, at("a", 0)), (1, at("a", 1))]);
    let route = server.table.route("t").unwrap();
    assert_eq!(route.queues.len(), 2);
    assert_eq!(route.brokers.len(), 2);
    assert_eq!(route.brokers[0].addresses.len(), 2);
    assert_eq!(server.table.route("only-a").unwrap().queues[0].broker, "a");
    assert!(server.table.route("none").is_none());
    assert_eq!(server.table.broker_sets().len(), 2);
}

#[test]
fn changes_are_taken_on_what_is_known_and_nothing_is_shown_of_a_broker_known_in_part() {
    let mut server = Server::new();
    let unknown = server.take(register("a", 0, 9, changes(8, &["t"], &[])));
    assert_eq!(unknown.version, DataVersion::default());
    assert_eq!(server.table.counts(), (0, 0));
    let known = server.take(register("a", 0, 9, full(&["t", "u"])));
    assert_eq!(known.version, version(9));
    let changed = server.take(register("a", 0, 10, changes(9, &["v"], &["t"])));
    assert_eq!(changed.version, version(10));
    assert_eq!(server.table.topics(), ["u", "v"]);
    let unchanged = server.take(register("a", 0, 10, changes(10, &[], &[])));
    assert_eq!(unchanged.version, version(10));
    let missed = server.take(register("a", 0, 12, changes(11, &["w"], &[])));
    assert_eq!(missed.version, version(10));
    assert_eq!(server.table.topics(), ["u", "v"]);
    server.take(register("a", 0, 12, full(&["w"])));
    assert_eq!(server.table.topics(), ["w"]);
}

#[test]
fn silent_brokers_and_closed_connections_are_dropped() {
    let mut server = Server::new();
    server.take(register("a", 0, 1, full(&["t"])));
    server.take(register("b", 0, 1, full(&["t"])));
    assert_eq!(server.closed(&at("b", 0)), 1);
    assert_eq!(server.table.route("t").unwrap().queues.len(), 1);
    server.pass(119);
    assert!(server.table.expire(server.now).is_empty());
    server.pass(1);
    assert_eq!(server.table.expire(server.now), [("a".into(), 0)]);
    assert!(server.table.route("t").is_none());
    assert_eq!(server.table.counts(), (0, 0));
}

#[test]
fn a_broker_that_comes_back_tells_what_changed_meanwhile() {
    let mut server = Server::new();
    server.take(register("a", 0, 3, full(&["t", "u"])));
    server.closed(&at("a", 0));
    let behind = server.take(register("a", 0, 4, changes(4, &[], &[])));
    assert_eq!(behind.version, version(3));
    assert_eq!(server.table.counts(), (0, 0));
    let back = server.take(register("a", 0, 4, changes(3, &["v"], &["t"])));
    assert_eq!(back.version, version(4));
    assert_eq!(server.table.topics(), ["u", "v"]);
    // It is forgotten in the end.
    server.closed(&at("a", 0));
    server.pass(3600);
    server.table.expire(server.now);
    let unknown = server.take(register("a", 0, 4, changes(4, &[], &[])));
    assert_eq!(unknown.version, DataVersion::default());
}

#[test]
fn a_broker_that_comes_back_over_a_new_connection_survives_the_old_ones_end() {
    let mut server = Server::new();
    let now = server.now;
    let table = &mut server.table;
    table
        .register(register("a", 0, 1, full(&["t"])), 1, now)
        .unwrap();
    let again = register("a", 0, 1, changes(1, &[], &[]));
    table.register(again, 2, now).unwrap();
    assert!(table.connection_closed(1, now).is_empty());
    assert!(table.route("t").is_some());
    table.unregister("a", 0, 1, now);
    assert!(table.route("t").is_some());
    table.unregister("a", 0, 2, now);
    assert!(table.route("t").is_none());
}

#[test]
fn the_masters_word_counts_and_without_one_nobody_writes() {
    let mut server = Server::new();
    let one_queue = TopicQueues {
        write_queues: 1,
        permission: 7,
        ..queues("t")
    };
    let slaves = TopicsReport {
        changed: vec![one_queue],
        ..full(&[])
    };
    server.take(register("a", 2, 1, full(&["t", "deleted"])));
    server.take(register("a", 1, 1, slaves));
    let alone = server.table.route("t").unwrap();
    assert_eq!(alone.queues[0].write_queues, 1);
    assert_eq!(alone.queues[0].permission, 5);
    assert_eq!(server.ids("t"), [1, 2]);
    assert!(server.table.route("deleted").is_some());
    server.take(register("a", 0, 1, full(&["t"])));
    let led = server.table.route("t").unwrap();
    assert_eq!(led.queues[0].write_queues, 4);
    assert_eq!(led.queues[0].permission, 6);
    assert_eq!(server.ids("t"), [0, 1, 2]);
    assert!(server.table.route("deleted").is_none());
}

#[test]
fn a_set_that_an_operator_has_producers_leave_out_is_read_and_not_written_until_it_is_let() {
    let mut server = Server::new();
    server.take(register("a", 0, 1, full(&["t", "u"])));
    server.take(register("b", 0, 1, full(&["t"])));
    let permissions = |server: &Server| {
        let route = server.table.route("t").unwrap();
        let queues = route.queues.iter().map(|queues| queues.permission);
        queues.collect::<Vec<_>>()
    };
    assert_eq!(server.table.let_write("a", false), 2);
    assert_eq!(permissions(&server), [4, 6]);
    // Also for topics that come later, and when it comes back.
    server.closed(&at("a", 0));
    server.take(register("a", 0, 2, full(&["t", "u", "v"])));
    assert_eq!(permissions(&server), [4, 6]);
    assert_eq!(server.table.let_write("a", true), 3);
    assert_eq!(permissions(&server), [6, 6]);
    // Names that nobody has are not kept.
    assert_eq!(server.table.let_write("none", false), 0);
    assert!(server.table.unwritten.is_empty());
}

#[test]
fn topics_are_listed_by_the_bits_of_their_flag() {
    let mut server = Server::new();
    let flagged = |topic, system_flag| TopicQueues {
        system_flag,
        ..queues(topic)
    };
    let mut report = full(&["plain"]);
    let units = [flagged("unit", 1), flagged("both", 3), flagged("sub", 2)];
    report.changed.extend(units);
    server.take(register("a", 0, 1, report));
    assert_eq!(server.table.flagged_topics(1, 0), ["both", "unit"]);
    assert_eq!(server.table.flagged_topics(2, 0), ["both", "sub"]);
    assert_eq!(server.table.flagged_topics(2, 1), ["sub"]);
}
