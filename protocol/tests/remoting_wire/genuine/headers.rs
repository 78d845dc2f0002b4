//! The fields of requests and answers, through the types of headers.

use bytes::BytesMut;
use castmq_protocol::remoting::headers::common::Common;
use castmq_protocol::remoting::headers::send::SendMessage;
use castmq_protocol::remoting::headers::*;
use castmq_protocol::remoting::{
    Command, FieldError, Fields, Head, ReadFields, WriteFields, put_frame, request_code as code,
    response_code,
};

use super::{only_frame, pairs};

/// What nothing hangs on: that clients are no streams, which index they mean, that they do not put a message off without its
/// counting as tried, and the region of a message that was recalled.
const ADDED: [&str; 4] = ["ReqT", "indexType", "suspend", "MSG_REGION"];

/// The fields as the header's type writes them.
type Written = Result<Fields<'static>, FieldError>;

fn written(header: &impl WriteFields) -> Fields<'static> {
    let mut out = BytesMut::new();
    put_frame(&Head::request(1, 1), header, b"", &mut out);
    Command::decode(&only_frame(&out))
        .unwrap()
        .fields
        .into_owned()
}

fn through<'a, T: ReadFields<'a> + WriteFields>(fields: &'a Fields<'_>) -> Written {
    Ok(written(&T::from_fields(fields)?))
}

fn sent(request: i32, fields: &Fields<'_>) -> Written {
    Ok(written(
        &SendMessage::from_fields(request, fields)?.for_code(request),
    ))
}

