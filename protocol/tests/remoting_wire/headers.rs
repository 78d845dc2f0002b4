//! The fields of each header: their names, which of them have to be there, and that what is written is read.

use std::fmt::Debug;

use bytes::BytesMut;
use castmq_protocol::remoting::headers::*;
use castmq_protocol::remoting::{
    Command, FieldError, Fields, Head, ReadFields, WriteFields, put_frame, request_code,
};

use super::{BOTH, fields, only_frame};

const GOLDEN: &str = include_str!("../golden/remoting_fields.txt");

/// All names of fields.
const NAMES: &[&str] = &[
    "AccessKey",
    "IS_SUB_CHANGE",
    "IS_SUPPORT_HEART_BEAT_V2",
    "MSG_REGION",
    "SecurityToken",
    "Signature",
    "TRACE_ON",
    "_UNIQUE_KEY_QUERY",
    "acceptStandardJsonOnly",
    "addTopicCount",
    "attemptId",
    "attributes",
    "batchUniqId",
    "beginTimestamp",
    "bname",
    "bodyCrc32",
    "bornHost",
    "bornTime",
    "bornTimestamp",
    "boundaryType",
    "brokerAddr",
    "brokerId",
    "brokerName",
    "changed",
    "cleanOffset",
    "clientAddr",
    "clientID",
    "clientId",
    "cluster",
    "clusterName",
    "commitLogOffset",
    "commitOffset",
    "commitOrRollback",
    "committed",
    "compareGroup",
    "compressed",
    "confirmOffset",
    "consumerGroup",
    "count",
    "dataVersion",
    "defaultTopic",
    "defaultTopicQueueNums",
    "delayLevel",
    "destGroup",
    "electionPriority",
    "enableActingMaster",
    "endTimestamp",
    "epoch",
    "exp",
    "expType",
    "expressionType",
    "extraInfo",
    "filter",
    "filterGroups",
    "flag",
    "forbiddenType",
    "force",
    "fromTransactionCheck",
    "group",
    "groupName",
    "groupSeq",
    "groupSysFlag",
    "haBrokerAddr",
    "haServerAddr",
    "hasMsg",
    "heartbeatTimeoutMillis",
    "heartbeatTimeoutMills",
    "index",
    "indexLastUpdatePhyoffset",
    "indexLastUpdateTimestamp",
    "initMode",
    "invisibleTime",
    "isForce",
    "isOrder",
    "jstackEnable",
    "key",
    "masterAddr",
    "masterAddress",
    "masterFlushOffset",
    "masterHaAddress",
    "lo",
    "maxGroupNum",
    "maxMsgBytes",
    "maxMsgNums",
    "maxNum",
    "maxOffset",
    "maxReconsumeTimes",
    "maxTopicNum",
    "minBrokerAddr",
    "minBrokerId",
    "minOffset",
    "msgId",
    "msgOffsetInfo",
    "namespace",
    "nextBeginOffset",
    "ns",
    "nsd",
    "offlineBrokerAddr",
    "offline",
    "offset",
    "offsetDelta",
    "offsetMsgId",
    "order",
    "orderCountInfo",
    "oway",
    "originMsgId",
    "originTopic",
    "perm",
    "policyType",
    "pollTime",
    "pollingFull",
    "pollingNum",
    "popTime",
    "producerGroup",
    "properties",
    "proxyFrowardClientId",
    "queueId",
    "queueOffset",
    "readQueueNums",
    "readable",
    "recallHandle",
    "reconsumeTimes",
    "requestSource",
    "resource",
    "resourceFilter",
    "restNum",
    "reviveQid",
    "setZeroIfNotFound",
    "srcGroup",
    "startOffsetInfo",
    "statsKey",
    "statsName",
    "storeHost",
    "storeTimestamp",
    "subVersion",
    "subject",
    "subjectFilter",
    "subscription",
    "suggestWhichBrokerId",
    "suspendTimeoutMillis",
    "sysFlag",
    "timestamp",
    "topic",
    "topicFilterType",
    "topicList",
    "topicSeq",
    "topicSysFlag",
    "totalGroupNum",
    "totalTopicNum",
    "tranStateTableOffset",
    "transactionId",
    "unitMode",
    "username",
    "value",
    "version",
    "wipeTopicCount",
    "writeQueueNums",
];

