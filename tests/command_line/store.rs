//! The data folder of a broker that does not run: checked, dumped, repaired.

use std::fs;
use std::path::Path;

use super::support::process::Process;
use super::support::shell::{Broker, SMALL, run, text};

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

#[test]
fn what_is_exported_for_rocketmq_is_taken_over_again_without_the_metadata() {
    let mut broker = Broker::start();
    broker.produce("orders", 10);
    let consume = ["consume", "orders", "--group", "g", "--max"];
    let consumed = broker.run(&[&consume[..], &["4"]].concat()).well();
    assert_eq!(consumed.out.lines().count(), 4);
    broker.store(&["export-config"]).fails(1, &["is in use"]);
    broker.stop().well();
    broker
        .store(&["import-config"])
        .fails(1, &["it is not a folder that RocketMQ wrote"]);
    let exported = broker.store(&["export-config"]).well();
    assert!(exported.out.contains("RocketMQ can be started"));
    let topics = fs::read(broker.data.join("config/topics.json")).expect("topics");
    assert!(String::from_utf8_lossy(&topics).contains("\"topicName\":\"orders\""));
    fs::remove_dir_all(broker.data.join("metadata")).expect("the metadata goes");
    broker.restart();
    let rest = broker.run(&[&consume[..], &["6"]].concat()).well();
    assert_eq!(rest.out.lines().count(), 6);
    // Whoever changes the files without an export has to say so.
    broker.stop().well();
    let path = broker.data.join("config/consumerOffset.json");
    let offsets = fs::read_to_string(&path).expect("offsets");
    fs::write(&path, offsets + " ").expect("they are written");
    broker
        .store(&["export-config"])
        .fails(1, &["castmq store import-config"]);
    let imported = broker.store(&["import-config"]).well();
    assert!(imported.out.contains("the next start goes on from there"));
    broker.restart();
    let again = broker.run(&[&consume[..], &["6"]].concat()).well();
    assert_eq!(again.out.lines().count(), 6);
}
