//! From RocketMQ's files to the metadata.

use castmq_protocol::model::{GroupName, NameError, TopicName};

use super::convert::{group_config, group_offsets, topic_config};
use super::files::{ConfigFiles, Digest, GROUPS, TOPICS};
use super::note::Note;
use super::progress::Progress;
use super::{TakeoverError, note, obstacles, popped};
use crate::commit_log::CommitLog;
use crate::consume_queue::ConsumeQueues;
use crate::disk::Disk;
use crate::halves;
use crate::lock::StoreLock;
use crate::metadata::{Metadata, Tables};
use crate::moved;
use crate::store::{Store, StoreError, StoreOptions};
use crate::timer;
use crate::unseen::Unseen;

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
    progress: Progress,
}

impl Import {
    /// Puts what the files say in the place of what the metadata has. All of it happens or nothing, and it is done again as long
    /// as it was not [finished](Self::finish).
    pub(super) fn begin(files: ConfigFiles, metadata: &Metadata) -> Result<Self, TakeoverError> {
        let progress = Progress::of(&files.offsets, &files.delays);
        let tables = tables(&files, &progress)?;
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
            progress,
        })
    }

    /// Goes on when the queues are whole: none of the records says what RocketMQ did with others.
    pub(crate) fn resume(&self, unseen: &Unseen, log: &CommitLog, queues: &ConsumeQueues) {
        self.progress.resume(unseen, log, queues);
    }

    /// Takes groups back to messages that they popped and did not acknowledge, and notes that all was taken: from here on
    /// recovery never looks again at what RocketMQ wrote.
    pub(crate) fn finish(self, store: &Store) -> Result<(), TakeoverError> {
        popped::take_back(store, timer::read_time_ms(&*store.disk, store.root())?)?;
        Note::Imported(self.digest).save(&store.metadata)?;
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

fn tables(files: &ConfigFiles, progress: &Progress) -> Result<Tables, TakeoverError> {
    let name_error = |file: &str| {
        let path = files.folder.join(file);
        move |source: NameError| TakeoverError::Name { path, source }
    };
    let mut topics = Vec::new();
    for (name, entry) in &files.topics.topics {
        let topic = TopicName::new(name).map_err(name_error(TOPICS))?;
        topics.push((topic, topic_config(entry)));
    }
    let mut groups = Vec::new();
    for (name, entry) in &files.groups.groups {
        let group = GroupName::new(name).map_err(name_error(GROUPS))?;
        groups.push((group, group_config(entry)));
    }
    if !files.groups.forbidden.is_empty() {
        tracing::warn!("groups that may not read some topics may read them here");
    }
    let mut values = vec![(note::NAMESPACE, note::KEY.to_owned(), Note::Begun.encode())];
    values.extend(progress.values());
    Ok(Tables {
        topics,
        groups,
        offsets: group_offsets(&files.offsets),
        emptied: vec![halves::NAMESPACE, moved::NAMESPACE],
        values,
    })
}
