//! Sending, pulling and popping.

use std::time::Duration;

use castmq_actors::{Node, NodeError, Parts};
use castmq_client::Client;
use castmq_client::Message;
use castmq_client::model::{QueueId, QueueOffset};
use castmq_protocol::record::RecordView;
use castmq_protocol::remoting::bodies::route::TopicRoute;
use castmq_protocol::remoting::headers::membership::SendBack;
use castmq_protocol::remoting::headers::name_server::RouteInfo;
use castmq_protocol::remoting::headers::pop::{AckMessage, PopMessage};
use castmq_protocol::remoting::headers::pull::{PullMessage, pull_flag};
use castmq_protocol::remoting::headers::send::SendMessage;
use castmq_protocol::remoting::pop::{MessageOffsets, Receipt, TopicKind};
use castmq_protocol::remoting::{Fields, request_code, response_code};

use crate::support::{read_until, run, started, stop, text, with_queues};
use crate::wire::{Came, Wire};

/// A node whose new topics have one queue, a client of it, and a connection to its broker.
pub(crate) async fn node(data: &std::path::Path) -> (Node, Client, Wire) {
    let mut settings = with_queues(data, 1);
    settings.broker.delay_levels = "1ms 1ms 1ms".to_owned();
    let (node, client) = started(&settings).await;
    let wire = Wire::open(&broker(&node)).await;
    (node, client, wire)
}

pub(crate) fn broker(node: &Node) -> String {
    node.broker_address().expect("a broker").to_string()
}

#[test]
fn clients_send_over_the_vip_channel_where_it_is_open() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = with_queues(folder.path(), 1);
        settings.broker.vip_channel = true;
        let node = loop {
            match Node::start(&settings, Parts::Standalone).await {
                // The port two below the one that was found belongs to somebody.
                Err(NodeError::Bind { .. }) => {}
                started => break started.expect("a node"),
            }
        };
        let mut address = node.broker_address().expect("a broker");
        address.set_port(address.port() - 2);
        let mut vip = Wire::open(&address.to_string()).await;
        let sent = send(&mut vip, message("t"), "one").await;
        assert_eq!(sent.field("queueOffset"), "0");
        stop(node).await;
    });
}

/// What a message's request says.
pub(crate) fn message(topic: &str) -> SendMessage<'_> {
    SendMessage {
        producer_group: "producers",
        topic,
        default_topic: "TBW102",
        default_topic_queues: 4,
        born_timestamp_ms: 1_700_000_000_000,
        properties: Some("UNIQ_KEY\u{1}unique\u{2}TAGS\u{1}red"),
        ..SendMessage::default()
    }
}

pub(crate) async fn send(wire: &mut Wire, message: SendMessage<'_>, body: &str) -> Came {
    let code = request_code::SEND_MESSAGE_V2;
    let fields = message.for_code(code);
    let sent = wire.ask(code, &fields, body.as_bytes()).await;
    assert_eq!(sent.code, response_code::SUCCESS, "{}", sent.remark);
    sent
}

/// Asks for messages of the only queue.
pub(crate) fn pull<'a>(group: &'a str, topic: &'a str, offset: i64) -> PullMessage<'a> {
    PullMessage {
        group,
        topic,
        queue: 0,
        offset,
        max_messages: 32,
        sys_flag: pull_flag::SUBSCRIPTION,
        commit_offset: 0,
        suspend_timeout_ms: 0,
        subscription: Some("*"),
        subscription_version: 0,
        expression_type: None,
        max_bytes: None,
        request_source: None,
        proxied_client_id: None,
        broker_name: None,
    }
}

/// Bodies of the records of an answer, and how often each was delivered before.
pub(crate) fn bodies(came: &Came) -> Vec<(String, i32)> {
    let mut rest = &came.body[..];
    let mut bodies = Vec::new();
    while let Ok(record) = RecordView::parse(rest) {
        let body = String::from_utf8_lossy(record.body()).into_owned();
        bodies.push((body, record.reconsume_times()));
        rest = &rest[record.total_bytes()..];
    }
    assert!(rest.is_empty(), "nothing but records");
    bodies
}

