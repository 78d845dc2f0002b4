//! What can be read and cannot be done.

use castmq_client::model::{QueueId, QueueOffset};
use castmq_client::raw::admin::AdminRequest;
use castmq_client::raw::request::{Filter, QueuePosition, SendBatch, Subscribe};
use castmq_client::raw::response::PullStatus;
use castmq_client::raw::{ErrorCode, Request, Response, Retry, Role};
use castmq_config::Settings;

use super::asking::{
    address, announce, as_it_is, assert_says, assert_stored, consumer, producer, pull, send,
    with_node, with_payload,
};
use super::support::hostile::opening;
use super::support::wire::Wire;

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
