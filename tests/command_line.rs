//! The command line as people and scripts use it: the real binary, its output, its exit codes.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use support::process::Process;
use support::shell::{
    ATTEMPTS, Broker, SMALL, Server, command, nobody, run, text, until_registered,
};

#[test]
fn dead_letters_are_listed_shown_sent_again_and_dismissed() {
    let broker = Broker::start();
    let dlq = |args: &[&str]| broker.run(&[&["admin", "dlq"], args].concat());
    broker.produce("orders", 3);
    let address = broker.process.name_server.clone();
    actix_rt::System::new().block_on(async {
        let client = castmq_client::Client::connect(&address)
            .await
            .expect("a client");
        let (sender, mut tries) = tokio::sync::mpsc::unbounded_channel();
        let consumer = client
            .push_consumer("billing")
            .subscribe("orders", castmq_client::Filter::All)
            .from(castmq_client::StartFrom::Earliest)
            .handler(move |_| {
                let _ = sender.send(());
                async { castmq_client::Ack::DeadLetter }
            })
            .start()
            .await
            .expect("a consumer");
        for _ in 0..3 {
            tries.recv().await.expect("a try");
        }
        consumer.shutdown().await.expect("a shutdown");
    });
    let open = |count: u64| {
        let listed = dlq(&["list", "--json"]).well().json();
        assert_eq!(listed[0]["group"], "billing");
        assert_eq!(
            (&listed[0]["messages"], &listed[0]["open"]),
            (&3.into(), &count.into())
        );
    };
    open(3);
    let shown = dlq(&["show", "billing", "--json"]).well().json();
    assert_eq!(shown.as_array().map(Vec::len), Some(3));
    assert_eq!(shown[0]["topic"], "orders");
    let sent = dlq(&["resend", "billing", "--max", "2"]).well();
    assert_eq!(sent.out, "2 dead letters of group billing sent again\n");
    open(1);
    let again = broker.run(&[
        "consume", "orders", "--group", "audit", "--from", "earliest", "--max", "5",
    ]);
    assert_eq!(again.well().out.lines().count(), 5);
    let dismissed = dlq(&["purge", "billing"]).well();
    assert_eq!(dismissed.out, "1 dead letter of group billing dismissed\n");
    open(0);
    dlq(&["show", "nobody"]).fails(1, &["%DLQ%nobody"]);
}

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

#[test]
fn a_group_is_shown_with_its_lag_and_set_back() {
    let broker = Broker::start();
    broker.produce("orders", 8);
    let args = ["consume", "orders", "--group", "billing", "--max", "8"];
    let consumed = broker.run(&args).well();
    let mut lines: Vec<_> = consumed.out.lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines.first().map(String::as_str), Some("message 000"));
    assert_eq!(lines.len(), 8);
    let group = |args: &[&str]| broker.run(&[&["admin", "group"], args].concat());
    let lag = || {
        let listed = group(&["list", "--json"]).well().json();
        assert_eq!(listed[0]["group"], "billing");
        listed[0]["lag"].as_u64()
    };
    assert_eq!(lag(), Some(0));
    group(&["reset-offset", "billing", "orders", "--to", "earliest"]).well();
    assert_eq!(lag(), Some(8));
    let one = [
        "reset-offset",
        "billing",
        "orders",
        "--offset",
        "1",
        "--queue",
        "0",
        "--json",
    ];
    assert_eq!(group(&one).well().json()[0]["offset"], 1);
    assert_eq!(lag(), Some(7));
    group(&["reset-offset", "billing", "orders", "--to", "1h"]).well();
    assert_eq!(lag(), Some(8));
    assert!(group(&["show", "billing"]).well().out.contains("COMMITTED"));
    let again = ["reset-offset", "biling", "orders", "--to", "latest"];
    group(&again).fails(1, &["group biling does not exist"]);
    let beyond = [
        "reset-offset",
        "billing",
        "orders",
        "--queue",
        "9",
        "--to",
        "latest",
    ];
    group(&beyond).fails(1, &["has no queue 9", "it has 4"]);
    group(&["reset-offset", "billing", "orders"]).fails(2, &["--to"]);
    group(&["reset-offset", "billing", "orders", "--to", "soon"]).fails(2, &["earliest", "15m"]);
}

