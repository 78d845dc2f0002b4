//! Why a store cannot be taken over or handed back.

use std::io;
use std::path::PathBuf;

use castmq_protocol::model::NameError;
use castmq_protocol::remoting::json::JsonError;
use thiserror::Error;

use crate::consume_queue::ConsumeQueueError;
use crate::metadata::MetadataError;
use crate::timer::TimerError;

/// Why a store cannot be taken over from RocketMQ, or handed back.
#[derive(Debug, Error)]
pub enum TakeoverError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Neither a file nor its backup can be read.
    #[error(
        "{} cannot be read, and neither can its .bak: {source}; restore it from a backup, or remove both to begin without what it says",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: JsonError,
    },
    /// RocketMQ has run on the folder, and nobody said that it should.
    #[error(
        "{0} is not as CastMQ left it: RocketMQ has run on this folder since; to go on with RocketMQ's topics, groups and offsets: `castmq store import-config {1}`, to go on with those that CastMQ had: move the .json files in {0} away",
        folder.join("config").display(),
        folder.display()
    )]
    Changed {
        /// The store's folder.
        folder: PathBuf,
    },
    /// There is nothing to take.
    #[error("{} has no topics.json: it is not a folder that RocketMQ wrote", folder.join("config").display())]
    NothingThere {
        /// The store's folder.
        folder: PathBuf,
    },
    /// Messages or settings that CastMQ has no place for.
    #[error("{} cannot be taken over: {what}", path.display())]
    Obstacle {
        /// Where it is.
        path: PathBuf,
        /// What it is, and what can be done.
        what: &'static str,
    },
    /// A topic of one of RocketMQ's kinds that do not exist here.
    #[error("topic {topic} in {} cannot be taken over: {what}", path.display())]
    Topic {
        /// Where it is.
        path: PathBuf,
        /// Its name.
        topic: String,
        /// What it is, and what can be done.
        what: &'static str,
    },
    /// A name that cannot be one here.
    #[error("{} has a name that cannot be taken over: {source}", path.display())]
    Name {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        source: NameError,
    },
    /// The metadata.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The queues.
    #[error(transparent)]
    Queue(#[from] ConsumeQueueError),
    /// The timer.
    #[error(transparent)]
    Timer(#[from] TimerError),
}

impl TakeoverError {
    pub(super) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
