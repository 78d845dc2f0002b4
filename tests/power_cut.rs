//! Power cuts under load with synchronous flush: the disk is in memory and forgets what was not synced. What was called durable
//! is there afterwards, what consumers saw is too, and neither depends on which actor failed shortly before. What is repeated
//! until it is acknowledged is there once.
//!
//! `CASTMQ_POWER_CUTS` says how many; `CASTMQ_POWER_CUT_SEED` repeats the choices of an earlier run, as far as threads let it.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]

mod support;

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use castmq_actors::supervision::capture_panics;
use castmq_actors::{Node, Parts};
use castmq_client::model::QueueOffset;
use castmq_client::{Client, Message, PullConsumer, StartFrom};
use castmq_config::{Flush, Settings};
use castmq_storage::disk::fault::FaultDisk;

use support::history::{Figures, History, Id, Stored, Violation};
use support::load::{Numbered, Traffic};
use support::{admin, client, number, run, seed, settings, stop, stored, text, until, with_queues};

/// Actors between a message and its answer.
const ON_THE_WAY: [&str; 4] = [
    "broker/storage/log-writer",
    "broker/storage/flush-service",
    "broker/storage/commit-tracker",
    "broker/storage/dispatcher",
];

async fn start(disk: &FaultDisk, settings: &Settings) -> Node {
    let node = Node::start_on(Arc::new(disk.clone()), settings, Parts::Standalone);
    node.await.expect("the node starts")
}

async fn start_on_a_new_disk(settings: &Settings) -> (FaultDisk, Node) {
    let disk = FaultDisk::new();
    let node = start(&disk, settings).await;
    (disk, node)
}

/// What was known when the power was cut.
struct Known {
    history: History,
    numbered: Numbered,
}

/// Runs a node under load; returns what was known when the power was cut, and what the cut left.
fn until_the_cut(settings: &Settings, traffic: &Rc<Traffic>) -> (Known, FaultDisk) {
    run(async {
        let (disk, node) = start_on_a_new_disk(settings).await;
        let address = node.broker_address().expect("a broker").to_string();
        let mut tasks = Vec::new();
        for _ in 0..2 {
            let (plain, numbered) = (traffic.clone(), traffic.clone());
            let (address, same) = (address.clone(), address.clone());
            tasks.push(actix_rt::spawn(
                async move { plain.produce(&address).await },
            ));
            tasks.push(actix_rt::spawn(async move {
                numbered.produce_numbered(&same).await
            }));
        }
        let (consuming, from) = (traffic.clone(), address.clone());
        tasks.push(actix_rt::spawn(async move {
            consuming.consume(&from, "billing").await
        }));
        traffic.reach(fastrand::usize(1..500)).await;
        if fastrand::bool() {
            node.tree()
                .poison(ON_THE_WAY[fastrand::usize(..ON_THE_WAY.len())]);
            traffic
                .reach(traffic.acknowledged() + fastrand::usize(..50))
                .await;
        }
        // Whatever was answered by now was durable by now.
        let known = Known {
            history: traffic.history.borrow().clone(),
            numbered: traffic.numbered.borrow().clone(),
        };
        let left = disk.crash(fastrand::u64(..));
        traffic.end();
        for task in tasks {
            task.await
                .expect("clients do not panic")
                .expect("the connection holds");
        }
        stop(node).await;
        (known, left)
    })
}

/// What became of plain messages and of numbered ones: those are sent until they are acknowledged, so they are there once.
fn check(known: &History, stored: &Stored, is_settled: impl Fn(Id) -> bool) -> Figures {
    let (figures, mut violations) = known.check(stored);
    // What is sent again after others stands behind them.
    violations.retain(|violation| match violation {
        Violation::Reordered { id, .. } => !is_settled(*id),
        _ => true,
    });
    assert_eq!(violations, [], "{figures:?}");
    figures
}

fn cut_once() -> (usize, Figures) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = settings(folder.path());
    settings.store.flush = Flush::Sync;
    settings.store.commit_log_segment_bytes = 1 << 20;
    settings.store.index_enabled = false;
    settings.limits.max_message_bytes = 100_000;
    let traffic = Traffic::new(&["orders", "payments"]);
    traffic.expect_power_cut();
    let (known, left) = until_the_cut(&settings, &traffic);
    run(async {
        let node = start(&left, &settings).await;
        let address = node.broker_address().expect("a broker").to_string();
        let numbered = known.numbered.ids();
        let repeated = known.numbered.unsettled();
        *traffic.history.borrow_mut() = known.history;
        *traffic.numbered.borrow_mut() = known.numbered;
        traffic.settle_all(&address).await;
        let stored = traffic
            .read_all(&address)
            .await
            .expect("everything is read");
        let is_numbered = |id: Id| numbered.contains(&id.producer);
        let figures = check(&traffic.history.borrow(), &stored, is_numbered);
        stop(node).await;
        (repeated, figures)
    })
}

