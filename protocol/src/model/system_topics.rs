//! Topics that the broker itself owns (RocketMQ `TopicValidator`).

/// Template of automatically created topics; exists only where automatic creation is allowed.
pub const AUTO_CREATE_TEMPLATE: &str = "TBW102";
/// Messages waiting for their delay level.
pub const SCHEDULE: &str = "SCHEDULE_TOPIC_XXXX";
/// Half messages of open transactions.
pub const TRANSACTION_HALF: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Marks of half messages that are settled.
pub const TRANSACTION_OP: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Half messages that nobody would settle.
pub const TRANSACTION_UNRESOLVED: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Used by RocketMQ's self test.
pub const SELF_TEST: &str = "SELF_TEST_TOPIC";
/// Notices about offsets that moved.
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";
/// Used by RocketMQ's benchmarks.
pub const BENCHMARK: &str = "BenchmarkTest";
/// Message traces.
pub const TRACE: &str = "RMQ_SYS_TRACE_TOPIC";
/// Messages for any time.
pub const TIMER: &str = "rmq_sys_wheel_timer";
/// Who has which popped message, and until when.
pub const POP_JOURNAL: &str = "rmq_sys_pop_journal";

/// The topic in which a cluster's brokers store replies to requests.
pub fn replies(cluster: &str) -> String {
    format!("{cluster}_REPLY_TOPIC")
}

/// Whether a client is forbidden to send to this topic directly.
pub fn is_closed_to_clients(topic: &str) -> bool {
    matches!(
        topic,
        SCHEDULE
            | TRANSACTION_HALF
            | TRANSACTION_OP
            | TRANSACTION_UNRESOLVED
            | SELF_TEST
            | OFFSET_MOVED_EVENT
            | POP_JOURNAL
    )
}

/// Whether the topic belongs to the broker and can be neither changed nor deleted by a user.
pub fn is_system(topic: &str) -> bool {
    is_closed_to_clients(topic)
        || matches!(topic, AUTO_CREATE_TEMPLATE | BENCHMARK | TRACE | TIMER)
        || topic.starts_with("rmq_sys_")
}
