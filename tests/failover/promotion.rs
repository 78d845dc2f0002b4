//! Masters that are killed under load, and slaves that are promoted, again and again.

use std::time::{Duration, Instant};

use crate::account::{Lost, Verdict, wait_until};
use crate::load::{Crowd, Load};
use crate::support::cluster::Cluster;
use crate::support::{number, seed};

const CROWD: Crowd = Crowd {
    plain: 8,
    keyed: 4,
    pause: Duration::from_millis(2),
};

/// Members of the set that change places.
const SET: &str = "broker-a";
const MEMBERS: [&str; 2] = [SET, "broker-a-s"];

/// How long things took in one round.
#[derive(Debug, Clone, Copy)]
struct Round {
    killed: Instant,
    /// From the kill to the next message that was stored.
    without_master: Duration,
    /// The same from the promotion on.
    from_promotion: Duration,
    /// From the start of the old master until it was in step.
    back: Duration,
}

/// Lets some time go by, kills the master, promotes the slave, and has the old master follow it.
fn change_places(cluster: &Cluster, load: &Load, master: &str) -> Round {
    std::thread::sleep(Duration::from_millis(fastrand::u64(..1500)));
    load.account.reach_more(fastrand::usize(200..2000));
    cluster.kill(master);
    let killed = Instant::now();
    // Consumers have moved to the slave, or not yet.
    if fastrand::bool() {
        std::thread::sleep(Duration::from_millis(fastrand::u64(..3000)));
    }
    let promotion = Instant::now();
    wait_until("the slave can be promoted", || {
        let promote = ["admin", "broker", "promote", SET];
        cluster.tool(&promote).code == Some(0)
    });
    let first = || load.account.first_stored(promotion);
    wait_until("the promoted broker takes messages", || first().is_some());
    let stored = first().expect("a message");
    let back = Instant::now();
    cluster.restart(master);
    Round {
        killed,
        without_master: stored - killed,
        from_promotion: stored - promotion,
        back: back.elapsed(),
    }
}

/// So many rounds; what came of them.
fn rounds(replication: &str, count: u64) -> (Verdict, Vec<Round>) {
    seed("CASTMQ_FAILOVER_SEED");
    let (cluster, ran) = Cluster::up_with(1, 1, 1, &[], &["--replication", replication]);
    ran.well();
    let load = Load::start(&cluster, CROWD);
    let started = Instant::now();
    let mut rounds = Vec::new();
    for number in 0..count {
        let master = MEMBERS[number as usize % MEMBERS.len()];
        rounds.push(change_places(&cluster, &load, master));
        if (number + 1) % 10 == 0 {
            println!(
                "{} rounds after {:.1} s",
                number + 1,
                started.elapsed().as_secs_f64()
            );
        }
    }
    let (account, stored) = load.finish(&cluster);
    let verdict = account.check(&stored);
    println!("{replication}: {:?}", verdict.figures);
    print_times(
        "from the kill to the next message stored",
        &rounds,
        |round| round.without_master,
    );
    print_times(
        "from the promotion to the next message stored",
        &rounds,
        |round| round.from_promotion,
    );
    print_times("until the old master was in step", &rounds, |round| {
        round.back
    });
    for member in MEMBERS {
        let log = cluster.log(member);
        let panics: Vec<_> = log
            .lines()
            .filter(|line| line.contains("panicked"))
            .collect();
        assert_eq!(panics, Vec::<&str>::new(), "{member}");
    }
    (verdict, rounds)
}

fn print_times(what: &str, rounds: &[Round], time: impl Fn(&Round) -> Duration) {
    let mut times: Vec<_> = rounds.iter().map(time).collect();
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    let longest = times.last().copied().unwrap_or_default();
    println!(
        "  {what}: {} ms in the middle, {} ms at most",
        middle.as_millis(),
        longest.as_millis()
    );
}

/// How many messages each kill took, and how long before it the first of them had been acknowledged.
fn print_losses(lost: &[Lost], rounds: &[Round]) {
    let mut counts = Vec::new();
    let mut furthest = Duration::ZERO;
    for round in rounds {
        // The last answers of one that is gone are read after that, but before the next one's first.
        let is_its = |lost: &&Lost| {
            let mut rounds = rounds.iter();
            let next = rounds.find(|round| round.killed + round.without_master >= lost.at);
            next.is_some_and(|next| next.killed == round.killed)
        };
        let its: Vec<_> = lost.iter().filter(is_its).collect();
        let before = its
            .iter()
            .map(|lost| round.killed.saturating_duration_since(lost.at))
            .max();
        furthest = furthest.max(before.unwrap_or_default());
        counts.push(its.len());
    }
    let hurt = counts.iter().filter(|count| **count > 0).count();
    println!(
        "  lost {} acknowledged messages in {hurt} of {} rounds, at most {} in one; the first of them was acknowledged {:.1} ms \
         before the kill",
        lost.len(),
        rounds.len(),
        counts.iter().max().copied().unwrap_or_default(),
        furthest.as_secs_f64() * 1000.0
    );
}

#[test]
fn what_a_sync_master_acknowledged_is_there_after_its_slave_was_promoted() {
    let (verdict, rounds) = rounds("sync", number("CASTMQ_FAILOVER_ROUNDS", 3));
    print_losses(&verdict.lost, &rounds);
    assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
    assert!(verdict.lost.is_empty(), "{:#?}", verdict.lost);
    assert!(verdict.vanished.is_empty(), "{:#?}", verdict.vanished);
}

#[test]
fn what_an_async_master_loses_is_what_its_slave_did_not_have_yet() {
    let (verdict, rounds) = rounds("async", number("CASTMQ_FAILOVER_ROUNDS", 3));
    print_losses(&verdict.lost, &rounds);
    println!(
        "  {} of them had been consumed, or were answered by nobody",
        verdict.vanished.len()
    );
    assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
}
