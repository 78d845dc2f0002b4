//! Groups, and their dead letters.

use super::support::shell::Broker;

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
