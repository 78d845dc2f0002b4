//! Slaves that are processes: suspended, and refused. What is wrong is said once, however often it is tried.

use castmq_client::SendStatus;
use std::fs;

use crate::set::{admin, ails, send, step};
use crate::support::cluster::Cluster;
use crate::support::{run, until};

#[test]
fn a_slave_that_stands_still_is_missed_by_nobody_and_catches_up() {
    let settings = [
        ("replication.slave_timeout_ms", "500"),
        ("replication.heartbeat_interval_ms", "100"),
        ("replication.housekeeping_interval_ms", "1000"),
    ];
    let cluster = Cluster::up(1, 1, 1, &settings);
    run(async {
        let client = cluster.client().await;
        let at_master = admin(&client, &cluster.address("broker-a"));
        step(&at_master, 1, true).await;
        send(&client, "orders", 0..100).await;
        for _ in 0..2 {
            cluster.suspend("broker-a-s");
            until(async || {
                send(&client, "orders", 0..1).await[0].status == SendStatus::SlaveNotAvailable
            })
            .await;
            // Its silence ends its connection.
            until(async || crate::set::slave(&at_master, 1).await.is_none()).await;
            send(&client, "orders", 0..100).await;
            cluster.resume("broker-a-s");
            step(&at_master, 1, true).await;
            until(async || send(&client, "orders", 0..1).await[0].status == SendStatus::Stored)
                .await;
        }
        let silent = cluster
            .log("broker-a")
            .matches("it hangs, or its disk does")
            .count();
        assert_eq!(silent, 1, "{}", cluster.log("broker-a"));
        let list = cluster.tool(&["admin", "cluster", "list"]).out;
        assert!(list.contains("1/1 in step"), "{list}");
    });
}

#[test]
fn a_slave_that_is_refused_says_why_once_and_so_does_its_master() {
    let cluster = Cluster::up(1, 1, 1, &[("replication.slave_timeout_ms", "500")]);
    run(async {
        let client = cluster.client().await;
        let at_master = admin(&client, &cluster.address("broker-a"));
        step(&at_master, 1, true).await;
        send(&client, "orders", 0..100).await;
        cluster.stop("broker-a-s");
        fs::remove_dir_all(cluster.data("broker-a-s")).expect("an empty folder");
        let file = cluster.dir().join("broker-a-s/castmq.toml");
        let text = fs::read_to_string(&file).expect("settings");
        let wrong = text.replace("8388608", "4194304");
        assert_ne!(text, wrong);
        fs::write(&file, wrong).expect("written");
        // It runs, and does not follow.
        let restarted = cluster.run("restart", &["broker-a-s", "--wait", "2"]);
        assert!(restarted.error.contains("not in step"), "{restarted:?}");
        let at_slave = admin(&client, &cluster.address("broker-a-s"));
        ails(&at_slave, "commit_log_segment_bytes").await;
        let list = cluster.tool(&["admin", "cluster", "list"]).out;
        assert!(
            list.contains("commit_log_segment_bytes") && list.contains("0/0 in step"),
            "{list}"
        );
        // It has been tried again, more than once.
        let accepted = async || {
            let tree = at_master.actors().await.expect("the tree");
            let (_, listener) = tree.split_once("ha-listener(").expect("a listener");
            let (_, rest) = listener.split_once("\"accepted\":").expect("a number");
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u64>().expect("a number")
        };
        let before = accepted().await;
        until(async || accepted().await > before + 2).await;
        for member in ["broker-a", "broker-a-s"] {
            let log = cluster.log(member);
            let said = log.lines().filter(|line| line.contains("4194304 bytes"));
            assert_eq!(said.count(), 1, "{member}: {log}");
        }
        fs::write(&file, text).expect("written");
        cluster.stop("broker-a-s");
        fs::remove_dir_all(cluster.data("broker-a-s")).expect("an empty folder");
        cluster.restart("broker-a-s");
        step(&at_master, 1, true).await;
        assert_eq!(crate::set::details(&at_slave).await.health, "ok");
    });
}
