//! A node that is stopped under load: what it owes is answered, and it comes back as it was.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]

mod support;

use std::sync::Arc;

use castmq_actors::supervision::capture_panics;
use castmq_actors::{Node, Parts, store_options};
use castmq_config::{Flush, Settings};
use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::record::RecordView;
use castmq_storage::disk::os::OsDisk;
use castmq_storage::store::{Records, Store};

use support::load::Traffic;
use support::{run, settings, stop};

/// Whoever takes the folder over, RocketMQ for one, finds messages from `from` on by their keys. Returns where they end.
fn check_keys(settings: &Settings, from: PhysicalOffset) -> PhysicalOffset {
    let opened = Store::open(Arc::new(OsDisk), store_options(settings));
    let (store, _) = opened.expect("the store opens");
    let index = store.index.as_ref().expect("an index");
    let end = store.log.appended();
    let mut keys = 0;
    for record in Records::new(&store.log, from..end) {
        let (at, record) = record.expect("a record");
        let record = RecordView::parse(record.as_ref()).expect("a record");
        let Some(key) = record.property("KEYS") else {
            continue;
        };
        let topic = record.topic().expect("a topic");
        let found = index.query(topic, key, usize::MAX, 0, i64::MAX);
        assert!(found.expect("an index").contains(&at), "{key} of {topic}");
        keys += 1;
    }
    assert!(keys > 0, "there are messages with keys");
    store.close(end).expect("the store closes");
    end
}

fn stops_under_load(flush: Flush) {
    capture_panics();
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = settings(folder.path());
    settings.store.flush = flush;
    let traffic = Traffic::new(&["orders", "payments"]);
    let mut checked = PhysicalOffset::ZERO;
    for round in 0..4 {
        run(async {
            let node = Node::start(&settings, Parts::Standalone).await;
            let node = node.expect("a node");
            let found = node.open_report().expect("a broker");
            assert!(round == 0 || found.was_clean, "{found:?}");
            let address = node.broker_address().expect("a broker").to_string();
            let mut tasks = Vec::new();
            for _ in 0..4 {
                let (traffic, address) = (traffic.clone(), address.clone());
                tasks.push(actix_rt::spawn(async move {
                    let end = traffic.produce(&address).await;
                    assert!(end.is_err(), "a producer ends when its broker does");
                }));
            }
            traffic.reach(traffic.acknowledged() + 500).await;
            stop(node).await;
            for task in tasks {
                task.await.expect("a producer without a panic");
            }
        });
        checked = check_keys(&settings, checked);
    }
    run(async {
        let node = Node::start(&settings, Parts::Standalone).await;
        let node = node.expect("a node");
        assert!(node.open_report().expect("a broker").was_clean);
        let address = node.broker_address().expect("a broker").to_string();
        let figures = traffic.verify(&address).await;
        println!("{flush:?}: {figures:?}");
        // What reached the broker and was stored was answered too, and the answers were not cut off.
        assert_eq!(figures.unknown_stored, 0, "{figures:?}");
        stop(node).await;
    });
}

#[test]
fn a_stop_under_load_is_clean_and_answers_what_is_stored() {
    stops_under_load(Flush::Async);
}

#[test]
fn a_stop_under_load_is_clean_and_answers_what_is_stored_under_synchronous_flush() {
    stops_under_load(Flush::Sync);
}
