//! Bodies, through their types.

use std::collections::BTreeSet;

use castmq_protocol::record::{RecordView, batch};
use castmq_protocol::remoting::bodies::ack::BatchAckMessages;
use castmq_protocol::remoting::bodies::assignment::{Assignments, QueryAssignment, SetRequestMode};
use castmq_protocol::remoting::bodies::auth::{AclInfo, UserInfo};
use castmq_protocol::remoting::bodies::broker::HaStatus;
use castmq_protocol::remoting::bodies::connection::{
    ConsumerConnections, ProducerConnections, ProducerTable,
};
use castmq_protocol::remoting::bodies::consume_queue::ConsumeQueueEntries;
use castmq_protocol::remoting::bodies::group::{GroupEntry, GroupList, GroupTable};
use castmq_protocol::remoting::bodies::heartbeat::{CheckClientConfig, Heartbeat};
use castmq_protocol::remoting::bodies::lock::{LockQueues, LockedQueues};
use castmq_protocol::remoting::bodies::offset::{ConsumerStatus, ResetOffsets};
use castmq_protocol::remoting::bodies::registration::Registration;
use castmq_protocol::remoting::bodies::route::{ClusterInfo, TopicList, TopicRoute};
use castmq_protocol::remoting::bodies::stats::{
    BrokerConsumeStats, ConsumeStats, StatsData, TopicStats,
};
use castmq_protocol::remoting::bodies::topic::{MappedTopicTable, TopicEntry};
use castmq_protocol::remoting::bodies::{ConsumerIds, KvTable};
use castmq_protocol::remoting::properties_text::{read_properties, write_properties};
use castmq_protocol::remoting::{json, request_code as code};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::value::Value;
use super::{only_frame, pairs};

/// How a body comes out again.
#[derive(Debug, PartialEq, Eq)]
enum Kept {
    Bytes,
    /// Tables and sets are in another order: RocketMQ's are in that of Java's hashes.
    Values,
    /// It is none of the types that there are: what it says is passed on, or no question that is answered.
    Opaque,
}

fn typed<T: Serialize + DeserializeOwned>(body: &[u8]) -> Result<Kept, String> {
    let read: T = json::from_slice(body).map_err(|error| error.to_string())?;
    compared(body, &json::to_bytes(&read))
}

fn compared(body: &[u8], again: &[u8]) -> Result<Kept, String> {
    if again == body {
        return Ok(Kept::Bytes);
    }
    if Value::of(again) == Value::of(body) {
        return Ok(Kept::Values);
    }
    let text = String::from_utf8_lossy;
    Err(format!("{}\nbecomes\n{}", text(body), text(again)))
}

/// A body of names in any order.
fn names<T: Serialize + DeserializeOwned>(body: &[u8]) -> Result<Kept, String> {
    let read: T = json::from_slice(body).map_err(|error| error.to_string())?;
    let again = json::to_bytes(&read);
    match Value::of(&again).sorted() == Value::of(body).sorted() {
        true => Ok(Kept::Values),
        false => compared(body, &again),
    }
}

fn properties(body: &[u8]) -> Result<Kept, String> {
    let text = std::str::from_utf8(body).unwrap();
    let pairs = read_properties(text);
    let pairs = pairs
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()));
    match write_properties(pairs) {
        again if again == text => Ok(Kept::Bytes),
        again => Err(format!("{text}\nbecomes\n{again}")),
    }
}

/// Records, one behind the other, each with the body that it announces.
fn records(mut body: &[u8]) -> Result<Kept, String> {
    while !body.is_empty() {
        let record = RecordView::parse(body).map_err(|error| error.to_string())?;
        record.verify_body().map_err(|error| error.to_string())?;
        assert!(!record.topic().unwrap().is_empty() && record.property("UNIQ_KEY").is_some());
        body = &body[record.total_bytes()..];
    }
    Ok(Kept::Bytes)
}

fn elements(body: &[u8]) -> Result<Kept, String> {
    let mut again = bytes::BytesMut::new();
    for element in batch::elements(body) {
        let element = element.map_err(|error| error.to_string())?;
        element.encode(&mut again);
    }
    match again == body {
        true => Ok(Kept::Bytes),
        false => Err("a batch is another one".to_owned()),
    }
}

fn request(request: i32, body: &[u8]) -> Result<Kept, String> {
    match request {
        code::HEART_BEAT => typed::<Heartbeat>(body),
        code::LOCK_BATCH_MQ | code::UNLOCK_BATCH_MQ => typed::<LockQueues>(body),
        code::CHECK_CLIENT_CONFIG => typed::<CheckClientConfig>(body),
        code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => typed::<GroupEntry>(body),
        code::QUERY_ASSIGNMENT => typed::<QueryAssignment>(body),
        code::SET_MESSAGE_REQUEST_MODE => typed::<SetRequestMode>(body),
        code::BATCH_ACK_MESSAGE => typed::<BatchAckMessages>(body),
        code::REGISTER_BROKER => typed::<Registration>(body),
        code::AUTH_CREATE_USER | code::AUTH_UPDATE_USER => typed::<UserInfo>(body),
        code::AUTH_CREATE_ACL | code::AUTH_UPDATE_ACL => typed::<AclInfo>(body),
        code::UPDATE_BROKER_CONFIG
        | code::UPDATE_NAMESRV_CONFIG
        | code::UPDATE_COLD_DATA_FLOW_CTR_CONFIG => properties(body),
        code::CHECK_TRANSACTION_STATE | code::CONSUME_MESSAGE_DIRECTLY => records(body),
        code::SEND_BATCH_MESSAGE => elements(body),
        _ => Ok(Kept::Opaque),
    }
}

