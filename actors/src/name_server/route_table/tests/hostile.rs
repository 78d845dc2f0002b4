//! Registrations that no honest broker sends.

use super::*;

fn refused(change: impl FnOnce(&mut RegisterBroker)) -> String {
    let mut server = Server::new();
    let mut garbage = register("a", 0, 1, full(&["t"]));
    change(&mut garbage);
    let refusal = server.outcome(garbage).unwrap_err();
    assert_eq!(server.table.counts(), (0, 0));
    refusal.message
}

#[test]
fn names_that_are_none_are_refused() {
    for name in ["", " ", "a b", "a\n", "\u{fc}", &"x".repeat(128)] {
        let message = refused(|garbage| garbage.cluster = name.into());
        assert!(message.contains("name of a cluster"), "{message}");
        assert!(message.len() < 300, "{message}");
        let message = refused(|garbage| garbage.broker = name.into());
        assert!(message.contains("name of a broker"), "{message}");
    }
}

#[test]
fn addresses_that_are_none_are_refused() {
    let none = ["", "here", "10.0.0.1", "10.0.0.1:0", "0.0.0.0:1", "[::]:1"];
    for address in none {
        let message = refused(|garbage| garbage.address = address.into());
        assert!(message.contains("IP:PORT"), "{message}");
        if !address.is_empty() {
            let message = refused(|garbage| garbage.ha_address = address.into());
            assert!(message.contains("replication address"), "{message}");
        }
    }
}

#[test]
fn topics_with_names_that_are_none_are_refused() {
    for topic in ["", "a b", "a/b", &"x".repeat(300)] {
        let message = refused(|garbage| garbage.topics = full(&["good", topic]));
        assert!(message.contains("topic name"), "{message}");
    }
}

#[test]
fn more_topics_than_a_name_server_takes_are_refused_however_they_come() {
    let message = refused(|garbage| garbage.topics = full(&["1", "2", "3", "4", "5", "6"]));
    assert!(message.contains("limits.max_topics"), "{message}");
    let mut server = Server::new();
    server.take(register("a", 0, 1, full(&["1", "2", "3", "4", "5"])));
    let sixth = register("a", 0, 2, changes(1, &["6"], &[]));
    assert_eq!(
        server.outcome(sixth).unwrap_err().code,
        ErrorCode::LimitReached
    );
    assert_eq!(server.table.topics().len(), 5);
    server.take(register("a", 0, 2, changes(1, &["5", "4"], &["9"])));
}

#[test]
fn brokers_that_come_and_go_are_remembered_within_bounds() {
    let mut server = Server::new();
    for number in 0..3 * MAX_GONE {
        server.pass(1);
        let name = number.to_string();
        let passing = RegisterBroker {
            address: format!("10.9.9.9:{}", number + 1),
            ..register(&name, 0, 1, full(&["t"]))
        };
        let address = passing.address.clone();
        server.take(passing);
        server.closed(&address);
    }
    assert_eq!(server.table.counts(), (0, 0));
    assert!(server.table.brokers.len() <= MAX_GONE);
}

#[test]
fn epochs_and_ids_may_be_any_number() {
    let mut server = Server::new();
    server.take(RegisterBroker {
        epoch: u32::MAX,
        expiry_ms: 0,
        address: "10.0.0.1:1".into(),
        ..register("a", u64::MAX, 1, full(&["t"]))
    });
    assert_eq!(server.ids("t"), [u64::MAX]);
    let silent = server.table.expire(server.now);
    assert_eq!(silent.len(), 1);
}
