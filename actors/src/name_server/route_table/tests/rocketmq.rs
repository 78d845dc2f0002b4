//! Brokers of RocketMQ.

use super::*;

impl Server {
    fn rocketmq(&mut self, register: RegisterBroker) -> Result<Registered, Refusal> {
        let connection = connection(&register.address);
        let outcome = self.table.register_rocketmq(register, connection, self.now);
        outcome.map(|outcome| outcome.registered)
    }

    fn heard(&mut self, broker: &str, id: u64) {
        let address = at(broker, id);
        let connection = connection(&address);
        self.table.heard(broker, &address, connection, self.now);
    }
}

/// One whose master was changed so often.
fn of_state(epoch: u32, counter: u64, topics: &[&str]) -> RegisterBroker {
    RegisterBroker {
        epoch,
        ..register("r", 0, counter, full(topics))
    }
}

#[test]
fn registrations_add_topics_and_others_say_which_are_gone() {
    let mut server = Server::new();
    server.rocketmq(of_state(0, 1, &["t", "u"])).unwrap();
    server.rocketmq(of_state(0, 2, &["v"])).unwrap();
    assert_eq!(server.table.topics(), ["t", "u", "v"]);
    let known = server.table.known_state("r", &at("r", 0)).unwrap();
    assert_eq!((known.version, known.epoch), (version(2), 0));
    server.table.forget_topic("t", Some("another"));
    server.table.forget_topic("u", Some("c"));
    assert_eq!(server.table.topics(), ["t", "v"]);
    server.table.forget_topic("t", None);
    assert_eq!(server.table.topics(), ["v"]);
    server.table.put_topic("r", queues("w")).unwrap();
    assert_eq!(server.table.topics(), ["v", "w"]);
    assert!(server.table.put_topic("none", queues("w")).is_err());
    let too_many = full(&["1", "2", "3", "4"]);
    let refused = server.rocketmq(register("r", 0, 3, too_many)).unwrap_err();
    assert_eq!(refused.code, ErrorCode::LimitReached);
    for name in ["1", "2", "3"] {
        server.table.put_topic("r", queues(name)).unwrap();
    }
    let refused = server.table.put_topic("r", queues("4")).unwrap_err();
    assert_eq!(refused.code, ErrorCode::LimitReached);
}

#[test]
fn a_broker_that_comes_back_has_the_topics_that_it_says_and_one_alone_is_news_of_a_forgotten_one() {
    let mut server = Server::new();
    let refused = server.rocketmq(of_state(0, 1, &["t"])).unwrap_err();
    assert!(refused.message.contains("one topic only"), "{refused}");
    server.rocketmq(of_state(0, 1, &["t", "u"])).unwrap();
    server.closed(&at("r", 0));
    assert!(server.table.known_state("r", &at("r", 0)).is_none());
    assert!(server.rocketmq(of_state(0, 2, &["v"])).is_err());
    server.rocketmq(of_state(0, 2, &["u", "v"])).unwrap();
    assert_eq!(server.table.topics(), ["u", "v"]);
    server.closed(&at("r", 0));
    server.rocketmq(of_state(0, 2, &[])).unwrap();
    assert!(server.table.topics().is_empty());
}

#[test]
fn a_broker_lives_as_long_as_it_is_heard_over_its_connection() {
    let mut server = Server::new();
    server.rocketmq(of_state(0, 1, &["t", "u"])).unwrap();
    server.pass(119);
    server.heard("r", 0);
    server.pass(119);
    assert!(server.table.expire(server.now).is_empty());
    let (now, address) = (server.now, at("r", 0));
    server.table.heard("r", &address, 999, now);
    server.pass(1);
    assert_eq!(server.table.expire(server.now), [("r".into(), 0)]);
    server.heard("r", 0);
    assert!(server.table.route("t").is_none());
}

#[test]
fn of_two_masters_the_later_state_counts_and_a_broker_of_castmq_comes_after_rocketmqs() {
    let mut server = Server::new();
    server.rocketmq(of_state(0, 1, &["t", "u"])).unwrap();
    let slave = RegisterBroker {
        broker_id: 1,
        ..of_state(0, 1, &["t", "u"])
    };
    let slave = RegisterBroker {
        address: "slave:1".into(),
        ..slave
    };
    let told = server.rocketmq(slave).unwrap();
    assert_eq!(told.master_address, at("r", 0));
    // The slave becomes the master, as a broker of CastMQ.
    let promoted = RegisterBroker {
        address: "10.9.9.9:1".into(),
        ..register("r", 0, 1, full(&["t"]))
    };
    let outcome = server.outcome(promoted).unwrap();
    assert_eq!(outcome.replaced, Some(connection(&at("r", 0))));
    let refused = server.rocketmq(of_state(0, 2, &["t", "u"])).unwrap_err();
    assert!(refused.message.contains("10.9.9.9:1"), "{refused}");
    assert!(refused.message.contains("epoch 1"), "{refused}");
    server.rocketmq(of_state(2, 3, &["t", "u"])).unwrap();
    let route = server.table.route("u").unwrap();
    assert_eq!(route.brokers[0].addresses[0].1, at("r", 0));
}

#[test]
fn topics_of_brokers_of_castmq_are_not_changed_by_others() {
    let mut server = Server::new();
    server.take(register("a", 0, 1, full(&["t"])));
    let refused = server.table.put_topic("a", queues("u")).unwrap_err();
    assert!(refused.message.contains("tell by themselves"), "{refused}");
    server.table.forget_topic("t", None);
    assert_eq!(server.table.topics(), ["t"]);
}
