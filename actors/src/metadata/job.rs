//! What changes the metadata store, on a thread that may wait for it.

use std::sync::Arc;

use castmq_protocol::model::{GroupConfig, GroupName, PhysicalOffset, TopicConfig, TopicName};
use castmq_storage::deletion::Deletion;
use castmq_storage::store::StoreError;

use crate::broker::context::Store;
use crate::broker::offsets::ChangedOffsets;

/// Something that the master has, or has no more.
#[derive(Debug)]
pub(crate) enum Adopted {
    Topic(TopicName, TopicConfig),
    /// With whether nobody has made it again.
    TopicDeleted(TopicName, Deletion, bool),
    Group(GroupName, GroupConfig),
    GroupGone(GroupName),
}

/// Work for the thread.
pub(super) enum Job {
    Adopt(Vec<Adopted>),
    PutTopic(TopicName, TopicConfig),
    /// With the place up to which queues know the log.
    DeleteTopic(TopicName, PhysicalOffset),
    PutGroup(GroupName, GroupConfig),
    DeleteGroup(GroupName),
    Offsets(Arc<ChangedOffsets>),
}

/// On the thread.
pub(super) fn work(store: &Store, job: &Job) -> Result<(), StoreError> {
    let metadata = &store.metadata;
    match job {
        Job::Adopt(adopted) => {
            adopted
                .iter()
                .try_for_each(|adopted| adopt(store, adopted))?;
            metadata.sync()?;
        }
        Job::PutTopic(name, config) => {
            metadata.put_topic(name, config)?;
            metadata.sync()?;
        }
        Job::DeleteTopic(name, dispatched) => match store.delete_topic(name, *dispatched) {
            Err(StoreError::Queues(error)) => {
                tracing::warn!(topic = %name, %error, "files of a deleted topic are left over");
            }
            deleted => deleted?,
        },
        Job::PutGroup(name, config) => {
            metadata.put_group(name, config)?;
            metadata.sync()?;
        }
        Job::DeleteGroup(name) => {
            metadata.delete_group(name)?;
            metadata.sync()?;
        }
        Job::Offsets(offsets) => {
            for (group, (topic, queue), offset) in offsets.iter() {
                metadata.put_offset(group, topic, *queue, *offset)?;
            }
            metadata.flush()?;
        }
    }
    Ok(())
}

fn adopt(store: &Store, adopted: &Adopted) -> Result<(), StoreError> {
    match adopted {
        Adopted::Topic(name, config) => store.metadata.put_topic(name, config)?,
        Adopted::TopicDeleted(name, kept, is_gone) => {
            store.adopt_deletion(name, kept.clone(), *is_gone)?;
        }
        Adopted::Group(name, config) => store.metadata.put_group(name, config)?,
        Adopted::GroupGone(name) => store.metadata.delete_group(name)?,
    }
    Ok(())
}
