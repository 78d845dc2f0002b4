//! Messages that wait elsewhere before they reach their topic.

use std::sync::Arc;

use castmq_protocol::model::{
    GroupName, MAX_PROPERTIES_BYTES, QueueId, keys, property_value, replace_properties,
    system_topics,
};
use castmq_protocol::native::{ErrorCode, Failure as Refusal};

use castmq_storage::halves::QUEUE as HALF_QUEUE;

use crate::broker::context::BrokerContext;
use crate::broker::topics::Topic;

/// Where a message is stored instead.
#[derive(Debug)]
pub(crate) struct Redirected {
    pub(crate) topic: Arc<Topic>,
    pub(crate) queue: QueueId,
    /// Its properties, with where it belongs.
    pub(crate) properties: Vec<u8>,
}

/// Makes a message the half message of a transaction of a producer group.
pub(crate) fn to_half(
    context: &BrokerContext,
    group: &GroupName,
    delay_level: u8,
    topic: &Topic,
    queue: QueueId,
    properties: &[u8],
) -> Result<Redirected, Refusal> {
    let halves = context.topics.find(system_topics::TRANSACTION_HALF);
    let halves = halves.ok_or_else(|| context.internal("the half topic is missing"))?;
    let id = property_value(properties, keys::UNIQ_KEY);
    let level = context.delays.clamp(delay_level);
    let level = level.map(|level| level.to_string());
    let properties = replace_properties(
        properties,
        &[
            (keys::TRANSACTION_PREPARED, Some("true")),
            (keys::PRODUCER_GROUP, Some(group.as_str())),
            (keys::TRANSACTION_ID, id),
            (keys::DELAY, level.as_deref()),
            (keys::REAL_TOPIC, Some(topic.name.as_str())),
            (keys::REAL_QID, Some(&queue.to_string())),
        ],
    );
    check_length(&properties)?;
    Ok(Redirected {
        topic: halves,
        queue: HALF_QUEUE,
        properties,
    })
}

/// Lets a message wait for a time; `None` when that is past.
pub(crate) fn to_timer(
    context: &BrokerContext,
    deliver_at_ms: i64,
    topic: &Topic,
    queue: QueueId,
    properties: &[u8],
) -> Result<Option<Redirected>, Refusal> {
    let left_ms = deliver_at_ms.saturating_sub(context.clock.now_ms());
    if left_ms <= 0 {
        return Ok(None);
    }
    let longest_ms = context.settings.broker.timer_max_delay_ms;
    if left_ms.unsigned_abs() > longest_ms {
        return Err(Refusal::never(
            ErrorCode::InvalidRequest,
            format!(
                "a message may wait for {longest_ms} ms and not for {left_ms}: let it be delivered earlier, or raise broker.timer_max_delay_ms"
            ),
        ));
    }
    let timer = context.topics.find(system_topics::TIMER);
    let timer = timer.ok_or_else(|| context.internal("the timer topic is missing"))?;
    let properties = replace_properties(
        properties,
        &[
            (keys::TIMER_OUT_MS, Some(&deliver_at_ms.to_string())),
            (keys::REAL_TOPIC, Some(topic.name.as_str())),
            (keys::REAL_QID, Some(&queue.to_string())),
        ],
    );
    check_length(&properties)?;
    Ok(Some(Redirected {
        topic: timer,
        queue: QueueId(0),
        properties,
    }))
}

/// Lets a message wait for a delay level, 1 or more. Levels beyond the last are the last, as in RocketMQ.
pub(crate) fn to_schedule(
    context: &BrokerContext,
    level: u8,
    topic: &Topic,
    queue: QueueId,
    properties: &[u8],
) -> Result<Redirected, Refusal> {
    let level = context.delays.clamp(level).unwrap_or(1);
    let schedule = context.topics.find(system_topics::SCHEDULE);
    let schedule = schedule.ok_or_else(|| context.internal("the schedule topic is missing"))?;
    let properties = replace_properties(
        properties,
        &[
            (keys::DELAY, Some(&level.to_string())),
            (keys::REAL_TOPIC, Some(topic.name.as_str())),
            (keys::REAL_QID, Some(&queue.to_string())),
        ],
    );
    check_length(&properties)?;
    Ok(Redirected {
        topic: schedule,
        queue: QueueId(u32::from(level) - 1),
        properties,
    })
}

fn check_length(properties: &[u8]) -> Result<(), Refusal> {
    if properties.len() <= MAX_PROPERTIES_BYTES {
        return Ok(());
    }
    Err(Refusal::never(
        ErrorCode::PropertiesTooLarge,
        format!(
            "properties of {} bytes, with those that say where the message belongs, are longer than the limit of {MAX_PROPERTIES_BYTES}: send fewer or shorter ones",
            properties.len()
        ),
    ))
}
