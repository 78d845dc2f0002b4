//! A node to ask, honest requests, and what a refusal says.

use std::net::SocketAddr;

use castmq_actors::Node;
use castmq_client::model::{QueueId, QueueOffset};
use castmq_client::raw::request::{Filter, Pull, Send};
use castmq_client::raw::{ErrorCode, Failure, Request, Response, Role};
use castmq_config::Settings;

use super::support::hostile::frame;
use super::support::wire::Wire;
use super::support::{run, settings, start, stop};

pub(crate) fn address(node: &Node) -> SocketAddr {
    node.broker_address().expect("a broker")
}

/// Runs a test against a node with settings that it may change.
pub(crate) fn with_node<T>(
    change: impl FnOnce(&mut Settings),
    test: impl AsyncFnOnce(&Node) -> T,
) -> T {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = settings(folder.path());
    change(&mut settings);
    run(async {
        let node = start(&settings).await;
        let outcome = test(&node).await;
        stop(node).await;
        outcome
    })
}

pub(crate) fn as_it_is(_: &mut Settings) {}

pub(crate) fn assert_says(failure: &Failure, code: ErrorCode, words: &[&str]) {
    assert_eq!(failure.code, code, "{failure:?}");
    for word in words {
        assert!(
            failure.message.contains(word),
            "{word:?} is missing: {failure}"
        );
    }
}

pub(crate) fn announce(topic: &str) -> Request {
    Request::AnnounceTopic {
        alias: 0,
        topic: topic.to_owned(),
    }
}

/// A send whose payload follows.
pub(crate) fn send(queue: u32, properties_bytes: usize) -> Request {
    Request::Send(Send {
        topic: 0,
        queue: QueueId(queue),
        flags: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 0,
        properties_bytes: properties_bytes as u32,
        extras: None,
    })
}

/// A request's frame with a payload.
pub(crate) fn with_payload(request: Request, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame(request);
    bytes.extend_from_slice(payload);
    let length = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes
}

pub(crate) fn pull(queue: u32, offset: u64) -> Request {
    Request::Pull(Pull {
        topic: 0,
        queue: QueueId(queue),
        offset: QueueOffset(offset),
        max_messages: 1000,
        max_bytes: 1 << 20,
        wait_ms: 0,
        filter: Filter::All,
    })
}

pub(crate) async fn producer(node: &Node) -> Wire {
    let mut wire = Wire::open(address(node), Role::Producer).await;
    let announced = wire.ask(announce("orders")).await;
    assert!(
        matches!(
            announced,
            Response::TopicAnnounced {
                write_queues: 4,
                ..
            }
        ),
        "{announced:?}"
    );
    wire
}

pub(crate) async fn consumer(node: &Node) -> Wire {
    let mut wire = Wire::open(address(node), Role::Consumer).await;
    wire.ask(announce("orders")).await;
    let group = "billing".to_owned();
    wire.ask(Request::AnnounceGroup { alias: 0, group }).await;
    wire
}

/// The message at the front of queue 0 is there for consumers.
pub(crate) async fn assert_stored(node: &Node, messages: u32) {
    let mut consumer = consumer(node).await;
    loop {
        match consumer.ask(pull(0, 0)).await {
            Response::Pulled(pulled) if pulled.messages == messages => return,
            Response::Pulled(pulled) => assert!(pulled.messages < messages, "{pulled:?}"),
            other => panic!("no messages: {other:?}"),
        }
    }
}

/// The state of the one session of a role, as the tree shows it.
pub(crate) async fn session(node: &Node, role: &str) -> Option<serde_json::Value> {
    let tree = node.tree().snapshot().await;
    let sessions = tree.find("broker/sessions").expect("sessions");
    let mut of_role = sessions
        .children
        .iter()
        .filter(|child| child.name.starts_with(role));
    of_role.next().map(|child| child.state.clone())
}
