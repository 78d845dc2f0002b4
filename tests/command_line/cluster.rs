//! Brokers and their actors, several at one name server, and none at all.

use super::support::shell::{Broker, SMALL, Server, nobody, run, text, until_registered};

#[test]
fn the_brokers_and_their_actors_are_listed() {
    let broker = Broker::start();
    let listed = broker.run(&["admin", "cluster", "list"]).well().out;
    assert!(
        listed
            .lines()
            .nth(1)
            .is_some_and(|line| line.ends_with("  ok")),
        "{listed}"
    );
    let tree = broker.run(&["admin", "actors"]).well().out;
    let writer = tree.lines().find(|line| line.contains("log-writer"));
    assert!(
        writer.is_some_and(|line| line.contains("running")),
        "{tree}"
    );
    let trees = broker.run(&["admin", "actors", "--json"]).well().json();
    assert_eq!(trees[0]["tree"]["status"], "running");
    let details = broker.run(&["admin", "actors", "--details"]).well();
    assert!(details.out.contains("STATE"), "{details:?}");
    let unknown = broker.run(&["admin", "actors", "--broker", "broker-z"]);
    unknown.fails(1, &["no broker broker-z"]);
}

#[test]
fn all_brokers_of_a_cluster_are_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| text(&folder.path().join(name)).to_owned();
    let (ns, one, two) = (path("ns"), path("one"), path("two"));
    let args = ["namesrv", "--namesrv-listen", "127.0.0.1:0", "--data", &ns];
    let (_names, line) = Server::start(&args, &[]);
    let address = line
        .split("name server ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let address = address.expect("an address");
    let empty = run(&["admin", "topic", "create", "orders", "-n", address]);
    empty.fails(1, &["no broker is registered at", "castmq broker"]);
    let start = |name: &str, data: &str| {
        let settings = [&SMALL[..], &[("broker.name", name)]].concat();
        let args = [
            "broker",
            "--data",
            data,
            "--listen",
            "127.0.0.1:0",
            "-n",
            address,
        ];
        Server::start(&args, &settings).0
    };
    let (_one, other) = (start("one", &one), start("two", &two));
    until_registered(address, 2);
    let admin = |args: &[&str]| run(&[&["admin", "-n", address], args].concat());
    let created = admin(&["topic", "create", "orders", "--queues", "1"]).well();
    assert_eq!(created.out, "topic orders created on one, two\n");
    admin(&["topic", "delete", "orders", "--broker", "two"]).well();
    let shown = admin(&["topic", "show", "orders", "--json"]).well().json();
    assert_eq!(shown.as_array().map(Vec::len), Some(1), "{shown}");
    run(&["stop", "--data", &one]).well();
    drop(other);
    let stopped = run(&["stop", "--data", &ns]).well();
    assert!(
        stopped.out.starts_with("namesrv-0 (process "),
        "{stopped:?}"
    );
}

#[test]
fn where_no_broker_runs_every_tool_says_how_to_start_one() {
    let address = nobody();
    for tool in [
        &["admin", "topic", "list"][..],
        &["produce", "orders", "--body", "x"],
        &["consume", "orders", "--group", "g"],
    ] {
        let failed = run(&[tool, &["-n", &address]].concat());
        failed.fails(1, &[&address, "start one with `castmq`", "-n"]);
        assert_eq!(failed.error.lines().count(), 1, "{failed:?}");
    }
}