#[test]
fn a_topic_that_a_client_sends_to_is_made_and_has_a_route_and_all_clients_read_it() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, client, mut wire) = node(folder.path()).await;
        let name_server = node.name_server_address().expect("a name server");
        let mut names = Wire::open(&name_server.to_string()).await;
        let code = request_code::GET_ROUTEINFO_BY_TOPIC;
        let route = |topic| RouteInfo {
            topic,
            standard_json_only: None,
        };
        let missing = names.ask(code, &route("orders"), b"").await;
        assert_eq!(missing.code, response_code::TOPIC_NOT_EXIST);
        let template: TopicRoute = names.ask(code, &route("TBW102"), b"").await.read();
        assert_eq!(template.brokers[0].addresses[&0], broker(&node));

        let sent = send(&mut wire, message("orders"), "by hand").await;
        assert_eq!(sent.field("queueOffset"), "0");
        assert_eq!(sent.field("transactionId"), "unique");
        client
            .producer()
            .build()
            .send(Message::new("orders", "native"))
            .await
            .expect("stored");
        let read = read_until(&client, "orders", |read| read.len() >= 2).await;
        assert_eq!(
            read.iter().map(text).collect::<Vec<_>>(),
            ["by hand", "native"]
        );
        assert_eq!(read[0].property("CLUSTER"), Some("DefaultCluster"));
        let pulled = wire
            .ask(request_code::PULL_MESSAGE, &pull("g", "orders", 0), b"")
            .await;
        assert_eq!(pulled.code, response_code::SUCCESS);
        let expected = [("by hand".to_owned(), 0), ("native".to_owned(), 0)];
        assert_eq!(bodies(&pulled), expected);
        assert_eq!(pulled.field("nextBeginOffset"), "2");
        let route: TopicRoute = names.ask(code, &route("orders"), b"").await.read();
        assert_eq!(route.queues[0].write_queues, 1);
        stop(node).await;
    });
}

#[test]
fn a_pull_at_the_end_of_a_queue_waits_for_the_next_message_and_says_where_else_there_are_some() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        send(&mut wire, message("orders"), "first").await;
        let mut reader = Wire::open(&broker(&node)).await;
        let waiting = PullMessage {
            sys_flag: pull_flag::SUBSCRIPTION | pull_flag::SUSPEND,
            suspend_timeout_ms: 600_000,
            ..pull("g", "orders", 1)
        };
        let waiting = reader.send(request_code::PULL_MESSAGE, &waiting, b"").await;
        let code = request_code::PULL_MESSAGE;
        let nothing = reader.ask(code, &pull("g", "orders", 1), b"").await;
        assert_eq!(nothing.code, response_code::PULL_NOT_FOUND);
        let beyond = reader.ask(code, &pull("g", "orders", 9), b"").await;
        assert_eq!(beyond.code, response_code::PULL_OFFSET_MOVED);
        assert_eq!(beyond.field("nextBeginOffset"), "1");
        send(&mut wire, message("orders"), "second").await;
        let came = reader.answer(waiting).await;
        assert_eq!(bodies(&came), [("second".to_owned(), 0)]);
        stop(node).await;
    });
}

