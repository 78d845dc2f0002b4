//! Bodies and files as RocketMQ writes them: what is read is written the same.

use std::fmt::Debug;

use castmq_protocol::model::{GroupConfig, TopicConfig};
use castmq_protocol::remoting::bodies::ack::BatchAckMessages;
use castmq_protocol::remoting::bodies::assignment::{
    Assignments, QueryAssignment, RequestModes, SetRequestMode,
};
use castmq_protocol::remoting::bodies::auth::{AclInfo, UserInfo};
use castmq_protocol::remoting::bodies::broker::HaStatus;
use castmq_protocol::remoting::bodies::connection::{
    ConsumerConnections, ProducerConnections, ProducerTable,
};
use castmq_protocol::remoting::bodies::consume_queue::ConsumeQueueEntries;
use castmq_protocol::remoting::bodies::group::{
    GroupEntry, GroupList, GroupReadable, GroupSubscription, GroupTable, PutGroups,
};
use castmq_protocol::remoting::bodies::heartbeat::{CheckClientConfig, ConsumeType, Heartbeat};
use castmq_protocol::remoting::bodies::lock::{LockQueues, LockedQueues};
use castmq_protocol::remoting::bodies::offset::{
    ConsumerOffsets, ConsumerStatus, CorrectionOffsets, DelayOffsets, ResetOffsets,
    ResetOffsetsForCpp,
};
use castmq_protocol::remoting::bodies::registration::{Registration, RegistrationError};
use castmq_protocol::remoting::bodies::route::{
    BrokerMemberGroupResponse, ClusterInfo, TopicList, TopicRoute,
};
use castmq_protocol::remoting::bodies::stats::{
    BrokerConsumeStats, ConsumeStats, ConsumeTimeSpans, StatsData, TopicStats,
};
use castmq_protocol::remoting::bodies::topic::{
    MappedTopicTable, PutTopics, TopicEntry, TopicMappingTable, TopicTable,
};
use castmq_protocol::remoting::bodies::{
    ConsumerIds, DataVersion, KvConfig, KvTable, MessageQueue,
};
use castmq_protocol::remoting::json;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads the text, which is RocketMQ's, and has it written again.
fn kept<T: Serialize + DeserializeOwned + PartialEq + Debug>(text: &str) -> T {
    let value: T = json::from_slice(text.as_bytes()).unwrap();
    let written = json::to_bytes(&value);
    assert_eq!(std::str::from_utf8(&written).unwrap(), text);
    value
}

const SUBSCRIPTION: &str = r#"{"classFilterMode":false,"codeSet":[2598919],"expressionType":"TAG","subString":"TagA","subVersion":1700000000000,"tagsSet":["TagA"],"topic":"T"}"#;
const QUEUE: &str = r#"{"brokerName":"broker-a","queueId":0,"topic":"T"}"#;
const VERSION: &str = r#"{"counter":2,"stateVersion":0,"timestamp":1700000000000}"#;
const TOPIC: &str = r#"{"attributes":{},"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":4}"#;
const GROUP: &str = concat!(
    r#"{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"#,
    r#""consumeMessageOrderly":false,"consumeTimeoutMinute":15,"groupName":"G","groupRetryPolicy":{"type":"CUSTOMIZED"},"#,
    r#""groupSysFlag":0,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"#,
    r#""whichBrokerWhenConsumeSlowly":1}"#
);

#[test]
fn heartbeats_and_subscriptions_keep_their_shape() {
    let heartbeat: Heartbeat = kept(&format!(
        r#"{{"clientID":"10.0.0.5@1234#567","consumerDataSet":[{{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"G","messageModel":"CLUSTERING","subscriptionDataSet":[{SUBSCRIPTION}],"unitMode":false}}],"heartbeatFingerprint":0,"producerDataSet":[{{"groupName":"CLIENT_INNER_PRODUCER"}}],"withoutSub":false}}"#
    ));
    assert_eq!(heartbeat.consumers[0].subscriptions[0].codes, [2_598_919]);
    let _: CheckClientConfig = kept(&format!(
        r#"{{"clientId":"c","group":"G","namespace":"","subscriptionData":{SUBSCRIPTION}}}"#
    ));
}