#[test]
fn what_was_called_durable_survives_power_cuts() {
    capture_panics();
    seed("CASTMQ_POWER_CUT_SEED");
    for cut in 1..=number("CASTMQ_POWER_CUTS", 12) {
        let (repeated, figures) = cut_once();
        println!("cut {cut}: {repeated} sends repeated, {figures:?}");
    }
}

/// Settings of a broker that never flushes before the test is over, if it goes by the time.
fn flushed_hardly_ever(data: &Path) -> Settings {
    let mut settings = with_queues(data, 1);
    settings.store.flush = Flush::Async;
    settings.store.flush_interval_ms = 600_000;
    settings.store.flush_least_pages = 1_000_000;
    settings
}

async fn send(client: &Client, body: &str) {
    let producer = client.producer().build();
    let messages = (0..100).map(|_| Message::new("orders", body.to_owned()));
    for receipt in producer.send_all(messages).await {
        receipt.expect("it is stored");
    }
    producer.close().await;
}

/// A consumer that goes on where its group is.
async fn billing(client: &Client) -> PullConsumer {
    let consumer = client
        .pull_consumer("billing")
        .from(StartFrom::Earliest)
        .build();
    let mut consumer = consumer.expect("a consumer");
    let queues = consumer.queues("orders").await.expect("queues");
    consumer.assign(queues).await.expect("assigned");
    consumer
}

#[test]
fn a_group_goes_on_with_what_comes_in_the_place_of_messages_that_it_saw_and_that_were_lost() {
    const WAIT: Duration = Duration::from_secs(5);
    let folder = tempfile::tempdir().expect("a folder");
    let settings = flushed_hardly_ever(folder.path());
    let left = run(async {
        let (disk, node) = start_on_a_new_disk(&settings).await;
        let client = client(&node).await;
        send(&client, "before").await;
        let mut consumer = billing(&client).await;
        let mut seen = 0;
        while seen < 100 {
            seen += consumer.poll(WAIT).await.expect("a poll").len();
        }
        consumer.commit().await.expect("committed");
        let left: Vec<_> = (0..20).map(|seed| disk.crash(seed)).collect();
        // Offsets are on a disk of the machine, and safe.
        stop(node).await;
        left
    });
    run(async {
        for left in left {
            let node = start(&left, &settings).await;
            let client = client(&node).await;
            let kept = stored(&admin(&client).await, "orders").await;
            if kept < 100 {
                send(&client, "after").await;
                let mut consumer = billing(&client).await;
                let queue = consumer.assignment().remove(0);
                assert_eq!(consumer.position(&queue), Some(QueueOffset(kept)));
                let mut seen = Vec::new();
                while seen.len() < 100 {
                    seen.extend(consumer.poll(WAIT).await.expect("a poll"));
                }
                assert!(seen.iter().all(|message| text(message) == "after"));
                stop(node).await;
                return;
            }
            stop(node).await;
        }
        panic!("no cut took anything");
    });
}

#[test]
fn under_asynchronous_flush_a_power_cut_costs_a_bounded_part_of_the_log_whatever_the_interval() {
    const BODY_BYTES: usize = 900_000;
    const MESSAGES: usize = 200;
    let folder = tempfile::tempdir().expect("a folder");
    let settings = flushed_hardly_ever(folder.path());
    let left = run(async {
        let (disk, node) = start_on_a_new_disk(&settings).await;
        let client = client(&node).await;
        let producer = client.producer().compress_above_bytes(usize::MAX).build();
        for _ in 0..MESSAGES {
            let message = Message::new("orders", vec![b'x'; BODY_BYTES]);
            producer.send(message).await.expect("it is stored");
        }
        let flushed = async || {
            let tree = node.tree().snapshot().await;
            let service = tree.find("broker/storage/flush-service");
            service.and_then(|service| service.state["flushed"].as_u64())
        };
        until(async || flushed().await > Some(0)).await;
        let left = disk.crash(0);
        stop(node).await;
        left
    });
    run(async {
        let node = start(&left, &settings).await;
        let kept = stored(&admin(&client(&node).await).await, "orders").await;
        assert!(
            kept >= 128 * 1024 * 1024 / BODY_BYTES as u64,
            "{kept} of {MESSAGES} are kept"
        );
        stop(node).await;
    });
}
