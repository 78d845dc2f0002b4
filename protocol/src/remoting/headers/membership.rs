//! Clients in their groups: coming, going, and what is asked of them.

use super::{FieldError, FieldWriter, Fields, ReadFields, WriteFields, headers};

headers! {
    /// What heartbeats are answered with.
    HeartbeatResponse {
        /// Whether heartbeats without subscriptions are understood.
        "IS_SUPPORT_HEART_BEAT_V2" => knows_fingerprints: Option<bool>,
        /// Whether the client has to send its subscriptions again.
        "IS_SUB_CHANGE" => subscriptions_wanted: Option<bool>,
    }

    /// A client leaves.
    UnregisterClient<'a> {
        /// The client.
        "clientID" => client_id: &'a str,
        /// The producer group that it leaves.
        "producerGroup" => producer_group: Option<&'a str>,
        /// The consumer group that it leaves.
        "consumerGroup" => consumer_group: Option<&'a str>,
    }

    /// Members of a consumer group.
    ConsumerList<'a> {
        /// The group.
        "consumerGroup" => group: &'a str,
    }

    /// To a client: members of its group came or went.
    NotifyConsumersChanged<'a> {
        /// The group.
        "consumerGroup" => group: &'a str,
    }

    /// A message shall be delivered again later.
    SendBack<'a> {
        /// Where it lies in the log.
        "offset" => physical_offset: i64,
        /// The group.
        "group" => group: &'a str,
        /// 0 leaves the delay to the broker; negative makes it a dead letter.
        "delayLevel" => delay_level: i32,
        /// The id that the client knows it by.
        "originMsgId" => original_message_id: Option<&'a str>,
        /// Its topic.
        "originTopic" => original_topic: Option<&'a str>,
        /// Whether the consumer belongs to a unit.
        "unitMode" => unit_mode: bool = false,
        /// After how many vain deliveries it is a dead letter.
        "maxReconsumeTimes" => max_reconsume_times: Option<i32>,
    }

    /// What a client of a group is doing. The broker asks the client with the same request.
    ConsumerRunningInfo<'a> {
        /// The group.
        "consumerGroup" => group: &'a str,
        /// The client.
        "clientId" => client_id: &'a str,
        /// Whether to tell what its threads do.
        "jstackEnable" => with_stacks: bool = false,
    }

    /// Has a client process one message. The broker asks the client with the same request, and the record as the body.
    ConsumeDirectly<'a> {
        /// The group.
        "consumerGroup" => group: &'a str,
        /// The client.
        "clientId" => client_id: Option<&'a str>,
        /// The [`MessageId`](crate::record::MessageId) of where it lies.
        "msgId" => message_id: Option<&'a str>,
        /// The broker that has it.
        "brokerName" => broker_name: Option<&'a str>,
        /// Its topic.
        "topic" => topic: Option<&'a str>,
        /// The topic's flag.
        "topicSysFlag" => topic_sys_flag: Option<i32>,
        /// The group's flag.
        "groupSysFlag" => group_sys_flag: Option<i32>,
    }

    /// Sets a group's offsets in a topic: of an operator to a broker, and of a broker to clients.
    ResetOffset<'a> {
        /// The group.
        "group" => group: &'a str,
        /// The topic.
        "topic" => topic: &'a str,
        /// The queue; negative for all.
        "queueId" => queue: i32 = -1,
        /// To this offset, whatever the time is.
        "offset" => offset: Option<i64>,
        /// To this time, in milliseconds since the epoch; -1 for the end.
        "timestamp" => timestamp_ms: i64 = 0,
        /// Whether offsets may move forward.
        "isForce" => force: bool = false,
    }

    /// How far a group's members are in a topic: of an operator to a broker, and of a broker to clients.
    ConsumerStatus<'a> {
        /// The topic.
        "topic" => topic: &'a str,
        /// The group.
        "group" => group: &'a str,
        /// Only this client.
        "clientAddr" => client_id: Option<&'a str>,
    }
}
