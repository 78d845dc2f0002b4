//! What is typed wrong, settings, and readers that have enough.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use super::support::shell::{Broker, command, run, text};

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
