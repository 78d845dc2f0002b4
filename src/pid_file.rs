//! The file by which a running server is found, to be stopped.
//!
//! A server holds a lock on its file for as long as it lives, and the system tells who holds a lock: what the file says
//! is for people. A file that a server left behind has no holder, so a foreign process that got the same number later is
//! never taken for it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use rustix::process::{
    Flock, FlockType, Pid, PidfdFlags, Signal, fcntl_getlk, pidfd_open, pidfd_send_signal,
};

/// What the names of these files end with.
pub(crate) const EXTENSION: &str = "pid";

/// How often a file that changes hands meanwhile is looked at.
const ATTEMPTS: usize = 20;

/// A server's own file. It is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    /// Keeps the lock. Nothing else in the process may open the file: closing it would give the lock up.
    _file: File,
    /// A folder that was made for the file, and goes with it when nothing else came into it.
    made: Option<PathBuf>,
}

impl PidFile {
    /// Writes the file of this process; `None` when another process that runs has it.
    pub(crate) fn write(folder: &Path, name: &str) -> io::Result<Option<Self>> {
        let made = (!folder.exists()).then(|| folder.to_owned());
        fs::create_dir_all(folder)?;
        let taken = Self::take(&folder.join(format!("{name}.{EXTENSION}")))?;
        let Some(mut taken) = taken else {
            return Ok(None);
        };
        taken.made = made;
        taken._file.set_len(0)?;
        writeln!(taken._file, "{}", std::process::id())?;
        Ok(Some(taken))
    }

    /// Removes a file that nobody holds. False when somebody does.
    pub(crate) fn remove_stale(path: &Path) -> io::Result<bool> {
        Ok(Self::take(path)?.is_some())
    }

    fn take(path: &Path) -> io::Result<Option<Self>> {
        for _ in 0..ATTEMPTS {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::ACCESS) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            // The one that had it before may have removed it between opening and locking.
            let is_same = |there: fs::Metadata| {
                file.metadata()
                    .is_ok_and(|ours| ours.ino() == there.ino() && ours.dev() == there.dev())
            };
            if fs::metadata(path).is_ok_and(is_same) {
                return Ok(Some(Self {
                    path: path.to_owned(),
                    _file: file,
                    made: None,
                }));
            }
        }
        Ok(None)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        if let Some(made) = &self.made {
            // Fails when anything is in it, which is then to be kept.
            let _ = fs::remove_dir(made);
        }
    }
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    pid: Pid,
    /// Stands for this very process, however often its number is given out again.
    handle: OwnedFd,
}

/// The server that holds a file; `None` when nobody does.
pub(crate) fn server(path: &Path) -> io::Result<Option<Server>> {
    let file = File::open(path)?;
    for _ in 0..ATTEMPTS {
        let Some(pid) = holder(&file)? else {
            return Ok(None);
        };
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(Errno::SRCH) => continue,
            Err(error) => return Err(error.into()),
        };
        // It held the file before and after the handle was made, so the handle is its own.
        if holder(&file)? == Some(pid) {
            return Ok(Some(Server { pid, handle }));
        }
    }
    Err(io::Error::other("its holder changes all the time"))
}

fn holder(file: &File) -> io::Result<Option<Pid>> {
    // Who would stand in the way of a lock on all of it.
    match fcntl_getlk(file, &Flock::from(FlockType::WriteLock))? {
        None => Ok(None),
        Some(lock) => match lock.pid {
            Some(pid) => Ok(Some(pid)),
            None => Err(io::Error::other(
                "it is held by a process that cannot be seen from here, in another container say: stop it there",
            )),
        },
    }
}

impl Server {
    /// Its number.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.handle, signal) {
            // It has gone by itself.
            Err(Errno::SRCH) => Ok(()),
            result => Ok(result?),
        }
    }

    /// Waits until it has gone. False when it has not in time.
    pub(crate) fn wait(&self, at_most: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(at_most).map_err(io::Error::other)?;
        let mut handles = [PollFd::new(&self.handle, PollFlags::IN)];
        loop {
            match poll(&mut handles, Some(&timeout)) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_the_process_and_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let file = PidFile::write(&data, "broker").unwrap().unwrap();
        let path = data.join("broker.pid");
        let written = fs::read_to_string(&path).unwrap();
        assert_eq!(written.trim(), std::process::id().to_string());
        drop(file);
        assert!(!data.exists(), "a folder made for nothing is left");
    }

    #[test]
    fn a_file_that_names_a_living_process_but_is_not_held_has_no_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.pid");
        // The first process of the system lives as long as the system does.
        fs::write(&path, "1\n").unwrap();
        assert!(server(&path).unwrap().is_none());
        assert!(PidFile::remove_stale(&path).unwrap());
        assert!(!path.exists());
        assert!(folder.path().exists());
    }
}
