//! What RocketMQ's groups popped and did not acknowledge.
//!
//! RocketMQ keeps it in messages of its own: a checkpoint for each pop, and acknowledgements. They are timer messages first, and
//! lie in the revive topic when their time has come; up to the offset of its own group there they are done with. Here a
//! group's offset is the first message that is not settled, so that it has to go back to that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use castmq_protocol::model::{
    GroupName, QueueId, QueueOffset, TopicName, keys, property_value, system_topics,
};
use castmq_protocol::record::RecordView;
use castmq_protocol::remoting::json;
use serde::Deserialize;

use super::TakeoverError;
use crate::commit_log::CommitLog;
use crate::consume_queue::{ConsumeQueue, ConsumeQueues};
use crate::metadata::Metadata;
use crate::store::Store;

/// How the revive topic's name begins; the cluster's follows.
pub(super) const REVIVE: &str = "rmq_sys_REVIVE_LOG_";
pub(super) const REVIVE_GROUP: &str = "CID_RMQ_SYS_REVIVE_GROUP";

const CHECKPOINT: &str = "ck";
const ACK: &str = "ack";
const BATCH_ACK: &str = "bAck";

/// Where something was popped.
type Place = (GroupName, TopicName, QueueId);

/// A checkpoint or an acknowledgement: each has what the other has not, and both say which pop it was.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    #[serde(rename = "t")]
    topic: String,
    #[serde(rename = "c")]
    group: String,
    #[serde(rename = "q")]
    queue: i32,
    #[serde(rename = "so")]
    start: i64,
    #[serde(rename = "pt")]
    popped_ms: i64,
    /// Checkpoint: how many were popped, how far each is from the start, and bits of those that are acknowledged.
    #[serde(rename = "n")]
    count: u8,
    #[serde(rename = "d")]
    distances: Vec<i32>,
    #[serde(rename = "bm")]
    settled: i32,
    /// Acknowledgement.
    #[serde(rename = "ao")]
    acknowledged: i64,
    #[serde(rename = "aol")]
    all_acknowledged: Vec<i64>,
}

impl Body {
    fn pop(&self) -> (String, String, i32, i64, i64) {
        let (topic, group) = (self.topic.clone(), self.group.clone());
        (topic, group, self.queue, self.start, self.popped_ms)
    }

    fn place(&self) -> Option<Place> {
        let group = GroupName::new(&self.group).ok()?;
        let topic = TopicName::new(&self.topic).ok()?;
        Some((group, topic, QueueId(u32::try_from(self.queue).ok()?)))
    }

    /// What was popped and is not acknowledged by the checkpoint itself.
    fn popped(&self) -> impl Iterator<Item = i64> + '_ {
        (0..u32::from(self.count)).filter_map(|index| {
            let distance = self.distances.get(index as usize).copied();
            let is_settled = self.settled.checked_shr(index).unwrap_or(0) & 1 == 1;
            let distance = distance.unwrap_or(index as i32);
            (!is_settled).then_some(self.start + i64::from(distance))
        })
    }
}

#[derive(Debug, Default)]
struct Pops {
    checkpoints: Vec<Body>,
    acknowledged: BTreeMap<(String, String, i32, i64, i64), BTreeSet<i64>>,
}

impl Pops {
    fn note(&mut self, tag: &str, body: &[u8]) {
        let Ok(body) = json::from_slice::<Body>(body) else {
            return;
        };
        match tag {
            CHECKPOINT => self.checkpoints.push(body),
            ACK => {
                let known = self.acknowledged.entry(body.pop()).or_default();
                known.insert(body.acknowledged);
            }
            BATCH_ACK => {
                let known = self.acknowledged.entry(body.pop()).or_default();
                known.extend(body.all_acknowledged);
            }
            _ => {}
        }
    }

    fn first_open(&self) -> BTreeMap<Place, QueueOffset> {
        let mut first = BTreeMap::new();
        for checkpoint in &self.checkpoints {
            let known = self.acknowledged.get(&checkpoint.pop());
            let is_open = |offset: &i64| known.is_none_or(|known| !known.contains(offset));
            let open = checkpoint.popped().filter(is_open).min();
            let open = open.and_then(|offset| u64::try_from(offset).ok());
            if let (Some(place), Some(open)) = (checkpoint.place(), open) {
                let offset = first.entry(place).or_insert(QueueOffset(open));
                *offset = (*offset).min(QueueOffset(open));
            }
        }
        first
    }
}

/// Takes groups back to messages that they popped and did not acknowledge. Timer messages before `timer_read_ms` are delivered.
pub(super) fn take_back(store: &Store, timer_read_ms: i64) -> Result<(), TakeoverError> {
    let metadata = &store.metadata;
    for ((group, topic, queue), first) in
        unacknowledged(timer_read_ms, metadata, &store.log, &store.queues)?
    {
        tracing::info!(%group, %topic, %queue, %first, "messages that were popped and not acknowledged come again");
        metadata.put_offset(&group, &topic, queue, Some(first))?;
    }
    Ok(())
}

/// The first message of each queue that a group popped and did not acknowledge, where the group is further.
fn unacknowledged(
    timer_read_ms: i64,
    metadata: &Metadata,
    log: &Arc<CommitLog>,
    queues: &ConsumeQueues,
) -> Result<BTreeMap<Place, QueueOffset>, TakeoverError> {
    let topics: Vec<_> = metadata
        .topics()?
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let revive = topics.iter().find(|name| name.as_str().starts_with(REVIVE));
    let Some(revive) = revive else {
        return Ok(BTreeMap::new());
    };
    let mut known = BTreeMap::new();
    for (group, (topic, queue), offset) in metadata.offsets()? {
        known.insert((group, topic, queue), offset);
    }
    let mut pops = Pops::default();
    for queue in queues.of_topic(revive) {
        let group = GroupName::new(REVIVE_GROUP).ok();
        let done = group.and_then(|group| known.get(&(group, revive.clone(), queue.id())));
        let from = done.copied().unwrap_or_default();
        each_record(log, &queue, from, |record| {
            let tag = property_value(record.properties(), keys::TAGS).unwrap_or_default();
            pops.note(tag, record.body());
        })?;
    }
    // What waits for its time is not there yet. Acknowledgements are never too many.
    if let Some(queue) = queues.find(system_topics::TIMER, QueueId(0)) {
        each_record(log, &queue, QueueOffset::ZERO, |record| {
            let properties = record.properties();
            if property_value(properties, keys::REAL_TOPIC) != Some(revive.as_str()) {
                return;
            }
            let out_ms = property_value(properties, keys::TIMER_OUT_MS);
            let out_ms = out_ms.and_then(|out_ms| out_ms.parse::<i64>().ok());
            let tag = property_value(properties, keys::TAGS).unwrap_or_default();
            if tag != CHECKPOINT || out_ms >= Some(timer_read_ms) {
                pops.note(tag, record.body());
            }
        })?;
    }
    let mut first = pops.first_open();
    first.retain(|place, open| known.get(place).is_some_and(|offset| *open < *offset));
    Ok(first)
}

fn each_record(
    log: &Arc<CommitLog>,
    queue: &ConsumeQueue,
    from: QueueOffset,
    mut met: impl FnMut(&RecordView<'_>),
) -> Result<(), TakeoverError> {
    queue.each_unit(from.max(queue.min_offset()), |_, unit| {
        if let Some(slice) = log.record(unit.physical)
            && let Ok(record) = RecordView::parse(slice.as_ref())
        {
            met(&record);
        }
    })?;
    Ok(())
}