#[test]
fn a_group_is_created_changed_cloned_and_deleted() {
    let broker = Broker::start();
    broker.produce("orders", 8);
    let group = |args: &[&str]| broker.run(&[&["admin", "group"], args].concat());
    group(&["create", "billing", "--retry-max", "3"]).well();
    group(&["create", "billing"]).fails(1, &["exists already", "--update"]);
    let delays = ["create", "billing", "--update", "--retry-delays", "1s 5m"];
    assert!(group(&delays).well().out.contains("group billing set on"));
    let config = || group(&["show", "billing", "--json"]).well().json()[0]["config"].clone();
    assert_eq!(config()["retry_max"], 3);
    assert_eq!(config()["attributes"]["retry.delays"], "1s 5m");
    let wrong = ["create", "billing", "--update", "--assignment", "fair"];
    group(&wrong).fails(1, &["\"fair\"", "sticky"]);
    let args = ["consume", "orders", "--group", "billing", "--max", "8"];
    broker.run(&args).well();
    group(&["create", "shipping"]).well();
    let cloned = ["clone-offset", "shipping", "--from", "billing", "--json"];
    let cloned = group(&cloned).well().json();
    assert_eq!(cloned.as_array().map(Vec::len), Some(4));
    group(&["delete", "billing", "--with-topics"]).well();
    group(&["delete", "billing"]).fails(1, &["group billing does not exist"]);
    let shown = group(&["show", "shipping", "--json"]).well().json();
    assert_eq!(shown[0]["progress"][0]["lag"], 0);
}

#[test]
fn messages_are_found_by_key_and_by_id() {
    let broker = Broker::start();
    let send = [
        "produce",
        "orders",
        "--body",
        "to\x1bbe found",
        "--key",
        "k1",
        "--tag",
        "t",
        "--queue",
        "2",
        "--property",
        "color=red",
        "--rate",
        "100",
    ];
    broker.run(&send).well();
    let message = |args: &[&str]| broker.run(&[&["admin", "message"], args].concat());
    let find = ["by-key", "orders", "k1", "--json"];
    let mut found = message(&find).well().json();
    for _ in 0..ATTEMPTS {
        // The index follows the log.
        if found[0].is_object() {
            break;
        }
        found = message(&find).well().json();
    }
    assert_eq!(found[0]["queue"], 2);
    assert_eq!(found[0]["properties"]["color"], "red");
    let table = message(&["by-key", "orders", "k1"]).well().out;
    assert!(table.contains("to\\u{1b}be found"), "{table:?}");
    let id = found[0]["id"].as_str().expect("an id");
    assert_eq!(message(&["show", id, "--json"]).well().json()["tag"], "t");
    assert!(message(&["show", id]).well().out.contains("color=red"));
    message(&["show", "12"]).fails(1, &["no message id", "by-key"]);
    message(&["by-key", "orders", "k1", "--from", "tomorrow"]).fails(2, &["is not a time"]);
    let none = message(&["by-key", "orders", "k2", "--json"]).well();
    assert_eq!(none.out, "[]\n");
}

#[test]
fn messages_are_listed_by_the_time_at_which_they_were_stored() {
    let broker = Broker::start();
    broker.produce("orders", 8);
    let list =
        |args: &[&str]| broker.run(&[&["admin", "message", "list", "orders"], args].concat());
    let all = list(&["--json"]).well().json();
    let all = all.as_array().expect("messages").clone();
    assert_eq!(all.len(), 8);
    let stored_ms =
        |message: &serde_json::Value| message["store_timestamp_ms"].as_i64().expect("a time");
    assert!(all.is_sorted_by_key(stored_ms));
    let two = list(&["--max", "2", "--json"]).well().json();
    assert_eq!(two.as_array(), Some(&all[..2].to_vec()));
    let middle = stored_ms(&all[4]).to_string();
    let count = |args: &[&str]| list(args).well().json().as_array().map(Vec::len);
    let from_middle = all
        .iter()
        .filter(|one| stored_ms(one) >= stored_ms(&all[4]));
    let from_middle = from_middle.count();
    assert_eq!(count(&["--from", &middle, "--json"]), Some(from_middle));
    let to_middle = all
        .iter()
        .filter(|one| stored_ms(one) <= stored_ms(&all[4]));
    assert_eq!(count(&["--to", &middle, "--json"]), Some(to_middle.count()));
    assert_eq!(count(&["--to", "1h", "--json"]), Some(0));
}

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

