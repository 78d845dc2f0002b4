//! Settings and offsets of RocketMQ's, as they are here.

use castmq_protocol::model::{
    GroupConfig, GroupName, QueueId, QueueOffset, TopicConfig, TopicName, group_attributes,
};
use castmq_protocol::remoting::bodies::group::{GroupEntry, RetryPolicy, RetryPolicyKind};
use castmq_protocol::remoting::bodies::offset::ConsumerOffsets;
use castmq_protocol::remoting::bodies::topic::TopicEntry;

use crate::metadata::StoredOffset;

/// Between topic and group in the names of offsets.
pub(super) const AT: char = '@';

/// Delays of a group's own that are taken, when RocketMQ has a curve for them.
const MAX_CURVE: u32 = 64;

/// A topic's settings. Attributes that mean nothing here are kept, and left out where they would be refused.
pub fn topic_config(entry: &TopicEntry) -> TopicConfig {
    let mut config = entry.config();
    if config.check().is_err() {
        config.attributes.clear();
    }
    config
}

/// A group's settings, its own retry delays among the attributes.
pub fn group_config(entry: &GroupEntry) -> GroupConfig {
    let mut config = entry.config();
    if let Some(delays) = retry_delays(&entry.retry_policy, config.retry_max) {
        let name = group_attributes::RETRY_DELAYS.to_owned();
        config.attributes.insert(name, delays);
    }
    if config.check().is_err() {
        config.attributes.clear();
    }
    config
}

/// A group's own delays, as the attribute has them; `None` for the broker's.
fn retry_delays(policy: &RetryPolicy, retry_max: u32) -> Option<String> {
    let delays_ms: Vec<i64> = match (policy.kind, &policy.exponential_retry_policy) {
        (RetryPolicyKind::Exponential, curve) => {
            let curve = curve.clone().unwrap_or_default();
            let step = |delay_ms: &i64| Some(delay_ms.saturating_mul(curve.multiplier.max(1)));
            std::iter::successors(Some(curve.initial_ms), step)
                .map(|delay_ms| delay_ms.clamp(1, curve.max_ms.max(1)))
                .take(retry_max.clamp(1, MAX_CURVE) as usize)
                .collect()
        }
        (RetryPolicyKind::Customized, _) => {
            policy.customized_retry_policy.as_ref()?.delays_ms.clone()
        }
    };
    let texts: Vec<_> = delays_ms
        .iter()
        .map(|delay_ms| format!("{delay_ms}ms"))
        .collect();
    (!texts.is_empty()).then(|| texts.join(" "))
}

/// Offsets of groups. Those whose names are none are of topics and groups that cannot be.
pub fn group_offsets(table: &ConsumerOffsets) -> Vec<StoredOffset> {
    let mut offsets = Vec::new();
    let mut passed_over = 0;
    for (name, queues) in &table.offsets {
        let names = name.split_once(AT).and_then(|(topic, group)| {
            Some((TopicName::new(topic).ok()?, GroupName::new(group).ok()?))
        });
        let Some((topic, group)) = names else {
            passed_over += queues.len();
            continue;
        };
        for (queue, offset) in queues {
            match (u32::try_from(*queue), u64::try_from(*offset)) {
                (Ok(queue), Ok(offset)) => offsets.push((
                    group.clone(),
                    (topic.clone(), QueueId(queue)),
                    QueueOffset(offset),
                )),
                _ => passed_over += 1,
            }
        }
    }
    if passed_over > 0 {
        tracing::debug!(passed_over, "offsets that are none were passed over");
    }
    offsets
}
