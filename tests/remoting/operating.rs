//! What mqadmin and the dashboard ask of brokers and name servers.

use castmq_protocol::model::QueueOffset;
use castmq_protocol::remoting::bodies::assignment::{RequestMode, RequestModes, SetRequestMode};
use castmq_protocol::remoting::bodies::broker::HaStatus;
use castmq_protocol::remoting::bodies::connection::ProducerTable;
use castmq_protocol::remoting::bodies::consume_queue::ConsumeQueueEntries;
use castmq_protocol::remoting::bodies::group::{
    GroupEntry, GroupReadable, GroupSubscription, PutGroups,
};
use castmq_protocol::remoting::bodies::offset::{ConsumerOffsets, DelayOffsets};
use castmq_protocol::remoting::bodies::route::{TopicList, TopicRoute};
use castmq_protocol::remoting::bodies::stats::{
    BrokerConsumeStats, ConsumeStats, ConsumeTimeSpans, StatsData,
};
use castmq_protocol::remoting::bodies::{KvTable, MessageQueue};
use castmq_protocol::remoting::headers::offsets::UpdateOffset;
use castmq_protocol::remoting::{json, request_code, response_code};

use crate::messages::{message, node, send};
use crate::support::{run, stop};
use crate::wire::{Came, Wire};

const OK: i32 = response_code::SUCCESS;

async fn commit(wire: &mut Wire, group: &str, topic: &str, offset: i64) {
    let update = UpdateOffset {
        group,
        topic,
        queue: 0,
        offset,
    };
    let code = request_code::UPDATE_CONSUMER_OFFSET;
    assert_eq!(wire.ask(code, &update, b"").await.code, OK);
}

#[test]
fn queues_groups_and_counters_are_told_of_as_they_are() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        for body in ["a", "b", "c"] {
            send(&mut wire, message("orders"), body).await;
        }
        let of = [("topic", "orders"), ("group", "g")];
        let query = [
            ("topic", "orders"),
            ("queueId", "0"),
            ("index", "1"),
            ("count", "9"),
            ("consumerGroup", "g"),
        ];
        let entries = wire
            .ask(request_code::QUERY_CONSUME_QUEUE, &query, b"")
            .await;
        let entries: ConsumeQueueEntries = entries.read();
        assert_eq!((entries.min_offset, entries.max_offset), (0, 3));
        // The hash code of `red`, as Java has it.
        let tags: Vec<_> = entries
            .entries
            .iter()
            .map(|entry| entry.tags_code)
            .collect();
        assert_eq!(tags, [112_785, 112_785]);
        assert_eq!(
            entries.filter_data.as_deref(),
            Some("g@orders is not online!")
        );

        let stats_of =
            |name: &'static str, key: &'static str| [("statsName", name), ("statsKey", key)];
        let stats = stats_of("TOPIC_PUT_NUMS", "orders");
        let code = request_code::VIEW_BROKER_STATS_DATA;
        let counted: StatsData = wire.ask(code, &stats, b"").await.read();
        assert_eq!((counted.stats_minute.sum, counted.stats_day.sum), (3, 3));
        let missing = wire
            .ask(code, &stats_of("TOPIC_PUT_NUMS", "none"), b"")
            .await;
        assert_eq!(missing.code, response_code::SYSTEM_ERROR);

        // A group has a place in a queue before it commits one.
        let code = request_code::GET_CONSUME_STATS;
        let progress = [("topic", "orders"), ("consumerGroup", "g")];
        let queue = MessageQueue::new("orders", "broker-a", 0);
        let before: ConsumeStats = wire.ask(code, &progress, b"").await.read();
        assert_eq!(before.offsets[&queue].broker_offset, 3);
        assert_eq!(before.offsets[&queue].consumer_offset, 0);
        commit(&mut wire, "g", "orders", 2).await;
        let after: ConsumeStats = wire.ask(code, &progress, b"").await.read();
        assert_eq!(after.offsets[&queue].consumer_offset, 2);
        assert!(after.offsets[&queue].last_timestamp_ms > 0);
        let all = wire
            .ask(
                request_code::GET_BROKER_CONSUME_STATS,
                &[("isOrder", "false")],
                b"",
            )
            .await;
        assert_eq!(all.read::<BrokerConsumeStats>().total_diff, 1);

        let spans = wire
            .ask(request_code::QUERY_CONSUME_TIME_SPAN, &of, b"")
            .await;
        let spans: ConsumeTimeSpans = spans.read();
        let span = &spans.queues[0];
        assert!(span.min_ms <= span.consume_ms && span.consume_ms <= span.max_ms);
        let offsets = wire
            .ask(request_code::GET_ALL_CONSUMER_OFFSET, &(), b"")
            .await;
        assert_eq!(offsets.read::<ConsumerOffsets>().offsets["orders@g"][&0], 2);
        let delays = wire.ask(request_code::GET_ALL_DELAY_OFFSET, &(), b"").await;
        assert_eq!(delays.read::<DelayOffsets>().offsets.len(), 3);
        stop(node).await;
    });
}

