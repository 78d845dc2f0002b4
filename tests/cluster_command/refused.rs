//! What is asked wrongly, and what stands in a cluster's way.

use std::fs;
use std::net::TcpListener;

use super::support::cluster::Cluster;
use super::support::shell::{run, text};

#[test]
fn numbers_that_make_no_cluster_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("cluster");
    let up = |args: &[&str]| run(&[&["cluster", "up", "--dir", text(&dir)], args].concat());
    up(&["--masters", "0"]).fails(2, &["--masters", "1..=26"]);
    up(&["--namesrv", "0"]).fails(2, &["--namesrv", "1..=9"]);
    let slaves = ["--masters", "2", "--slaves", "17"];
    up(&slaves).fails(1, &["17 slaves are too many for 2 masters", "at most 16"]);
    assert!(!dir.exists(), "a folder is left");
}

#[test]
fn settings_that_are_wrong_or_the_clusters_own_leave_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("cluster");
    let set = |setting: &str| run(&["cluster", "up", "--dir", text(&dir), "--set", setting]);
    set("store.flush").fails(2, &["KEY=VALUE"]);
    set("stor.flush=sync").fails(1, &["did you mean store.flush?"]);
    set("store.flush=maybe").fails(1, &["--set", "async, sync"]);
    set("broker.listen=0.0.0.0:1").fails(1, &["an address of its own"]);
    set("store.data_dir=/tmp").fails(1, &["a folder of its own"]);
    set("broker.role=slave").fails(1, &["--replication"]);
    assert!(!dir.exists(), "a folder is left");
}

#[test]
fn a_folder_that_is_something_elses_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = |command: &str| run(&["cluster", command, "--dir", text(folder.path())]);
    for command in ["status", "down"] {
        cluster(command).fails(1, &["there is no cluster in", "castmq cluster up --dir"]);
    }
    let notes = folder.path().join("notes");
    fs::write(&notes, "mine").expect("a file");
    cluster("up").fails(1, &["has other things in it", "--dir"]);
    let file = folder.path().join("cluster.toml");
    fs::write(&file, "name = \"another program's\"\n").expect("a file");
    for command in ["up", "status", "down"] {
        cluster(command).fails(1, &["cluster.toml does not describe a cluster"]);
    }
    let left = fs::read_dir(folder.path()).expect("a folder");
    assert_eq!(left.count(), 2);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    let below = file.join("cluster");
    let failed = run(&["cluster", "up", "--dir", text(&below)]);
    failed.fails(1, &[text(&below), "Not a directory"]);
}

#[test]
fn another_shape_than_that_of_the_cluster_that_is_there_is_refused() {
    let cluster = Cluster::up(1, 0, 1, &[]);
    let up = |args: &[&str]| cluster.run("up", args);
    up(&["--masters", "2"]).fails(1, &["has 1 master, and 2 was asked for"]);
    up(&["--slaves", "1"]).fails(1, &["has 0 slaves, and 1 was asked for"]);
    let made_with = "was made with --replication sync --set ";
    up(&["--replication", "async"]).fails(1, &[made_with, "*/castmq.toml"]);
    up(&["--set", "store.flush=sync"]).fails(1, &[made_with, "restart --all"]);
}

#[test]
fn a_name_that_no_member_has_is_answered_with_those_there_are() {
    let cluster = Cluster::up(1, 0, 1, &[]);
    for command in ["kill", "restart", "down"] {
        let unknown = cluster.run(command, &["broker-a", "broker-z"]);
        let members = "its members are namesrv-1, broker-a";
        unknown.fails(1, &["\"broker-z\" is no member", members]);
    }
    cluster.run("kill", &[]).fails(2, &["NAME"]);
    cluster.run("restart", &[]).fails(2, &["NAME"]);
    cluster.run("status", &[]).well();
}

#[test]
fn a_port_that_somebody_has_meanwhile_is_named_with_who_has_it() {
    let cluster = Cluster::up(1, 0, 1, &[]);
    let address = cluster.address("broker-a");
    cluster.stop("broker-a");
    let taken = TcpListener::bind(&address).expect("its port");
    let (_, port) = address.rsplit_once(':').expect("a port");
    let owner = format!("process {} ", std::process::id());
    // What another test starts has all that is open here, too, for the moment before it is another program.
    let mut tries = (0..100).map(|_| cluster.run("up", &[]));
    let failed = tries.find(|failed| failed.error.contains(&owner));
    let failed = failed.expect("who has it is named");
    failed.fails(1, &[&format!("port {port} of broker-a is taken"), &owner]);
    assert_eq!(cluster.state("broker-a"), "stopped");
    drop(taken);
    cluster.run("up", &[]).well();
}

#[test]
fn a_member_that_ends_when_it_is_started_is_shown_with_the_end_of_its_log() {
    let cluster = Cluster::up(1, 0, 1, &[]);
    let file = cluster.dir().join("broker-a/castmq.toml");
    let good = fs::read_to_string(&file).expect("a file");
    fs::write(&file, good.replace("[store]", "[store]\nflush_it = true")).expect("a file");
    let failed = cluster.run("restart", &["broker-a"]);
    failed.fails(
        1,
        &[
            "broker-a ended when it was started (exit status: 1)",
            "broker-a/castmq.log",
            "unknown key store.flush_it",
        ],
    );
    fs::write(&file, good).expect("a file");
    cluster.restart("broker-a");
}

#[test]
fn a_member_that_is_not_ready_in_time_is_named_and_goes_on_starting() {
    let cluster = Cluster::up(1, 0, 1, &[]);
    cluster.stop("broker-a");
    let late = cluster.run("restart", &["broker-a", "--wait", "0"]);
    late.fails(
        1,
        &["broker-a (process ", "was not ready within 0 s", "--wait"],
    );
    while cluster.state("broker-a") != "running" {}
    cluster.run("up", &[]).well();
}
