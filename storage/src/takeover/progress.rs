//! How far RocketMQ is with what it does by itself, and no record tells of.

use castmq_protocol::model::{QueueId, QueueOffset, TopicName, system_topics};
use castmq_protocol::remoting::bodies::offset::{ConsumerOffsets, DelayOffsets};

use super::convert::AT;
use super::note::Note;
use super::{TakeoverError, note, popped};
use crate::commit_log::CommitLog;
use crate::consume_queue::ConsumeQueues;
use crate::halves;
use crate::metadata::{Metadata, MetadataError, Value};
use crate::moved;
use crate::store::Store;
use crate::unseen::Unseen;

/// Where it is kept, on a slave, up to when the timer messages of its RocketMQ master are delivered.
const FOLLOWED: &str = "followed";

/// Whether a RocketMQ master may have stored half messages again that are open here.
const REPEATS: &str = "repeats";

/// The group in whose name RocketMQ keeps how far it is with half messages.
pub(super) const TRANSACTIONS: &str = "CID_RMQ_SYS_TRANS";

/// See the module.
#[derive(Debug, Default)]
pub struct Progress {
    /// Every half message before is over.
    halves: QueueOffset,
    /// By queue of the schedule topic, the first message that was not moved.
    delays: Vec<(u8, QueueOffset)>,
}

impl Progress {
    /// From RocketMQ's tables.
    pub fn of(offsets: &ConsumerOffsets, delays: &DelayOffsets) -> Self {
        let half = format!("{}{AT}{TRANSACTIONS}", system_topics::TRANSACTION_HALF);
        let halves = offsets.offsets.get(&half);
        let halves = halves.and_then(|queues| queues.get(&0).copied());
        let delays = delays.offsets.iter().filter_map(|(level, next)| {
            let queue = u8::try_from(level.checked_sub(1)?).ok()?;
            Some((queue, QueueOffset(u64::try_from(*next).ok()?)))
        });
        Self {
            halves: QueueOffset(
                halves
                    .and_then(|next| u64::try_from(next).ok())
                    .unwrap_or(0),
            ),
            delays: delays.collect(),
        }
    }

    /// As it stands in the metadata.
    pub(super) fn values(&self) -> Vec<Value> {
        let delays = self.delays.iter();
        let delays = delays.map(|(queue, next)| moved::progress_value(*queue, *next));
        let halves = halves::floor_value(self.halves);
        std::iter::once(halves).chain(delays).collect()
    }

    /// Goes on from there. All of that lies in the queues.
    pub(super) fn resume(&self, unseen: &Unseen, log: &CommitLog, queues: &ConsumeQueues) {
        unseen.halves.adopt(self.halves, log.appended());
        let Ok(topic) = TopicName::new(system_topics::SCHEDULE) else {
            return;
        };
        for (queue, next) in &self.delays {
            let end = queues.next_offset(&topic, QueueId(u32::from(*queue)));
            unseen.moved.adopt(*queue, end.min(*next));
        }
    }

    /// On a slave: takes over how far its master is, whose timer messages are delivered before `timer_read_ms`; to be flushed by
    /// the caller.
    ///
    /// # Errors
    ///
    /// When the metadata cannot be written.
    pub fn adopt(&self, store: &Store, timer_read_ms: i64) -> Result<(), MetadataError> {
        self.resume(&store.unseen, &store.log, &store.queues);
        let followed = timer_read_ms.to_be_bytes().to_vec();
        let followed = (note::NAMESPACE, FOLLOWED.to_owned(), followed);
        for (namespace, key, value) in self.values().into_iter().chain([followed]) {
            store.metadata.put_value(namespace, &key, &value)?;
        }
        Ok(())
    }
}

/// At each start on a log that RocketMQ has written, when the queues are whole.
pub(crate) fn settle_repeated(
    metadata: &Metadata,
    unseen: &Unseen,
    log: &CommitLog,
) -> Result<(), MetadataError> {
    let was_taken = Note::load(metadata)?.is_some();
    if was_taken || metadata.value(note::NAMESPACE, REPEATS)?.is_some() {
        unseen.halves.settle_repeated(log);
    }
    Ok(())
}

/// On a slave of a RocketMQ master that becomes the master: takes groups back to messages that they popped there and did not
/// acknowledge, and forgets half messages that the master had stored again, once; to be synced by the caller.
///
/// # Errors
///
/// When metadata or queues cannot be read, or the former not written.
pub fn end_following(store: &Store) -> Result<(), TakeoverError> {
    let metadata = &store.metadata;
    let Some(followed) = metadata.value(note::NAMESPACE, FOLLOWED)? else {
        return Ok(());
    };
    let timer_read_ms = followed
        .first_chunk()
        .map_or(0, |ms| i64::from_be_bytes(*ms));
    popped::take_back(store, timer_read_ms)?;
    metadata.put_value(note::NAMESPACE, REPEATS, &[])?;
    store.unseen.halves.settle_repeated(&store.log);
    Ok(metadata.remove_value(note::NAMESPACE, FOLLOWED)?)
}
