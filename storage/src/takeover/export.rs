//! From a store to RocketMQ's files.

use std::collections::{BTreeMap, HashSet};

use castmq_protocol::model::{
    DelayLevels, GroupConfig, GroupName, PhysicalOffset, QueueId, QueueOffset, group_attributes,
    system_topics,
};
use castmq_protocol::record::{Origin, RecordView};
use castmq_protocol::remoting::bodies::DataVersion;
use castmq_protocol::remoting::bodies::group::{
    CustomizedRetry, GroupEntry, GroupTable, RetryPolicy, RetryPolicyKind,
};
use castmq_protocol::remoting::bodies::offset::{ConsumerOffsets, DelayOffsets};
use castmq_protocol::remoting::bodies::topic::{TopicEntry, TopicTable};

use super::TakeoverError;
use super::convert::AT;
use super::files::{ConfigFiles, FOLDER};
use super::note::Note;
use super::popped::{REVIVE, REVIVE_GROUP};
use super::progress::TRANSACTIONS;
use crate::consume_queue::{ConsumeQueue, ConsumeUnit};
use crate::disk::Wait;
use crate::halves;
use crate::store::{Records, Store};
use crate::timer::{self, Ends, Timer, TimerOptions};

/// Units read at once.
const UNITS: usize = 1024;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Topics.
    pub topics: usize,
    /// Consumer groups.
    pub groups: usize,
    /// Offsets of groups in queues.
    pub offsets: usize,
    /// Timer messages that were delivered and are taken out of the wheel.
    pub delivered: u64,
}

/// Writes what RocketMQ needs to serve a store, which is to be [closed](Store::close) then without anything else having
/// happened to it. What was there before becomes the `.bak` of each file. Blocks.
///
/// # Errors
///
/// I/O errors; it can be called again.
pub fn export(store: &Store, now_ms: i64) -> Result<Exported, TakeoverError> {
    let delivered = settle_timer(store, now_ms)?;
    let before = ConfigFiles::read(&*store.disk, store.root())?.unwrap_or_default();
    let next = |before: DataVersion| DataVersion {
        counter: before.counter.saturating_add(1),
        timestamp: now_ms,
        ..before
    };
    let metadata = &store.metadata;
    let topics: BTreeMap<_, _> = metadata
        .topics()?
        .iter()
        .map(|(name, config)| {
            let name = name.as_str();
            (name.to_owned(), TopicEntry::new(name, config))
        })
        .collect();
    let groups: BTreeMap<_, _> = metadata
        .groups()?
        .iter()
        .map(|(name, config)| (name.as_str().to_owned(), group_entry(name, config)))
        .collect();
    let offsets = offsets(store)?;
    let delays = store.unseen.moved.all_next().into_iter();
    let delays = delays.map(|(queue, next)| (i32::from(queue) + 1, next.as_i64()));
    let files = ConfigFiles {
        folder: store.root().join(FOLDER),
        topics: TopicTable {
            data_version: next(before.topics.data_version),
            topics,
        },
        groups: GroupTable {
            data_version: next(before.groups.data_version),
            forbidden: before.groups.forbidden,
            groups,
        },
        offsets: ConsumerOffsets {
            data_version: next(before.offsets.data_version),
            offsets,
        },
        delays: DelayOffsets {
            data_version: next(before.delays.data_version),
            offsets: delays.collect(),
        },
        ..ConfigFiles::default()
    };
    files.write(&*store.disk)?;
    Note::Exported.save(metadata)?;
    Ok(Exported {
        topics: files.topics.topics.len(),
        groups: files.groups.groups.len(),
        offsets: files.offsets.offsets.values().map(BTreeMap::len).sum(),
        delivered,
    })
}

fn group_entry(name: &GroupName, config: &GroupConfig) -> GroupEntry {
    let mut entry = GroupEntry::new(name.as_str(), config);
    if let Some(delays) = entry.attributes.remove(group_attributes::RETRY_DELAYS)
        && let Ok(delays) = delays.parse::<DelayLevels>()
    {
        let delays = (0..u32::from(delays.count())).map(|level| delays.of_queue(level));
        let delays_ms = delays.map(|delay_ms| i64::try_from(delay_ms).unwrap_or(i64::MAX));
        entry.retry_policy = RetryPolicy {
            customized_retry_policy: Some(CustomizedRetry {
                delays_ms: delays_ms.collect(),
            }),
            exponential_retry_policy: None,
            kind: RetryPolicyKind::Customized,
        };
    }
    entry
}

