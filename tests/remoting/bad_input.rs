//! Requests that are wrong, or of another time: RocketMQ's code, and a remark that helps.

use bytes::BytesMut;
use castmq_actors::Node;
use castmq_protocol::remoting::headers::membership::{ConsumerRunningInfo, SendBack};
use castmq_protocol::remoting::{
    Head, Serialization, codes::version, put_frame, request_code as code, response_code,
};

use crate::messages::{broker, message, node, send};
use crate::support::{read_until, run, stop};
use crate::wire::Wire;

/// Requests with the first field that has to be there.
const MANDATORY: &[(i32, &str)] = &[
    (code::SEND_MESSAGE, "producerGroup"),
    (code::SEND_MESSAGE_V2, "a"),
    (code::SEND_BATCH_MESSAGE, "a"),
    (code::SEND_REPLY_MESSAGE, "producerGroup"),
    (code::SEND_REPLY_MESSAGE_V2, "a"),
    (code::PULL_MESSAGE, "consumerGroup"),
    (code::LITE_PULL_MESSAGE, "consumerGroup"),
    (code::POP_MESSAGE, "consumerGroup"),
    (code::ACK_MESSAGE, "consumerGroup"),
    (code::CHANGE_MESSAGE_INVISIBLETIME, "consumerGroup"),
    (code::QUERY_MESSAGE, "topic"),
    (code::VIEW_MESSAGE_BY_ID, "offset"),
    (code::QUERY_CONSUMER_OFFSET, "consumerGroup"),
    (code::UPDATE_CONSUMER_OFFSET, "consumerGroup"),
    (code::SEARCH_OFFSET_BY_TIMESTAMP, "topic"),
    (code::GET_MAX_OFFSET, "topic"),
    (code::GET_MIN_OFFSET, "topic"),
    (code::GET_EARLIEST_MSG_STORETIME, "topic"),
    (code::UNREGISTER_CLIENT, "clientID"),
    (code::CONSUMER_SEND_MSG_BACK, "offset"),
    (code::END_TRANSACTION, "producerGroup"),
    (code::GET_CONSUMER_LIST_BY_GROUP, "consumerGroup"),
    (code::RECALL_MESSAGE, "topic"),
    (code::UPDATE_AND_CREATE_TOPIC, "topic"),
    (code::DELETE_TOPIC_IN_BROKER, "topic"),
    (code::GET_TOPIC_CONFIG, "topic"),
    (code::GET_TOPIC_STATS_INFO, "topic"),
    (code::QUERY_TOPIC_CONSUME_BY_WHO, "topic"),
    (code::GET_SUBSCRIPTIONGROUP_CONFIG, "group"),
    (code::DELETE_SUBSCRIPTIONGROUP, "groupName"),
    (code::GET_CONSUMER_CONNECTION_LIST, "consumerGroup"),
    (code::GET_PRODUCER_CONNECTION_LIST, "producerGroup"),
    (code::GET_CONSUME_STATS, "consumerGroup"),
    (code::GET_CONSUMER_RUNNING_INFO, "consumerGroup"),
    (code::INVOKE_BROKER_TO_RESET_OFFSET, "group"),
    (code::CLONE_GROUP_OFFSET, "srcGroup"),
    (code::QUERY_TOPICS_BY_CONSUMER, "group"),
];

/// Requests whose body has to say something.
const WITH_BODIES: &[i32] = &[
    code::HEART_BEAT,
    code::LOCK_BATCH_MQ,
    code::UNLOCK_BATCH_MQ,
    code::CHECK_CLIENT_CONFIG,
    code::QUERY_ASSIGNMENT,
    code::SET_MESSAGE_REQUEST_MODE,
    code::BATCH_ACK_MESSAGE,
    code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
    code::UPDATE_AND_CREATE_TOPIC_LIST,
];

async fn names(node: &Node) -> Wire {
    let address = node.name_server_address().expect("a name server");
    Wire::open(&address.to_string()).await
}

#[test]
fn what_is_missing_is_named() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        for &(code, field) in MANDATORY {
            let refused = wire.ask(code, &(), b"").await;
            let expected = format!("the custom field <{field}> is null");
            assert_eq!((refused.code, refused.remark), (1, expected), "{code}");
        }
        for &code in WITH_BODIES {
            let refused = wire.ask(code, &(), b"").await;
            assert_eq!(refused.code, response_code::SYSTEM_ERROR, "{code}");
            assert!(refused.remark.contains("body"), "{}", refused.remark);
        }
        let mut names = names(&node).await;
        for (code, field) in [
            (code::GET_ROUTEINFO_BY_TOPIC, "topic"),
            (code::PUT_KV_CONFIG, "namespace"),
            (code::GET_KV_CONFIG, "namespace"),
            (code::DELETE_KV_CONFIG, "namespace"),
            (code::GET_KVLIST_BY_NAMESPACE, "namespace"),
            (code::GET_TOPICS_BY_CLUSTER, "cluster"),
            (code::DELETE_TOPIC_IN_NAMESRV, "topic"),
        ] {
            let refused = names.ask(code, &(), b"").await;
            let expected = format!("the custom field <{field}> is null");
            assert_eq!((refused.code, refused.remark), (1, expected), "{code}");
        }
        stop(node).await;
    });
}

