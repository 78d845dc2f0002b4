//! What can go wrong with the key index.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why the key index could not do what it was asked.
#[derive(Debug, Error)]
pub enum IndexError {
    /// Slots and entries that make no file.
    #[error(
        "{slots} slots and {entries} entries make no index file: both must be above 1 and below 2147483648, RocketMQ takes \
         5000000 and 20000000"
    )]
    Sizes {
        /// The configured slots.
        slots: u32,
        /// The configured entries.
        entries: u32,
    },
    /// A file of another length than slots and entries make.
    #[error(
        "{path:?} is {bytes} bytes long, the configured slots and entries make {expected}: configure the numbers with which \
         the index was made, or remove its folder to do without the keys of older messages"
    )]
    FileLength {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The length it should have.
        expected: u64,
    },
    /// A header that no index file has.
    #[error(
        "the header of {path:?} is damaged: remove the file to do without the keys of its messages"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A sync failed earlier, and what it covered can be in memory only.
    #[error(
        "the key index takes no more writes since a sync failed ({reason}): check the disk and restart the broker"
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

impl IndexError {
    /// Whether the kernel may have dropped bytes it could not write, so that no later sync means anything.
    pub(super) fn is_failed_sync(&self) -> bool {
        matches!(self, Self::Io { action, .. } if action.starts_with("sync"))
    }
}

/// Says of an I/O error what was tried on what.
pub(super) trait During<T> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, IndexError>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, IndexError> {
        self.map_err(|source| IndexError::Io {
            action,
            path: path.to_owned(),
            source,
        })
    }
}
