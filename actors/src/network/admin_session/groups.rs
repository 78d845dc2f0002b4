//! What operators do with groups.

use super::*;
use crate::delivery::groups::no_group;
use crate::names::group_name;

pub(super) async fn put_group(context: &BrokerContext, put: PutGroup) -> Result<(), Refusal> {
    let answer = context.metadata()?.ask(put).await;
    answer.map_err(lost)?.map(drop)
}

/// The name of a group that is there.
fn find_group(context: &BrokerContext, group: &str) -> Result<GroupName, Refusal> {
    let name = group_name(group)?;
    context.groups.existing(&name)?;
    Ok(name)
}

pub(super) async fn show_group(
    context: &Arc<BrokerContext>,
    group: &str,
) -> Result<AdminResponse, Refusal> {
    let name = find_group(context, group)?;
    let actor = context.wake_group(&name)?;
    let details = actor.ask(ShowGroup).await.map_err(lost)?;
    details
        .map(AdminResponse::Group)
        .ok_or_else(|| no_group(&name))
}

pub(super) async fn reset_offsets(
    context: &Arc<BrokerContext>,
    group: &str,
    queues: Vec<QueueKey>,
    to: ResetTo,
) -> Result<AdminResponse, Refusal> {
    // A name that was mistyped would leave offsets that nobody reads.
    let name = find_group(context, group)?;
    let found: Vec<_> = queues
        .iter()
        .map(|(topic, queue)| context.store.queues.queue(topic, *queue))
        .collect();
    let offsets: Vec<QueueOffset> = match to {
        ResetTo::Offset(offset) => found
            .iter()
            .map(|queue| offset.clamp(queue.min_offset(), queue.max_offset()))
            .collect(),
        ResetTo::Start(StartFrom::Earliest) => found.iter().map(|q| q.min_offset()).collect(),
        ResetTo::Start(StartFrom::Latest) => found.iter().map(|q| q.max_offset()).collect(),
        ResetTo::Start(StartFrom::Timestamp(timestamp_ms)) => {
            let question = OffsetsAtTime {
                queues: found,
                timestamp_ms,
            };
            let answer = context.cold_reader()?.ask(question).await;
            let offsets = answer.map_err(lost)?;
            offsets.map_err(|error| context.internal(error))?
        }
    };
    set_offsets(context, &name, queues.into_iter().zip(offsets).collect()).await
}

/// Sets offsets, and says which they are.
async fn set_offsets(
    context: &Arc<BrokerContext>,
    group: &GroupName,
    offsets: Vec<(QueueKey, QueueOffset)>,
) -> Result<AdminResponse, Refusal> {
    let set = SetOffsets {
        offsets: offsets.clone(),
    };
    context.wake_group(group)?.ask(set).await.map_err(lost)?;
    let by_queue: BTreeMap<_, _> = offsets.into_iter().collect();
    let named = |((topic, queue), offset): (QueueKey, QueueOffset)| {
        let queue = TopicQueue {
            topic: topic.to_string(),
            queue,
        };
        (queue, offset)
    };
    Ok(AdminResponse::Offsets(
        by_queue.into_iter().map(named).collect(),
    ))
}

/// Sets a group's offsets to those of another one.
pub(super) async fn clone_offsets(
    context: &Arc<BrokerContext>,
    group: &str,
    from: &str,
    topic: Option<&str>,
) -> Result<AdminResponse, Refusal> {
    let name = find_group(context, group)?;
    let from = find_group(context, from)?;
    let topic = topic.map(|topic| find_topic(context, topic)).transpose()?;
    // What waits for another attempt is its group's own.
    let retries = TopicName::retry_of(&from);
    let offsets: Vec<_> = context
        .offsets
        .of_group(&from)
        .into_iter()
        .filter(|((name, _), _)| match &topic {
            Some(topic) => *name == topic.name,
            None => *name != retries,
        })
        .collect();
    if offsets.is_empty() {
        let what = topic.map_or(String::new(), |topic| format!(" in topic {}", topic.name));
        return Err(Refusal::never(
            ErrorCode::OffsetOutOfRange,
            format!("group {from} has no offsets{what}: there is nothing to take over"),
        ));
    }
    set_offsets(context, &name, offsets).await
}

/// Deletes a group, unless somebody is a member.
pub(super) async fn delete_group(
    context: &Arc<BrokerContext>,
    group: &str,
    with_topics: bool,
) -> Result<(), Refusal> {
    let group = find_group(context, group)?;
    let details = context.wake_group(&group)?.ask(ShowGroup).await;
    let members = details
        .map_err(lost)?
        .map_or_else(Vec::new, |details| details.members);
    if let Some(member) = members.first() {
        return Err(Refusal::never(
            ErrorCode::Conflict,
            format!(
                "group {group} has {} members, one is {} at {}: stop them first",
                members.len(),
                member.client_id,
                member.address
            ),
        ));
    }
    let delete = DeleteGroup {
        group: group.clone(),
    };
    context.metadata()?.ask(delete).await.map_err(lost)??;
    if with_topics {
        for topic in [
            TopicName::retry_of(&group),
            TopicName::dead_letter_of(&group),
        ] {
            if context.topics.find(topic.as_str()).is_some() {
                delete_topic(context, topic.to_string()).await?;
            }
        }
    }
    Ok(())
}
