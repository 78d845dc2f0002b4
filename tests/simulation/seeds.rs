//! Which runs there are, side by side, and what is said of those that fail.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use parking_lot::Mutex;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, filter};

use crate::support::number;

use super::record::Wrong;
use super::run::run;
use super::trace::{Shown, Trace};

const SEED: &str = "CASTMQ_SEED";
const SHOW: &str = "CASTMQ_SHOW";

/// What a run says before the number that its trace comes to.
const TRACE: &str = "trace ";

/// Seeds that are run twice.
const TWICE: u64 = 5;

/// The seeds of a test: one that is asked for, or so many. They are the same each time, so that what fails hangs on what was changed.
fn seeds() -> (u64, u64) {
    let first = number("CASTMQ_FIRST_SEED", 1);
    match std::env::var(SEED) {
        Ok(seed) => (seed.parse().expect("CASTMQ_SEED is a number"), 1),
        Err(_) => (first, number("CASTMQ_RUNS", 20)),
    }
}

/// Whether one seed is asked for, and what happens in it.
fn is_asked_for() -> bool {
    std::env::var_os(SEED).is_some()
}

/// A run in a process of its own: it has nothing from those before.
fn run_apart(seed: u64) -> Output {
    let this = std::env::current_exe().expect("this test");
    let mut command = Command::new(this);
    command.args(["seeds::one_run", "--exact", "--ignored", "--nocapture"]);
    command.env(SEED, seed.to_string());
    if is_asked_for() && std::env::var_os(SHOW).is_none() {
        command.env(SHOW, "events");
    }
    command.output().expect("it runs")
}

fn said(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    format!("{out}{error}")
}

fn traced(output: &Output) -> Option<String> {
    let out = String::from_utf8_lossy(&output.stdout);
    let line = out.lines().find_map(|line| line.strip_prefix(TRACE));
    line.map(str::to_owned)
}

#[test]
fn no_message_is_lost_duplicated_reordered_or_made_up_whatever_goes_wrong() {
    let (first, count) = seeds();
    println!("CASTMQ_FIRST_SEED={first} CASTMQ_RUNS={count}");
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let failed = Mutex::new(Vec::new());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count || failed.lock().len() >= 10 {
                        return;
                    }
                    let seed = first.wrapping_add(index);
                    let output = run_apart(seed);
                    if is_asked_for() {
                        println!("{}", said(&output));
                    }
                    if !output.status.success() {
                        println!("{SEED}={seed} cargo test --test simulation: fails");
                        failed.lock().push((seed, said(&output)));
                    }
                }
            });
        }
    });
    println!("{count} seeds in {:.1?}", begun.elapsed());
    let failed = failed.into_inner();
    if let Some((seed, said)) = failed.first() {
        let others: Vec<_> = failed.iter().map(|(seed, _)| seed).collect();
        panic!("seeds that fail: {others:?}; the first says:\n{said}\n{SEED}={seed} repeats it");
    }
}

#[test]
fn a_seed_gives_the_same_run_again() {
    let (first, count) = seeds();
    for seed in (first..).take(count.min(TWICE) as usize) {
        let traces = [0; 2].map(|_| traced(&run_apart(seed)));
        assert!(traces[0].is_some(), "seed {seed} has no end");
        assert_eq!(
            traces[0], traces[1],
            "seed {seed} hangs on more than itself"
        );
    }
}

#[test]
#[ignore = "one run of those above, in a process of its own"]
fn one_run() {
    let (seed, _) = seeds();
    let trace = Trace::new(match std::env::var(SHOW).as_deref() {
        Ok("network") => Shown::Network,
        Ok("events") => Shown::Events,
        _ => Shown::Nothing,
    });
    let network = filter::Targets::new().with_target("turmoil", filter::LevelFilter::TRACE);
    let log = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off"));
    let log = tracing_subscriber::fmt::layer()
        .without_time()
        .with_filter(log);
    let layers = tracing_subscriber::registry().with(trace.clone().with_filter(network));
    layers.with(log).init();
    let outcome = run(seed, &trace);
    println!("seed {seed}: {}", outcome.figures);
    println!("{TRACE}{:016x}", trace.digest());
    let wrong: Vec<_> = outcome
        .wrong
        .iter()
        .take(10)
        .map(Wrong::to_string)
        .collect();
    assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
}