#[test]
fn who_is_there_and_what_they_want_is_told() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        send(&mut wire, message("orders"), "a").await;
        wire.heartbeat("one", "g", "orders").await;
        let producers = wire
            .ask(request_code::GET_ALL_PRODUCER_INFO, &(), b"")
            .await;
        let producers: ProducerTable = producers.read();
        let producer = &producers.groups["producers"][0];
        assert_eq!(producer.client_id, "one");
        assert!(producer.last_update_ms > 1_600_000_000_000);
        let of = [("topic", "orders"), ("group", "g")];
        let code = request_code::QUERY_SUBSCRIPTION_BY_CONSUMER;
        let wanted: GroupSubscription = wire.ask(code, &of, b"").await.read();
        assert_eq!(wanted.subscription.expect("one").expression, "*");
        let code = request_code::UPDATE_AND_GET_GROUP_FORBIDDEN;
        assert!(
            wire.ask(code, &of, b"")
                .await
                .read::<GroupReadable>()
                .readable
        );
        let denied = [("topic", "orders"), ("group", "g"), ("readable", "false")];
        let denied = wire.ask(code, &denied, b"").await;
        assert_eq!(denied.code, response_code::SYSTEM_ERROR);

        let groups = ["g1", "g2"].map(|name| GroupEntry {
            group_name: name.to_owned(),
            retry_max: 3,
            ..GroupEntry::default()
        });
        let put = json::to_bytes(&PutGroups {
            groups: groups.into(),
        });
        let code = request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST;
        assert_eq!(wire.ask(code, &(), &put).await.code, OK);
        let code = request_code::GET_SUBSCRIPTIONGROUP_CONFIG;
        let second = wire.ask(code, &[("group", "g2")], b"").await;
        assert_eq!(second.read::<GroupEntry>().retry_max, 3);

        let set = json::to_bytes(&SetRequestMode {
            consumer_group: "g".to_owned(),
            mode: RequestMode::Pop,
            pop_share_queues: 0,
            topic: "orders".to_owned(),
        });
        let code = request_code::SET_MESSAGE_REQUEST_MODE;
        assert_eq!(wire.ask(code, &(), &set).await.code, OK);
        let code = request_code::GET_ALL_MESSAGE_REQUEST_MODE;
        let modes: RequestModes = wire.ask(code, &(), b"").await.read();
        assert_eq!(modes.modes["orders"]["g"].mode, RequestMode::Pop);

        // Whoever takes over offsets need not be there.
        commit(&mut wire, "g", "orders", 1).await;
        let clone = [
            ("srcGroup", "g"),
            ("destGroup", "new"),
            ("topic", "orders"),
            ("offline", "true"),
        ];
        let cloned = wire
            .ask(request_code::CLONE_GROUP_OFFSET, &clone, b"")
            .await;
        assert_eq!(cloned.code, OK, "{}", cloned.remark);
        let code = request_code::GET_CONSUME_STATS;
        let progress: ConsumeStats = wire
            .ask(code, &[("consumerGroup", "new")], b"")
            .await
            .read();
        let taken: Vec<_> = progress
            .offsets
            .values()
            .map(|of| of.consumer_offset)
            .collect();
        assert_eq!(taken, [1]);
        stop(node).await;
    });
}

