//! Two that say that they are one broker.

use super::*;

fn master(address: &str, epoch: u32) -> RegisterBroker {
    RegisterBroker {
        address: address.into(),
        epoch,
        ..register("a", 0, 1, full(&["t"]))
    }
}

const OLD: &str = "10.1.0.1:1";
const NEW: &str = "10.1.0.2:1";

fn master_of(server: &Server) -> Option<String> {
    let route = server.table.route("t")?;
    let (id, address) = route.brokers.first()?.addresses.first()?.clone();
    (id == 0).then_some(address)
}

#[test]
fn the_master_of_the_greater_epoch_replaces_the_other_at_once() {
    let mut server = Server::new();
    server.take(master(OLD, 1));
    let outcome = server.outcome(master(NEW, 2)).unwrap();
    assert_eq!(outcome.replaced, Some(connection(OLD)));
    assert_eq!(master_of(&server).as_deref(), Some(NEW));
    assert_eq!(server.closed(OLD), 0);
    assert_eq!(server.table.counts(), (1, 1));
}

#[test]
fn a_master_that_was_replaced_is_told_so_and_does_not_count() {
    let mut server = Server::new();
    server.take(master(NEW, 2));
    let told = server.take(master(OLD, 1));
    assert_eq!((told.master_address.as_str(), told.master_epoch), (NEW, 2));
    assert_eq!(told.version, DataVersion::default());
    assert_eq!(master_of(&server).as_deref(), Some(NEW));
    let now = server.now;
    server.table.unregister("a", 0, connection(OLD), now);
    assert_eq!(master_of(&server).as_deref(), Some(NEW));
}

#[test]
fn a_replaced_master_does_not_come_back_while_the_new_one_starts_again() {
    let mut server = Server::new();
    server.take(master(NEW, 2));
    server.closed(NEW);
    let told = server.take(master(OLD, 1));
    assert_eq!((told.master_address.as_str(), told.master_epoch), ("", 2));
    assert_eq!(master_of(&server), None);
    server.take(master(NEW, 2));
    assert_eq!(master_of(&server).as_deref(), Some(NEW));
}

#[test]
fn a_new_master_whose_topics_are_still_to_come_keeps_the_old_one_out() {
    let mut server = Server::new();
    server.take(master(OLD, 1));
    let mut offer = master(NEW, 2);
    offer.topics = changes(1, &[], &[]);
    assert_eq!(server.take(offer).version, DataVersion::default());
    assert_eq!(server.take(master(OLD, 1)).master_epoch, 2);
    assert_eq!(master_of(&server), None);
}

#[test]
fn a_second_master_of_the_same_epoch_is_refused_while_the_first_lives() {
    let mut server = Server::new();
    server.take(master(OLD, 1));
    let refusal = server.outcome(master(NEW, 1)).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::Conflict);
    for said in [OLD, NEW, "broker a", "cluster c", "broker.name"] {
        assert!(refusal.message.contains(said), "{}", refusal.message);
    }
    assert_eq!(master_of(&server).as_deref(), Some(OLD));
    server.closed(OLD);
    server.take(master(NEW, 1));
    assert_eq!(master_of(&server).as_deref(), Some(NEW));
    server.pass(120);
    server.take(master(OLD, 1));
    assert_eq!(master_of(&server).as_deref(), Some(OLD));
    assert_eq!(server.closed(NEW), 0);
}

#[test]
fn a_second_slave_with_one_id_is_refused_while_the_first_lives() {
    let mut server = Server::new();
    let slave = |address: &str, epoch| RegisterBroker {
        broker_id: 1,
        ..master(address, epoch)
    };
    server.take(slave(OLD, 1));
    let refusal = server.outcome(slave(NEW, 2)).unwrap_err();
    for said in [OLD, NEW, "broker a", "cluster c", "id 1", "broker.id"] {
        assert!(refusal.message.contains(said), "{}", refusal.message);
    }
    server.closed(OLD);
    server.take(slave(NEW, 1));
    assert_eq!(server.ids("t"), [1]);
}

#[test]
fn a_broker_name_of_another_cluster_is_refused_while_that_one_lives() {
    let mut server = Server::new();
    server.take(register("a", 0, 1, full(&["t"])));
    let other = |id| RegisterBroker {
        cluster: "other".into(),
        address: NEW.into(),
        epoch: 9,
        ..register("a", id, 1, full(&["t"]))
    };
    for id in [0, 1] {
        let refusal = server.outcome(other(id)).unwrap_err();
        let known = at("a", 0);
        for said in [NEW, &known, "cluster c,", "says other"] {
            assert!(refusal.message.contains(said), "{}", refusal.message);
        }
    }
    server.closed(&at("a", 0));
    server.take(other(0));
    assert_eq!(server.table.route("t").unwrap().brokers[0].cluster, "other");
}

#[test]
fn a_broker_may_change_its_cluster() {
    let mut server = Server::new();
    server.take(register("a", 0, 1, full(&["t"])));
    server.take(RegisterBroker {
        cluster: "other".into(),
        ..register("a", 0, 2, full(&["t"]))
    });
    assert_eq!(server.table.broker_sets()[0].cluster, "other");
}

#[test]
fn a_slave_that_was_made_the_master_is_not_a_slave_any_more() {
    let mut server = Server::new();
    server.take(master(OLD, 1));
    server.take(RegisterBroker {
        broker_id: 1,
        ..master(NEW, 1)
    });
    let told = server.take(master(NEW, 2));
    assert_eq!(told.members, [(0, NEW.to_owned())]);
    let back = server.take(RegisterBroker {
        broker_id: 1,
        ..master(OLD, 2)
    });
    assert_eq!(back.master_address, NEW);
    assert_eq!(back.members.len(), 2);
}

#[test]
fn all_of_a_set_are_told_of_it_by_what_is_known_of_each() {
    let mut server = Server::new();
    server.take(register("a", 0, 3, full(&["t"])));
    server.take(register("a", 1, 8, full(&["t"])));
    server.take(register("b", 0, 1, full(&["t"])));
    let tidings = server.table.tidings("a");
    let told = |(at, told): &(_, Registered)| (*at, told.version, told.members.len());
    let expected = [
        (connection(&at("a", 0)), version(3), 2),
        (connection(&at("a", 1)), version(8), 2),
    ];
    assert_eq!(tidings.iter().map(told).collect::<Vec<_>>(), expected);
}