#[test]
fn a_port_in_use_is_named_with_the_flag_for_another() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let free = "127.0.0.1:0";
    for (flag, other) in [
        ("--listen", "--namesrv-listen"),
        ("--namesrv-listen", "--listen"),
    ] {
        let args = ["--data", text(&data), flag, &address, other, free];
        let failed = run(&args);
        failed.fails(
            1,
            &[
                &address,
                "castmq stop",
                &format!("another address with {flag}"),
            ],
        );
        assert!(!data.exists(), "a folder is left");
    }
}

#[test]
fn what_is_not_understood_is_told_with_exit_code_2() {
    run(&["frobnicate"]).fails(2, &["frobnicate", "Usage"]);
    run(&["produce"]).fails(2, &["TOPIC"]);
    run(&["produce", "t", "--rate", "0"]).fails(2, &["--rate"]);
    run(&["produce", "t", "--priority", "10"]).fails(2, &["--priority", "0..=9"]);
    run(&["produce", "t", "--ttl", "soon"]).fails(2, &["length of time"]);
    run(&["consume", "t", "--group", "g", "--max", "0"]).fails(2, &["--max"]);
    run(&["store", "check"]).fails(2, &["DIR"]);
    let help = run(&["--help"]).well();
    assert!(help.out.contains("admin"), "{help:?}");
}

#[test]
fn messages_that_cannot_be_sent_are_told_of() {
    let broker = Broker::start();
    let produce = |args: &[&str], input: &str| {
        broker.run_with_input(&[&["produce", "orders"], args].concat(), input)
    };
    produce(&["--body", "x", "--queue", "7"], "")
        .fails(1, &["1 of 1 messages were not acknowledged"]);
    // Compressed it must still be longer than the limit.
    let long: String = (0..120_000).map(|_| fastrand::alphanumeric()).collect();
    let some = produce(&[], &format!("one\n{long}\nthree\n"));
    some.fails(1, &["1 of 3 messages were not acknowledged", "65536"]);
    produce(&["--file", "/nowhere/at all"], "").fails(1, &["/nowhere/at all"]);
    produce(&["--property", "a\x01b=no", "--body", "x"], "").fails(1, &[]);
}

#[test]
fn a_server_is_stopped_and_its_pid_file_goes_with_it() {
    let broker = Broker::start();
    let pid_file = broker.data.join("broker.pid");
    let written = fs::read_to_string(&pid_file).expect("a pid file");
    assert_eq!(written.trim(), broker.process.id().to_string());
    let stopped = broker.stop().well();
    assert!(stopped.out.contains("stopped in"), "{stopped:?}");
    assert!(!pid_file.exists());
    assert!(
        !broker.data.join("abort").exists(),
        "the stop was not clean"
    );
    assert!(!broker.process.log().contains('\x1b'), "colors in a file");
    broker.stop().fails(1, &["no server runs in", "--data"]);
}

#[test]
fn a_process_that_only_has_the_number_in_a_pid_file_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bystander = Command::new("cat")
        .stdin(Stdio::piped())
        .spawn()
        .expect("cat");
    let pid_file = folder.path().join("broker.pid");
    fs::write(&pid_file, bystander.id().to_string()).expect("a pid file");
    let stop = run(&["stop", "--data", text(folder.path())]);
    stop.fails(1, &["has gone without removing its pid file"]);
    assert!(!pid_file.exists());
    assert!(
        bystander.try_wait().expect("its state").is_none(),
        "it was killed"
    );
    drop(bystander.stdin.take());
    assert!(bystander.wait().expect("its end").success());
}

