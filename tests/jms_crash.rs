//! Transactions of JMS's model while brokers are killed: what was committed is done once and for all, what was not comes
//! again, and no order goes without its bill.
//!
//! `CASTMQ_CRASH_CYCLES` says how often it is killed; `CASTMQ_CRASH_SEED` repeats the choices of an earlier run, as far as
//! threads let it.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use std::collections::HashSet;
use std::time::Duration;

use castmq_client::jms::{Acknowledge, Connection, ConnectionFactory, Error, Message};

use support::jms::{connected, consumer, queue, session, text};
use support::process::Process;
use support::{number, run, seed};

/// Commits of a cycle are fewer: the last of them is the one that the broker is killed in.
const MOST_A_CYCLE: u32 = 20;

/// Orders that are there for the end.
const SPARE: usize = 60;

/// Nothing that was answered is lost, so that each answer can be held against what comes later.
const SETTINGS: [(&str, &str); 2] = [
    ("store.flush", "sync"),
    ("broker.default_topic_queues", "2"),
];

async fn connect(process: &Process) -> Connection {
    // What a killed broker's consumers had comes again soon.
    let factory = ConnectionFactory::new(&*process.name_server).lease(Duration::from_secs(1));
    connected(factory).await
}

/// What became of orders.
#[derive(Default)]
struct Fates {
    /// Their commit was answered.
    done: HashSet<String>,
    /// Their commit was not, and they come again or not.
    doubtful: HashSet<String>,
    /// Commits that were not answered.
    doubts: usize,
}

/// Bills orders, each in a transaction, until the broker is gone or nothing comes for a while. `before` is told of each one
/// that is about to be committed.
async fn bill(connection: &Connection, fates: &mut Fates, mut before: impl FnMut()) {
    let session = session(connection, Acknowledge::Transacted);
    let orders = consumer(&session, &queue("orders")).await;
    let bills = session.create_producer(&queue("bills"));
    let bills = bills.expect("a producer");
    while let Ok(Some(order)) = orders.receive_timeout(Duration::from_secs(5)).await {
        let text = text(&order);
        assert!(
            !fates.done.contains(&text),
            "{text} came again after it was committed"
        );
        let sent = bills.send(&mut Message::text(text.as_str())).await;
        sent.expect("it is kept until the commit");
        before();
        match session.commit().await {
            Ok(()) => drop(fates.done.insert(text)),
            // Nothing of it happened: it comes again.
            Err(Error::TransactionRolledBack(_)) => {}
            Err(_) => {
                fates.doubts += 1;
                fates.doubtful.insert(text);
            }
        }
    }
}

#[test]
fn a_broker_that_is_killed_within_commits_bills_each_order_and_none_again_that_was_committed() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    seed("CASTMQ_CRASH_SEED");
    let cycles = number("CASTMQ_CRASH_CYCLES", 2);
    let orders = SPARE + cycles as usize * MOST_A_CYCLE as usize;
    run(async {
        let mut fates = Fates::default();
        let mut process = Process::start_small(&data, &SETTINGS);
        let connection = connect(&process).await;
        let producing = session(&connection, Acknowledge::Auto);
        let producer = producing.create_producer(&queue("orders"));
        let producer = producer.expect("a producer");
        for order in 0..orders {
            let mut message = Message::text(format!("order {order}"));
            producer.send(&mut message).await.expect("it is sent");
        }
        for _ in 0..cycles {
            let connection = connect(&process).await;
            let mut left = fastrand::u32(1..MOST_A_CYCLE);
            let mut victim = Some(process);
            let mut killer = None;
            bill(&connection, &mut fates, || {
                left = left.saturating_sub(1);
                if left == 0
                    && let Some(process) = victim.take()
                {
                    killer = Some(std::thread::spawn(move || process.kill()));
                }
            })
            .await;
            let killer = killer.expect("it was killed");
            killer.join().expect("the killer does not panic");
            process = Process::start_small(&data, &SETTINGS);
        }
        let connection = connect(&process).await;
        bill(&connection, &mut fates, || {}).await;
        let ended = fates.done.union(&fates.doubtful).count();
        assert_eq!(
            ended, orders,
            "each order is committed in the end, or may be"
        );

        let session = session(&connection, Acknowledge::Auto);
        let bills = consumer(&session, &queue("bills")).await;
        let mut billed = HashSet::new();
        let mut twice = 0;
        while let Some(bill) = bills
            .receive_timeout(Duration::from_secs(5))
            .await
            .expect("an answer")
        {
            twice += usize::from(!billed.insert(text(&bill)));
        }
        assert_eq!(billed.len(), orders, "each order has a bill");
        // Only one whose commit was not answered can have two.
        let doubts = fates.doubts;
        assert!(
            twice <= doubts,
            "{twice} bills too many, {doubts} commits in doubt"
        );
    });
}
