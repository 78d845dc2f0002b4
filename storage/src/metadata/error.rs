//! What can go wrong with metadata.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Metadata cannot be read or written.
#[derive(Debug, Error)]
pub enum MetadataError {
    /// sled refused.
    #[error("cannot {action} the metadata in {}: {source}", path.display())]
    Sled {
        /// What was tried.
        action: &'static str,
        /// The folder.
        path: PathBuf,
        /// What sled said.
        source: sled::Error,
    },
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
    /// A value is not what was written.
    #[error(
        "the entry {key:?} of the metadata in {} is damaged: {reason}; restore the folder from a backup",
        path.display()
    )]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// The entry.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A later release wrote it.
    #[error(
        "the metadata in {} has schema version {found}, this release knows version {known} and older: use the release that wrote it, or a newer one",
        path.display()
    )]
    NewerSchema {
        /// The folder.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version known here.
        known: u32,
    },
}

/// Wraps what the operating system said while something was done to a file.
pub(super) fn during(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MetadataError {
    let path = path.to_owned();
    move |source| MetadataError::Io {
        action,
        path,
        source,
    }
}