#[test]
fn what_is_no_number_is_named_with_what_it_takes() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        send(&mut wire, message("orders"), "one").await;
        let long = "9".repeat(10_000);
        for wrong in ["", "one", "1e3", "99999999999999999999", &long] {
            let fields = [("topic", "orders"), ("queueId", wrong)];
            let refused = wire.ask(code::GET_MAX_OFFSET, &fields, b"").await;
            assert_eq!(refused.code, response_code::SYSTEM_ERROR, "{wrong}");
            assert!(refused.remark.contains("<queueId>"), "{}", refused.remark);
            assert!(refused.remark.len() < 300, "{}", refused.remark.len());
        }
        for (queue, code) in [("-1", 29), ("1", 29), ("2147483647", 29), ("0", 0)] {
            let fields = [("topic", "orders"), ("queueId", queue)];
            let came = wire.ask(code::GET_MAX_OFFSET, &fields, b"").await;
            assert_eq!(came.code, code, "{queue}: {}", came.remark);
        }
        stop(node).await;
    });
}

/// A frame in any form.
fn frame(head: Head<'_>) -> BytesMut {
    let mut out = BytesMut::new();
    put_frame(&head, &(), b"", &mut out);
    out
}

#[test]
fn codes_that_nobody_knows_are_answered_as_they_came_and_only_when_somebody_waits() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        let mut names = names(&node).await;
        for wire in [&mut wire, &mut names] {
            for (number, serialization) in [Serialization::Json, Serialization::Binary]
                .into_iter()
                .enumerate()
            {
                let opaque = 1_000 + number as i32;
                for code in [-1, 0, 9_999] {
                    // A one-way request, and the answer to something that nobody asked.
                    let one_way = Head::one_way(code, opaque);
                    let answer = Head::response(code, opaque, serialization);
                    assert!(wire.say(&frame(one_way)).await && wire.say(&frame(answer)).await);
                    let asked = Head {
                        serialization,
                        ..Head::request(code, opaque)
                    };
                    assert!(wire.say(&frame(asked)).await);
                    let came = wire.next().await.expect("an answer");
                    assert_eq!(came.opaque, opaque);
                    assert_eq!(came.code, response_code::REQUEST_CODE_NOT_SUPPORTED);
                    assert!(came.remark.contains(&code.to_string()), "{}", came.remark);
                }
            }
        }
        stop(node).await;
    });
}

#[test]
fn an_old_client_is_not_asked_what_it_does_not_know_and_its_wishes_are_those_of_its_time() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, client, mut wire) = node(folder.path()).await;
        send(&mut wire, message("orders"), "again").await;
        wire.version = version::V3_1_8_SNAPSHOT - 1;
        wire.heartbeat("old", "g", "orders").await;
        let info = ConsumerRunningInfo {
            group: "g",
            client_id: "old",
            with_stacks: false,
        };
        let mut tool = Wire::open(&broker(&node)).await;
        let refused = tool.ask(code::GET_CONSUMER_RUNNING_INFO, &info, b"").await;
        assert_eq!(refused.code, response_code::SYSTEM_ERROR);
        assert!(refused.remark.contains("too low"), "{}", refused.remark);
        assert!(refused.remark.contains("V3_1_7"), "{}", refused.remark);
        // It cannot have meant the most attempts, which came later.
        let back = SendBack {
            physical_offset: 0,
            group: "g",
            delay_level: 1,
            original_message_id: None,
            original_topic: None,
            unit_mode: false,
            max_reconsume_times: Some(0),
        };
        let done = wire.ask(code::CONSUMER_SEND_MSG_BACK, &back, b"").await;
        assert_eq!(done.code, response_code::SUCCESS, "{}", done.remark);
        read_until(&client, "%RETRY%g", |read| !read.is_empty()).await;
        wire.version = version::V3_4_9;
        let done = wire.ask(code::CONSUMER_SEND_MSG_BACK, &back, b"").await;
        assert_eq!(done.code, response_code::SUCCESS, "{}", done.remark);
        read_until(&client, "%DLQ%g", |read| !read.is_empty()).await;
        stop(node).await;
    });
}