#[test]
fn enums_are_read_by_name_and_by_number_and_nothing_else() {
    let read = |text: &str| json::from_slice::<ConsumeType>(text.as_bytes());
    assert_eq!(read("2"), Ok(ConsumeType::Pop));
    assert_eq!(read("\"1\""), Ok(ConsumeType::Passively));
    assert_eq!(read("\"CONSUME_ACTIVELY\""), Ok(ConsumeType::Actively));
    assert_eq!(read("null"), Ok(ConsumeType::Passively));
    assert!(read("3").is_err());
    assert!(read("\"CONSUME\"").is_err());
}

#[test]
fn routes_are_compact_and_have_quoted_keys() {
    let route: TopicRoute = kept(
        r#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911","1":"10.0.0.2:10911"},"brokerName":"broker-a","cluster":"DefaultCluster","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#,
    );
    assert_eq!(route.brokers[0].addresses[&1], "10.0.0.2:10911");
    let _: TopicRoute = kept(
        r#"{"brokerDatas":[],"filterServerTable":{},"orderTopicConf":"broker-a:4;broker-b:4","queueDatas":[]}"#,
    );
    let unquoted = br#"{"brokerDatas":[{"brokerAddrs":{0:"10.0.0.1:10911"}}]}"#;
    let route: TopicRoute = json::from_slice(unquoted).unwrap();
    assert_eq!(route.brokers[0].addresses[&0], "10.0.0.1:10911");
}

