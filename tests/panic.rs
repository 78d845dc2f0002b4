//! Every kind of actor panics once under load: what was acknowledged stays, its order stays, and the broker serves on.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]
// Figures are for whoever runs it with `--nocapture`.
#![allow(clippy::print_stdout)]

mod support;

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use castmq_actors::supervision::{TreeNode, capture_panics};
use castmq_actors::{Node, Parts};
use castmq_client::{Filter, PushConsumer, StartFrom};
use castmq_config::Flush;
use castmq_protocol::native::Role;

use support::history::Id;
use support::load::{Traffic, open};
use support::{client, panics, run, settings, stop};

/// What an actor is, whatever instance of it: its path without what tells instances apart.
fn kind(path: &str) -> String {
    let parts: Vec<_> = path.split('/').collect();
    if let [broker, crowd @ ("queues" | "groups"), _, ..] = parts.as_slice() {
        return format!("{broker}/{crowd}/*");
    }
    let name = |part: &&str| part.split('(').next().unwrap_or_default().to_owned();
    parts.iter().map(name).collect::<Vec<_>>().join("/")
}

fn walk(node: &TreeNode, prefix: &str, found: &mut BTreeMap<String, String>) {
    for child in &node.children {
        let path = format!("{prefix}{}", child.name);
        found.insert(kind(&path), path.clone());
        walk(child, &format!("{path}/"), found);
    }
}

/// A path of each kind of actor that is alive now.
async fn kinds(node: &Node) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    walk(&node.tree().snapshot().await, "", &mut found);
    found
}

/// A node under load, with every kind of actor awake.
struct Busy {
    node: Node,
    traffic: Rc<Traffic>,
    tasks: Vec<actix_rt::task::JoinHandle<()>>,
    members: Vec<PushConsumer>,
    /// What the members' group was given.
    delivered: Arc<Mutex<HashSet<Id>>>,
    _folder: tempfile::TempDir,
}

/// Sends, or consumes, over one connection after the other.
fn keep_on<F: Future<Output = castmq_client::Result<()>> + 'static>(
    traffic: &Rc<Traffic>,
    mut once: impl FnMut(Rc<Traffic>) -> F + 'static,
) -> actix_rt::task::JoinHandle<()> {
    let traffic = traffic.clone();
    actix_rt::spawn(async move {
        while !traffic.is_over() {
            if once(traffic.clone()).await.is_err() {
                // A broker that is not back yet is tried again.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    })
}

/// A member of a group, which notes what it is given.
async fn join(node: &Node, traffic: &Traffic, delivered: &Arc<Mutex<HashSet<Id>>>) -> PushConsumer {
    let client = client(node).await;
    let mut consumer = client.push_consumer("sharing").from(StartFrom::Earliest);
    for topic in &traffic.topics {
        consumer = consumer.subscribe(topic, Filter::All);
    }
    let delivered = delivered.clone();
    let handled = consumer.handler(move |message| {
        let body = message.body().expect("a body that can be read");
        let id = Id::parse(body).expect("a body that begins with its identity");
        delivered.lock().expect("no handler panics").insert(id);
        async {}
    });
    handled.start().await.expect("the consumer starts")
}

async fn busy(flush: Flush) -> Busy {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = settings(folder.path());
    settings.store.flush = flush;
    let node = Node::start(&settings, Parts::Standalone)
        .await
        .expect("a node");
    let address = node.broker_address().expect("a broker").to_string();
    let traffic = Traffic::new(&["orders", "payments"]);
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let address = address.clone();
        tasks.push(keep_on(&traffic, move |traffic| {
            let address = address.clone();
            async move { traffic.produce(&address).await }
        }));
    }
    let consumed = address.clone();
    tasks.push(keep_on(&traffic, move |traffic| {
        let address = consumed.clone();
        async move { traffic.consume(&address, "billing").await }
    }));
    for (address, name) in [
        (address, "operator"),
        (
            node.name_server_address()
                .expect("a name server")
                .to_string(),
            "asker",
        ),
    ] {
        tasks.push(keep_on(&traffic, move |traffic| {
            let address = address.clone();
            async move { support::load::ask(&traffic, &address, name).await }
        }));
    }
    traffic.reach(200).await;
    let delivered = Arc::default();
    let mut members = Vec::new();
    for _ in 0..2 {
        members.push(join(&node, &traffic, &delivered).await);
    }
    while !kinds(&node).await.contains_key("broker/groups/*") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Busy {
        node,
        traffic,
        tasks,
        members,
        delivered,
        _folder: folder,
    }
}

async fn kill(busy: &Busy, kind: &str, path: &str) {
    let node = &busy.node;
    panics(node, path).await;
    // It serves on: every connection is made anew or goes on.
    busy.traffic.reach(busy.traffic.acknowledged() + 300).await;
    while !kinds(node).await.contains_key(kind) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn finish(busy: Busy, killed: &str) {
    busy.traffic.end();
    for task in busy.tasks {
        task.await.expect("clients do not panic");
    }
    let address = busy.node.broker_address().expect("a broker").to_string();
    let figures = busy.traffic.verify(&address).await;
    // Each message reaches the group, however its members, queues and broker fared.
    let given = || busy.delivered.lock().expect("no handler panics").len();
    while given() < figures.stored {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(given(), figures.stored, "{killed}: {figures:?}");
    // Whoever lost a connection last is back before it leaves: without one it could not commit.
    let admin = client(&busy.node).await.admin().at(&address);
    while admin
        .show_group("sharing")
        .await
        .map_or(0, |group| group.members.len())
        < busy.members.len()
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for member in busy.members {
        member.shutdown().await.expect("the member leaves");
    }
    println!("{killed}: {figures:?}");
    assert!(figures.acknowledged >= 200, "{killed}: {figures:?}");
    open(&address, Role::Admin, "last")
        .await
        .expect("it serves");
    stop(busy.node).await;
}

fn every_kind_panics(flush: Flush) {
    capture_panics();
    let kinds = run(async {
        let busy = busy(flush).await;
        let found = kinds(&busy.node).await;
        finish(busy, "nothing").await;
        found.into_keys().collect::<Vec<_>>()
    });
    assert!(kinds.len() > 20, "{kinds:?}");
    for kind in kinds {
        run(async {
            let busy = busy(flush).await;
            let found = self::kinds(&busy.node).await;
            let path = found
                .get(&kind)
                .unwrap_or_else(|| panic!("no {kind} in {found:?}"));
            kill(&busy, &kind, path).await;
            finish(busy, &kind).await;
        });
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_any_actor_panics() {
    every_kind_panics(Flush::Async);
}

#[test]
fn nothing_acknowledged_is_lost_when_any_actor_panics_under_synchronous_flush() {
    every_kind_panics(Flush::Sync);
}
