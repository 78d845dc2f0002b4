//! Whatever comes over a socket that should not: the answer says what, the limit and what to do, and no acknowledged message
//! pays for it.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use castmq_actors::{Node, NodeError, Parts};
use castmq_client::model::{QueueId, QueueOffset};
use castmq_client::raw::admin::AdminRequest;
use castmq_client::raw::request::{Filter, Pull, QueuePosition, Send, SendBatch, Subscribe};
use castmq_client::raw::response::PullStatus;
use castmq_client::raw::{ErrorCode, Failure, Request, Response, Retry, Role};
use castmq_config::Settings;

use support::hostile::{any_role, frame, opening};
use support::wire::Wire;
use support::{run, settings, start, stop};

fn address(node: &Node) -> SocketAddr {
    node.broker_address().expect("a broker")
}

/// Runs a test against a node with settings that it may change.
fn with_node<T>(change: impl FnOnce(&mut Settings), test: impl AsyncFnOnce(&Node) -> T) -> T {
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

fn as_it_is(_: &mut Settings) {}

fn assert_says(failure: &Failure, code: ErrorCode, words: &[&str]) {
    assert_eq!(failure.code, code, "{failure:?}");
    for word in words {
        assert!(
            failure.message.contains(word),
            "{word:?} is missing: {failure}"
        );
    }
}

fn announce(topic: &str) -> Request {
    Request::AnnounceTopic {
        alias: 0,
        topic: topic.to_owned(),
    }
}

/// A send whose payload follows.
fn send(queue: u32, properties_bytes: usize) -> Request {
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
fn with_payload(request: Request, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame(request);
    bytes.extend_from_slice(payload);
    let length = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes
}

fn pull(queue: u32, offset: u64) -> Request {
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

async fn producer(node: &Node) -> Wire {
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

async fn consumer(node: &Node) -> Wire {
    let mut wire = Wire::open(address(node), Role::Consumer).await;
    wire.ask(announce("orders")).await;
    let group = "billing".to_owned();
    wire.ask(Request::AnnounceGroup { alias: 0, group }).await;
    wire
}

/// The message at the front of queue 0 is there for consumers.
async fn assert_stored(node: &Node, messages: u32) {
    let mut consumer = consumer(node).await;
    loop {
        match consumer.ask(pull(0, 0)).await {
            Response::Pulled(pulled) if pulled.messages == messages => return,
            Response::Pulled(pulled) => assert!(pulled.messages < messages, "{pulled:?}"),
            other => panic!("no messages: {other:?}"),
        }
    }
}

#[test]
fn a_wrong_preface_is_told_what_is_spoken_here() {
    with_node(as_it_is, async |node| {
        for port in [address(node), node.name_server_address().expect("one")] {
            for preface in [
                &b"GET / HTTP/1.1\r\n\r\n"[..],
                b"\x16\x03\x01\x02\x00",
                b"CMQ2",
            ] {
                let mut wire = Wire::silent(port).await;
                wire.say(preface).await;
                assert_says(
                    &wire.closed().await,
                    ErrorCode::UnsupportedVersion,
                    &["CMQ1"],
                );
            }
        }
    });
}

#[test]
fn who_says_no_hello_is_told_to() {
    let in_a_hurry = |settings: &mut Settings| settings.limits.handshake_timeout_ms = 50;
    with_node(in_a_hurry, async |node| {
        let mut other = Wire::silent(address(node)).await;
        other.say(b"CMQ1").await;
        assert_says(
            &other.refused(Request::Heartbeat).await,
            ErrorCode::InvalidRequest,
            &["hello"],
        );
        let mut silent = Wire::silent(address(node)).await;
        silent.say(b"CMQ1\x10").await;
        assert_says(
            &silent.closed().await,
            ErrorCode::InvalidRequest,
            &["handshake_timeout_ms"],
        );
        let mut long = Wire::silent(address(node)).await;
        long.say(b"CMQ1\xFF\xFF\xFF\x7F").await;
        assert_says(
            &long.closed().await,
            ErrorCode::InvalidRequest,
            &["longer than the limit of 65536"],
        );
    });
}

#[test]
fn a_frame_beyond_the_limit_closes_its_connection_and_costs_nothing_before_it() {
    with_node(as_it_is, async |node| {
        let mut wire = producer(node).await;
        let mut bytes = with_payload(send(0, 0), b"before");
        bytes.extend((16_777_217_u32).to_le_bytes());
        // More than sockets hold: what is not read must not take the answer away.
        bytes.extend(std::iter::repeat_n(7, 3 << 20));
        wire.say(&bytes).await;
        assert!(matches!(wire.answer().await, Response::Sent(_)));
        let words = ["16777217", "limit of 16777216", "smaller"];
        assert_says(&wire.closed().await, ErrorCode::InvalidRequest, &words);
        assert_stored(node, 1).await;
        let mut asker = Wire::open(node.name_server_address().expect("one"), Role::Admin).await;
        asker.say(&u32::MAX.to_le_bytes()).await;
        assert_says(
            &asker.closed().await,
            ErrorCode::InvalidRequest,
            &["limit of 16777216"],
        );
    });
}

#[test]
fn a_frame_cut_short_costs_nothing_before_it() {
    with_node(as_it_is, async |node| {
        let mut wire = producer(node).await;
        let whole = with_payload(send(0, 0), b"whole");
        let half = with_payload(send(0, 0), b"and a half");
        wire.say(&[&whole[..], &half[..half.len() - 3]].concat())
            .await;
        wire.finish().await;
        assert!(matches!(wire.answer().await, Response::Sent(_)));
        assert_eq!(wire.next().await, None);
        assert_stored(node, 1).await;
    });
}

#[test]
fn a_header_that_lies_or_is_unknown_closes_its_connection_and_costs_nothing_before_it() {
    with_node(as_it_is, async |node| {
        let mut lying = frame(announce("orders"));
        let name_length = lying.len() - "orders".len() - 8;
        lying[name_length..name_length + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        let mut unknown = frame(Request::Heartbeat);
        unknown[12..16].copy_from_slice(&9999_u32.to_le_bytes());
        let mut empty = frame(Request::Heartbeat);
        empty.truncate(4);
        empty.fill(0);
        for (stored, bad) in (1..).zip([lying, unknown, empty]) {
            let mut wire = producer(node).await;
            wire.say(&[with_payload(send(0, 0), b"before"), bad].concat())
                .await;
            assert!(matches!(wire.answer().await, Response::Sent(_)));
            let reason = wire.closed().await;
            assert_says(
                &reason,
                ErrorCode::InvalidRequest,
                &["header cannot be read"],
            );
            assert_stored(node, stored).await;
        }
    });
}

#[test]
fn a_request_for_another_role_is_refused_and_the_connection_goes_on() {
    with_node(as_it_is, async |node| {
        let foreign = [
            (Role::Producer, pull(0, 0)),
            (Role::Producer, Request::Admin(AdminRequest::ListTopics)),
            (Role::Consumer, send(0, 0)),
            (Role::Admin, send(0, 0)),
            (Role::Admin, pull(0, 0)),
        ];
        for (role, request) in foreign {
            let mut wire = Wire::open(address(node), role).await;
            let words = [&*format!("{role:?}"), "open another"];
            assert_says(&wire.refused(request).await, ErrorCode::WrongRole, &words);
            assert_eq!(wire.ask(Request::Heartbeat).await, Response::Done);
        }
        let name_server = node.name_server_address().expect("one");
        let mut asker = Wire::open(name_server, Role::Admin).await;
        assert_says(
            &asker.refused(pull(0, 0)).await,
            ErrorCode::WrongRole,
            &["name server"],
        );
        for (port, role) in [(address(node), Role::Broker), (name_server, Role::Consumer)] {
            let mut wire = Wire::silent(port).await;
            wire.say(&opening(role)).await;
            let Response::Failed(failure) = wire.answer().await else {
                panic!("{role:?} is welcome");
            };
            assert_says(&failure, ErrorCode::WrongRole, &[&format!("{role:?}")]);
            assert_eq!(wire.next().await, None);
        }
    });
}

#[test]
fn names_outside_the_set_are_refused() {
    with_node(as_it_is, async |node| {
        let long = "x".repeat(128);
        for role in [Role::Producer, Role::Consumer] {
            let mut wire = Wire::open(address(node), role).await;
            for name in ["", "a b", "../up", "a/b", "ünï", "a\0b", &long] {
                let failure = wire.refused(announce(name)).await;
                assert_says(&failure, ErrorCode::InvalidName, &["topic"]);
                assert!(failure.message.len() < 400, "{}", failure.message.len());
            }
        }
        let mut wire = Wire::open(address(node), Role::Consumer).await;
        let long = "x".repeat(256);
        for name in ["", "a b", "../up", "a/b", "ünï", &long] {
            let group = name.to_owned();
            let failure = wire
                .refused(Request::AnnounceGroup { alias: 0, group })
                .await;
            assert_says(&failure, ErrorCode::InvalidName, &["group"]);
        }
        let unknown = wire.refused(pull(0, 0)).await;
        assert_says(&unknown, ErrorCode::UnknownAlias, &["announce it first"]);
        let alias = 65_536;
        let topic = "orders".to_owned();
        let failure = wire.refused(Request::AnnounceTopic { alias, topic }).await;
        assert_says(&failure, ErrorCode::LimitReached, &["65536", "0 to 65535"]);
    });
}

#[test]
fn a_body_or_properties_beyond_the_limit_are_refused_alone() {
    with_node(as_it_is, async |node| {
        let mut wire = producer(node).await;
        let body = vec![b'x'; (1 << 20) + 1];
        let properties = vec![b'x'; 32_768];
        wire.say(&with_payload(send(0, 0), b"before")).await;
        wire.say(&with_payload(send(0, 0), &body)).await;
        wire.say(&with_payload(send(0, properties.len()), &properties))
            .await;
        wire.say(&with_payload(send(0, 100), b"short")).await;
        wire.say(&with_payload(batch(3), &one_element())).await;
        wire.say(&with_payload(send(0, 0), b"after")).await;
        let (mut sent, mut refused) = (0, Vec::new());
        while sent + refused.len() < 6 {
            match wire.answer().await {
                Response::Sent(_) => sent += 1,
                Response::Failed(failure) => refused.push(failure),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(sent, 2);
        let words = ["1048577", "limit of 1048576", "limits.max_message_bytes"];
        assert_says(&refused[0], ErrorCode::MessageTooLarge, &words);
        let words = ["32768", "limit of 32767", "fewer"];
        assert_says(&refused[1], ErrorCode::PropertiesTooLarge, &words);
        assert_says(
            &refused[2],
            ErrorCode::InvalidRequest,
            &["100 bytes of properties"],
        );
        assert_says(
            &refused[3],
            ErrorCode::InvalidRequest,
            &["1 messages", "announces 3"],
        );
        assert!(refused.iter().all(|failure| failure.retry == Retry::Never));
        assert_stored(node, 2).await;
    });
}

fn batch(messages: u32) -> Request {
    Request::SendBatch(SendBatch {
        topic: 0,
        queue: QueueId(0),
        flags: 0,
        sys_flag: 0,
        born_timestamp_ms: 0,
        messages,
        extras: None,
    })
}

fn one_element() -> Vec<u8> {
    let mut bytes = bytes::BytesMut::new();
    let element = castmq_protocol::record::batch::Element {
        flag: 0,
        body: b"one",
        properties: b"",
    };
    element.encode(&mut bytes);
    bytes.to_vec()
}

#[test]
fn a_queue_out_of_range_is_refused_wherever_it_is_named() {
    with_node(as_it_is, async |node| {
        let mut sender = producer(node).await;
        let failure = sender.refused(send(4, 0)).await;
        assert_says(&failure, ErrorCode::QueueOutOfRange, &["queue 4", "0 to 3"]);
        let mut wire = consumer(node).await;
        let (topic, group, queue) = (0, 0, QueueId(1 << 30));
        let subscribe = Request::Subscribe(subscribe(queue, 0));
        let offsets = vec![QueuePosition {
            topic,
            queue,
            offset: QueueOffset(0),
        }];
        for request in [
            pull(queue.0, 0),
            subscribe,
            Request::QueueRange { topic, queue },
            Request::OffsetAtTime {
                topic,
                queue,
                timestamp_ms: 0,
            },
            Request::CommitOffsets { group, offsets },
        ] {
            let failure = wire.refused(request).await;
            assert_says(
                &failure,
                ErrorCode::QueueOutOfRange,
                &["1073741824", "0 to 3"],
            );
        }
    });
}

fn subscribe(queue: QueueId, offset: u64) -> Subscribe {
    Subscribe {
        subscription: 1,
        group: 0,
        topic: 0,
        queue,
        offset: QueueOffset(offset),
        filter: Filter::All,
        credit_messages: 10,
        credit_bytes: 1 << 20,
    }
}

#[test]
fn an_offset_at_or_above_the_end_is_answered_with_where_to_go_on() {
    with_node(as_it_is, async |node| {
        let mut sender = producer(node).await;
        for _ in 0..3 {
            sender.say(&with_payload(send(0, 0), b"message")).await;
            assert!(matches!(sender.answer().await, Response::Sent(_)));
        }
        assert_stored(node, 3).await;
        let mut wire = consumer(node).await;
        for (offset, status) in [
            (3, PullStatus::NoNewMessage),
            (4, PullStatus::OffsetTooLarge),
            (u64::MAX, PullStatus::OffsetTooLarge),
        ] {
            let Response::Pulled(pulled) = wire.ask(pull(0, offset)).await else {
                panic!("a pull is answered");
            };
            assert_eq!(
                (pulled.status, pulled.next_offset),
                (status, QueueOffset(3))
            );
            assert_eq!(pulled.messages, 0);
        }
        let position = |offset| Request::CommitOffsets {
            group: 0,
            offsets: vec![QueuePosition {
                topic: 0,
                queue: QueueId(0),
                offset: QueueOffset(offset),
            }],
        };
        assert_eq!(wire.ask(position(3)).await, Response::Done);
        let failure = wire.refused(position(4)).await;
        assert_says(
            &failure,
            ErrorCode::OffsetOutOfRange,
            &["offset 4", "0 to 3"],
        );
        let subscribed = wire
            .ask(Request::Subscribe(subscribe(QueueId(0), u64::MAX)))
            .await;
        let Response::Subscribed(range) = subscribed else {
            panic!("not subscribed: {subscribed:?}");
        };
        assert_eq!(range.offset, QueueOffset(3));
    });
}

#[test]
fn a_request_that_takes_a_third_of_a_segment_does_not_wait_for_ever() {
    let segments = |settings: &mut Settings| settings.store.commit_log_segment_bytes = 32 << 20;
    with_node(segments, async |node| {
        let mut wire = producer(node).await;
        let body = vec![b'x'; 1 << 20];
        let mut payload = bytes::BytesMut::new();
        for _ in 0..11 {
            let element = castmq_protocol::record::batch::Element {
                flag: 0,
                body: &body,
                properties: b"",
            };
            element.encode(&mut payload);
        }
        for _ in 0..5 {
            wire.say(&with_payload(batch(11), &payload)).await;
            let answer = wire.answer().await;
            assert!(matches!(answer, Response::BatchSent(_)), "{answer:?}");
        }
    });
}

#[test]
fn a_port_in_use_is_named_before_anything_starts() {
    with_node(as_it_is, async |node| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut second = settings(folder.path());
        second.broker.listen = address(node);
        let refused = Node::start(&second, Parts::Standalone).await.err();
        let Some(error @ NodeError::Bind { .. }) = refused else {
            panic!("{refused:?}");
        };
        let text = error.to_string();
        assert!(text.contains(&address(node).to_string()), "{text}");
        assert!(text.contains("choose another"), "{text}");
        // Nothing of the second one is left that would be in the way.
        second.broker.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        stop(start(&second).await).await;
    });
}

#[test]
fn one_connection_too_many_is_told_so_and_fits_when_another_has_gone() {
    let few = |settings: &mut Settings| settings.limits.max_connections = 1;
    with_node(few, async |node| {
        let first = Wire::open(address(node), Role::Admin).await;
        let mut second = Wire::silent(address(node)).await;
        second.say(&opening(any_role())).await;
        let Response::Failed(failure) = second.answer().await else {
            panic!("a second connection is welcome");
        };
        assert_says(
            &failure,
            ErrorCode::LimitReached,
            &["1 connections", "limits.max_connections"],
        );
        assert_eq!(failure.retry, Retry::Safe);
        drop((first, second));
        loop {
            let mut third = Wire::silent(address(node)).await;
            third.say(&opening(Role::Admin)).await;
            if matches!(third.answer().await, Response::Welcome(_)) {
                break;
            }
        }
    });
}

#[test]
fn a_flood_of_connections_beyond_the_limit_takes_a_bounded_number_of_places() {
    let few = |settings: &mut Settings| {
        settings.limits.max_connections = 1;
        settings.limits.handshake_timeout_ms = 60_000;
    };
    with_node(few, async |node| {
        let first = Wire::open(address(node), Role::Admin).await;
        let mut waiting = Vec::new();
        for _ in 0..256 {
            waiting.push(Wire::silent(address(node)).await);
        }
        let mut beyond = Wire::silent(address(node)).await;
        assert_eq!(beyond.next().await, None);
        // Places come back with those who had them.
        drop((waiting, first));
        loop {
            let mut again = Wire::silent(address(node)).await;
            again.say(&opening(Role::Admin)).await;
            if let Some((Response::Welcome(_), _)) = again.next().await {
                break;
            }
        }
    });
}

/// The state of the one session of a role, as the tree shows it.
async fn session(node: &Node, role: &str) -> Option<serde_json::Value> {
    let tree = node.tree().snapshot().await;
    let sessions = tree.find("broker/sessions").expect("sessions");
    let mut of_role = sessions
        .children
        .iter()
        .filter(|child| child.name.starts_with(role));
    of_role.next().map(|child| child.state.clone())
}

#[test]
fn a_silent_connection_is_told_that_it_was_and_one_that_never_reads_goes_too() {
    let impatient = |settings: &mut Settings| settings.limits.idle_timeout_ms = 1000;
    with_node(impatient, async |node| {
        let mut sender = producer(node).await;
        let body = vec![b'x'; 1 << 20];
        for _ in 0..16 {
            sender.say(&with_payload(send(0, 0), &body)).await;
            assert!(matches!(sender.answer().await, Response::Sent(_)));
        }
        let mut deaf = consumer(node).await;
        for offset in 0..16 {
            deaf.say(&frame(pull(0, offset))).await;
        }
        assert_says(
            &sender.closed().await,
            ErrorCode::InvalidRequest,
            &["1s", "limits.idle_timeout_ms"],
        );
        while session(node, "Consumer").await.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        drop(deaf);
    });
}

#[test]
fn pulls_of_a_slow_reader_wait_instead_of_filling_memory_and_all_are_answered() {
    with_node(as_it_is, async |node| {
        let mut sender = producer(node).await;
        let body = vec![b'x'; 1 << 20];
        for _ in 0..6 {
            sender.say(&with_payload(send(0, 0), &body)).await;
            assert!(matches!(sender.answer().await, Response::Sent(_)));
        }
        let mut slow = consumer(node).await;
        let pulls = 100;
        for number in 0..pulls {
            slow.say(&frame(pull(0, number % 6))).await;
        }
        loop {
            let state = session(node, "Consumer").await.expect("the session lives");
            let number = |name: &str| state[name].as_u64().unwrap_or_default();
            assert!(number("pending_bytes") < 4 << 20, "{state}");
            if number("waiting_pulls") > 50 && number("pending_bytes") >= 1 << 20 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for _ in 0..pulls {
            let (answer, payload) = slow.next().await.expect("an answer");
            assert!(
                matches!(answer, Response::Pulled(pulled) if pulled.messages == 1),
                "{answer:?}"
            );
            assert!(payload.len() > 1 << 20);
        }
        let state = session(node, "Consumer").await.expect("the session lives");
        assert_eq!(state["waiting_pulls"], 0, "{state}");
    });
}

#[test]
fn pulls_that_wait_at_a_queue_whose_actor_fails_are_told_to_come_again() {
    with_node(as_it_is, async |node| {
        let mut wire = consumer(node).await;
        let Request::Pull(waiting) = pull(0, 0) else {
            unreachable!("it is one");
        };
        let wait_ms = u32::MAX;
        let waiting = Request::Pull(Pull { wait_ms, ..waiting });
        for _ in 0..10 {
            wire.say(&frame(waiting.clone())).await;
        }
        let queue = loop {
            let tree = node.tree().snapshot().await;
            let queues = tree.find("broker/queues").expect("queues");
            let waits = |child: &&castmq_actors::supervision::TreeNode| {
                child.state["waiting_fetches"] == 10
            };
            if let Some(queue) = queues.children.iter().find(waits) {
                break format!("broker/queues/{}", queue.name);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        assert!(node.tree().poison(&queue));
        for _ in 0..10 {
            let Response::Failed(failure) = wire.answer().await else {
                panic!("a pull is answered although its queue failed");
            };
            assert_says(&failure, ErrorCode::Busy, &["pull again"]);
            assert_eq!(failure.retry, Retry::Safe);
        }
        let state = session(node, "Consumer").await.expect("the session lives");
        assert_eq!(state["waiting_pulls"], 0, "{state}");
        assert!(matches!(wire.ask(pull(0, 0)).await, Response::Pulled(_)));
    });
}
