//! Messages: found, listed, and such as cannot be sent.

use super::support::shell::{ATTEMPTS, Broker};

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
fn messages_wait_when_they_are_told_to_and_consumers_get_what_they_ask_for() {
    let broker = Broker::start();
    let produce = |args: &[&str]| broker.run(&[&["produce", "orders"], args].concat());
    produce(&["--body", "late", "--delay", "1s", "--tag", "old"]).well();
    let cheap = ["--body", "cheap", "--tag", "new", "--property", "price=1"];
    produce(&cheap).well();
    let dear = ["--body", "dear", "--tag", "new", "--property", "price=9"];
    produce(&dear).well();
    let consume = |args: &[&str]| broker.run(&[&["consume", "orders", "--group"], args].concat());
    let listed = |max, group, filter: &[&str]| {
        let consumed = consume(&[&[group, "--max", max], filter].concat()).well();
        let mut lines: Vec<_> = consumed.out.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(listed("1", "dear", &["--sql", "price > 5"]), ["dear"]);
    let new = listed("2", "new", &["--tags", "new || none"]);
    assert_eq!(new, ["cheap", "dear"]);
    assert_eq!(listed("3", "all", &[]), ["cheap", "dear", "late"]);
    produce(&["--body", "never", "--delay", "41d"]).fails(1, &["broker.timer_max_delay_ms"]);
    consume(&["wrong", "--sql", "price >"]).fails(1, &["character 8"]);
    consume(&["both", "--sql", "price > 1", "--tags", "new"]).fails(2, &["cannot be used with"]);
}
