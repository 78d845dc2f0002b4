//! Counters of the last minute, hour and day, under RocketMQ's names.

use castmq_protocol::model::{GroupName, QueueId, TopicName};
use castmq_protocol::remoting::Fields;
use castmq_protocol::remoting::bodies::stats::{StatsData, StatsItem};
use castmq_protocol::remoting::headers::broker_admin::StatsData as StatsOf;
use tokio::time::Instant;

use super::*;
use crate::broker::statistics::{Counted, Figure};
use crate::names::shortened;

pub(super) fn view(context: &BrokerContext, fields: &Fields<'_>) -> Result<StatsData, Refused> {
    let of = StatsOf::from_fields(fields)?;
    let values = values(context, of.name, of.key);
    let figures = values.and_then(|values| context.statistics.figures(Instant::now(), values));
    let [minute, hour, day] = figures.ok_or_else(|| {
        let shown = |text| shortened(text, 128);
        Refused::new(
            response_code::SYSTEM_ERROR,
            format!(
                "The stats <{}> <{}> not exist",
                shown(of.name),
                shown(of.key)
            ),
        )
    })?;
    Ok(StatsData {
        stats_day: item(day),
        stats_hour: item(hour),
        stats_minute: item(minute),
    })
}

/// What a counter is made of; `None` for one that is not kept.
fn values(context: &BrokerContext, name: &str, key: &str) -> Option<Vec<(Counted, u64)>> {
    let is_own_cluster = key == context.settings.broker.cluster_name;
    match name {
        "TOPIC_PUT_NUMS" => Some(stored(context, key, None)),
        "QUEUE_PUT_NUMS" => {
            let (topic, queue) = key.split_once('@')?;
            Some(stored(context, topic, Some(QueueId(queue.parse().ok()?))))
        }
        "GROUP_GET_NUMS" => {
            let (topic, group) = key.split_once('@')?;
            let (topic, group) = (TopicName::new(topic).ok()?, GroupName::new(group).ok()?);
            Some(processed(context, &topic, &group))
        }
        "BROKER_PUT_NUMS" if is_own_cluster => {
            let stored = context.meters.read().stored;
            Some(vec![(Counted::AllStored, stored)])
        }
        "BROKER_GET_NUMS" if is_own_cluster => {
            let delivered = context.meters.read().delivered;
            Some(vec![(Counted::AllDelivered, delivered)])
        }
        _ => None,
    }
}

fn stored(context: &BrokerContext, topic: &str, only: Option<QueueId>) -> Vec<(Counted, u64)> {
    let Some(topic) = context.topics.find(topic) else {
        return Vec::new();
    };
    let queues = context.store.queues.of_topic(&topic.name).into_iter();
    let wanted = queues.filter(|queue| only.is_none_or(|only| only == queue.id()));
    wanted
        .map(|queue| {
            let key = (topic.name.clone(), queue.id());
            (Counted::Stored(key), queue.max_offset().0)
        })
        .collect()
}

fn processed(context: &BrokerContext, topic: &TopicName, group: &GroupName) -> Vec<(Counted, u64)> {
    let offsets = context.offsets.of_group(group).into_iter();
    let of_topic = offsets.filter(|((name, _), _)| name == topic);
    of_topic
        .map(|(key, offset)| (Counted::Processed(group.clone(), key), offset.0))
        .collect()
}

/// Messages that a topic took a second over the last minute.
pub(super) fn stored_per_second(context: &BrokerContext, topic: &str) -> f64 {
    per_second(context, stored(context, topic, None))
}

/// Messages of a topic that a group processed a second over the last minute.
pub(super) fn processed_per_second(
    context: &BrokerContext,
    topic: &TopicName,
    group: &GroupName,
) -> f64 {
    per_second(context, processed(context, topic, group))
}

fn per_second(context: &BrokerContext, values: Vec<(Counted, u64)>) -> f64 {
    let figures = context.statistics.figures(Instant::now(), values);
    figures.map_or(0.0, |[minute, ..]| minute.per_second)
}

fn item(figure: Figure) -> StatsItem {
    StatsItem {
        // Each message counts by itself.
        average: if figure.sum > 0 { 1.0 } else { 0.0 },
        sum: i64::try_from(figure.sum).unwrap_or(i64::MAX),
        per_second: figure.per_second,
    }
}
