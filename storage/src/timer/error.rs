//! What can go wrong with messages that wait for a time.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why the timer could not do what it was asked.
#[derive(Debug, Error)]
pub enum TimerError {
    /// Options that make no timer.
    #[error("the timer cannot work with {what}: {limit}")]
    Options {
        /// The option and its value.
        what: String,
        /// What it has to be.
        limit: String,
    },
    /// An entry that no message can have.
    #[error(
        "a message of {size_bytes} bytes at {physical} cannot wait for a time: its size must be above 0, and both below \
         2^31 and 2^63"
    )]
    Entry {
        /// Where the message should lie in the log.
        physical: u64,
        /// How long it should be.
        size_bytes: u32,
    },
    /// A file of another length than the options make.
    #[error(
        "{path:?} is {bytes} bytes long instead of {expected}: configure the size with which it was made; a timerwheel can \
         also be removed, it is built again from the timerlog folder"
    )]
    FileLength {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The length it should have.
        expected: u64,
    },
    /// A file between two others is not there.
    #[error(
        "{path:?} is missing between files before and behind it: put it back, or remove timerlog and timerwheel to take up \
         all messages of the timer topic again"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A time in the checkpoint that is none.
    #[error(
        "{path:?} says that the wheel was read until {read_ms} ms, which is no time: remove the file to take up all messages \
         of the timer topic again"
    )]
    ReadTime {
        /// The file.
        path: PathBuf,
        /// What it says.
        read_ms: i64,
    },
    /// Bytes of the timer log that the wheel leads to and that are no unit of that slot.
    #[error(
        "{path:?} is damaged at byte {at}: {what}; remove the file timerwheel and restart the broker to have the wheel built \
         again from what is whole"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The byte in the file.
        at: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A sync failed earlier, and what it covered can be in memory only.
    #[error(
        "the timer makes nothing durable any more since a sync failed ({reason}): check the disk and restart the broker"
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

impl TimerError {
    /// Whether the kernel may have dropped bytes it could not write, so that no later sync means anything.
    pub(super) fn is_failed_sync(&self) -> bool {
        matches!(self, Self::Io { action, .. } if action.starts_with("sync"))
    }
}

/// Says of an I/O error what was tried on what.
pub(super) trait During<T> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, TimerError>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, TimerError> {
        self.map_err(|source| TimerError::Io {
            action,
            path: path.to_owned(),
            source,
        })
    }
}
