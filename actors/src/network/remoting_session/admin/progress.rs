//! How far groups are. When messages were stored is in the log, which may have to be read from the disk.

use std::collections::{BTreeMap, BTreeSet};

use castmq_protocol::model::{GroupName, QueueId, QueueOffset, TopicName};
use castmq_protocol::remoting::bodies::MessageQueue;
use castmq_protocol::remoting::bodies::stats::{
    BrokerConsumeStats, ConsumeStats, ConsumeTimeSpans, Progress, QueueTimeSpan,
};
use castmq_protocol::remoting::headers::group_admin::{
    BrokerConsumeStats as AllStatsOf, ConsumeStats as ConsumeStatsOf, ConsumeTimeSpan,
};
use castmq_storage::consume_queue::ConsumeQueue;
use castmq_storage::disk::Wait;

use super::super::offsets::known_topic;
use super::statistics::processed_per_second;
use super::*;
use crate::broker::topics::Topic;
use crate::names::group_name;

impl RemotingSession {
    pub(super) fn consume_stats(&mut self, asked: &Asked<'_>, ctx: &mut Ctx<'_, Self>) -> Handled {
        let of = ConsumeStatsOf::from_fields(&asked.command.fields)?;
        let group = group_name(of.group)?;
        let topics = of
            .topics
            .map(names_in)
            .filter(|topics| !topics.is_empty())
            .unwrap_or_else(|| wanted_topics(&self.context, &group, of.topic.unwrap_or_default()));
        let read = move |context: &BrokerContext| {
            let topics = topics.iter().map(|topic| context.topics.find(topic));
            let mut stats = ConsumeStats::default();
            for topic in topics.flatten() {
                stats.consume_tps += processed_per_second(context, &topic.name, &group);
                stats.offsets.extend(progress(context, &group, &topic));
            }
            Ok(bytes(stats))
        };
        self.read_apart(asked, read, ctx)
    }

    pub(super) fn all_consume_stats(
        &mut self,
        asked: &Asked<'_>,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let in_order = AllStatsOf::from_fields(&asked.command.fields)?.in_order;
        self.read_apart(
            asked,
            move |context| Ok(bytes(of_all_groups(context, in_order))),
            ctx,
        )
    }

    pub(super) fn time_spans(&mut self, asked: &Asked<'_>, ctx: &mut Ctx<'_, Self>) -> Handled {
        let of = ConsumeTimeSpan::from_fields(&asked.command.fields)?;
        let group = group_name(of.group)?;
        let topic = known_topic(&self.context, of.topic)?;
        let read = move |context: &BrokerContext| {
            let ids = 0..topic.write_queues();
            let spans = ids.map(|id| time_span(context, &group, &topic, QueueId(id)));
            Ok(bytes(ConsumeTimeSpans {
                queues: spans.collect(),
            }))
        };
        self.read_apart(asked, read, ctx)
    }
}

fn names_in(list: &str) -> BTreeSet<String> {
    let names = list.split(';').map(str::trim);
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The topic that is asked for, or all in which a group has offsets. A group that is there is not shown with topics that it
/// does not subscribe to.
fn wanted_topics(context: &BrokerContext, group: &GroupName, topic: &str) -> BTreeSet<String> {
    let mut topics: BTreeSet<_> = match topic {
        "" => {
            let offsets = context.offsets.of_group(group).into_iter();
            offsets.map(|((topic, _), _)| topic.to_string()).collect()
        }
        topic => [topic.to_owned()].into(),
    };
    let wishes = context.client_groups.wishes(group.as_str());
    let subscriptions = wishes
        .map(|wishes| wishes.subscriptions)
        .unwrap_or_default();
    topics.retain(|topic| subscriptions.is_empty() || subscriptions.contains_key(topic.as_str()));
    topics
}

/// How far a group is in each queue of a topic, also where it has no offset.
fn progress(
    context: &BrokerContext,
    group: &GroupName,
    topic: &Topic,
) -> BTreeMap<MessageQueue, Progress> {
    let broker = &context.settings.broker.name;
    let of_queue = |id: u32| {
        let key = (topic.name.clone(), QueueId(id));
        let queue = context.store.queues.find(topic.name.as_str(), key.1);
        let committed = context.offsets.get(group, &key).unwrap_or_default();
        let last = committed.0.checked_sub(1).map(QueueOffset);
        let last_ms = queue
            .as_ref()
            .zip(last)
            .and_then(|(queue, last)| stored_ms(context, queue, last));
        let progress = Progress {
            broker_offset: queue.map_or(0, |queue| queue.max_offset().0 as i64),
            consumer_offset: committed.0 as i64,
            last_timestamp_ms: last_ms.unwrap_or_default(),
            pull_offset: committed.0 as i64,
        };
        (
            MessageQueue::new(topic.name.as_str(), broker, id as i32),
            progress,
        )
    };
    (0..topic.read_queues()).map(of_queue).collect()
}

fn of_all_groups(context: &BrokerContext, in_order: bool) -> BrokerConsumeStats {
    let mut all = BrokerConsumeStats {
        broker_address: context.store_host.to_string(),
        ..BrokerConsumeStats::default()
    };
    for group in context.groups.names() {
        let names = wanted_topics(context, &group, "");
        let topics = names.iter().filter_map(|name| context.topics.find(name));
        let topics = topics.filter(|topic| !in_order || topic.config().order);
        let stats: Vec<_> = topics
            .map(|topic| ConsumeStats {
                consume_tps: processed_per_second(context, &topic.name, &group),
                offsets: progress(context, &group, &topic),
            })
            .collect();
        let queues = stats.iter().flat_map(|stats| stats.offsets.values());
        let left = queues.map(|queue| queue.broker_offset - queue.consumer_offset);
        all.total_diff += left.sum::<i64>();
        all.groups.push([(group.to_string(), stats)].into());
    }
    all
}

fn time_span(
    context: &BrokerContext,
    group: &GroupName,
    topic: &Topic,
    id: QueueId,
) -> QueueTimeSpan {
    let broker = &context.settings.broker.name;
    let name: &TopicName = &topic.name;
    let mut span = QueueTimeSpan {
        queue: MessageQueue::new(name.as_str(), broker, id.0 as i32),
        consume_ms: -1,
        max_ms: -1,
        min_ms: -1,
        delay_ms: 0,
    };
    let Some(queue) = context.store.queues.find(name.as_str(), id) else {
        return span;
    };
    let at = |offset: Option<u64>| stored_ms(context, &queue, QueueOffset(offset?));
    let (min, max) = (queue.min_offset().0, queue.max_offset().0);
    let committed = context.offsets.get(group, &(name.clone(), id));
    let committed = committed.unwrap_or_default().0;
    span.min_ms = at(Some(min)).unwrap_or(-1);
    span.max_ms = at(max.checked_sub(1)).unwrap_or(-1);
    span.consume_ms = match committed {
        0 => span.min_ms,
        _ => at(committed.checked_sub(1)).unwrap_or(-1),
    };
    if committed < max {
        let next_ms = at(Some(committed.max(min)));
        span.delay_ms = next_ms.map_or(0, |next_ms| context.clock.now_ms() - next_ms);
    }
    span
}

/// When a message of a queue was stored; `None` when it is not there any more.
fn stored_ms(context: &BrokerContext, queue: &ConsumeQueue, offset: QueueOffset) -> Option<i64> {
    let mut units = Vec::new();
    queue.read(offset, 1, Wait::ForDisk, &mut units).ok()?;
    let first = units.first()?;
    context.store.log.store_timestamp_ms(first.physical)
}
