//! Offsets: those of all groups, and setting them.

use std::collections::HashSet;

use castmq_protocol::model::{GroupName, QueueId, QueueOffset, TopicName};
use castmq_protocol::native::admin::ResetTo;
use castmq_protocol::native::request::StartFrom;
use castmq_protocol::remoting::bodies::offset::{
    ConsumerOffsets, CorrectionOffsets, DelayOffsets, ResetOffsets,
};
use castmq_protocol::remoting::bodies::{DataVersion, MessageQueue};
use castmq_protocol::remoting::headers::group_admin::{CloneOffsets, CorrectionOffset};
use castmq_protocol::remoting::headers::membership::ResetOffset;

use super::super::offsets::known_topic;
use super::*;
use crate::broker::topics::Topic;
use crate::names::group_name;

impl RemotingSession {
    /// Sets a group's offsets. Members are told at their next pull, and what they commit before that does not count.
    pub(super) fn reset_offsets(&mut self, asked: &Asked<'_>, ctx: &mut Ctx<'_, Self>) -> Handled {
        let reset = ResetOffset::from_fields(&asked.command.fields)?;
        let group = group_name(reset.group)?;
        let topic = known_topic(&self.context, reset.topic)?;
        let queue = u32::try_from(reset.queue).ok().map(QueueId);
        let to = match (reset.offset, reset.timestamp_ms) {
            (Some(offset), _) if offset >= 0 => ResetTo::Offset(QueueOffset(offset.unsigned_abs())),
            (_, -1) => ResetTo::Start(StartFrom::Latest),
            (_, at_ms) => ResetTo::Start(StartFrom::Timestamp(at_ms)),
        };
        let request = AdminRequest::ResetOffsets {
            group: group.to_string(),
            topic: topic.name.to_string(),
            queue,
            to,
        };
        let body = move |context: &BrokerContext, response| {
            let AdminResponse::Offsets(offsets) = response else {
                return Err(context
                    .internal("offsets are shown as something else")
                    .into());
            };
            let broker = &context.settings.broker.name;
            let mut reset = ResetOffsets::default();
            for (place, offset) in offsets {
                if let Ok(topic) = TopicName::new(&place.topic) {
                    let groups = &context.client_groups;
                    groups.reset(&group, (topic, place.queue), offset);
                }
                let queue = MessageQueue::new(&place.topic, broker, place.queue.0 as i32);
                reset.offsets.insert(queue, offset.0 as i64);
            }
            Ok(bytes(reset))
        };
        self.carry_out(asked, vec![request], body, ctx)
    }

    /// Sets a group's offsets to those of another one. The group is made, where that is allowed.
    pub(super) fn clone_offsets(&mut self, asked: &Asked<'_>, ctx: &mut Ctx<'_, Self>) -> Handled {
        let clone = CloneOffsets::from_fields(&asked.command.fields)?;
        let topic = clone.topic.filter(|topic| !topic.is_empty());
        let request = AdminRequest::CloneOffsets {
            group: clone.to.to_owned(),
            from: clone.from.to_owned(),
            topic: topic.map(str::to_owned),
        };
        group_name(clone.from)?;
        let ensured = ensure_group(&self.context, clone.to.to_owned(), &self.client)?;
        let context = self.context.clone();
        let cloned = async move {
            if let Err(refusal) = ensured.await {
                return Ok(Err(refusal));
            }
            Ok(match answer(context, request).await {
                Some(Err(refusal)) => Err(refusal),
                _ => Ok(()),
            })
        };
        let asker = asked.asker;
        let respond =
            move |session: &mut Self, cloned: Result<(), Refusal>, _: &mut Ctx<'_, Self>| {
                cloned?;
                session.respond(asker, &())
            };
        self.then(asker, cloned, respond, ctx);
        Ok(())
    }

    pub(super) fn correction(&mut self, asked: &Asked<'_>, ctx: &mut Ctx<'_, Self>) -> Handled {
        let of = CorrectionOffset::from_fields(&asked.command.fields)?;
        let topic = known_topic(&self.context, of.topic)?;
        let compared = group_name(of.compare_group)?;
        let left_out = of.groups.unwrap_or_default().split(',');
        let left_out: HashSet<_> = left_out.map(str::to_owned).collect();
        let read = move |context: &BrokerContext| {
            Ok(bytes(correction(context, &topic, &left_out, &compared)))
        };
        self.read_apart(asked, read, ctx)
    }
}

/// As `consumerOffset.json` has them.
pub(super) fn of_all_groups(context: &BrokerContext) -> ConsumerOffsets {
    let mut all = ConsumerOffsets::default();
    for (group, (topic, queue), offset) in context.offsets.all() {
        let of_group = all.offsets.entry(format!("{topic}@{group}")).or_default();
        of_group.insert(queue.0 as i32, offset.0 as i64);
    }
    all
}

/// As `delayOffset.json` has them, level by level.
pub(super) fn of_delays(context: &BrokerContext) -> DelayOffsets {
    let moved = &context.store.unseen.moved;
    let levels = 0..context.delays.count();
    let offsets = levels.map(|queue| {
        let level = i32::from(queue) + 1;
        (level, moved.next_scheduled(queue).0 as i64)
    });
    DelayOffsets {
        data_version: DataVersion::default(),
        offsets: offsets.collect(),
    }
}

/// The least offset of each queue of a topic among all groups but some. Where the group that they are compared with is behind
/// that, it is the greatest number there is.
fn correction(
    context: &BrokerContext,
    topic: &Topic,
    left_out: &HashSet<String>,
    compared: &GroupName,
) -> CorrectionOffsets {
    let mut least = CorrectionOffsets::default();
    let offsets = &mut least.correction_offsets;
    for group in context.groups.names() {
        if left_out.contains(group.as_str()) {
            continue;
        }
        for ((name, queue), offset) in context.offsets.of_group(&group) {
            let found = context.store.queues.find(name.as_str(), queue);
            let min = found.map_or(QueueOffset::ZERO, |queue| queue.min_offset());
            if name == topic.name && offset >= min {
                let offset = offset.0 as i64;
                let least = offsets.entry(queue.0 as i32).or_insert(offset);
                *least = offset.min(*least);
            }
        }
    }
    for ((name, queue), offset) in context.offsets.of_group(compared) {
        if name == topic.name
            && let Some(least) = offsets.get_mut(&(queue.0 as i32))
            && *least > offset.0 as i64
        {
            *least = i64::MAX;
        }
    }
    least
}
