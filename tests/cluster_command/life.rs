//! A cluster from its first start to its end.

use std::fs;

use procfs::process::Process;

use super::support::cluster::Cluster;
use super::support::shell::{command, run, text};

#[test]
fn a_cluster_is_ready_when_the_command_that_makes_it_returns() {
    let (cluster, ran) = Cluster::up_with(2, 2, 2, &[], &[]);
    let said = ran.well().out;
    assert!(
        said.contains("2 name servers, 2 masters, 2 slaves"),
        "{said}"
    );
    let name_servers = cluster.name_servers();
    let typed = format!("castmq produce orders --body hello -n {name_servers}");
    assert!(said.contains(&typed), "{said}");

    let status = cluster.run("status", &[]).well();
    assert!(status.error.is_empty(), "{status:?}");
    assert_eq!(status.out.lines().count(), 7, "{status:?}");
    for (name, role) in [
        ("broker-a", "master"),
        ("broker-b", "master"),
        ("broker-a-s", "slave 1"),
        ("broker-b-s", "slave 1"),
    ] {
        let broker = cluster.member(name);
        assert_eq!(broker["role"], role, "{broker}");
        assert_eq!(broker["registered"]["with"], 2, "{broker}");
        assert_eq!(broker["health"], "ok", "{broker}");
        assert_eq!(broker["epoch"], 1, "{broker}");
        let is_in_step = role.starts_with("slave").then_some(true);
        assert_eq!(broker["step"]["is_in_step"].as_bool(), is_in_step);
    }

    cluster
        .tool(&["produce", "orders", "--body", "hello"])
        .well();
    let consume = ["consume", "orders", "--group", "g", "--max", "1"];
    let read = cluster.tool(&consume).well();
    assert!(read.out.contains("hello"), "{read:?}");
}

#[test]
fn members_have_folders_of_their_own_with_settings_that_load_without_a_warning() {
    let cluster = Cluster::up(1, 2, 1, &[("broker.machine_room", "cellar")]);
    for (name, kind) in [
        ("namesrv-1", "namesrv"),
        ("broker-a", "broker"),
        ("broker-a-s", "broker"),
        ("broker-a-s2", "broker"),
    ] {
        let file = cluster.dir().join(name).join("castmq.toml");
        let checked = run(&["config", "check", text(&file), "--for", kind]).well();
        assert!(checked.out.contains("0 warnings"), "{checked:?}");
        assert!(cluster.log(name).contains("castmq ready: "));
        let about = fs::read_to_string(&file).expect("a file");
        assert!(about.starts_with(&format!("# {name}, a ")), "{about}");
        assert_eq!(about.contains("cellar"), kind == "broker", "{about}");
    }
}

#[test]
fn members_are_in_process_groups_of_their_own() {
    let cluster = Cluster::up(1, 0, 1, &[]);
    for name in ["namesrv-1", "broker-a"] {
        let pid = cluster.pid(name).expect("a process");
        let pid = i32::try_from(pid).expect("a number of a process");
        let stat = Process::new(pid).and_then(|process| process.stat());
        assert_eq!(stat.expect("it runs").pgrp, pid);
    }
}

#[test]
fn the_environment_does_not_decide_what_members_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("cluster");
    let ran = command(&["cluster", "up", "--masters", "1", "--slaves", "0"])
        .args(["--dir", text(&dir)])
        .args(["--set", "store.commit_log_segment_bytes=8388608"])
        .env("NAMESRV_ADDR", "127.0.0.1:1")
        .env("CASTMQ_BROKER__NAME", "somebody-else")
        .output()
        .expect("it ends");
    let down = run(&["cluster", "down", "--delete", "--dir", text(&dir)]);
    assert!(ran.status.success(), "{ran:?}");
    down.well();
}

#[test]
fn started_again_a_cluster_has_its_ports_and_its_messages() {
    let cluster = Cluster::up(2, 0, 1, &[]);
    let before = cluster.status();
    let create = ["admin", "topic", "create", "orders", "--queues", "1"];
    cluster.tool(&create).well();
    for body in ["one", "two"] {
        cluster.tool(&["produce", "orders", "--body", body]).well();
    }
    cluster.run("down", &[]).well();
    let down = cluster.run("status", &[]);
    down.fails(1, &["3 of 3 members do not run", "castmq cluster up --dir"]);
    assert!(down.out.contains("stopped"), "{down:?}");

    cluster.run("up", &[]).well();
    for (before, after) in before.iter().zip(cluster.status()) {
        assert_eq!(before["address"], after["address"]);
        assert_ne!(before["pid"], after["pid"]);
    }
    let consume = ["consume", "orders", "--group", "g", "--max", "2"];
    let read = cluster.tool(&consume).well().out;
    assert!(read.contains("one") && read.contains("two"), "{read}");
}

#[test]
fn up_starts_what_died_continues_what_is_suspended_and_leaves_the_rest_alone() {
    let cluster = Cluster::up(2, 1, 1, &[]);
    let pids = || ["namesrv-1", "broker-a", "broker-b", "broker-a-s"].map(|name| cluster.pid(name));
    let before = pids();
    cluster.kill("broker-a");
    cluster.suspend("broker-b");
    // The same flags again, as a script has them.
    let again = ["--masters", "2", "--slaves", "1", "--replication", "sync"];
    cluster.run("up", &again).well();
    cluster.run("status", &[]).well();
    let after = pids();
    assert_ne!(before[1], after[1]);
    for member in [0, 2, 3] {
        assert_eq!(before[member], after[member]);
    }
}

#[test]
fn down_removes_what_the_cluster_made_and_nothing_else() {
    let cluster = Cluster::up(1, 0, 1, &[]);
    let notes = cluster.dir().join("broker-a/notes");
    fs::write(&notes, "mine").expect("a file");
    let down = cluster.run("down", &["--delete"]).well();
    assert!(down.error.contains("other things in it"), "{down:?}");
    assert!(notes.exists() && !cluster.data("broker-a").exists());
    cluster
        .run("status", &[])
        .fails(1, &["there is no cluster in"]);

    let cluster = Cluster::up(1, 0, 1, &[]);
    let down = cluster.run("down", &["--delete"]).well();
    assert!(down.out.contains("removed"), "{down:?}");
    assert!(!cluster.dir().exists());
}
