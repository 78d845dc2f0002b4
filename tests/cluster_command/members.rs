//! What is done to one member of a cluster.

use std::thread;

use super::support::cluster::Cluster;

#[test]
fn a_member_that_was_killed_suspended_or_stopped_is_shown_as_that() {
    let cluster = Cluster::up(2, 1, 2, &[]);
    cluster.kill("broker-a");
    cluster.suspend("broker-b");
    cluster.stop("broker-a-s");
    cluster.kill("namesrv-2");
    assert_eq!(cluster.state("broker-a"), "died");
    assert_eq!(cluster.state("broker-b"), "suspended");
    assert_eq!(cluster.state("broker-a-s"), "stopped");
    assert_eq!(cluster.state("namesrv-2"), "died");
    assert_eq!(cluster.state("namesrv-1"), "running");
    let down = "4 of 5 members do not run: namesrv-2, broker-a, broker-b, broker-a-s;";
    cluster.run("status", &[]).fails(1, &[down]);
    // Only the one that runs is asked.
    assert_eq!(cluster.member("broker-b")["registered"]["of"], 1);

    cluster.resume("broker-b");
    assert_eq!(cluster.state("broker-b"), "running");
    let dead = cluster.run("kill", &["broker-b", "broker-a"]);
    dead.fails(
        1,
        &["broker-a does not run", "castmq cluster restart broker-a"],
    );
    assert_eq!(
        cluster.state("broker-b"),
        "running",
        "it was killed all the same"
    );
}

#[test]
fn a_member_that_is_asked_to_stop_ends_gracefully() {
    let cluster = Cluster::up(1, 0, 1, &[]);
    let asked = cluster
        .run("kill", &["broker-a", "--signal", "term"])
        .well();
    assert!(asked.out.contains("was asked to stop"), "{asked:?}");
    while cluster.state("broker-a") == "running" {}
    assert_eq!(cluster.state("broker-a"), "stopped");
    assert!(!cluster.data("broker-a").join("abort").exists());
}

#[test]
fn a_restarted_member_has_its_address_and_another_process() {
    let cluster = Cluster::up(1, 1, 1, &[]);
    let (address, pid) = (cluster.address("broker-a"), cluster.pid("broker-a"));
    cluster.restart("broker-a");
    assert_eq!(cluster.address("broker-a"), address);
    assert_ne!(cluster.pid("broker-a"), pid);
    assert_eq!(cluster.member("broker-a")["registered"]["with"], 1);

    cluster.kill("namesrv-1");
    cluster.restart("namesrv-1");
    // A name server knows nothing when it starts.
    assert_eq!(cluster.member("broker-a")["registered"]["with"], 1);

    // The others are not waited for.
    cluster.kill("broker-a-s");
    cluster.restart("broker-a");
    assert_eq!(cluster.state("broker-a-s"), "died");

    cluster.restart("broker-a-s");
    cluster.suspend("broker-a-s");
    cluster.run("restart", &["--all"]).well();
    cluster.run("status", &[]).well();
}

#[test]
fn commands_that_start_and_stop_members_wait_for_each_other() {
    let cluster = Cluster::up(1, 0, 1, &[]);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| cluster.restart("broker-a"));
        }
    });
    cluster.run("status", &[]).well();
}

#[test]
fn who_does_not_stop_in_time_is_named() {
    let cluster = Cluster::up(1, 0, 1, &[]);
    let late = cluster.run("down", &["broker-a", "--wait", "0"]);
    late.fails(
        1,
        &[
            "broker-a (process ",
            "did not stop within 0 s",
            "castmq cluster kill broker-a",
        ],
    );
    cluster.run("down", &[]).well();
    let nothing = cluster.run("down", &[]).well();
    assert!(nothing.out.contains("nothing ran in"), "{nothing:?}");
}