fn everything() -> Fields<'static> {
    let mut all = Fields::new();
    for name in NAMES {
        assert!(all.push(*name, "1"));
    }
    all
}

/// The fields of `header` as they come out of a frame.
fn sent(header: &impl WriteFields) -> Vec<Fields<'static>> {
    let send = |serialization| {
        let mut out = BytesMut::new();
        let head = Head {
            serialization,
            ..Head::request(10, 1)
        };
        put_frame(&head, header, b"body", &mut out);
        let mut owned = Fields::new();
        let frame = only_frame(&out);
        for (name, value) in Command::decode(&frame).unwrap().fields.iter() {
            assert!(owned.push(name.to_owned(), value.to_owned()));
        }
        owned
    };
    BOTH.map(send).into()
}

/// Fields that have to be there, found by leaving them out.
fn mandatory(mut try_read: impl FnMut(&[&'static str]) -> Option<FieldError>) -> Vec<&'static str> {
    let mut names = Vec::new();
    while let Some(error) = try_read(&names) {
        let FieldError::Missing { name } = error else {
            panic!("{error}");
        };
        assert!(!names.contains(&name));
        names.push(name);
    }
    names
}

fn only(names: &[&'static str]) -> Fields<'static> {
    let pairs: Vec<_> = names.iter().map(|name| (*name, "1")).collect();
    fields(&pairs)
}

/// `name` with its fields in their order; a `!` behind each that has to be there.
fn line(name: &str, written: &Fields<'_>, mandatory: &[&str]) -> String {
    let mut line = name.to_owned();
    for (field, _) in written.iter() {
        let mark = if mandatory.contains(&field) { "!" } else { "" };
        line += &format!(" {field}{mark}");
    }
    line + "\n"
}

macro_rules! lines {
    ($($module:ident { $($header:ident)* })*) => {{
        let all = everything();
        let mut lines = String::new();
        $($({
            let header = $module::$header::from_fields(&all).unwrap();
            for fields in sent(&header) {
                assert_eq!($module::$header::from_fields(&fields), Ok(header));
            }
            let must = mandatory(|names| {
                $module::$header::from_fields(&only(names)).err()
            });
            let name = concat!(stringify!($module), "::", stringify!($header));
            lines += &line(name, &sent(&header)[0], &must);
        })*)*
        lines
    }};
}

fn golden_lines() -> String {
    let mut lines = lines! {
        send { SendMessageResponse PushReply RecallMessage RecallMessageResponse }
        pull { PullMessage PullMessageResponse }
        offsets {
            QueryOffset UpdateOffset SearchOffset MaxOffset MinOffset OffsetResponse EarliestStoreTime
            EarliestStoreTimeResponse
        }
        query { QueryMessage QueryMessageResponse ViewMessage QueryConsumeQueue }
        transaction { EndTransaction CheckTransaction ResumeCheck }
        membership {
            HeartbeatResponse UnregisterClient ConsumerList NotifyConsumersChanged SendBack ConsumerRunningInfo
            ConsumeDirectly ResetOffset ConsumerStatus
        }
        pop {
            PopMessage PopMessageResponse AckMessage ChangeInvisible ChangeInvisibleResponse PeekMessage Notification
            NotificationResponse PollingInfo PollingInfoResponse
        }
        name_server {
            RouteInfo RegisterBroker RegisterBrokerResponse UnregisterBroker QueryDataVersion QueryDataVersionResponse
            BrokerHeartbeat BrokerMemberGroup PutKv KvKey GetKvResponse KvNamespace WritePermission
            WipeWritePermissionResponse AddWritePermissionResponse TopicsByCluster ForgetTopic RegisterTopic
            NotifyMinBrokerId
        }
        topic_admin {
            PutTopic DeleteTopic TopicConfigOf AllTopicConfigs AllTopicConfigsResponse TopicStats TopicConsumers
        }
        group_admin {
            GroupConfigOf AllGroupConfigs AllGroupConfigsResponse DeleteGroup ConsumerConnections ProducerConnections
            ConsumeStats BrokerConsumeStats ConsumeTimeSpan TopicsOfConsumer SubscriptionOf GroupForbidden CloneOffsets
            CorrectionOffset
        }
        common { Common Credentials }
        broker_admin {
            StatsData BrokerConfigResponse ResetMasterFlushOffset HaInfo User ListUsers Acl ListAcls
        }
    };
    for code in [request_code::SEND_MESSAGE, request_code::SEND_MESSAGE_V2] {
        let written = &sent(&send_message().for_code(code))[0];
        let must = mandatory(|names| send::SendMessage::from_fields(code, &only(names)).err());
        lines += &line(request_code::name(code).unwrap(), written, &must);
    }
    lines
}

fn send_message() -> send::SendMessage<'static> {
    send::SendMessage {
        producer_group: "P",
        topic: "T",
        default_topic: "TBW102",
        default_topic_queues: 4,
        queue: -1,
        sys_flag: 1,
        born_timestamp_ms: 1_700_000_000_000,
        flag: 7,
        properties: Some("TAGS\u{1}a\u{2}"),
        reconsume_times: Some(2),
        unit_mode: true,
        batch: true,
        max_reconsume_times: Some(16),
        broker_name: Some("broker-a"),
    }
}

/// Lines may be added to the golden file, and fields to lines: `CASTMQ_WRITE_GOLDEN=1 cargo test -p castmq-protocol`
/// writes it anew, and the review of the change sees what moved.
#[test]
fn headers_have_the_fields_that_they_had() {
    let now = golden_lines();
    if std::env::var_os("CASTMQ_WRITE_GOLDEN").is_some() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/golden/remoting_fields.txt"
        );
        std::fs::write(path, now).unwrap();
        return;
    }
    assert_eq!(now.lines().count(), GOLDEN.lines().count());
    for (now, golden) in now.lines().zip(GOLDEN.lines()) {
        assert_eq!(now, golden);
    }
}

#[test]
fn a_send_request_is_the_same_with_long_and_short_names() {
    for code in [
        request_code::SEND_MESSAGE,
        request_code::SEND_MESSAGE_V2,
        request_code::SEND_BATCH_MESSAGE,
        request_code::SEND_REPLY_MESSAGE,
        request_code::SEND_REPLY_MESSAGE_V2,
    ] {
        for fields in sent(&send_message().for_code(code)) {
            let read = send::SendMessage::from_fields(code, &fields);
            assert_eq!(read, Ok(send_message()));
        }
    }
}

fn default_of<'a, T: ReadFields<'a> + Debug>(fields: &'a Fields<'_>) -> T {
    T::from_fields(fields).unwrap()
}

#[test]
fn missing_fields_have_rocketmqs_defaults() {
    let fields = fields(&[("group", "G"), ("topic", "T"), ("queueId", "")]);
    let reset: membership::ResetOffset = default_of(&fields);
    assert_eq!((reset.queue, reset.offset, reset.force), (-1, None, false));
    let missing = offsets::MaxOffset::from_fields(&fields).unwrap_err();
    assert_eq!(missing.to_string(), "the custom field <queueId> is null");
}

#[test]
fn truth_values_are_true_only_when_they_say_so() {
    let fields = fields(&[
        ("offline", "TRUE"),
        ("isOrder", "1"),
        ("srcGroup", "a"),
        ("destGroup", "b"),
    ]);
    assert!(default_of::<group_admin::CloneOffsets>(&fields).offline);
    assert!(!default_of::<group_admin::BrokerConsumeStats>(&fields).in_order);
}

#[test]
fn some_headers_are_written_together() {
    let delta = [("offsetDelta", "0"), ("x", "é\u{1}")];
    let offset = offsets::OffsetResponse { offset: -1 };
    for fields in sent(&(offset, Some(&delta))) {
        let pairs: Vec<_> = fields.iter().collect();
        assert_eq!(
            pairs,
            [("offset", "-1"), ("offsetDelta", "0"), ("x", "é\u{1}")]
        );
    }
    assert!(
        sent(&(None::<offsets::OffsetResponse>, ()))
            .iter()
            .all(Fields::is_empty)
    );
}
