//! Topics and groups that every broker has (RocketMQ `TopicConfigManager`, `SubscriptionGroupManager`).

use castmq_protocol::model::{TopicConfig, permission, system_topics};

const READ_WRITE: u32 = permission::READ | permission::WRITE;

/// Queues of the template after which topics are created.
const TEMPLATE_QUEUES: u32 = 8;

/// Queues of the schedule topic in RocketMQ, whatever its levels are.
const MIN_SCHEDULE_QUEUES: u32 = 18;

fn topic(name: &str, queues: u32, permission: u32) -> (String, TopicConfig) {
    let config = TopicConfig {
        permission,
        ..TopicConfig::with_queues(queues)
    };
    (name.to_owned(), config)
}

/// The system topics of a broker.
pub(crate) fn topics(
    cluster: &str,
    broker: &str,
    auto_create: bool,
    delay_levels: u8,
    traces: bool,
) -> Vec<(String, TopicConfig)> {
    let mut topics = vec![
        topic(system_topics::SELF_TEST, 1, READ_WRITE),
        topic(system_topics::BENCHMARK, 1024, READ_WRITE),
        topic(cluster, 16, READ_WRITE | permission::INHERIT),
        topic(broker, 1, READ_WRITE | permission::INHERIT),
        topic(system_topics::OFFSET_MOVED_EVENT, 1, READ_WRITE),
        topic(
            system_topics::SCHEDULE,
            MIN_SCHEDULE_QUEUES.max(delay_levels.into()),
            READ_WRITE,
        ),
        topic(system_topics::TRANSACTION_HALF, 1, READ_WRITE),
        topic(system_topics::TRANSACTION_OP, 1, READ_WRITE),
        topic(system_topics::TRANSACTION_UNRESOLVED, 1, READ_WRITE),
        topic(system_topics::TIMER, 1, READ_WRITE),
        topic(system_topics::POP_JOURNAL, 1, READ_WRITE),
        topic(&system_topics::replies(cluster), 1, READ_WRITE),
    ];
    if traces {
        topics.push(topic(system_topics::TRACE, 1, READ_WRITE));
    }
    if auto_create {
        let all = READ_WRITE | permission::INHERIT;
        topics.push(topic(
            system_topics::AUTO_CREATE_TEMPLATE,
            TEMPLATE_QUEUES,
            all,
        ));
    }
    topics
}

/// The system groups of a broker.
pub(crate) const GROUPS: [&str; 9] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
    "CID_RMQ_SYS_REVIVE_GROUP",
];