#[test]
fn members_say_how_far_they_are_by_their_own_account() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut operator) = node(folder.path()).await;
        let code = request_code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS;
        let of = [("topic", "orders"), ("group", "g"), ("clientAddr", "")];
        let nobody = operator.ask(code, &of, b"").await;
        assert_eq!(nobody.code, response_code::SYSTEM_ERROR);
        let address = crate::messages::broker(&node);
        let (mut first, mut second) = (Wire::open(&address).await, Wire::open(&address).await);
        first.heartbeat("one", "g", "orders").await;
        second.heartbeat("two", "g", "orders").await;
        let question = operator.send(code, &of, b"").await;
        let told = request_code::GET_CONSUMER_STATUS_FROM_CLIENT;
        let body =
            br#"{"messageQueueTable":{{"brokerName":"broker-a","queueId":0,"topic":"orders"}:7}}"#;
        let asked = first.told(told).await;
        assert_eq!(asked.field("topic"), "orders");
        first.reply(&asked, OK, body).await;
        let asked = second.told(told).await;
        second.reply(&asked, response_code::SYSTEM_ERROR, b"").await;
        let status = operator.answer(question).await;
        let text = String::from_utf8_lossy(&status.body).into_owned();
        assert!(
            text.contains(r#""one":{{"#) && text.contains(":7"),
            "{text}"
        );
        assert!(!text.contains("two"), "{text}");
        stop(node).await;
    });
}

/// Lines of `.properties`.
fn lines(came: &Came) -> Vec<String> {
    let text = String::from_utf8_lossy(&came.body).into_owned();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn configuration_is_shown_and_what_cannot_be_changed_says_so() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        let shown = wire.ask(request_code::GET_BROKER_CONFIG, &(), b"").await;
        assert!(shown.field("version").contains("counter"));
        let shown = lines(&shown);
        for line in [
            "brokerName=broker-a",
            "autoCreateTopicEnable=true",
            "brokerRole=ASYNC_MASTER",
        ] {
            assert!(shown.contains(&line.to_owned()), "{line} in {shown:?}");
        }
        let port = crate::messages::broker(&node).replace("127.0.0.1:", "listenPort=");
        assert!(shown.contains(&port), "{port} in {shown:?}");
        let code = request_code::UPDATE_BROKER_CONFIG;
        let same = wire.ask(code, &(), b"brokerName=broker-a\n").await;
        assert_eq!(same.code, OK, "{}", same.remark);
        let other = wire
            .ask(code, &(), b"flushConsumerOffsetInterval=4000\n")
            .await;
        assert_eq!(other.code, response_code::SYSTEM_ERROR);
        assert!(other.remark.contains("start"), "{}", other.remark);
        let forbidden = wire.ask(code, &(), b"brokerConfigPath=x\n").await;
        assert_eq!(forbidden.code, response_code::NO_PERMISSION);
        let long = [b"k".repeat(60_000), b"=1".to_vec()].concat();
        let long = wire.ask(code, &(), &long).await;
        assert!(long.remark.len() <= 512, "{} letters", long.remark.len());

        let code = request_code::GET_BROKER_RUNTIME_INFO;
        let figures: KvTable = wire.ask(code, &(), b"").await.read();
        let figures = figures.table;
        assert_eq!(figures["brokerActive"], "true");
        assert_eq!(figures["earliestMessageTimeStamp"], "-1");
        assert_eq!(figures["putTps"].split(' ').count(), 3);
        assert!(figures["commitLogDirCapacity"].starts_with("Total : "));

        let status: HaStatus = wire
            .ask(request_code::GET_BROKER_HA_STATUS, &(), b"")
            .await
            .read();
        assert!(status.is_master && status.slaves.is_empty());
        for code in [
            request_code::CLEAN_EXPIRED_CONSUMEQUEUE,
            request_code::DELETE_EXPIRED_COMMITLOG,
            request_code::CLEAN_UNUSED_TOPIC,
            request_code::RESET_MASTER_FLUSH_OFFSET,
            request_code::POP_ROLLBACK,
        ] {
            let done = wire.ask(code, &[("masterFlushOffset", "0")], b"").await;
            assert_eq!(done.code, OK, "{code}: {}", done.remark);
        }
        stop(node).await;
    });
}

