//! Every actor that copies panics under load, on the master and on its slave: nothing that was acknowledged is lost on
//! either, and all goes on.

use std::rc::Rc;
use std::time::Duration;

use castmq_actors::supervision::{Status, Tree, TreeNode, capture_panics};
use castmq_config::{Flush, Role, WithoutSlaves};

use crate::set::{Pair, in_step, promoted, step};
use crate::support::load::Traffic;
use crate::support::{run, until};

/// Actors by the beginning of their names.
const OF_MASTER: [&str; 7] = [
    "replication-link(",
    "ha-listener(",
    "log-writer",
    "commit-tracker",
    "flush-service",
    "dispatcher",
    "metadata",
];

const OF_SLAVE: [&str; 8] = [
    "replica-follower",
    "shadow",
    "ha-listener(",
    "log-writer",
    "commit-tracker",
    "flush-service",
    "dispatcher",
    "metadata",
];

fn path_of(node: &TreeNode, name: &str) -> Option<String> {
    node.children.iter().find_map(|child| {
        if child.name.starts_with(name) {
            return Some(child.name.clone());
        }
        let rest = path_of(child, name)?;
        Some(format!("{}/{rest}", child.name))
    })
}

/// Has an actor panic, and waits until it has.
async fn panics(tree: &Tree, name: &str) {
    let path = loop {
        if let Some(path) = path_of(&tree.snapshot().await, name) {
            break path;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    let restarts = async || {
        let tree = tree.snapshot().await;
        tree.find(&path).map(|found| (found.restarts, found.status))
    };
    let (before, _) = restarts().await.unwrap_or((0, Status::Running));
    // A connection's actor may have gone by itself.
    tree.poison(&path);
    until(async || match restarts().await {
        None => true,
        Some((now, status)) => now > before && status == Status::Running,
    })
    .await;
}

/// Sends over one connection after the other.
fn keep_sending(traffic: &Rc<Traffic>, address: &str) -> actix_rt::task::JoinHandle<()> {
    let (traffic, address) = (traffic.clone(), address.to_owned());
    actix_rt::spawn(async move {
        while !traffic.is_over() {
            if traffic.produce(&address).await.is_err() {
                // A broker that is not back yet is tried again.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    })
}

fn every_kind_panics(flush: Flush) {
    capture_panics();
    run(async {
        let pair = Pair::start(Role::SyncMaster, |settings| {
            settings.store.flush = flush;
            settings.replication.without_slaves = WithoutSlaves::Wait;
            settings.replication.heartbeat_interval_ms = 50;
        })
        .await;
        let (at_master, at_slave) = (&pair.at_master, &pair.at_slave);
        let traffic = Traffic::new(&["orders", "payments"]);
        let senders = [(); 2].map(|()| keep_sending(&traffic, &pair.master.address));
        traffic.reach(200).await;
        let of_master = OF_MASTER.iter().map(|name| (&pair.master.tree, *name));
        let of_slave = OF_SLAVE.iter().map(|name| (&pair.slave.tree, *name));
        for (tree, name) in of_master.chain(of_slave) {
            panics(tree, name).await;
            traffic.reach(traffic.acknowledged() + 200).await;
            step(at_master, 1, true).await;
        }
        traffic.end();
        for sender in senders {
            sender.await.expect("clients do not panic");
        }
        in_step(at_master, at_slave).await;
        let at_first = traffic.verify(&pair.master.address).await;
        until(async || at_slave.show_topic("payments").await.is_ok()).await;
        pair.master.stop().await;
        promoted(&pair.client, at_slave).await;
        let at_second = traffic.verify(&pair.slave.address).await;
        assert_eq!(at_first.stored, at_second.stored);
        pair.slave.stop().await;
        pair.name_server.stop().await;
    });
}

#[test]
fn nothing_acknowledged_is_lost_when_any_actor_that_copies_panics() {
    every_kind_panics(Flush::Async);
}

#[test]
fn nor_is_it_under_synchronous_flush() {
    every_kind_panics(Flush::Sync);
}
