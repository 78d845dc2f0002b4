//! Messages that wait elsewhere before they reach their topic.

use std::sync::Arc;

use castmq_protocol::model::{
    GroupName, MAX_PROPERTIES_BYTES, QueueId, keys, property_value, replace_properties,
    system_topics, write_properties,
};
use castmq_protocol::native::{ErrorCode, Failure as Refusal};

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

/// Writes the properties of a half message behind what is in `out`: those of the message of a transaction of a producer
/// group.
pub(crate) fn write_half(
    context: &BrokerContext,
    group: &GroupName,
    delay_level: u8,
    (topic, queue): (&Topic, QueueId),
    properties: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let (mut level_digits, mut queue_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
    let level = context.delays.clamp(delay_level);
    let level = level.map(|level| level_digits.format(level));
    let changes = [
        (keys::TRANSACTION_PREPARED, Some("true")),
        (keys::PRODUCER_GROUP, Some(group.as_str())),
        (
            keys::TRANSACTION_ID,
            property_value(properties, keys::UNIQ_KEY),
        ),
        (keys::DELAY, level),
        (keys::REAL_TOPIC, Some(topic.name.as_str())),
        (keys::REAL_QID, Some(queue_digits.format(queue.0))),
    ];
    let start = out.len();
    write_properties(properties, &changes, out);
    check_length(out.get(start..).unwrap_or_default())
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
    let at_ms = deliver_at_ms.to_string();
    let changes = [(keys::TIMER_OUT_MS, Some(at_ms.as_str()))];
    let place = (system_topics::TIMER, QueueId(0));
    stored_in(context, place, (topic, queue), properties, &changes).map(Some)
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
    let text = level.to_string();
    let changes = [(keys::DELAY, Some(text.as_str()))];
    let place = (system_topics::SCHEDULE, QueueId(u32::from(level) - 1));
    stored_in(context, place, (topic, queue), properties, &changes)
}

/// Stores a message in a queue of a system topic, and lets it say where it belongs.
fn stored_in(
    context: &BrokerContext,
    (system_topic, queue): (&str, QueueId),
    (real_topic, real_queue): (&Topic, QueueId),
    properties: &[u8],
    changes: &[(&str, Option<&str>)],
) -> Result<Redirected, Refusal> {
    let topic = context.topics.find(system_topic);
    let topic =
        topic.ok_or_else(|| context.internal(format!("topic {system_topic} is missing")))?;
    let real_queue = real_queue.to_string();
    let belongs = [
        (keys::REAL_TOPIC, Some(real_topic.name.as_str())),
        (keys::REAL_QID, Some(real_queue.as_str())),
    ];
    let properties = replace_properties(properties, &[changes, &belongs].concat());
    check_length(&properties)?;
    Ok(Redirected {
        topic,
        queue,
        properties,
    })
}

/// Where a message belongs that waited: its topic, unless that is gone, and its queue, unless the topic has fewer now.
pub(crate) fn real_place(
    context: &BrokerContext,
    properties: &[u8],
) -> Result<(Arc<Topic>, Option<QueueId>), String> {
    let name = property_value(properties, keys::REAL_TOPIC).unwrap_or_default();
    let topic = context.topics.find(name).ok_or_else(|| name.to_owned())?;
    let queue = property_value(properties, keys::REAL_QID).and_then(|id| id.parse().ok());
    let queue = queue.filter(|id| *id < topic.write_queues()).map(QueueId);
    Ok((topic, queue))
}

/// Whether a record can hold a message's properties with what the broker adds.
pub(crate) fn check_length(properties: &[u8]) -> Result<(), Refusal> {
    if properties.len() <= MAX_PROPERTIES_BYTES {
        return Ok(());
    }
    Err(Refusal::never(
        ErrorCode::PropertiesTooLarge,
        format!(
            "properties of {} bytes, with those that the broker adds, are longer than the limit of {MAX_PROPERTIES_BYTES}: send fewer or shorter ones",
            properties.len()
        ),
    ))
}