/// The header of a request; `None` when it has none of its own.
fn request(request: i32, fields: &Fields<'_>) -> Option<Written> {
    Some(match request {
        code::PULL_MESSAGE | code::LITE_PULL_MESSAGE => through::<pull::PullMessage<'_>>(fields),
        code::SEND_MESSAGE_V2 | code::SEND_BATCH_MESSAGE | code::SEND_REPLY_MESSAGE_V2 => {
            sent(request, fields)
        }
        code::QUERY_MESSAGE => through::<query::QueryMessage<'_>>(fields),
        code::VIEW_MESSAGE_BY_ID => through::<query::ViewMessage<'_>>(fields),
        code::QUERY_CONSUME_QUEUE => through::<query::QueryConsumeQueue<'_>>(fields),
        code::QUERY_CONSUMER_OFFSET => through::<offsets::QueryOffset<'_>>(fields),
        code::UPDATE_CONSUMER_OFFSET => through::<offsets::UpdateOffset<'_>>(fields),
        code::SEARCH_OFFSET_BY_TIMESTAMP => through::<offsets::SearchOffset<'_>>(fields),
        code::GET_MAX_OFFSET => through::<offsets::MaxOffset<'_>>(fields),
        code::GET_MIN_OFFSET => through::<offsets::MinOffset<'_>>(fields),
        code::GET_EARLIEST_MSG_STORETIME => through::<offsets::EarliestStoreTime<'_>>(fields),
        code::UNREGISTER_CLIENT => through::<membership::UnregisterClient<'_>>(fields),
        code::CONSUMER_SEND_MSG_BACK => through::<membership::SendBack<'_>>(fields),
        code::GET_CONSUMER_LIST_BY_GROUP => through::<membership::ConsumerList<'_>>(fields),
        code::NOTIFY_CONSUMER_IDS_CHANGED => {
            through::<membership::NotifyConsumersChanged<'_>>(fields)
        }
        code::INVOKE_BROKER_TO_RESET_OFFSET => through::<membership::ResetOffset<'_>>(fields),
        code::GET_CONSUMER_STATUS_FROM_CLIENT | code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => {
            through::<membership::ConsumerStatus<'_>>(fields)
        }
        code::GET_CONSUMER_RUNNING_INFO => through::<membership::ConsumerRunningInfo<'_>>(fields),
        code::CONSUME_MESSAGE_DIRECTLY => through::<membership::ConsumeDirectly<'_>>(fields),
        code::END_TRANSACTION => through::<transaction::EndTransaction<'_>>(fields),
        code::CHECK_TRANSACTION_STATE => through::<transaction::CheckTransaction<'_>>(fields),
        code::PUSH_REPLY_MESSAGE_TO_CLIENT => through::<send::PushReply<'_>>(fields),
        code::RECALL_MESSAGE => through::<send::RecallMessage<'_>>(fields),
        code::UPDATE_AND_CREATE_TOPIC | code::UPDATE_AND_CREATE_STATIC_TOPIC => {
            through::<topic_admin::PutTopic<'_>>(fields)
        }
        code::GET_ALL_TOPIC_CONFIG => through::<topic_admin::AllTopicConfigs<'_>>(fields),
        code::GET_TOPIC_STATS_INFO => through::<topic_admin::TopicStats<'_>>(fields),
        code::GET_TOPIC_CONFIG => through::<topic_admin::TopicConfigOf<'_>>(fields),
        code::DELETE_TOPIC_IN_BROKER => through::<topic_admin::DeleteTopic<'_>>(fields),
        code::QUERY_TOPIC_CONSUME_BY_WHO => through::<topic_admin::TopicConsumers<'_>>(fields),
        code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => {
            through::<group_admin::AllGroupConfigs<'_>>(fields)
        }
        code::GET_CONSUMER_CONNECTION_LIST => {
            through::<group_admin::ConsumerConnections<'_>>(fields)
        }
        code::GET_PRODUCER_CONNECTION_LIST => {
            through::<group_admin::ProducerConnections<'_>>(fields)
        }
        code::DELETE_SUBSCRIPTIONGROUP => through::<group_admin::DeleteGroup<'_>>(fields),
        code::GET_CONSUME_STATS => through::<group_admin::ConsumeStats<'_>>(fields),
        code::GET_BROKER_CONSUME_STATS => through::<group_admin::BrokerConsumeStats>(fields),
        code::CLONE_GROUP_OFFSET => through::<group_admin::CloneOffsets<'_>>(fields),
        code::VIEW_BROKER_STATS_DATA => through::<broker_admin::StatsData<'_>>(fields),
        code::RESET_MASTER_FLUSH_OFFSET => through::<broker_admin::ResetMasterFlushOffset>(fields),
        code::AUTH_CREATE_USER
        | code::AUTH_UPDATE_USER
        | code::AUTH_DELETE_USER
        | code::AUTH_GET_USER => through::<broker_admin::User<'_>>(fields),
        code::AUTH_LIST_USER => through::<broker_admin::ListUsers<'_>>(fields),
        code::AUTH_CREATE_ACL
        | code::AUTH_UPDATE_ACL
        | code::AUTH_DELETE_ACL
        | code::AUTH_GET_ACL => through::<broker_admin::Acl<'_>>(fields),
        code::AUTH_LIST_ACL => through::<broker_admin::ListAcls<'_>>(fields),
        code::POP_MESSAGE => through::<pop::PopMessage<'_>>(fields),
        code::ACK_MESSAGE => through::<pop::AckMessage<'_>>(fields),
        code::CHANGE_MESSAGE_INVISIBLETIME => through::<pop::ChangeInvisible<'_>>(fields),
        code::PUT_KV_CONFIG => through::<name_server::PutKv<'_>>(fields),
        code::GET_KV_CONFIG | code::DELETE_KV_CONFIG => through::<name_server::KvKey<'_>>(fields),
        code::REGISTER_BROKER => through::<name_server::RegisterBroker<'_>>(fields),
        code::UNREGISTER_BROKER => through::<name_server::UnregisterBroker<'_>>(fields),
        code::GET_ROUTEINFO_BY_TOPIC => through::<name_server::RouteInfo<'_>>(fields),
        code::DELETE_TOPIC_IN_NAMESRV => through::<name_server::ForgetTopic<'_>>(fields),
        code::WIPE_WRITE_PERM_OF_BROKER | code::ADD_WRITE_PERM_OF_BROKER => {
            through::<name_server::WritePermission<'_>>(fields)
        }
        _ => return None,
    })
}