#[test]
fn a_popped_message_comes_again_unless_it_is_acknowledged_and_says_how_often_it_came() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        for body in ["kept", "done"] {
            send(&mut wire, message("orders"), body).await;
        }
        let pop = PopMessage {
            group: "g",
            topic: "orders",
            queue: -1,
            max_messages: 32,
            invisible_ms: 50,
            poll_ms: 60_000,
            born_ms: 0,
            init_mode: 0,
            expression_type: None,
            expression: Some("*"),
            in_order: false,
            attempt_id: None,
        };
        let popped = wire.ask(request_code::POP_MESSAGE, &pop, b"").await;
        assert_eq!(bodies(&popped).len(), 2);
        let offsets: MessageOffsets = popped.field("msgOffsetInfo").parse().expect("offsets");
        assert_eq!(offsets.0[0].offsets, [0, 1]);
        let number = |name: &str| popped.field(name).parse().expect("a number");
        let receipt = Receipt {
            start_offset: 0,
            popped_ms: number("popTime"),
            invisible_ms: number("invisibleTime"),
            revive_queue: 0,
            kind: TopicKind::Normal,
            broker_name: "broker-a",
            queue: 0,
            offset: 1,
            physical_offset: None,
        };
        let text = receipt.to_string();
        let ack = AckMessage {
            group: "g",
            topic: "orders",
            queue: 0,
            receipt: &text,
            offset: 1,
        };
        let done = wire.ask(request_code::ACK_MESSAGE, &ack, b"").await;
        let again = wire.ask(request_code::POP_MESSAGE, &pop, b"").await;
        // However slow the machine is: one that came back before it was acknowledged comes again, too.
        match done.code {
            response_code::SUCCESS => assert_eq!(bodies(&again), [("kept".to_owned(), 1)]),
            code => assert_eq!(code, response_code::NO_MESSAGE, "{}", done.remark),
        }
        stop(node).await;
    });
}

#[test]
fn a_message_that_is_sent_back_comes_again_in_the_groups_retry_topic() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, client, mut wire) = node(folder.path()).await;
        send(&mut wire, message("orders"), "twice").await;
        let heard = wire.heartbeat("one", "g", "orders").await;
        assert_eq!(heard.code, response_code::SUCCESS, "{}", heard.remark);
        let back = SendBack {
            physical_offset: 0,
            group: "g",
            delay_level: 1,
            original_message_id: None,
            original_topic: None,
            unit_mode: false,
            max_reconsume_times: Some(16),
        };
        let code = request_code::CONSUMER_SEND_MSG_BACK;
        let refused = wire
            .ask(
                code,
                &SendBack {
                    physical_offset: 7,
                    ..back
                },
                b"",
            )
            .await;
        assert_eq!(refused.code, response_code::SYSTEM_ERROR);
        let done = wire.ask(code, &back, b"").await;
        assert_eq!(done.code, response_code::SUCCESS, "{}", done.remark);
        let read = read_until(&client, "%RETRY%g", |read| !read.is_empty()).await;
        assert_eq!(text(&read[0]), "twice");
        assert_eq!(
            (read[0].queue_id(), read[0].offset()),
            (QueueId(0), QueueOffset(0))
        );
        assert_eq!(read[0].property("RETRY_TOPIC"), Some("orders"));
        stop(node).await;
    });
}

#[test]
fn a_message_without_an_id_is_given_one_by_which_it_is_found() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, client, mut wire) = node(folder.path()).await;
        let mut ids = Vec::new();
        for properties in [None, Some("TAGS\u{1}red"), Some("UNIQ_KEY\u{1}\u{2}")] {
            let nameless = SendMessage {
                properties,
                ..message("orders")
            };
            let sent = send(&mut wire, nameless, "nameless").await;
            ids.push(sent.field("transactionId").to_owned());
        }
        let read = read_until(&client, "orders", |read| read.len() >= 3).await;
        for (message, id) in read.iter().zip(&ids) {
            assert_eq!(text(message), "nameless");
            assert_eq!(message.property("UNIQ_KEY"), Some(id.as_str()));
            let mut query = Fields::new();
            for (name, value) in [
                ("topic", "orders"),
                ("key", id),
                ("maxNum", "32"),
                ("beginTimestamp", "0"),
                ("endTimestamp", "9223372036854775807"),
                ("_UNIQUE_KEY_QUERY", "true"),
            ] {
                assert!(query.push(name, value));
            }
            // The index may be a little behind the queues.
            let found = loop {
                let found = wire.ask(request_code::QUERY_MESSAGE, &query, b"").await;
                if found.code != response_code::QUERY_NOT_FOUND {
                    break found;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            };
            assert_eq!(bodies(&found), [("nameless".to_owned(), 0)]);
        }
        assert!(ids.iter().all(|id| id.len() == 32), "{ids:?}");
        stop(node).await;
    });
}
