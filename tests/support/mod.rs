//! A real broker in the test's own process, on a folder and ports of its own, and what else tests share.
//!
//! - `history`: what was sent, answered and stored, and whether it agrees.
//! - `hostile`: frames that no honest client sends.
//! - `load`: producers and a consumer that fill a history.
//! - `numbered`: sends that can be repeated.
//! - `pop`: workers that pop a topic.
//! - `process`: the real binary, to be killed.
//! - `shell`: the same, as it is used from a shell.
//! - `wire`: connections on which anything can be said.

// Each test uses a part of it.
#![allow(dead_code, unreachable_pub)]

pub(crate) mod history;
pub(crate) mod hostile;
pub(crate) mod load;
pub(crate) mod numbered;
pub(crate) mod pop;
pub(crate) mod process;
pub(crate) mod shell;
pub(crate) mod wire;

use std::path::Path;

use castmq_actors::{Node, Parts};
use castmq_client::{Client, PullConsumer, SeekTo};
use castmq_config::{Flag, Loader, Node as Kind, Settings};

/// A number from the environment.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    let set = std::env::var(variable).ok();
    set.map_or(default, |text| text.parse().expect("a number"))
}

/// Small files, so that a test does not reserve gigabytes.
pub(crate) fn settings(data: &Path) -> Settings {
    let flags = [
        ("store.data_dir", data.display().to_string()),
        ("store.commit_log_segment_bytes", (8 << 20).to_string()),
        ("store.index_hash_slots", "1000".to_owned()),
        ("store.index_max_entries", "10000".to_owned()),
        ("limits.max_message_bytes", (1 << 20).to_string()),
        ("broker.listen", "127.0.0.1:0".to_owned()),
        ("name_server.listen", "127.0.0.1:0".to_owned()),
    ];
    let flags = flags.map(|(key, value)| Flag::new(key, value, "test"));
    let loaded = Loader::new(Kind::Standalone).flags(flags).load();
    loaded.expect("settings of the test").settings
}

/// Runs a test on an actix system of its own.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}

/// Starts name server and broker.
pub(crate) async fn start(settings: &Settings) -> Node {
    Node::start(settings, Parts::Standalone)
        .await
        .expect("the node starts")
}

/// A client of a node.
pub(crate) async fn client(node: &Node) -> Client {
    let address = node.name_server_address().expect("a name server");
    Client::connect(&address.to_string())
        .await
        .expect("the client connects")
}

/// A consumer that reads all of a topic from its first message on.
pub(crate) async fn reader(client: &Client, topic: &str) -> PullConsumer {
    let consumer = client.pull_consumer("reader").build();
    let mut consumer = consumer.expect("a consumer");
    let queues = consumer.queues(topic).await.expect("queues");
    consumer.assign(queues.clone()).await.expect("assigned");
    for queue in &queues {
        let sought = consumer.seek(queue, SeekTo::Earliest).await;
        sought.expect("sought");
    }
    consumer
}

/// Stops a node and sees to it that all actors stopped in time.
pub(crate) async fn stop(node: Node) {
    let late = node.stop().await.expect("a clean stop");
    assert!(late.is_empty(), "late: {late:?}");
}