/// Offsets of groups, and of those groups of RocketMQ's own whose offsets say how far it is.
fn offsets(store: &Store) -> Result<BTreeMap<String, BTreeMap<i32, i64>>, TakeoverError> {
    let mut offsets = BTreeMap::<String, BTreeMap<i32, i64>>::new();
    let mut put = |group: &str, topic: &str, queue: QueueId, offset: QueueOffset| {
        let queues = offsets.entry(format!("{topic}{AT}{group}")).or_default();
        if let Ok(queue) = i32::try_from(queue.0) {
            queues.insert(queue, offset.as_i64());
        }
    };
    for (group, (topic, queue), offset) in store.metadata.offsets()? {
        put(group.as_str(), topic.as_str(), queue, offset);
    }
    let (half, op) = (
        system_topics::TRANSACTION_HALF,
        system_topics::TRANSACTION_OP,
    );
    let open_from = store.unseen.halves.floor();
    put(TRANSACTIONS, half, halves::QUEUE, open_from);
    if let Some(marks) = store.queues.find(op, halves::QUEUE) {
        let needed = store.unseen.halves.first_mark_needed(&store.queues)?;
        put(
            TRANSACTIONS,
            op,
            halves::QUEUE,
            needed.unwrap_or(marks.max_offset()),
        );
    }
    // What RocketMQ noted of pops is settled: groups are at the first message that is not.
    for (topic, _) in store.metadata.topics()? {
        if topic.as_str().starts_with(REVIVE) {
            for queue in store.queues.of_topic(&topic) {
                put(REVIVE_GROUP, topic.as_str(), queue.id(), queue.max_offset());
            }
        }
    }
    Ok(offsets)
}

/// Takes out of the wheel what was delivered and would come again: RocketMQ does not know it by its records.
fn settle_timer(store: &Store, now_ms: i64) -> Result<u64, TakeoverError> {
    let queue = store.queues.find(system_topics::TIMER, QueueId(0));
    let Some(queue) = queue.filter(|_| timer::is_there(&*store.disk, store.root())) else {
        return Ok(0);
    };
    let ends = Ends {
        physical: store.log.appended(),
        queue: queue.max_offset(),
    };
    let options = TimerOptions::default();
    let mut timer = Timer::open(store.disk.clone(), store.root(), options, ends, now_ms)?;
    if let Some(last) = timer.last_entered() {
        timer.resume_from(behind(&queue, timer.resume_offset(), last)?);
    }
    let from = timer::search_from(&store.metadata)?.unwrap_or_default();
    let from = from.max(store.log.begin());
    let mut delivered = HashSet::new();
    for record in Records::new(&store.log, from..ends.physical) {
        let Ok((_, slice)) = record else { break };
        if let Ok(record) = RecordView::parse(slice.as_ref())
            && let Some(Origin::Timer { place }) =
                Origin::decode(record.prepared_transaction_offset())
        {
            delivered.insert(place);
        }
    }
    let is_delivered = |place: PhysicalOffset| delivered.contains(&place);
    Ok(timer.take_delivered_out(now_ms, is_delivered)?)
}

/// Where a queue has the first message behind a place in the log, looking from an offset on.
fn behind(
    queue: &ConsumeQueue,
    from: QueueOffset,
    place: PhysicalOffset,
) -> Result<QueueOffset, TakeoverError> {
    let mut at = from.max(queue.min_offset());
    let mut units: Vec<ConsumeUnit> = Vec::new();
    while at < queue.max_offset() {
        units.clear();
        queue.read(at, UNITS, Wait::ForDisk, &mut units)?;
        let known = units.iter().take_while(|unit| unit.physical <= place);
        let known = known.count();
        at = at + known as u64;
        if known < units.len() || units.is_empty() {
            break;
        }
    }
    Ok(at)
}