#[test]
fn answers_of_name_servers_keep_their_shape() {
    let _: ClusterInfo = kept(
        r#"{"brokerAddrTable":{"broker-a":{"brokerAddrs":{"0":"10.0.0.1:10911"},"brokerName":"broker-a","cluster":"DefaultCluster","enableActingMaster":false}},"clusterAddrTable":{"DefaultCluster":["broker-a"]}}"#,
    );
    let _: TopicList = kept(r#"{"topicList":["%RETRY%G","T"]}"#);
    let _: TopicList = kept(r#"{"brokerAddr":"10.0.0.1:10911","topicList":[]}"#);
    let _: BrokerMemberGroupResponse = kept(
        r#"{"brokerMemberGroup":{"brokerAddrs":{"0":"10.0.0.1:10911"},"brokerName":"broker-a","cluster":"C"}}"#,
    );
    let _: KvTable = kept(r#"{"table":{"T":"broker-a:4;broker-b:4"}}"#);
    let _: KvConfig =
        kept(r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"T":"broker-a:4;broker-b:4"}}}"#);
    let _: DataVersion = kept(VERSION);
}

#[test]
fn topics_keep_their_shape() {
    let entry: TopicEntry = kept(TOPIC);
    assert_eq!(entry.config(), TopicConfig::with_queues(4));
    assert_eq!(TopicEntry::new("T", &entry.config()), entry);
    let table: TopicTable = kept(&format!(
        r#"{{"dataVersion":{VERSION},"topicConfigTable":{{"T":{TOPIC}}}}}"#
    ));
    assert_eq!(table.topics["T"], entry);
    let mapped = format!(
        r#"{{"dataVersion":{VERSION},"mappingDataVersion":{VERSION},"topicConfigTable":{{"T":{TOPIC}}},"topicQueueMappingDetailMap":{{}},"topicQueueMappingInfoMap":{{}}}}"#
    );
    let _: MappedTopicTable = kept(&mapped);
    let _: Registration = kept(&format!(
        r#"{{"filterServerList":[],"topicConfigSerializeWrapper":{mapped}}}"#
    ));
    let _: PutTopics = kept(&format!(r#"{{"topicConfigList":[{TOPIC}]}}"#));
    let _: TopicMappingTable = kept(&format!(
        r#"{{"dataVersion":{VERSION},"topicQueueMappingInfoMap":{{}}}}"#
    ));
    let old: MappedTopicTable =
        json::from_slice(br#"{"topicConfigTable":{"T":{"topicName":"T"}}}"#).unwrap();
    assert_eq!(old.topics["T"].read_queues, 16);
}

#[test]
fn groups_keep_their_shape() {
    let entry: GroupEntry = kept(GROUP);
    assert_eq!(entry.config(), GroupConfig::default());
    assert_eq!(GroupEntry::new("G", &entry.config()), entry);
    let bare: GroupEntry = json::from_slice(br#"{"groupName":"G"}"#).unwrap();
    assert_eq!(bare, entry);
    let _: GroupTable = kept(&format!(
        r#"{{"dataVersion":{VERSION},"forbiddenTable":{{"G":{{"T":1}}}},"subscriptionGroupTable":{{"G":{GROUP}}}}}"#
    ));
    let _: PutGroups = kept(&format!(r#"{{"groupConfigList":[{GROUP}]}}"#));
    let policies = [
        r#"{"exponentialRetryPolicy":{"initial":5000,"max":7200000,"multiplier":2},"type":"EXPONENTIAL"}"#,
        r#"{"customizedRetryPolicy":{"next":[1000,5000]},"type":"CUSTOMIZED"}"#,
    ];
    for policy in policies {
        let _: GroupEntry = kept(&GROUP.replace(r#"{"type":"CUSTOMIZED"}"#, policy));
    }
    let _: GroupEntry = kept(&GROUP.replace(
        r#""whichBroker"#,
        r#""subscriptionDataSet":[{"expression":"*","expressionType":"TAG","topic":"T","version":1}],"whichBroker"#,
    ));
    let _: GroupList = kept(r#"{"groupList":["G"]}"#);
    let _: GroupReadable = kept(r#"{"group":"G","readable":true,"topic":"T"}"#);
    let _: GroupSubscription = kept(&format!(
        r#"{{"group":"G","subscriptionData":{SUBSCRIPTION},"topic":"T"}}"#
    ));
    let _: GroupSubscription = kept(r#"{"group":"G","topic":"T"}"#);
}

#[test]
fn offsets_keep_their_shape() {
    let offsets: ConsumerOffsets = kept(&format!(
        r#"{{"dataVersion":{VERSION},"offsetTable":{{"T@G":{{0:123,1:5}}}}}}"#
    ));
    assert_eq!(offsets.offsets["T@G"][&1], 5);
    let quoted = br#"{"offsetTable":{"T@G":{"0":"123"}}}"#;
    let offsets: ConsumerOffsets = json::from_slice(quoted).unwrap();
    assert_eq!(offsets.offsets["T@G"][&0], 123);
    let _: DelayOffsets = kept(&format!(
        r#"{{"dataVersion":{VERSION},"offsetTable":{{1:10,3:20}}}}"#
    ));
    let reset: ResetOffsets = kept(&format!(r#"{{"offsetTable":{{{QUEUE}:7}}}}"#));
    let for_cpp = ResetOffsetsForCpp::from(&reset);
    let text = r#"{"offsetTable":[{"brokerName":"broker-a","offset":7,"queueId":0,"topic":"T"}]}"#;
    assert_eq!(kept::<ResetOffsetsForCpp>(text), for_cpp);
    let _: ConsumerStatus = kept(&format!(
        r#"{{"consumerTable":{{"c1":{{{QUEUE}:7}}}},"messageQueueTable":{{{QUEUE}:7}}}}"#
    ));
    let _: CorrectionOffsets = kept(r#"{"correctionOffsets":{0:7}}"#);
}

#[test]
fn statistics_keep_their_shape() {
    let stats: TopicStats = kept(&format!(
        r#"{{"offsetTable":{{{QUEUE}:{{"lastUpdateTimestamp":1700000000000,"maxOffset":5,"minOffset":0}}}},"topicPutTps":0.0}}"#
    ));
    let queue = MessageQueue::new("T", "broker-a", 0);
    assert_eq!(stats.offsets[&queue].max_offset, 5);
    let consume = format!(
        r#"{{"consumeTps":1.5,"offsetTable":{{{QUEUE}:{{"brokerOffset":5,"consumerOffset":3,"lastTimestamp":1700000000000,"pullOffset":4}}}}}}"#
    );
    let _: ConsumeStats = kept(&consume);
    let _: BrokerConsumeStats = kept(&format!(
        r#"{{"brokerAddr":"10.0.0.1:10911","consumeStatsList":[{{"G":[{consume}]}}],"totalDiff":2,"totalInflightDiff":1}}"#
    ));
    let _: StatsData = kept(
        r#"{"statsDay":{"avgpt":1.0,"sum":8640000,"tps":100.0},"statsHour":{"avgpt":0.0,"sum":0,"tps":0.0},"statsMinute":{"avgpt":0.0,"sum":0,"tps":0.0}}"#,
    );
    let _: ConsumeTimeSpans = kept(&format!(
        r#"{{"consumeTimeSpanSet":[{{"consumeTimeStamp":2,"delayTime":5,"maxTimeStamp":3,"messageQueue":{QUEUE},"minTimeStamp":1}}]}}"#
    ));
    let _: ConsumeQueueEntries = kept(&format!(
        r#"{{"maxQueueIndex":1,"minQueueIndex":0,"queueData":[{{"eval":true,"msg":"x","physicOffset":4096,"physicSize":200,"tagsCode":-5}}],"subscriptionData":{SUBSCRIPTION}}}"#
    ));
    let _: HaStatus = kept(
        r#"{"haClientRuntimeInfo":{"activated":true,"lastReadTimestamp":0,"lastWriteTimestamp":0,"masterFlushOffset":0,"maxOffset":0,"transferredByteInSecond":0},"haConnectionInfo":[{"addr":"10.0.0.2:4000","diff":3,"inSync":true,"slaveAckOffset":97,"transferFromWhere":97,"transferredByteInSecond":10}],"inSyncSlaveNums":1,"master":true,"masterCommitLogMaxOffset":100}"#,
    );
}

#[test]
fn clients_keep_their_shape() {
    let connection =
        r#"{"clientAddr":"10.0.0.5:5000","clientId":"c1","language":"JAVA","version":479}"#;
    let _: ConsumerConnections = kept(&format!(
        r#"{{"connectionSet":[{connection}],"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_POP","messageModel":"BROADCASTING","subscriptionTable":{{"T":{SUBSCRIPTION}}}}}"#
    ));
    let _: ProducerConnections = kept(&format!(r#"{{"connectionSet":[{connection}]}}"#));
    let _: ProducerTable = kept(
        r#"{"data":{"P":[{"clientId":"c1","language":"GO","lastUpdateTimestamp":1700000000000,"remoteIP":"10.0.0.5:5000","version":317}]}}"#,
    );
    let _: ConsumerIds = kept(r#"{"consumerIdList":["c1","c2"]}"#);
    let _: LockQueues = kept(&format!(
        r#"{{"clientId":"c1","consumerGroup":"G","mqSet":[{QUEUE}],"onlyThisBroker":false}}"#
    ));
    let _: LockedQueues = kept(&format!(r#"{{"lockOKMQSet":[{QUEUE}]}}"#));
    let _: UserInfo =
        kept(r#"{"password":"p","userStatus":"enable","userType":"Normal","username":"u"}"#);
    let _: Vec<AclInfo> = kept(
        r#"[{"policies":[{"entries":[{"actions":["Pub"],"decision":"Allow","resource":"Topic:T","sourceIps":["10.0.0.0/8"]}],"policyType":"Custom"}],"subject":"User:u"}]"#,
    );
}

#[test]
fn assignments_and_acknowledgements_keep_their_shape() {
    let _: QueryAssignment = kept(
        r#"{"clientId":"c1","consumerGroup":"G","messageModel":"CLUSTERING","strategyName":"AVG","topic":"T"}"#,
    );
    let _: Assignments = kept(&format!(
        r#"{{"messageQueueAssignments":[{{"messageQueue":{QUEUE},"mode":"POP"}}]}}"#
    ));
    let keep: Assignments = kept("{}");
    assert_eq!(keep.queues, None);
    let drop: Assignments = kept(r#"{"messageQueueAssignments":[]}"#);
    assert_eq!(drop.queues, Some(Vec::new()));
    let mode = r#"{"consumerGroup":"G","mode":"POP","popShareQueueNum":0,"topic":"T"}"#;
    let _: SetRequestMode = kept(mode);
    let _: RequestModes = kept(&format!(
        r#"{{"messageRequestModeMap":{{"T":{{"G":{mode}}}}}}}"#
    ));
    let acks: BatchAckMessages = kept(
        r#"{"acks":[{"b":"BwEC","c":"G","it":60000,"pt":1700000000000,"q":0,"r":"0","rq":3,"so":100,"t":"T"}],"brokerName":"broker-a"}"#,
    );
    assert!(acks.acks[0].messages.iter().eq([0, 1, 2, 8, 17]));
    let long = br#"{"acks":[{"bitSet":"BwEC","consumerGroup":"G","invisibleTime":60000,"popTime":1700000000000,"queueId":0,"retry":"0","reviveQueueId":3,"startOffset":100,"topic":"T"}],"brokerName":"broker-a"}"#;
    assert_eq!(json::from_slice::<BatchAckMessages>(long), Ok(acks));
}

#[test]
fn settings_that_no_broker_has_do_not_spoil_a_file() {
    let negative = br#"{"brokerId":-1,"retryMaxTimes":-1,"retryQueueNums":-1,"whichBrokerWhenConsumeSlowly":-1}"#;
    let group: GroupEntry = json::from_slice(negative).unwrap();
    let config = group.config();
    assert_eq!(
        (config.broker_id, config.retry_max, config.retry_queues),
        (0, 16, 0)
    );
    let topic: TopicEntry = json::from_slice(br#"{"perm":-1,"readQueueNums":-4}"#).unwrap();
    assert_eq!(
        (topic.config().permission, topic.config().read_queues),
        (0, 0)
    );
}

fn registration() -> Registration {
    let mut registration = Registration::default();
    registration.topics.data_version.counter = 5;
    for queues in 1..50 {
        let mut config = TopicConfig::with_queues(queues);
        let attribute = ("message.type".to_owned(), "FIFO".to_owned());
        config.attributes.extend([attribute]);
        let name = format!("T{queues}");
        let entry = TopicEntry::new(&name, &config);
        registration.topics.topics.insert(name, entry);
    }
    registration
}

#[test]
fn compressed_registrations_are_read_and_bounded() {
    let registration = registration();
    let packed = registration.to_compressed();
    let read = Registration::from_compressed(&packed, 1 << 20);
    assert_eq!(read, Ok(registration));
    let refused = Registration::from_compressed(&packed, 1000);
    assert_eq!(refused, Err(RegistrationError::TooLong { limit: 1000 }));
    for cut in 0..packed.len() {
        assert!(Registration::from_compressed(&packed[..cut], 1 << 20).is_err());
    }
}

#[test]
fn topics_that_are_none_spoil_a_compressed_registration() {
    let mut registration = Registration::default();
    let entry = TopicEntry {
        topic_name: "with space".to_owned(),
        ..TopicEntry::default()
    };
    registration.topics.topics.insert(String::new(), entry);
    let refused = Registration::from_compressed(&registration.to_compressed(), 1 << 20);
    assert!(matches!(refused, Err(RegistrationError::Topic { .. })));
}
