//! A message that a group could not process goes back into the log: to wait for another attempt, or to the dead letters.

use castmq_protocol::model::{GroupConfig, GroupName, QueueId, TopicName};
use castmq_protocol::native::Failure as Refusal;
use castmq_protocol::record::RecordView;

use super::redirect::{to_schedule, to_timer};
use super::retry::{Decision, RetryRule, dead_letter_properties, retry_properties};
use crate::broker::context::BrokerContext;
use crate::broker::topics::Topic;
use crate::storage::put::{Put, PutBatch};

/// What a group has set, where a consumer may say after how many retries a message is a dead letter.
pub(crate) fn rule_of(config: &GroupConfig, max_retries: Option<u32>) -> RetryRule {
    RetryRule {
        max_retries: max_retries.unwrap_or(config.retry_max),
        queues: config.retry_queues,
        // What was stored before it was checked counts as not set.
        delays: config.retry_delays().unwrap_or_default(),
    }
}

/// The topic that a message of a group goes to, and how many queues that has when it is made.
pub(crate) fn destination(
    decision: Decision,
    group: &GroupName,
    rule: &RetryRule,
) -> (TopicName, u32) {
    match decision {
        Decision::Retry { .. } | Decision::RetryAfter { .. } => {
            (TopicName::retry_of(group), rule.queues.max(1))
        }
        Decision::DeadLetter => (TopicName::dead_letter_of(group), 1),
    }
}

/// The message as it is stored again, for that topic. `ttl_ms`: of the topic that it comes from; `turn` chooses the queue.
pub(crate) fn put_back(
    context: &BrokerContext,
    correlation: u64,
    (decision, ttl_ms): (Decision, u64),
    topic: &Topic,
    turn: u64,
    record: &RecordView<'_>,
) -> Result<PutBatch, Refusal> {
    let queue = QueueId((turn % u64::from(topic.write_queues().max(1))) as u32);
    let (id, queue, properties) = match decision {
        Decision::Retry { level } => {
            let properties = retry_properties(record, ttl_ms);
            let waiting = to_schedule(context, level, topic, queue, &properties)?;
            (waiting.topic.id, waiting.queue, waiting.properties)
        }
        Decision::RetryAfter { delay_ms } => {
            let properties = retry_properties(record, ttl_ms);
            let delay_ms = i64::try_from(delay_ms).unwrap_or(i64::MAX);
            let at_ms = context.clock.now_ms().saturating_add(delay_ms);
            match to_timer(context, at_ms, topic, queue, &properties)? {
                Some(waiting) => (waiting.topic.id, waiting.queue, waiting.properties),
                None => (topic.id, queue, properties),
            }
        }
        Decision::DeadLetter => (topic.id, queue, dead_letter_properties(record)),
    };
    let mut batch = PutBatch::default();
    batch.add(
        correlation,
        &Put {
            queue: Some(queue),
            reconsume_times: record.reconsume_times().saturating_add(1),
            properties: &properties,
            ..Put::again(record, id)
        },
    );
    Ok(batch)
}
