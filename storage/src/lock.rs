//! One process per store, CastMQ or RocketMQ.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
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

/// Folders locked by this process. It must not open their lock files again: closing any of them gives up the lock that
/// RocketMQ sees, as POSIX has it.
static HELD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The lock of a store, given up when it is dropped or the process ends.
#[derive(Debug)]
pub struct StoreLock {
    _file: File,
    _held: Held,
}

/// An entry of [`HELD`].
#[derive(Debug)]
struct Held(PathBuf);

impl Drop for Held {
    fn drop(&mut self) {
        HELD.lock().remove(&self.0);
    }
}

impl StoreLock {
    /// Takes the lock of the store in a folder. `pid_file` is where the process that has it may have left its number.
    pub fn take(folder: &Path, pid_file: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io {
            folder: folder.to_owned(),
            source,
        };
        let in_use = || {
            let pid = fs::read_to_string(pid_file).ok();
            let pid = pid.and_then(|text| Some(text.lines().next()?.trim().to_owned()));
            LockError::InUse {
                folder: folder.to_owned(),
                pid: pid.filter(|pid| !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit())),
            }
        };
        let place = folder.canonicalize().map_err(io)?;
        if !HELD.lock().insert(place.clone()) {
            return Err(in_use());
        }
        let held = Held(place);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join("lock"))
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use()),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        // Java's file locks are POSIX's, which the one above does not meet.
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::ACCESS) => return Err(in_use()),
            Err(error) => return Err(io(error.into())),
        }
        file.write_all(CONTENT).map_err(io)?;
        Ok(Self {
            _file: file,
            _held: held,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_folder_is_used_once_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let abort = folder.path().join("abort");
        fs::write(&abort, "4711\ncastmq boot\n").unwrap();
        let first = StoreLock::take(folder.path(), &abort).unwrap();
        let refused = StoreLock::take(folder.path(), &abort).unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("in use by process 4711"), "{text}");
        drop(first);
        assert!(StoreLock::take(folder.path(), &abort).is_ok());
        assert_eq!(fs::read(folder.path().join("lock")).unwrap(), CONTENT);
    }

    #[test]
    fn a_folder_that_another_process_locks_in_the_way_of_java_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        fs::write(&path, CONTENT).unwrap();
        let script = "import fcntl,sys\nf=open(sys.argv[1],'r+')\nfcntl.lockf(f,fcntl.LOCK_EX,1)\nprint('locked',flush=True)\nsys.stdin.read()";
        let other = Command::new("python3")
            .args(["-c", script])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        // Nothing to compare with where there is no Python.
        let Ok(mut other) = other else { return };
        let mut answer = [0; 6];
        let output = other.stdout.as_mut().unwrap();
        output.read_exact(&mut answer).unwrap();
        let refused = StoreLock::take(folder.path(), &folder.path().join("abort"));
        assert!(matches!(refused, Err(LockError::InUse { pid: None, .. })));
        drop(other.stdin.take());
        other.wait().unwrap();
        assert!(StoreLock::take(folder.path(), &folder.path().join("abort")).is_ok());
    }
}
