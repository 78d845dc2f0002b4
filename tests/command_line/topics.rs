//! Topics.

use super::support::shell::Broker;

#[test]
fn a_topic_is_created_listed_shown_and_deleted() {
    let broker = Broker::start();
    let topic = |args: &[&str]| broker.run(&[&["admin", "topic"], args].concat());
    let created = topic(&["create", "orders", "--queues", "2"]).well();
    assert_eq!(created.out, "topic orders created on broker-a\n");
    topic(&["create", "orders"]).fails(1, &["exists already", "--update"]);
    topic(&["create", "or ders"]).fails(1, &["' '", "allowed are"]);
    topic(&["create", "orders", "--queues", "3", "--update"]).well();
    broker.until_listed("orders       3  broker-a\n");
    let listed = topic(&["list"]).well().out;
    assert_eq!(
        listed,
        "TOPIC   QUEUES  BROKERS\norders       3  broker-a\n"
    );
    let all = topic(&["list", "--all", "--json"]).well().json();
    assert!(all.as_array().is_some_and(|all| all.len() > 5), "{all}");
    broker.produce("orders", 6);
    let shown = topic(&["show", "orders", "--json"]).well().json();
    assert_eq!(shown[0]["queues"].as_array().map(Vec::len), Some(3));
    assert_eq!(shown[0]["queues"][0]["max_offset"], 2);
    let shown = topic(&["show", "orders"]).well().out;
    assert!(!shown.contains("message.ttl"), "{shown}");
    topic(&["create", "quotes", "--ttl", "1h 30m"]).well();
    let sent = broker.run(&[
        "produce",
        "quotes",
        "--body",
        "x",
        "--priority",
        "9",
        "--ttl",
        "90s",
    ]);
    sent.well();
    let with_ttl = topic(&["show", "quotes"]).well().out;
    assert!(with_ttl.contains("message.ttl=5400000"), "{with_ttl}");
    topic(&["create", "quotes", "--update", "--by-priority"]).well();
    let by_priority = topic(&["show", "quotes"]).well().out;
    assert!(
        by_priority.contains("message.type=PRIORITY "),
        "{by_priority}"
    );
    topic(&["create", "quotes", "--update", "--ttl", "0"])
        .fails(1, &["message.ttl=0", "from 1 to"]);
    topic(&["create", "quotes", "--ttl=-1s"]).fails(2, &["length of time"]);
    assert!(!shown.contains('\x1b'), "{shown:?}");
    topic(&["delete", "orders"]).well();
    topic(&["show", "orders"]).fails(1, &["topic orders does not exist"]);
    topic(&["delete", "orders"]).fails(1, &["topic orders does not exist"]);
}
