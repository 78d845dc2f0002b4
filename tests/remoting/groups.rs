//! Members of groups, and their offsets.

use castmq_client::{Filter, StartFrom};
use castmq_protocol::remoting::bodies::lock::{LockQueues, LockedQueues};
use castmq_protocol::remoting::bodies::{ConsumerIds, MessageQueue};
use castmq_protocol::remoting::headers::membership::{ConsumerList, UnregisterClient};
use castmq_protocol::remoting::headers::offsets::{QueryOffset, UpdateOffset};
use castmq_protocol::remoting::{json, request_code, response_code};

use crate::messages::{broker, message, node, pull, send};
use crate::support::{run, stop, until};
use crate::wire::{Came, Wire};

const LIST: i32 = request_code::GET_CONSUMER_LIST_BY_GROUP;

#[test]
fn members_hear_of_each_other_and_of_who_leaves() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut first) = node(folder.path()).await;
        let mut second = Wire::open(&broker(&node)).await;
        let nobody = first.ask(LIST, &ConsumerList { group: "g" }, b"").await;
        assert_eq!(nobody.code, response_code::SYSTEM_ERROR);
        first.heartbeat("one", "g", "orders").await;
        first.told(request_code::NOTIFY_CONSUMER_IDS_CHANGED).await;
        second.heartbeat("two", "g", "orders").await;
        let told = first.told(request_code::NOTIFY_CONSUMER_IDS_CHANGED).await;
        assert_eq!(told.field("consumerGroup"), "g");
        let ids: ConsumerIds = second
            .ask(LIST, &ConsumerList { group: "g" }, b"")
            .await
            .read();
        assert_eq!(ids.ids, ["one", "two"]);
        let leave = UnregisterClient {
            client_id: "two",
            producer_group: None,
            consumer_group: Some("g"),
        };
        second
            .ask(request_code::UNREGISTER_CLIENT, &leave, b"")
            .await;
        first.told(request_code::NOTIFY_CONSUMER_IDS_CHANGED).await;
        // One whose connection ends is gone, too.
        let mut third = Wire::open(&broker(&node)).await;
        third.heartbeat("three", "g", "orders").await;
        first.told(request_code::NOTIFY_CONSUMER_IDS_CHANGED).await;
        drop(third);
        first.told(request_code::NOTIFY_CONSUMER_IDS_CHANGED).await;
        stop(node).await;
    });
}

#[test]
fn a_group_has_members_of_one_kind_at_a_time() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, client, mut wire) = node(folder.path()).await;
        send(&mut wire, message("orders"), "one").await;
        wire.heartbeat("one", "g", "orders").await;
        let consumer = |group: &str| {
            let consumer = client.push_consumer(group).subscribe("orders", Filter::All);
            let consumer = consumer.from(StartFrom::Earliest);
            consumer
                .handler(|_| async { Ok::<_, std::io::Error>(()) })
                .start()
        };
        let native = consumer("native").await.expect("it starts");
        until(async || !native.assignment().is_empty()).await;
        let refused = wire.heartbeat("one", "native", "orders").await;
        assert_eq!(refused.code, response_code::SYSTEM_ERROR);
        assert!(refused.remark.contains("shares out"), "{}", refused.remark);
        native.shutdown().await.expect("it stops");
        until(async || {
            let heard = Wire::open(&broker(&node))
                .await
                .heartbeat("two", "native", "orders")
                .await;
            heard.code == response_code::SUCCESS
        })
        .await;
        stop(node).await;
    });
}

#[test]
fn offsets_are_where_they_were_set_and_no_group_is_set_beyond_a_queue() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        for body in ["a", "b", "c"] {
            send(&mut wire, message("orders"), body).await;
        }
        let query = QueryOffset {
            group: "g",
            topic: "orders",
            queue: 0,
            zero_if_not_found: Some(false),
        };
        let missing = wire
            .ask(request_code::QUERY_CONSUMER_OFFSET, &query, b"")
            .await;
        assert_eq!(missing.code, response_code::QUERY_NOT_FOUND);
        let update = |offset| UpdateOffset {
            group: "g",
            topic: "orders",
            queue: 0,
            offset,
        };
        for (offset, code) in [(2, response_code::SUCCESS), (4, 1), (-1, 1)] {
            let code_of = request_code::UPDATE_CONSUMER_OFFSET;
            assert_eq!(wire.ask(code_of, &update(offset), b"").await.code, code);
        }
        let found = wire
            .ask(request_code::QUERY_CONSUMER_OFFSET, &query, b"")
            .await;
        assert_eq!(found.field("offset"), "2");
        stop(node).await;
    });
}

#[test]
fn a_queue_is_locked_by_one_member() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        wire.heartbeat("one", "g", "orders").await;
        let lock = |client_id: &str| {
            json::to_bytes(&LockQueues {
                client_id: client_id.to_owned(),
                consumer_group: "g".to_owned(),
                queues: vec![MessageQueue::new("orders", "broker-a", 0)],
                only_this_broker: false,
            })
        };
        let code = request_code::LOCK_BATCH_MQ;
        let locked: LockedQueues = wire.ask(code, &(), &lock("one")).await.read();
        assert_eq!(locked.queues.len(), 1);
        let locked: LockedQueues = wire.ask(code, &(), &lock("two")).await.read();
        assert_eq!(locked.queues, []);
        wire.ask(request_code::UNLOCK_BATCH_MQ, &(), &lock("one"))
            .await;
        let locked: LockedQueues = wire.ask(code, &(), &lock("two")).await.read();
        assert_eq!(locked.queues.len(), 1);
        stop(node).await;
    });
}

#[test]
fn a_pull_by_the_groups_subscription_needs_one() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        send(&mut wire, message("orders"), "one").await;
        let by_group = castmq_protocol::remoting::headers::pull::PullMessage {
            sys_flag: 0,
            subscription_version: 2,
            ..pull("g", "orders", 0)
        };
        let code = request_code::PULL_MESSAGE;
        let unknown = wire.ask(code, &by_group, b"").await;
        assert_eq!(unknown.code, response_code::SUBSCRIPTION_NOT_EXIST);
        wire.heartbeat("one", "g", "orders").await;
        let old = wire.ask(code, &by_group, b"").await;
        assert_eq!(old.code, response_code::SUBSCRIPTION_NOT_LATEST);
        // Who leaves subscriptions out is asked for them, until they came.
        let wanted = |came: &Came| came.field("IS_SUB_CHANGE").to_owned();
        for _ in 0..2 {
            assert_eq!(wanted(&wire.heartbeat_of("one", "g", None).await), "true");
        }
        let told = wire.heartbeat_of("one", "g", Some(("orders", 2))).await;
        assert_eq!(wanted(&told), "false");
        assert_eq!(wanted(&wire.heartbeat_of("one", "g", None).await), "false");
        let found = wire.ask(code, &by_group, b"").await;
        assert_eq!(found.code, response_code::SUCCESS);
        stop(node).await;
    });
}