/// The header of an answer; `None` when it has none of its own.
fn answer(request: i32, outcome: i32, fields: &Fields<'_>) -> Option<Written> {
    use response_code::{
        POLLING_TIMEOUT, PULL_NOT_FOUND, PULL_OFFSET_MOVED, PULL_RETRY_IMMEDIATELY,
        QUERY_NOT_FOUND, SUCCESS,
    };
    Some(match (request, outcome) {
        (
            code::PULL_MESSAGE | code::LITE_PULL_MESSAGE,
            SUCCESS | PULL_NOT_FOUND | PULL_RETRY_IMMEDIATELY | PULL_OFFSET_MOVED,
        ) => through::<pull::PullMessageResponse>(fields),
        (code::QUERY_MESSAGE, SUCCESS | QUERY_NOT_FOUND) => {
            through::<query::QueryMessageResponse>(fields)
        }
        (code::POP_MESSAGE, SUCCESS | POLLING_TIMEOUT) => {
            through::<pop::PopMessageResponse<'_>>(fields)
        }
        (_, outcome) if outcome != SUCCESS => return None,
        (code::SEND_MESSAGE_V2 | code::SEND_BATCH_MESSAGE | code::SEND_REPLY_MESSAGE_V2, _)
            if !fields.is_empty() =>
        {
            through::<send::SendMessageResponse<'_>>(fields)
        }
        (
            code::QUERY_CONSUMER_OFFSET
            | code::SEARCH_OFFSET_BY_TIMESTAMP
            | code::GET_MAX_OFFSET
            | code::GET_MIN_OFFSET,
            _,
        ) => through::<offsets::OffsetResponse>(fields),
        (code::GET_EARLIEST_MSG_STORETIME, _) => {
            through::<offsets::EarliestStoreTimeResponse>(fields)
        }
        (code::HEART_BEAT, _) => through::<membership::HeartbeatResponse>(fields),
        (code::RECALL_MESSAGE, _) => through::<send::RecallMessageResponse<'_>>(fields),
        (code::GET_ALL_TOPIC_CONFIG, _) => through::<topic_admin::AllTopicConfigsResponse>(fields),
        (code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, _) => {
            through::<group_admin::AllGroupConfigsResponse>(fields)
        }
        (code::GET_BROKER_CONFIG, _) => through::<broker_admin::BrokerConfigResponse<'_>>(fields),
        (code::CHANGE_MESSAGE_INVISIBLETIME, _) => through::<pop::ChangeInvisibleResponse>(fields),
        (code::GET_KV_CONFIG, _) => through::<name_server::GetKvResponse<'_>>(fields),
        (code::REGISTER_BROKER, _) => through::<name_server::RegisterBrokerResponse<'_>>(fields),
        (code::WIPE_WRITE_PERM_OF_BROKER, _) => {
            through::<name_server::WipeWritePermissionResponse>(fields)
        }
        (code::ADD_WRITE_PERM_OF_BROKER, _) => {
            through::<name_server::AddWritePermissionResponse>(fields)
        }
        _ => return None,
    })
}

/// Every field is there again with the same value, but for those that any request may carry. Fields that were not there say what
/// it means that they were not.
fn compare(about: &str, came: &Fields<'_>, header: Written) {
    let written = header.unwrap_or_else(|error| panic!("{about}: {error}"));
    for (name, value) in own(came) {
        match written.get(name) {
            Some(again) => assert_eq!(again, value, "{name} of {about}"),
            // RocketMQ writes what is nothing at times.
            None => assert_eq!(value, "", "{name} of {about} is lost"),
        }
    }
}

/// Fields that are of one request or answer alone.
fn own<'a>(fields: &'a Fields<'_>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let common = written(&Common::from_fields(fields).unwrap());
    let is_own = move |name: &str| common.get(name).is_none() && !ADDED.contains(&name);
    fields.iter().filter(move |(name, _)| is_own(name))
}

#[test]
fn every_field_is_read_by_its_type() {
    let (mut read, mut unread) = (0, Vec::new());
    for pair in pairs() {
        let asked = pair.code();
        for (number, frame) in pair.frames().enumerate() {
            let command = Command::decode(&only_frame(frame)).unwrap();
            let fields = &command.fields;
            let header = match number {
                0 => request(asked, fields),
                _ => answer(asked, command.code, fields),
            };
            // What a refusal carries is for no program.
            let is_refusal = number == 1 && command.code != response_code::SUCCESS;
            match header {
                Some(header) => {
                    read += 1;
                    compare(pair.about, fields, header);
                }
                None if is_refusal || own(fields).next().is_none() => {}
                None => unread.push((asked, number)),
            }
        }
    }
    assert!(read > 120, "{read}");
    assert_eq!(unread, [(code::SET_COMMITLOG_READ_MODE, 0)]);
}
