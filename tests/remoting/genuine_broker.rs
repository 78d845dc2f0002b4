//! Brokers of RocketMQ at a name server: what a genuine one said, and what others may say.

use std::fs;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use castmq_actors::{Node, Parts};
use castmq_client::Client;
use castmq_protocol::remoting::bodies::DataVersion;
use castmq_protocol::remoting::bodies::registration::{Registration, check_sum};
use castmq_protocol::remoting::bodies::route::{
    BrokerMemberGroupResponse, BrokerQueues, ClusterInfo, TopicRoute,
};
use castmq_protocol::remoting::bodies::topic::TopicEntry;
use castmq_protocol::remoting::headers::name_server::{
    BrokerHeartbeat, BrokerMemberGroup, ForgetTopic, QueryDataVersion, RegisterBroker,
    RegisterTopic, RouteInfo, UnregisterBroker,
};
use castmq_protocol::remoting::{
    Command, Frames, Head, ReadFields, json, put_frame, request_code, response_code,
};

use crate::support::{run, settings, stop, until};
use crate::wire::{Came, Wire};

/// Starts a name server; its address.
pub(crate) async fn name_server() -> (Node, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = settings(folder.path());
    settings.limits.max_topics = 100;
    settings.limits.max_groups = 50;
    let node = Node::start(&settings, Parts::NameServer).await;
    let node = node.expect("a name server");
    let address = node.name_server_address().expect("a name server");
    (node, address.to_string())
}

/// A request of the genuine servers' log: its frame.
fn recorded(code: i32) -> Vec<u8> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/fixtures/genuine/frames.hex");
    let text = fs::read_to_string(path).expect("frames");
    let title = format!("# client to namesrv: {code} ");
    let mut lines = text.lines().skip_while(|line| !line.starts_with(&title));
    let frame = lines.nth(1).and_then(|line| line.strip_prefix("> "));
    let hex = frame.expect("a frame").as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16);
    hex.chunks(2).map(|pair| byte(pair).expect("hex")).collect()
}

/// What a master says of itself.
pub(crate) fn master<'a>(name: &'a str, address: &'a str) -> RegisterBroker<'a> {
    RegisterBroker {
        broker_name: name,
        broker_address: address,
        cluster: "c",
        ha_address: "10.0.0.1:10912",
        broker_id: 0,
        heartbeat_timeout_ms: None,
        acting_master_enabled: Some(false),
        compressed: false,
        body_crc: 0,
        castmq: None,
    }
}

/// A registration with these topics.
pub(crate) fn topics(counter: i64, names: &[&str]) -> Registration {
    let mut registration = Registration::default();
    registration.topics.data_version = DataVersion {
        counter,
        state_version: 0,
        timestamp: 7,
    };
    for name in names {
        let entry = TopicEntry {
            topic_name: (*name).to_owned(),
            read_queues: 3,
            write_queues: 2,
            ..TopicEntry::default()
        };
        registration.topics.topics.insert((*name).to_owned(), entry);
    }
    registration
}

pub(crate) async fn register(
    wire: &mut Wire,
    fields: &RegisterBroker<'_>,
    registration: &Registration,
) -> Came {
    let body = json::to_bytes(registration);
    wire.ask(request_code::REGISTER_BROKER, fields, &body).await
}

pub(crate) async fn route(wire: &mut Wire, topic: &str) -> Option<TopicRoute> {
    let fields = RouteInfo {
        topic,
        standard_json_only: Some(true),
    };
    let came = wire
        .ask(request_code::GET_ROUTEINFO_BY_TOPIC, &fields, b"")
        .await;
    (came.code == response_code::SUCCESS).then(|| came.read())
}

