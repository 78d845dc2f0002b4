//! Requests that cannot be done, and what operators ask.

use castmq_protocol::remoting::bodies::group::GroupEntry;
use castmq_protocol::remoting::bodies::route::{ClusterInfo, TopicRoute};
use castmq_protocol::remoting::bodies::stats::TopicStats;
use castmq_protocol::remoting::bodies::topic::TopicEntry;
use castmq_protocol::remoting::headers::group_admin::GroupConfigOf;
use castmq_protocol::remoting::headers::topic_admin::{DeleteTopic, PutTopic, TopicConfigOf};
use castmq_protocol::remoting::{json, request_code, response_code};

use crate::messages::{broker, message, node, send};
use crate::support::{run, stop};
use crate::wire::Wire;

#[test]
fn what_is_not_served_or_not_understood_is_answered_with_rocketmqs_codes() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        let unknown = wire.ask(7_777, &(), b"").await;
        assert_eq!(unknown.code, response_code::REQUEST_CODE_NOT_SUPPORTED);
        let missing = wire
            .ask(request_code::PULL_MESSAGE, &[("topic", "t")], b"")
            .await;
        assert_eq!(missing.code, response_code::SYSTEM_ERROR);
        assert_eq!(missing.remark, "the custom field <consumerGroup> is null");
        let wrong = wire
            .ask(request_code::HEART_BEAT, &(), b"{\"clientID\":")
            .await;
        assert_eq!(wrong.code, response_code::SYSTEM_ERROR);
        assert!(wrong.remark.contains("cannot be read"), "{}", wrong.remark);
        stop(node).await;
    });
}

fn topic(topic: &str) -> PutTopic<'_> {
    PutTopic {
        topic,
        default_topic: "TBW102",
        read_queues: 3,
        write_queues: 2,
        permission: 6,
        filter_type: "SINGLE_TAG",
        sys_flag: None,
        order: false,
        attributes: Some("+message.type=NORMAL"),
        force: false,
    }
}

#[test]
fn name_servers_know_what_a_tool_is_told_is_done() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        let address = node.name_server_address().expect("a name server");
        let mut names = Wire::open(&address.to_string()).await;
        for number in 0..50 {
            let name = format!("topic-{number}");
            let put = topic(&name);
            let changed = PutTopic {
                write_queues: 5,
                ..put
            };
            let route = [("topic", name.as_str()), ("acceptStandardJsonOnly", "true")];
            for put in [put, changed] {
                let code = request_code::UPDATE_AND_CREATE_TOPIC;
                assert_eq!(wire.ask(code, &put, b"").await.code, 0);
                let code = request_code::GET_ROUTEINFO_BY_TOPIC;
                let found: TopicRoute = names.ask(code, &route, b"").await.read();
                assert_eq!(found.queues[0].write_queues, put.write_queues);
            }
            let delete = DeleteTopic { topic: &name };
            let code = request_code::DELETE_TOPIC_IN_BROKER;
            assert_eq!(wire.ask(code, &delete, b"").await.code, 0);
            let code = request_code::GET_ROUTEINFO_BY_TOPIC;
            let gone = names.ask(code, &route, b"").await;
            assert_eq!(gone.code, response_code::TOPIC_NOT_EXIST);
        }
        stop(node).await;
    });
}

#[test]
fn topics_and_groups_are_made_shown_and_deleted() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        let put = topic("orders");
        let code = request_code::UPDATE_AND_CREATE_TOPIC;
        assert_eq!(wire.ask(code, &put, b"").await.code, 0);
        let system = PutTopic {
            topic: "TBW102",
            ..put
        };
        let refused = wire.ask(code, &system, b"").await;
        assert_eq!(refused.code, response_code::INVALID_PARAMETER);
        let of = TopicConfigOf { topic: "orders" };
        let entry: TopicEntry = wire
            .ask(request_code::GET_TOPIC_CONFIG, &of, b"")
            .await
            .read();
        assert_eq!((entry.read_queues, entry.write_queues), (3, 2));
        assert_eq!(entry.attributes["message.type"], "NORMAL");
        send(&mut wire, message("orders"), "one").await;
        let code = request_code::GET_TOPIC_STATS_INFO;
        let stats: TopicStats = wire.ask(code, &of, b"").await.read();
        let stored: i64 = stats.offsets.values().map(|queue| queue.max_offset).sum();
        assert_eq!((stats.offsets.len(), stored), (3, 1));

        let group = GroupEntry {
            group_name: "g".to_owned(),
            retry_max: 3,
            ..GroupEntry::default()
        };
        let code = request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        let made = wire.ask(code, &(), &json::to_bytes(&group)).await;
        assert_eq!(made.code, response_code::SUCCESS, "{}", made.remark);
        let code = request_code::GET_SUBSCRIPTIONGROUP_CONFIG;
        let found = wire.ask(code, &GroupConfigOf { group: "g" }, b"").await;
        assert_eq!(found.read::<GroupEntry>().retry_max, 3);

        let delete = DeleteTopic { topic: "orders" };
        wire.ask(request_code::DELETE_TOPIC_IN_BROKER, &delete, b"")
            .await;
        let gone = wire.ask(request_code::GET_TOPIC_CONFIG, &of, b"").await;
        assert_eq!(gone.code, response_code::TOPIC_NOT_EXIST);
        stop(node).await;
    });
}

#[test]
fn a_name_server_tells_of_brokers_and_keeps_values() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, _wire) = node(folder.path()).await;
        let address = node.name_server_address().expect("a name server");
        let mut names = Wire::open(&address.to_string()).await;
        let code = request_code::GET_BROKER_CLUSTER_INFO;
        let cluster: ClusterInfo = names.ask(code, &(), b"").await.read();
        assert_eq!(cluster.brokers["broker-a"].addresses[&0], broker(&node));
        let value = [("namespace", "n"), ("key", "k"), ("value", "v")];
        names.ask(request_code::PUT_KV_CONFIG, &value, b"").await;
        let key = [("namespace", "n"), ("key", "k")];
        let got = names.ask(request_code::GET_KV_CONFIG, &key, b"").await;
        assert_eq!(got.field("value"), "v");
        names.ask(request_code::DELETE_KV_CONFIG, &key, b"").await;
        let gone = names.ask(request_code::GET_KV_CONFIG, &key, b"").await;
        assert_eq!(gone.code, response_code::QUERY_NOT_FOUND);
        stop(node).await;
    });
}