#[test]
fn settings_are_shown_with_their_origin_and_all_errors_of_a_file_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = folder.path().join("good.toml");
    fs::write(&good, "[broker]\nname = \"b1\"\n").expect("a file");
    let shown = run(&[
        "config",
        "show",
        "-c",
        text(&good),
        "--listen",
        "127.0.0.1:1",
        "--given",
    ]);
    let shown = shown.well().out;
    assert!(
        shown.contains(&format!("file {}:2", good.display())),
        "{shown}"
    );
    assert!(shown.contains("flag --listen"), "{shown}");
    let all = run(&["config", "show", "--json"]).well().json();
    assert!(all.as_array().is_some_and(|all| all.len() > 20), "{all}");
    let checked = run(&["config", "check", text(&good)]).well();
    assert!(
        checked.out.contains("can be used: 1 setting"),
        "{checked:?}"
    );
    let bad = folder.path().join("bad.toml");
    fs::write(&bad, "[broker]\nnane = \"b1\"\nid = -1\n").expect("a file");
    let refused = run(&["config", "check", text(&bad)]);
    refused.fails(1, &["2 problems", "broker.name", "broker.id", ":3"]);
    let old = folder.path().join("old.properties");
    fs::write(
        &old,
        "brokerName=b1\nsomethingElse=1\nsendMessageThreadPoolNums=4\n",
    )
    .expect("a file");
    let warned = run(&["config", "check", text(&old), "--for", "broker"]).well();
    assert!(warned.error.contains("warning: "), "{warned:?}");
    assert!(warned.error.contains("somethingElse"), "{warned:?}");
    run(&["config", "check", "/nowhere.toml"]).fails(1, &["/nowhere.toml", "cannot be read"]);
}

#[test]
fn a_reader_that_has_enough_ends_a_tool_quietly() {
    let broker = Broker::start();
    broker.produce("orders", 300);
    broker.until_listed("orders");
    let quiet = |args: &[&str]| {
        let mut child = command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        drop(child.stdout.take());
        let status = child.wait().expect("it ends");
        let mut error = String::new();
        let mut stderr = child.stderr.take().expect("its errors");
        stderr.read_to_string(&mut error).expect("text");
        assert!(status.success(), "{status}: {error}");
        assert_eq!(error, "");
    };
    let name_server = broker.process.name_server.as_str();
    quiet(&["admin", "topic", "list", "-n", name_server]);
    quiet(&["consume", "orders", "--group", "g", "-n", name_server]);
    broker.stop().well();
    quiet(&["store", "dump", text(&broker.data)]);
}

/// Changes the first byte of something in a file.
fn damage(path: &Path, position: usize) {
    let mut bytes = fs::read(path).expect("the file");
    bytes[position] ^= 0xFF;
    fs::write(path, bytes).expect("the file is written");
}

fn find(path: &Path, what: &str) -> usize {
    let bytes = fs::read(path).expect("the file");
    let mut windows = bytes.windows(what.len());
    windows
        .position(|window| window == what.as_bytes())
        .expect(what)
}

#[test]
fn a_sound_store_is_dumped_and_one_in_use_is_left_alone() {
    let broker = Broker::start();
    broker.produce("orders", 5);
    broker.produce("other", 2);
    for command in ["check", "repair", "dump"] {
        broker.store(&[command]).fails(1, &["is in use by process"]);
    }
    broker.stop().well();
    let checked = broker.store(&["check", "--json"]).well().json();
    assert_eq!(checked["messages"], 7);
    assert_eq!(checked["queue_entries"], 7);
    assert_eq!(checked["damages"].as_array().map(Vec::len), Some(0));
    let dumped = broker.store(&["dump"]).well().out;
    assert_eq!(dumped.lines().count(), 7);
    assert!(dumped.starts_with("0 "), "{dumped}");
    let other = broker
        .store(&["dump", "--topic", "other", "--max", "1", "--json"])
        .well()
        .json();
    assert_eq!(other["body"], "message 000");
    let position = other["physical_offset"].to_string();
    let rest = broker.store(&["dump", "--from", &position]).well().out;
    assert_eq!(rest.lines().count(), 2);
    broker
        .store(&["dump", "--from", "1"])
        .fails(1, &["no message begins at log position 1: "]);
    let repaired = broker.store(&["repair"]).well();
    assert!(
        repaired.out.starts_with("nothing to repair"),
        "{repaired:?}"
    );
    let segment = broker.data.join("commitlog/00000000000000000000");
    let file = fs::File::options().write(true).open(&segment);
    file.and_then(|file| file.set_len(100)).expect("it is cut");
    let short = broker.store(&["check"]);
    short.fails(1, &[text(&segment), "has 100 bytes"]);
    let empty = tempfile::tempdir().expect("a folder");
    let no_store = run(&["store", "check", text(empty.path())]);
    no_store.fails(1, &["is not the data folder of a broker"]);
    assert_eq!(fs::read_dir(empty.path()).expect("the folder").count(), 0);
}