#[test]
fn a_name_server_has_producers_leave_out_a_broker_and_shows_its_configuration() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, _wire) = node(folder.path()).await;
        let address = node.name_server_address().expect("a name server");
        let mut names = Wire::open(&address.to_string()).await;
        let route = async |names: &mut Wire| {
            let code = request_code::GET_ROUTEINFO_BY_TOPIC;
            let route = names.ask(code, &[("topic", "TBW102")], b"").await;
            let route: TopicRoute = route.read();
            route.queues[0].permission
        };
        let before = route(&mut names).await;
        let of = [("brokerName", "broker-a")];
        let wiped = names
            .ask(request_code::WIPE_WRITE_PERM_OF_BROKER, &of, b"")
            .await;
        assert_ne!(wiped.field("wipeTopicCount"), "0");
        assert_eq!(route(&mut names).await, before & !2);
        let added = names
            .ask(request_code::ADD_WRITE_PERM_OF_BROKER, &of, b"")
            .await;
        assert_eq!(added.field("addTopicCount"), wiped.field("wipeTopicCount"));
        assert_eq!(route(&mut names).await, before);
        let unknown = [("brokerName", "unknown")];
        let unknown = names
            .ask(request_code::WIPE_WRITE_PERM_OF_BROKER, &unknown, b"")
            .await;
        assert_eq!(unknown.field("wipeTopicCount"), "0");

        let shown = names.ask(request_code::GET_NAMESRV_CONFIG, &(), b"").await;
        let port = format!("listenPort={}", address.port());
        assert!(
            lines(&shown).contains(&port),
            "{port} in {:?}",
            lines(&shown)
        );
        let code = request_code::UPDATE_NAMESRV_CONFIG;
        let forbidden = names.ask(code, &(), b"kvConfigPath=x").await;
        assert_eq!(forbidden.code, response_code::NO_PERMISSION);
        for code in [
            request_code::GET_UNIT_TOPIC_LIST,
            request_code::GET_HAS_UNIT_SUB_TOPIC_LIST,
            request_code::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST,
        ] {
            let units: TopicList = names.ask(code, &(), b"").await.read();
            assert_eq!(units.topics.len(), 0, "{code}");
        }
        stop(node).await;
    });
}

#[test]
fn expired_offsets_are_compared_with_those_of_other_groups() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        for body in ["a", "b", "c"] {
            send(&mut wire, message("orders"), body).await;
        }
        for (group, offset) in [("first", 1), ("second", 2), ("third", 3)] {
            commit(&mut wire, group, "orders", offset).await;
        }
        let least = async |wire: &mut Wire, left_out: &str, compared: &str| {
            let of = [
                ("topic", "orders"),
                ("filterGroups", left_out),
                ("compareGroup", compared),
            ];
            let came = wire
                .ask(request_code::QUERY_CORRECTION_OFFSET, &of, b"")
                .await;
            let least: castmq_protocol::remoting::bodies::offset::CorrectionOffsets = came.read();
            QueueOffset(least.correction_offsets[&0] as u64)
        };
        assert_eq!(least(&mut wire, "", "third").await, QueueOffset(1));
        assert_eq!(least(&mut wire, "first", "third").await, QueueOffset(2));
        let behind = QueueOffset(i64::MAX as u64);
        assert_eq!(least(&mut wire, "first", "first").await, behind);
        stop(node).await;
    });
}
