//! Clients that go while they wait, wait for ever, or are not in the group that they name: nobody else pays for it.

use castmq_actors::Node;
use castmq_actors::supervision::TreeNode;
use castmq_protocol::remoting::bodies::ConsumerIds;
use castmq_protocol::remoting::headers::membership::{ConsumerList, UnregisterClient};
use castmq_protocol::remoting::headers::pop::{AckMessage, ChangeInvisible, PopMessage};
use castmq_protocol::remoting::headers::pull::{PullMessage, pull_flag};
use castmq_protocol::remoting::pop::{Receipt, TopicKind};
use castmq_protocol::remoting::{request_code as code, response_code};

use crate::messages::{bodies, broker, message, node, pull, send};
use crate::support::{run, started, stop, until, with_queues};
use crate::wire::Wire;

fn patient<'a>(group: &'a str, wait_ms: i64) -> PullMessage<'a> {
    PullMessage {
        sys_flag: pull_flag::SUBSCRIPTION | pull_flag::SUSPEND,
        suspend_timeout_ms: wait_ms,
        ..pull(group, "orders", 1)
    }
}

fn pop(group: &str, wait_ms: i64) -> PopMessage<'_> {
    PopMessage {
        group,
        topic: "orders",
        queue: -1,
        max_messages: 32,
        invisible_ms: 600_000,
        poll_ms: wait_ms,
        born_ms: 0,
        init_mode: 1,
        expression_type: None,
        expression: Some("*"),
        in_order: false,
        attempt_id: None,
    }
}

/// Pulls that wait, in all queues.
async fn waiting(node: &Node) -> u64 {
    let tree = node.tree().snapshot().await;
    let queues = tree.find("broker/queues").expect("queues");
    let of = |child: &TreeNode| child.state["waiting_fetches"].as_u64();
    queues.children.iter().filter_map(of).sum()
}

#[test]
fn who_goes_during_a_long_poll_leaves_nothing_behind() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        send(&mut wire, message("orders"), "first").await;
        for _ in 0..3 {
            let mut gone = Wire::open(&broker(&node)).await;
            for _ in 0..100 {
                gone.send(code::PULL_MESSAGE, &patient("g", i64::MAX), b"")
                    .await;
                gone.send(code::POP_MESSAGE, &pop("popping", i64::MAX), b"")
                    .await;
            }
            // Pops have one of the broker's own wait for them.
            until(async || waiting(&node).await >= 100).await;
            drop(gone);
            until(async || waiting(&node).await <= 1).await;
        }
        let mut here = Wire::open(&broker(&node)).await;
        let popping = here
            .send(code::POP_MESSAGE, &pop("popping", 600_000), b"")
            .await;
        let pulling = here
            .send(code::PULL_MESSAGE, &patient("g", i64::MAX), b"")
            .await;
        send(&mut wire, message("orders"), "second").await;
        for waiting in [popping, pulling] {
            let came = here.answer(waiting).await;
            assert_eq!(bodies(&came), [("second".to_owned(), 0)]);
        }
        stop(node).await;
    });
}

#[test]
fn who_says_nothing_for_too_long_is_gone_whatever_it_waits_for() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = with_queues(folder.path(), 1);
        settings.limits.idle_timeout_ms = 1_000;
        let (node, _client) = started(&settings).await;
        let mut wire = Wire::open(&broker(&node)).await;
        send(&mut wire, message("orders"), "first").await;
        wire.send(code::PULL_MESSAGE, &patient("g", i64::MAX), b"")
            .await;
        assert!(wire.next().await.is_none(), "the connection ends");
        until(async || waiting(&node).await == 0).await;
        stop(node).await;
    });
}

#[test]
fn polls_of_no_length_are_answered_at_once_and_pops_of_too_many_refused() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        send(&mut wire, message("orders"), "first").await;
        for wait_ms in [0, -1, i64::MIN] {
            let nothing = wire
                .ask(code::PULL_MESSAGE, &patient("g", wait_ms), b"")
                .await;
            assert_eq!(nothing.code, response_code::PULL_NOT_FOUND);
            let nothing = wire
                .ask(code::POP_MESSAGE, &pop("popping", wait_ms), b"")
                .await;
            assert_eq!(nothing.code, response_code::PULL_NOT_FOUND);
        }
        for max_messages in [0, -1, i32::MIN, 33, i32::MAX] {
            let nothing = PopMessage {
                max_messages,
                ..pop("popping", 0)
            };
            let refused = wire.ask(code::POP_MESSAGE, &nothing, b"").await;
            assert_eq!(refused.code, response_code::INVALID_PARAMETER);
            assert!(refused.remark.contains("1 to 32 messages"));
            assert!(refused.remark.contains(&max_messages.to_string()));
        }
        stop(node).await;
    });
}

