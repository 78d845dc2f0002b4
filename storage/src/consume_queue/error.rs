//! What can go wrong with consume queues.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset, TopicName};
use thiserror::Error;

/// Why a consume queue could not do what it was asked.
#[derive(Debug, Error)]
pub enum ConsumeQueueError {
    /// A message does not follow the last one of its queue.
    #[error(
        "queue {queue} of topic {topic} goes on at offset {expected}, but the log has a message for offset {given}: units \
         in between are missing; stop the broker and remove the queue's folder and the store's file checkpoint: the queue is \
         rebuilt from the log"
    )]
    Gap {
        /// The topic.
        topic: TopicName,
        /// The queue.
        queue: QueueId,
        /// The next offset of the queue.
        expected: QueueOffset,
        /// The offset of the message.
        given: QueueOffset,
    },
    /// A read from before the first unit that is left.
    #[error("offset {from} is below the first offset {min} of queue {queue} of topic {topic}")]
    BelowMin {
        /// The topic.
        topic: TopicName,
        /// The queue.
        queue: QueueId,
        /// The offset asked for.
        from: QueueOffset,
        /// The first offset that is left.
        min: QueueOffset,
    },
    /// RocketMQ's fields cannot hold the numbers.
    #[error(
        "a record of {size} bytes at {physical} cannot be offset {given} of queue {queue} of topic {topic}: the consume \
         queue's fields are too small for these numbers, so the record is damaged"
    )]
    Unstorable {
        /// The topic.
        topic: TopicName,
        /// The queue.
        queue: QueueId,
        /// The offset of the message.
        given: QueueOffset,
        /// Start of its record.
        physical: PhysicalOffset,
        /// Length of its record.
        size: u32,
    },
    /// Bytes among valid units that are no unit.
    #[error(
        "byte {at} of {path:?} starts no valid unit: the file is damaged; stop the broker and remove the queue's folder and \
         the store's file checkpoint: the queue is rebuilt from the log"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        at: u64,
    },
    /// A file of another length than all files have.
    #[error(
        "{path:?} is {bytes} bytes long, the configured length of consume queue files is {expected}: configure the length \
         with which the store was made, or, if it is this file that is wrong, remove the queue's folder and the store's file \
         checkpoint: the queue is rebuilt from the log"
    )]
    FileLength {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The configured length.
        expected: u64,
    },
    /// A length that does not hold whole units.
    #[error(
        "{bytes} bytes are no length for consume queue files: take a multiple of 20, RocketMQ takes 6000000"
    )]
    UnevenLength {
        /// The configured length.
        bytes: u64,
    },
    /// A sync failed earlier, and what it covered can be in memory only.
    #[error(
        "consume queues take no more writes since a sync failed ({reason}): check the disk and restart the broker"
    )]
    Poisoned {
        /// What failed.
        reason: String,
    },
    /// The disk refused.
    #[error("cannot {action} {path:?}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The disk's answer.
        source: io::Error,
    },
}

impl ConsumeQueueError {
    /// Whether a read that must not wait would have had to.
    pub fn is_would_block(&self) -> bool {
        self.io_kind() == Some(ErrorKind::WouldBlock)
    }

    pub(super) fn io_kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}

/// Says of an I/O error what was tried on what.
pub(super) trait During<T> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, ConsumeQueueError>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, ConsumeQueueError> {
        self.map_err(|source| ConsumeQueueError::Io {
            action,
            path: path.to_owned(),
            source,
        })
    }
}