#[test]
fn a_damaged_log_is_refused_named_and_cut_only_when_told_to() {
    let mut broker = Broker::start();
    broker.produce("orders", 20);
    let data = broker.data.clone();
    let killed = std::mem::replace(
        &mut broker.process,
        Process::spawn(&data.with_extension("x"), &SMALL),
    );
    killed.kill();
    let segment = broker.data.join("commitlog/00000000000000000000");
    damage(&segment, find(&segment, "message 012"));
    let before = fs::read(&segment).expect("the log");
    let checked = broker.store(&["check"]);
    checked.fails(1, &["damaged in 1 place"]);
    for part in [
        text(&segment),
        "check sum",
        "store repair",
        "a broker does not start",
    ] {
        assert!(
            checked.out.contains(part),
            "{part:?} is missing in {checked:?}"
        );
    }
    let planned = broker.store(&["repair"]);
    planned.fails(1, &["nothing was changed", "--yes"]);
    assert!(planned.out.contains("would cut the log"), "{planned:?}");
    assert!(
        planned.out.contains("7 messages that can still be read"),
        "{planned:?}"
    );
    assert!(
        fs::read(&segment).expect("the log") == before,
        "it was changed"
    );
    let dumped = broker.store(&["dump"]);
    dumped.fails(1, &["passed over log position"]);
    assert_eq!(dumped.out.lines().count(), 19);
    let repaired = broker.store(&["repair", "--yes"]).well();
    assert!(repaired.out.contains("kept in"), "{repaired:?}");
    broker.store(&["check"]).well();
    broker.restart();
    let args = ["consume", "orders", "--group", "g", "--max", "12"];
    assert_eq!(broker.run(&args).well().out.lines().count(), 12);
}

#[test]
fn queues_that_do_not_fit_the_log_are_built_anew() {
    let mut broker = Broker::start();
    broker.produce("orders", 40);
    broker.stop().well();
    let queue = broker
        .data
        .join("consumequeue/orders/1/00000000000000000000");
    // The position in the log that the second entry holds.
    damage(&queue, 20 + 7);
    let checked = broker.store(&["check"]);
    checked.fails(1, &["damaged in 1 place"]);
    assert!(
        checked.out.contains("queue offset 1: no message begins at"),
        "{checked:?}"
    );
    broker.store(&["repair"]).fails(1, &["--yes"]);
    let repaired = broker.store(&["repair", "--yes"]).well();
    assert!(
        repaired.out.contains("queues were given 40 entries"),
        "{repaired:?}"
    );
    let sound = broker.store(&["check", "--json"]).well().json();
    assert_eq!(sound["queue_entries"], 40);
    // One that lost its end is no measure for the others.
    broker.restart();
    broker.stop().well();
    let file = fs::File::options().write(true).open(&queue);
    file.and_then(|file| file.set_len(40)).expect("it is cut");
    broker.store(&["check"]).fails(1, &["damaged in 1 place"]);
    broker.store(&["repair", "--yes"]).well();
    broker.restart();
    let args = ["consume", "orders", "--group", "g", "--max", "40"];
    assert_eq!(broker.run(&args).well().out.lines().count(), 40);
}