#[test]
fn what_a_genuine_broker_said_is_read_and_written_again() {
    let frame = recorded(request_code::REGISTER_BROKER);
    let frame = Frames::new(&frame, usize::MAX).next().expect("a frame");
    let frame = frame.expect("a frame");
    let command = Command::decode(&frame).expect("a header");
    let fields = RegisterBroker::from_fields(&command.fields).expect("its fields");
    assert_eq!(fields.broker_name, "broker-a");
    assert_eq!(fields.body_crc, check_sum(frame.body));
    let read: Registration = json::from_slice(frame.body).expect("its body");
    assert!(read.topics.topics.contains_key("TBW102"));
    let again: Registration = json::from_slice(&json::to_bytes(&read)).expect("what was written");
    assert_eq!(again, read);
    let unpacked = Registration::from_compressed(&read.to_compressed(), 1 << 20);
    assert_eq!(
        unpacked.expect("what was packed").topics.topics,
        read.topics.topics
    );

    let mut out = BytesMut::new();
    let head = Head::of(&command);
    put_frame(&head, &fields, frame.body, &mut out);
    let written = Frames::new(&out, usize::MAX).next().expect("a frame");
    let written = written.expect("a frame");
    let again = Command::decode(&written).expect("a header");
    assert_eq!(RegisterBroker::from_fields(&again.fields), Ok(fields));
    assert_eq!(written.body, frame.body);
}

#[test]
fn a_genuine_brokers_registration_is_found_by_clients_of_both_kinds_until_it_goes() {
    run(async {
        let (node, address) = name_server().await;
        let mut wire = Wire::open(&address).await;
        wire.say(&recorded(request_code::REGISTER_BROKER)).await;
        let answer = wire.answer(0).await;
        assert_eq!(answer.code, response_code::SUCCESS, "{}", answer.remark);
        assert!(answer.fields.get("masterAddr").is_none());

        let mut asking = Wire::open(&address).await;
        let found = route(&mut asking, "BenchmarkTest").await.expect("a route");
        assert_eq!(found.queues[0].read_queues, 1024);
        assert_eq!(found.brokers[0].broker_name, "broker-a");
        let code = request_code::GET_BROKER_CLUSTER_INFO;
        let cluster: ClusterInfo = asking.ask(code, &(), b"").await.read();
        assert!(cluster.clusters["DefaultCluster"].contains("broker-a"));
        let client = Client::connect(&address).await.expect("a client");
        let native = client
            .admin()
            .route("BenchmarkTest")
            .await
            .expect("a route");
        let at = &found.brokers[0].addresses[&0];
        assert_eq!(native.brokers[0].addresses, [(0, at.clone())]);

        // Its goodbye counts over its own connection only.
        let goodbye = recorded(request_code::UNREGISTER_BROKER);
        let opaque = 12_999;
        asking.say(&goodbye).await;
        assert_eq!(asking.answer(opaque).await.code, response_code::SUCCESS);
        assert!(route(&mut asking, "BenchmarkTest").await.is_some());
        wire.say(&goodbye).await;
        assert_eq!(wire.answer(opaque).await.code, response_code::SUCCESS);
        assert!(route(&mut asking, "BenchmarkTest").await.is_none());
        stop(node).await;
    });
}

