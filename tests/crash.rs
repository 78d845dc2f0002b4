//! The real binary, killed at random moments under load: nothing acknowledged is lost, nothing is there twice, nothing is
//! reordered, nothing is there that nobody sent, and consumers neither skip nor go back further than documented.
//!
//! `CASTMQ_CRASH_CYCLES` says how often it is killed; `tests/crash.sh` does it 200 times. `CASTMQ_CRASH_SEED` repeats the
//! choices of an earlier run, as far as threads let it.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use support::history::Place;
use support::load::{Progress, Traffic, offsets};
use support::process::Process;
use support::{number, seed};

const GROUP: &str = "billing";

/// How often the broker writes offsets in this test.
const OFFSETS_INTERVAL: Duration = Duration::from_millis(100);

/// What a busy machine may take for a write, beyond the interval.
const OFFSETS_SLACK: Duration = Duration::from_secs(5);

const SETTINGS: [(&str, &str); 2] = [
    ("store.flush", "sync"),
    ("store.offsets_flush_interval_ms", "100"),
];

/// Load over several connections, until the broker is killed.
fn start_load(traffic: &Rc<Traffic>, address: &str) -> Vec<actix_rt::task::JoinHandle<()>> {
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let (traffic, address) = (traffic.clone(), address.to_owned());
        tasks.push(actix_rt::spawn(async move {
            let end = traffic.produce(&address).await;
            assert!(end.is_err(), "a producer ends when its broker does");
        }));
    }
    let (traffic, address) = (traffic.clone(), address.to_owned());
    tasks.push(actix_rt::spawn(async move {
        let end = traffic.consume(&address, GROUP).await;
        assert!(end.is_err(), "a consumer ends when its broker does");
    }));
    tasks
}

/// The moment is what is random here.
fn kill_somewhere_in_its_start(broker: Process) {
    std::thread::sleep(Duration::from_micros(fastrand::u64(..60_000)));
    broker.kill();
}

/// Kills the broker while it starts, or under load after a random number of acknowledgments.
async fn crash_once(traffic: &Rc<Traffic>, data: &Path, is_long: bool) -> Instant {
    let mut broker = Process::spawn_small(data, &SETTINGS);
    if fastrand::u8(..6) == 0 && !is_long {
        kill_somewhere_in_its_start(broker);
        return Instant::now();
    }
    broker.ready();
    let tasks = start_load(traffic, &broker.broker);
    traffic
        .reach(traffic.acknowledged() + fastrand::usize(..2000))
        .await;
    traffic.set_slow(is_long);
    while is_long && !has_old_commits(&traffic.progress.borrow()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    traffic.set_slow(false);
    let panics = broker.panics();
    let killed = Instant::now();
    broker.kill();
    for task in tasks {
        task.await.expect("a producer or consumer without a panic");
    }
    assert_eq!(panics, Vec::<String>::new());
    killed
}

fn has_old_commits(progress: &Progress) -> bool {
    let mut commits = progress.committed.values().flatten();
    commits.any(|(_, at)| at.elapsed() > OFFSETS_INTERVAL + OFFSETS_SLACK)
}

/// What was committed long enough before the end is still committed, and no more than what was handled.
fn check_offsets(
    progress: &Progress,
    killed: Instant,
    before: &BTreeMap<Place, u64>,
    after: &BTreeMap<Place, u64>,
) -> u64 {
    let due = killed - OFFSETS_INTERVAL - OFFSETS_SLACK;
    let mut back = 0;
    for (place, handled) in &progress.handled {
        let now = after.get(place).copied().unwrap_or_default();
        assert!(
            now <= *handled,
            "{place:?}: {now} was never handled, {handled} was"
        );
        let earlier = before.get(place).copied().unwrap_or_default();
        assert!(
            now >= earlier,
            "{place:?}: {now}, and {earlier} at the start before"
        );
        let commits = progress.committed.get(place).into_iter().flatten();
        let last_due = commits
            .filter(|(_, at)| *at <= due)
            .map(|(offset, _)| *offset)
            .next_back();
        let last_due = last_due.unwrap_or_default();
        assert!(
            now >= last_due,
            "{place:?}: {now}, and {last_due} was committed in time"
        );
        back += handled - now;
    }
    back
}

#[test]
fn whatever_is_acknowledged_survives_kill_9() {
    let cycles = number("CASTMQ_CRASH_CYCLES", 8);
    seed("CASTMQ_CRASH_SEED");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let traffic = Traffic::new(&["orders", "payments"]);
    let started = Instant::now();
    actix_rt::System::new().block_on(async {
        let mut committed = BTreeMap::new();
        let mut furthest_back = 0;
        let full_checks = (cycles / 20).max(1);
        for cycle in 1..=cycles {
            let is_long = cycle % 20 == 2;
            let killed = crash_once(&traffic, &data, is_long).await;
            let broker = Process::start_small(&data, &SETTINGS);
            let now = offsets(&traffic, &broker.broker, GROUP)
                .await
                .expect("offsets");
            let back = check_offsets(&traffic.progress.borrow(), killed, &committed, &now);
            furthest_back = furthest_back.max(back);
            committed = now;
            if cycle % full_checks == 0 || cycle == cycles {
                let figures = traffic.verify(&broker.broker).await;
                println!(
                    "cycle {cycle}, {:.1} s: {figures:?}",
                    started.elapsed().as_secs_f64()
                );
            }
            // What was handled is what the group goes on from.
            traffic.progress.borrow_mut().committed.clear();
            traffic.progress.borrow_mut().handled = committed.clone();
            broker.kill();
        }
        println!("the group went back by at most {furthest_back} messages");
    });
}

#[test]
fn a_start_that_is_killed_does_not_prevent_the_next() {
    seed("CASTMQ_CRASH_SEED");
    // Few moments of a start are critical.
    for _ in 0..10 * number("CASTMQ_CRASH_CYCLES", 8) {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        for _ in 0..fastrand::u8(1..4) {
            kill_somewhere_in_its_start(Process::spawn_small(&data, &SETTINGS));
        }
        Process::start_small(&data, &SETTINGS).kill();
    }
}
