//! Messages that wait elsewhere before they reach their topic.

use std::sync::Arc;

use castmq_protocol::model::{
    MAX_PROPERTIES_BYTES, QueueId, keys, replace_properties, system_topics,
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
    if properties.len() > MAX_PROPERTIES_BYTES {
        return Err(Refusal::never(
            ErrorCode::PropertiesTooLarge,
            format!(
                "properties of {} bytes, with those that a delayed message needs, are longer than the limit of {MAX_PROPERTIES_BYTES}: send fewer or shorter ones",
                properties.len()
            ),
        ));
    }
    Ok(Redirected {
        topic: schedule,
        queue: QueueId(u32::from(level) - 1),
        properties,
    })
}
