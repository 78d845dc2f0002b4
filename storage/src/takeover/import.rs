//! From RocketMQ's files to the metadata.

use std::path::Path;
use std::sync::Arc;

use castmq_protocol::model::{
    GroupConfig, GroupName, NameError, QueueId, QueueOffset, TopicConfig, TopicName,
    group_attributes, system_topics,
};
use castmq_protocol::remoting::bodies::group::{GroupEntry, RetryPolicy, RetryPolicyKind};

use super::files::{ConfigFiles, Digest, GROUPS, TOPICS};
use super::note::Note;
use super::{TakeoverError, note, obstacles, popped};
use crate::commit_log::CommitLog;
use crate::consume_queue::ConsumeQueues;
use crate::disk::Disk;
use crate::halves;
use crate::lock::StoreLock;
use crate::metadata::{Metadata, StoredOffset, Tables};
use crate::moved;
use crate::store::{StoreError, StoreOptions};
use crate::timer;

/// The group in whose name RocketMQ keeps how far it is with half messages.
pub(super) const TRANSACTIONS: &str = "CID_RMQ_SYS_TRANS";

/// Between topic and group in the names of offsets.
pub(super) const AT: char = '@';

/// Delays of a group's own that are taken, when RocketMQ has a curve for them.
const MAX_CURVE: u32 = 64;

/// What was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Topics.
    pub topics: usize,
    /// Consumer groups.
    pub groups: usize,
    /// Offsets of groups in queues.
    pub offsets: usize,
}

/// Files that are taken, as far as that is possible before the queues are there.
#[derive(Debug)]
pub(crate) struct Import {
    digest: Digest,
    imported: Imported,
}

impl Import {
    /// Puts what the files say in the place of what the metadata has. All of it happens or nothing, and it is done again as long
    /// as it was not [finished](Self::finish).
    pub(super) fn begin(files: ConfigFiles, metadata: &Metadata) -> Result<Self, TakeoverError> {
        let tables = tables(&files)?;
        let imported = Imported {
            topics: tables.topics.len(),
            groups: tables.groups.len(),
            offsets: tables.offsets.len(),
        };
        metadata.replace(&tables)?;
        metadata.sync()?;
        Ok(Self {
            digest: files.digest(),
            imported,
        })
    }

    /// Takes groups back to messages that they popped and did not acknowledge, and notes that all was taken.
    pub(crate) fn finish(
        self,
        disk: &dyn Disk,
        root: &Path,
        metadata: &Metadata,
        log: &Arc<CommitLog>,
        queues: &ConsumeQueues,
    ) -> Result<(), TakeoverError> {
        let timer_read_ms = timer::read_time_ms(disk, root)?;
        let popped = popped::unacknowledged(timer_read_ms, metadata, log, queues)?;
        for ((group, topic, queue), first) in &popped {
            tracing::info!(%group, %topic, %queue, %first, "messages that were popped and not acknowledged come again");
            metadata.put_offset(group, topic, *queue, Some(*first))?;
        }
        Note::Imported(self.digest).save(metadata)?;
        let Imported {
            topics,
            groups,
            offsets,
        } = self.imported;
        tracing::info!(
            topics,
            groups,
            offsets,
            "the folder was written by RocketMQ: its topics, groups and offsets were taken over"
        );
        Ok(())
    }
}

/// Takes the files of a store that nobody uses, whatever was taken or written before. The next start goes on from there.
///
/// # Errors
///
/// When the folder is in use, holds none of RocketMQ's files, or what cannot be taken.
pub fn import(disk: &dyn Disk, options: &StoreOptions) -> Result<Imported, StoreError> {
    let _lock = match options.takes_lock {
        true => Some(StoreLock::take(&options.root, &options.abort_path())?),
        false => None,
    };
    let files = ConfigFiles::read(disk, &options.root)?;
    let Some(files) = files else {
        return Err(TakeoverError::NothingThere {
            folder: options.root.clone(),
        }
        .into());
    };
    obstacles::check(disk, options, Some(&files))?;
    let metadata = Metadata::open(&options.metadata, options.metadata_cache_bytes)?;
    Ok(Import::begin(files, &metadata)?.imported)
}

fn tables(files: &ConfigFiles) -> Result<Tables, TakeoverError> {
    let name_error = |file: &str| {
        let path = files.folder.join(file);
        move |source: NameError| TakeoverError::Name { path, source }
    };
    let mut topics = Vec::new();
    for (name, entry) in &files.topics.topics {
        let topic = TopicName::new(name).map_err(name_error(TOPICS))?;
        topics.push((topic, known_here(entry.config())));
    }
    let mut groups = Vec::new();
    for (name, entry) in &files.groups.groups {
        let group = GroupName::new(name).map_err(name_error(GROUPS))?;
        groups.push((group, group_config(entry)));
    }
    if !files.groups.forbidden.is_empty() {
        tracing::warn!("groups that may not read some topics may read them here");
    }
    let offsets = offsets(files);
    let half = |(group, (topic, queue), _): &&StoredOffset| {
        group.as_str() == TRANSACTIONS
            && topic.as_str() == system_topics::TRANSACTION_HALF
            && *queue == halves::QUEUE
    };
    let floor = offsets.iter().find(half).map(|(.., offset)| *offset);
    let mut values = vec![(note::NAMESPACE, note::KEY.to_owned(), Note::Begun.encode())];
    if let Some(floor) = floor {
        values.push(halves::floor_value(floor));
    }
    for (level, offset) in &files.delays.offsets {
        let queue = level
            .checked_sub(1)
            .and_then(|queue| u8::try_from(queue).ok());
        if let (Some(queue), Ok(offset)) = (queue, u64::try_from(*offset)) {
            values.push(moved::progress_value(queue, QueueOffset(offset)));
        }
    }
    Ok(Tables {
        topics,
        groups,
        offsets,
        emptied: vec![halves::NAMESPACE, moved::NAMESPACE],
        values,
    })
}

/// A topic whose attributes mean nothing here has them, but for those that would be refused.
fn known_here(mut config: TopicConfig) -> TopicConfig {
    if config.check().is_err() {
        config.attributes.clear();
    }
    config
}

fn group_config(entry: &GroupEntry) -> GroupConfig {
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

/// Offsets whose names are none are of topics and groups that cannot be.
fn offsets(files: &ConfigFiles) -> Vec<StoredOffset> {
    let mut offsets = Vec::new();
    let mut passed_over = 0;
    for (name, queues) in &files.offsets.offsets {
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
        tracing::warn!(passed_over, "offsets that are none were passed over");
    }
    offsets
}