fn answer(request: i32, body: &[u8]) -> Result<Kept, String> {
    match request {
        code::PULL_MESSAGE
        | code::LITE_PULL_MESSAGE
        | code::POP_MESSAGE
        | code::QUERY_MESSAGE
        | code::VIEW_MESSAGE_BY_ID => records(body),
        code::GET_ALL_TOPIC_CONFIG => typed::<MappedTopicTable>(body),
        code::GET_TOPIC_CONFIG => typed::<TopicEntry>(body),
        code::GET_TOPIC_STATS_INFO => typed::<TopicStats>(body),
        code::GET_BROKER_RUNTIME_INFO => typed::<KvTable>(body),
        code::GET_BROKER_CONFIG | code::GET_NAMESRV_CONFIG => properties(body),
        code::GET_CONSUMER_LIST_BY_GROUP => typed::<ConsumerIds>(body),
        code::LOCK_BATCH_MQ => typed::<LockedQueues>(body),
        code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => typed::<GroupTable>(body),
        code::GET_CONSUMER_CONNECTION_LIST => typed::<ConsumerConnections>(body),
        code::GET_PRODUCER_CONNECTION_LIST => typed::<ProducerConnections>(body),
        code::GET_ALL_PRODUCER_INFO => typed::<ProducerTable>(body),
        code::GET_CONSUME_STATS => typed::<ConsumeStats>(body),
        code::GET_BROKER_CONSUME_STATS => typed::<BrokerConsumeStats>(body),
        code::VIEW_BROKER_STATS_DATA => typed::<StatsData>(body),
        code::INVOKE_BROKER_TO_RESET_OFFSET => typed::<ResetOffsets>(body),
        code::GET_CONSUMER_STATUS_FROM_CLIENT | code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => {
            typed::<ConsumerStatus>(body)
        }
        code::QUERY_TOPIC_CONSUME_BY_WHO => typed::<GroupList>(body),
        code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER | code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => {
            names::<TopicList>(body)
        }
        code::QUERY_CONSUME_QUEUE => typed::<ConsumeQueueEntries>(body),
        code::QUERY_ASSIGNMENT => typed::<Assignments>(body),
        code::GET_BROKER_HA_STATUS => typed::<HaStatus>(body),
        code::AUTH_GET_USER => typed::<UserInfo>(body),
        code::AUTH_LIST_USER => typed::<Vec<UserInfo>>(body),
        code::AUTH_GET_ACL => typed::<AclInfo>(body),
        code::AUTH_LIST_ACL => typed::<Vec<AclInfo>>(body),
        code::GET_ROUTEINFO_BY_TOPIC => typed::<TopicRoute>(body),
        code::GET_BROKER_CLUSTER_INFO => typed::<ClusterInfo>(body),
        _ => Ok(Kept::Opaque),
    }
}

#[test]
fn every_body_is_written_as_it_came() {
    let mut reordered = BTreeSet::new();
    let mut opaque = BTreeSet::new();
    let mut wrong = Vec::new();
    for pair in pairs() {
        let asked = pair.code();
        for (number, frame) in pair.frames().enumerate() {
            let body = only_frame(frame).body;
            if body.is_empty() {
                continue;
            }
            let kept = match number {
                0 => request(asked, body),
                _ => answer(asked, body),
            };
            match kept {
                Ok(Kept::Bytes) => {}
                Ok(Kept::Values) => drop(reordered.insert((asked, number))),
                Ok(Kept::Opaque) => drop(opaque.insert((asked, number))),
                Err(error) => wrong.push(format!("{}: {error}", pair.about)),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    // Tables by name, and of brokers by number, whose keys we quote as in routes.
    let tables = [
        code::GET_ALL_TOPIC_CONFIG,
        code::GET_BROKER_RUNTIME_INFO,
        code::GET_BROKER_CLUSTER_INFO,
        code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG,
        code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER,
        code::GET_CONSUMER_STATUS_FROM_CLIENT,
        code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS,
        code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER,
        code::GET_ALL_PRODUCER_INFO,
    ];
    let tables = tables.map(|asked| (asked, 1));
    let tables = tables.into_iter().chain([(code::REGISTER_BROKER, 0)]);
    assert_eq!(reordered, tables.collect());
    // Bodies of messages, what is passed on from client to tool, and what there is no setting for.
    let unread = [
        (code::GET_CONSUMER_RUNNING_INFO, 1),
        (code::CONSUME_MESSAGE_DIRECTLY, 1),
        (code::SEND_MESSAGE_V2, 0),
        (code::SEND_REPLY_MESSAGE_V2, 0),
        (code::PUSH_REPLY_MESSAGE_TO_CLIENT, 0),
        (code::UPDATE_AND_CREATE_STATIC_TOPIC, 0),
        (code::REMOVE_COLD_DATA_FLOW_CTR_CONFIG, 0),
        (code::GET_COLD_DATA_FLOW_CTR_INFO, 1),
    ];
    assert_eq!(opaque, BTreeSet::from(unread));
}
