//! One process per store.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// What the file holds (RocketMQ).
const CONTENT: &[u8] = b"lock";

/// Why the store cannot be locked.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "the data folder {} is in use{}: stop the process that uses it, or choose another folder",
        folder.display(),
        pid.as_ref().map(|pid| format!(" by process {pid}")).unwrap_or_default()
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The process, when it can be told.
        pid: Option<String>,
    },
    /// The lock file cannot be made.
    #[error("cannot lock the data folder {}: {source}", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The lock of a store, given up when it is dropped or the process ends.
#[derive(Debug)]
pub struct StoreLock {
    _file: File,
}

impl StoreLock {
    /// Takes the lock of the store in a folder. `pid_file` is where the process that has it may have left its number.
    pub fn take(folder: &Path, pid_file: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io {
            folder: folder.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join("lock"))
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(pid_file).ok();
                let pid = pid.map(|text| text.trim().to_owned());
                return Err(LockError::InUse {
                    folder: folder.to_owned(),
                    pid: pid.filter(|pid| pid.bytes().all(|b| b.is_ascii_digit())),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.write_all(CONTENT).map_err(io)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_used_once_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let abort = folder.path().join("abort");
        fs::write(&abort, "4711").unwrap();
        let first = StoreLock::take(folder.path(), &abort).unwrap();
        let refused = StoreLock::take(folder.path(), &abort).unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("in use by process 4711"), "{text}");
        drop(first);
        assert!(StoreLock::take(folder.path(), &abort).is_ok());
        assert_eq!(fs::read(folder.path().join("lock")).unwrap(), CONTENT);
    }
}