#[test]
fn topics_come_and_go_and_the_end_of_the_connection_is_the_brokers() {
    run(async {
        let (node, address) = name_server().await;
        let mut wire = Wire::open(&address).await;
        let fields = master("r", "10.0.0.1:10911");
        let query = QueryDataVersion {
            broker_name: "r",
            broker_address: "10.0.0.1:10911",
            cluster: "c",
            broker_id: 0,
        };
        let code = request_code::QUERY_DATA_VERSION;
        let version = json::to_bytes(&topics(1, &[]).topics.data_version);
        let unknown = wire.ask(code, &query, &version).await;
        assert_eq!(unknown.field("changed"), "true");
        assert!(unknown.body.is_empty());
        register(&mut wire, &fields, &topics(1, &["t", "u"])).await;
        let known = wire.ask(code, &query, &version).await;
        assert_eq!(known.field("changed"), "false");
        assert_eq!(known.read::<DataVersion>().timestamp, 7);
        let newer = json::to_bytes(&topics(2, &[]).topics.data_version);
        assert_eq!(
            wire.ask(code, &query, &newer).await.field("changed"),
            "true"
        );
        register(&mut wire, &fields, &topics(2, &["v"])).await;
        assert!(route(&mut wire, "t").await.is_some());
        let found = route(&mut wire, "v").await.expect("a route");
        assert_eq!(
            (found.queues[0].read_queues, found.queues[0].write_queues),
            (3, 2)
        );

        let forget = ForgetTopic {
            topic: "t",
            cluster: Some("c"),
        };
        let code = request_code::DELETE_TOPIC_IN_NAMESRV;
        assert_eq!(wire.ask(code, &forget, b"").await.code, 0);
        assert!(route(&mut wire, "t").await.is_none());
        let queues = BrokerQueues {
            broker_name: "r".to_owned(),
            permission: 6,
            read_queues: 1,
            topic_sys_flag: 0,
            write_queues: 1,
        };
        let body = json::to_bytes(&TopicRoute {
            queues: vec![queues],
            ..TopicRoute::default()
        });
        let code = request_code::REGISTER_TOPIC_IN_NAMESRV;
        let put = RegisterTopic { topic: "w" };
        assert_eq!(wire.ask(code, &put, &body).await.code, 0);
        assert!(route(&mut wire, "w").await.is_some());

        let heartbeat = BrokerHeartbeat {
            cluster: "c",
            broker_address: "10.0.0.1:10911",
            broker_name: "r",
            broker_id: None,
            epoch: None,
            max_offset: None,
            confirm_offset: None,
            heartbeat_timeout_ms: None,
            election_priority: None,
        };
        let code = request_code::BROKER_HEARTBEAT;
        assert_eq!(wire.ask(code, &heartbeat, b"").await.code, 0);
        drop(wire);
        let gone = async || {
            let mut asking = Wire::open(&address).await;
            route(&mut asking, "w").await.is_none()
        };
        until(gone).await;
        stop(node).await;
    });
}

#[test]
fn a_slave_hears_of_its_master_and_members_of_each_other() {
    run(async {
        let (node, address) = name_server().await;
        let mut masters = Wire::open(&address).await;
        let fields = master("r", "10.0.0.1:10911");
        let order = [
            ("namespace", "ORDER_TOPIC_CONFIG"),
            ("key", "t"),
            ("value", "r:3"),
        ];
        masters.ask(request_code::PUT_KV_CONFIG, &order, b"").await;
        let answer = register(&mut masters, &fields, &topics(1, &["t", "u"])).await;
        assert!(answer.fields.get("masterAddr").is_none());
        assert_eq!(
            answer.body,
            Bytes::from_static(b"{\"table\":{\"t\":\"r:3\"}}")
        );
        let mut slaves = Wire::open(&address).await;
        let slave = RegisterBroker {
            broker_address: "slave.example:10911",
            broker_id: 1,
            ..fields
        };
        let answer = register(&mut slaves, &slave, &topics(1, &["t", "u"])).await;
        assert_eq!(answer.code, response_code::SUCCESS, "{}", answer.remark);
        assert_eq!(answer.field("masterAddr"), "10.0.0.1:10911");
        assert_eq!(answer.field("haServerAddr"), "10.0.0.1:10912");
        let of = BrokerMemberGroup {
            cluster: "c",
            broker_name: "r",
        };
        let code = request_code::GET_BROKER_MEMBER_GROUP;
        let group: BrokerMemberGroupResponse = slaves.ask(code, &of, b"").await.read();
        let members = group.broker_member_group.addresses;
        assert_eq!(members[&1], "slave.example:10911");
        assert_eq!(members.len(), 2);
        // Without a master nobody writes.
        let goodbye = UnregisterBroker {
            broker_name: "r",
            broker_address: "10.0.0.1:10911",
            cluster: "c",
            broker_id: 0,
        };
        let code = request_code::UNREGISTER_BROKER;
        assert_eq!(masters.ask(code, &goodbye, b"").await.code, 0);
        let found = route(&mut slaves, "t").await.expect("a route");
        assert_eq!(found.queues[0].permission, 4);
        stop(node).await;
    });
}
