//! A real broker in the test's own process, on a folder and ports of its own, and what else tests share.
//!
//! - `attack`: frames that no honest client sends, over many connections.
//! - `cluster`: several real processes, to be killed one by one.
//! - `history`: what was sent, answered and stored, and whether it agrees.
//! - `hostile`: frames that no honest client sends.
//! - `jms`: sessions and destinations of JMS's model.
//! - `load`: producers and a consumer that fill a history.
//! - `numbered`: sends that can be repeated.
//! - `pop`: workers that pop a topic.
//! - `process`: the real binary, to be killed.
//! - `proxy`: the middle of a connection, to be held up.
//! - `shell`: the same, as it is used from a shell.
//! - `wire`: connections on which anything can be said.

// Each test uses a part of it.
#![allow(dead_code, unreachable_pub)]
// Seeds are what a failure is repeated with.
#![allow(clippy::print_stdout)]

pub(crate) mod attack;
pub(crate) mod cluster;
pub(crate) mod history;
pub(crate) mod hostile;
pub(crate) mod jms;
pub(crate) mod load;
pub(crate) mod numbered;
pub(crate) mod pop;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod shell;
pub(crate) mod wire;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use castmq_actors::supervision::Status;
use castmq_actors::{Node, Parts};
use castmq_client::model::GroupConfig;
use castmq_client::{BrokerAdmin, Client, ErrorCode, PullConsumer, ReceivedMessage, SeekTo};
use castmq_config::{Flag, Loader, Node as Kind, Settings};

/// A number from the environment.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    let set = std::env::var(variable).ok();
    set.map_or(default, |text| text.parse().expect("a number"))
}

/// Makes random choices those of this seed, and says which it is: that in the environment, or a new one.
pub(crate) fn seed(variable: &str) {
    let seed = number(variable, fastrand::u64(..));
    println!("{variable}={seed}");
    fastrand::seed(seed);
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
        // However full the machine's disk is by other things.
        ("retention.force_clean_enabled", "false".to_owned()),
        ("retention.disk_refuse_writes_percent", "95".to_owned()),
    ];
    let flags = flags.map(|(key, value)| Flag::new(key, value, "test"));
    let loaded = Loader::new(Kind::Standalone).flags(flags).load();
    loaded.expect("settings of the test").settings
}

/// These for a broker whose new topics have so many queues.
pub(crate) fn with_queues(data: &Path, queues: u32) -> Settings {
    let mut settings = settings(data);
    settings.broker.default_topic_queues = queues;
    settings
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

/// Starts name server and broker, and connects a client.
pub(crate) async fn started(settings: &Settings) -> (Node, Client) {
    let node = start(settings).await;
    let client = client(&node).await;
    (node, client)
}

/// The only broker.
pub(crate) async fn admin(client: &Client) -> BrokerAdmin {
    let brokers = client.admin().masters().await.expect("brokers");
    brokers.into_iter().next().expect("a broker")
}

/// Sets how often a group's messages are tried again.
pub(crate) async fn set_retry_max(admin: &BrokerAdmin, group: &str, retry_max: u32) {
    let config = GroupConfig {
        retry_max,
        ..GroupConfig::default()
    };
    admin.put_group(group, config).await.expect("a group");
}

/// Messages that a topic ever got, in all its queues.
pub(crate) async fn stored(admin: &BrokerAdmin, topic: &str) -> u64 {
    match admin.show_topic(topic).await {
        Ok(details) => details.queues.iter().map(|queue| queue.max_offset.0).sum(),
        Err(error) if error.code() == Some(ErrorCode::TopicNotFound) => 0,
        Err(error) => panic!("{error}"),
    }
}

/// A message's body.
pub(crate) fn text(message: &ReceivedMessage) -> String {
    String::from_utf8(message.body().expect("a body").to_vec()).expect("text")
}

/// The time of day, in milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a time after 1970").as_millis() as i64
}

/// Waits until this time of day is over.
pub(crate) async fn until_ms(time_ms: i64) {
    while now_ms() <= time_ms {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Has an actor panic, and waits until it is there again, or gone for good: sessions end with their connection.
pub(crate) async fn panics(node: &Node, actor: &str) {
    let restarts = async || {
        let tree = node.tree().snapshot().await;
        tree.find(actor).map(|found| (found.restarts, found.status))
    };
    let (before, _) = restarts().await.expect("it is there");
    assert!(node.tree().poison(actor), "{actor} is there");
    until(async || match restarts().await {
        None => true,
        Some((now, status)) => now > before && status == Status::Running,
    })
    .await;
}

/// Waits until something is true.
pub(crate) async fn until(is_true: impl AsyncFn() -> bool) {
    while !is_true().await {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A consumer that reads all of a topic from its first message on. Name servers may hear of the topic a moment later.
pub(crate) async fn reader(client: &Client, topic: &str) -> PullConsumer {
    let consumer = client.pull_consumer("reader").build();
    let mut consumer = consumer.expect("a consumer");
    until(async || consumer.queues(topic).await.is_ok()).await;
    let queues = consumer.queues(topic).await.expect("queues");
    consumer.assign(queues.clone()).await.expect("assigned");
    for queue in &queues {
        let sought = consumer.seek(queue, SeekTo::Earliest).await;
        sought.expect("sought");
    }
    consumer
}

/// Reads a topic from its first message on until what was read is all that is wanted.
pub(crate) async fn read_until(
    client: &Client,
    topic: &str,
    is_all: impl Fn(&[ReceivedMessage]) -> bool,
) -> Vec<ReceivedMessage> {
    let mut consumer = reader(client, topic).await;
    let mut read = Vec::new();
    while !is_all(&read) {
        read.extend(consumer.poll(Duration::from_secs(5)).await.expect("a poll"));
    }
    read
}

/// Reads all that a topic has: one that is there twice may lie behind the last of another queue.
pub(crate) async fn read_all(
    client: &Client,
    admin: &BrokerAdmin,
    topic: &str,
) -> Vec<ReceivedMessage> {
    let mut consumer = reader(client, topic).await;
    let mut read = Vec::new();
    while (read.len() as u64) < stored(admin, topic).await {
        read.extend(consumer.poll(Duration::from_secs(5)).await.expect("a poll"));
    }
    read
}

/// Stops a node and sees to it that all actors stopped in time.
pub(crate) async fn stop(node: Node) {
    let late = node.stop().await.expect("a clean stop");
    assert!(late.is_empty(), "late: {late:?}");
}
