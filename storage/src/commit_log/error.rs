//! What can go wrong with the log.

use std::io;
use std::path::PathBuf;

use castmq_protocol::model::PhysicalOffset;
use thiserror::Error;

/// The log cannot be opened, written to disk, or cleaned.
#[derive(Debug, Error)]
pub enum LogError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier failure keeps the log from being written.
    #[error(
        "the commit log takes no writes since {reason}: look at the disk, then restart the broker"
    )]
    Failed {
        /// The earlier failure.
        reason: String,
    },
    /// A place that should be in the log is not.
    #[error("position {offset} is not in the commit log")]
    Missing {
        /// The place.
        offset: PhysicalOffset,
    },
    /// A file of another size than the configuration says.
    #[error(
        "segment {} has {actual} bytes, the configured size is {expected}: set commit_log_segment_bytes to the size with which the store was made",
        path.display()
    )]
    SegmentSize {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        actual: u64,
        /// The configured size in bytes.
        expected: u64,
    },
    /// A file that is not a segment.
    #[error("{} does not belong in the commit log: move it away if it is yours", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Segments that do not follow each other.
    #[error("segment {} is missing between its neighbors: restore it from a backup, or move the segments on one side of the gap away", path.display())]
    Gap {
        /// The file that should be there.
        path: PathBuf,
    },
    /// Durable records are damaged.
    #[error(transparent)]
    Damaged(#[from] Box<super::recovery::Damage>),
    /// A segment is smaller than what it must hold.
    #[error("segments of {segment_bytes} bytes are too small: the smallest is {minimum}")]
    SegmentTooSmall {
        /// The configured size in bytes.
        segment_bytes: u64,
        /// The least size in bytes.
        minimum: u64,
    },
}

/// Records cannot be appended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AppendError {
    /// The next segment is not there yet; try again when it is.
    #[error("the next segment is not ready")]
    SegmentNotReady,
    /// The record can never fit.
    #[error("a record or batch of {bytes} bytes is longer than the {limit} that fit a segment")]
    TooLong {
        /// Its size in bytes.
        bytes: u64,
        /// The most that fit, in bytes.
        limit: u64,
    },
    /// An earlier failure keeps the log from being written.
    #[error(
        "the commit log takes no writes since {reason}: look at the disk, then restart the broker"
    )]
    Failed {
        /// The earlier failure.
        reason: String,
    },
    /// Somebody else writes the log.
    #[error("the commit log has a writer already")]
    WriterTaken,
}