#[test]
fn a_group_that_is_not_there_is_not_consumed_in_where_groups_are_not_made() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = with_queues(folder.path(), 1);
        settings.broker.auto_create_groups = false;
        let (node, _client) = started(&settings).await;
        let mut wire = Wire::open(&broker(&node)).await;
        send(&mut wire, message("orders"), "first").await;
        let commit = [
            ("consumerGroup", "g"),
            ("topic", "orders"),
            ("queueId", "0"),
            ("commitOffset", "1"),
        ];
        let back = [("offset", "0"), ("group", "g"), ("delayLevel", "1")];
        let unknown = response_code::SUBSCRIPTION_GROUP_NOT_EXIST;
        for came in [
            wire.ask(code::PULL_MESSAGE, &pull("g", "orders", 0), b"")
                .await,
            wire.ask(code::POP_MESSAGE, &pop("g", 0), b"").await,
            wire.ask(code::UPDATE_CONSUMER_OFFSET, &commit, b"").await,
            wire.ask(code::CONSUMER_SEND_MSG_BACK, &back, b"").await,
            wire.heartbeat("one", "g", "orders").await,
        ] {
            assert_eq!(came.code, unknown, "{}", came.remark);
            assert!(came.remark.contains("group g"), "{}", came.remark);
        }
        stop(node).await;
    });
}

#[test]
fn nobody_settles_what_another_group_popped_or_leaves_for_another_client() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        send(&mut wire, message("orders"), "theirs").await;
        let from_the_first = PopMessage {
            init_mode: 0,
            ..pop("theirs", 600_000)
        };
        let popped = wire.ask(code::POP_MESSAGE, &from_the_first, b"").await;
        assert_eq!(bodies(&popped).len(), 1, "{}", popped.remark);
        let number = |name: &str| popped.field(name).parse().expect("a number");
        let receipt = |popped_ms| Receipt {
            start_offset: 0,
            popped_ms,
            invisible_ms: number("invisibleTime"),
            revive_queue: 0,
            kind: TopicKind::Normal,
            broker_name: "broker-a",
            queue: 0,
            offset: 0,
            physical_offset: None,
        };
        let (text, forged) = (
            receipt(number("popTime")).to_string(),
            receipt(7).to_string(),
        );
        let ack = |group, receipt| AckMessage {
            group,
            topic: "orders",
            queue: 0,
            receipt,
            offset: 0,
        };
        let mut other = Wire::open(&broker(&node)).await;
        for (group, receipt) in [("ours", &text), ("theirs", &forged)] {
            let refused = other
                .ask(code::ACK_MESSAGE, &ack(group, receipt), b"")
                .await;
            assert_eq!(
                refused.code,
                response_code::NO_MESSAGE,
                "{}",
                refused.remark
            );
            let change = ChangeInvisible {
                group,
                topic: "orders",
                queue: 0,
                receipt,
                offset: 0,
                invisible_ms: 1,
            };
            let refused = other
                .ask(code::CHANGE_MESSAGE_INVISIBLETIME, &change, b"")
                .await;
            assert_eq!(
                refused.code,
                response_code::NO_MESSAGE,
                "{}",
                refused.remark
            );
            assert!(refused.remark.contains("receipt"), "{}", refused.remark);
        }
        let garbled = other
            .ask(code::ACK_MESSAGE, &ack("theirs", "no receipt"), b"")
            .await;
        assert_ne!(garbled.code, response_code::SUCCESS);
        assert!(
            garbled.remark.contains("is no receipt"),
            "{}",
            garbled.remark
        );
        let done = wire
            .ask(code::ACK_MESSAGE, &ack("theirs", &text), b"")
            .await;
        assert_eq!(done.code, response_code::SUCCESS, "{}", done.remark);

        wire.heartbeat("honest", "theirs", "orders").await;
        let leave = UnregisterClient {
            client_id: "honest",
            producer_group: None,
            consumer_group: Some("theirs"),
        };
        other.ask(code::UNREGISTER_CLIENT, &leave, b"").await;
        let list = ConsumerList { group: "theirs" };
        let ids: ConsumerIds = other
            .ask(code::GET_CONSUMER_LIST_BY_GROUP, &list, b"")
            .await
            .read();
        assert_eq!(ids.ids, ["honest"]);
        stop(node).await;
    });
}

#[test]
fn a_subscription_to_what_was_popped_does_not_spoil_a_heartbeat() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        // A client whose queues are assigned by brokers asks for both.
        for topic in ["%RETRY%g_orders", "%RETRY%g+orders"] {
            let heard = wire.heartbeat("one", "g", topic).await;
            assert_eq!(heard.code, response_code::SUCCESS, "{}", heard.remark);
            let nothing = wire
                .ask(code::PULL_MESSAGE, &pull("g", topic, 0), b"")
                .await;
            assert_eq!(nothing.code, response_code::TOPIC_NOT_EXIST);
        }
        let refused = wire.heartbeat("one", "g", "orders+more").await;
        assert_ne!(refused.code, response_code::SUCCESS);
        assert!(refused.remark.contains("'+'"), "{}", refused.remark);
        stop(node).await;
    });
}
