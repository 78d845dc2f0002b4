//! Files of segments that retention took out of the log, to be used for new ones.
//!
//! Blocks of a disk that were never written, or were given back, cost more to write than others wherever somebody hands them
//! out as they are written: under a virtual machine's disk, in thin volumes, on flash that was told to forget them. A log that
//! removes files at one end and makes new ones at the other would only ever write such blocks. What it keeps of the old ones is
//! their room: all of a spare reads as zeros before it comes back.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::disk::{Disk, Segment};

/// See the module.
#[derive(Debug)]
pub struct Spares {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    segment_bytes: u64,
    /// Held while files are moved or removed: only by those who may wait for the disk.
    files: Mutex<Vec<PathBuf>>,
    count: AtomicUsize,
    most: AtomicUsize,
    /// Whether files can be cleared.
    pub(super) is_of_use: AtomicBool,
}

impl Spares {
    /// Those that an earlier run left, of a log in `log` whose segments have `segment_bytes` bytes. At most `most` are kept.
    pub fn open(disk: Arc<dyn Disk>, log: &Path, segment_bytes: u64, most: usize) -> Self {
        let spares = Self {
            folder: folder_beside(log),
            disk,
            segment_bytes,
            files: Mutex::default(),
            count: AtomicUsize::new(0),
            most: AtomicUsize::new(most),
            is_of_use: AtomicBool::new(true),
        };
        match spares.disk.list(&spares.folder) {
            Ok(entries) => {
                for entry in entries.iter().filter(|entry| !entry.is_directory) {
                    let path = spares.folder.join(&entry.name);
                    match entry.bytes == segment_bytes {
                        true => spares.files.lock().push(path),
                        false => spares.remove(&path),
                    }
                }
            }
            Err(error) => {
                tracing::warn!(folder = %spares.folder.display(), %error, "spare segments are left alone");
            }
        }
        spares.keep(most);
        spares
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// The room that they take, in bytes.
    pub fn bytes(&self) -> u64 {
        self.count() as u64 * self.segment_bytes
    }

    /// Keeps at most so many from now on, and gives the room of others back. Says whether there were others. Blocks.
    pub fn keep(&self, most: usize) -> bool {
        let mut files = self.files.lock();
        let most = match self.is_of_use.load(Ordering::Relaxed) {
            true => most,
            false => 0,
        };
        self.most.store(most, Ordering::Relaxed);
        let had = files.len();
        while files.len() > most
            && let Some(path) = files.pop()
        {
            self.remove(&path);
        }
        self.count.store(files.len(), Ordering::Relaxed);
        files.len() < had
    }

    /// Takes a file over that nobody reads any more; false when it is not wanted. Its old name is gone for good when that is
    /// synced. Blocks.
    pub(super) fn put(&self, path: &Path) -> bool {
        let mut files = self.files.lock();
        if files.len() >= self.most.load(Ordering::Relaxed) {
            return false;
        }
        let Some(name) = path.file_name() else {
            return false;
        };
        let spare = self.folder.join(name);
        let moved = self
            .disk
            .create_directory(&self.folder)
            .and_then(|()| self.disk.rename(path, &spare));
        match moved {
            Ok(()) => files.push(spare),
            Err(ref error) => tracing::debug!(%error, "a segment cannot be kept for another"),
        }
        self.count.store(files.len(), Ordering::Relaxed);
        moved.is_ok()
    }

    /// Makes a segment of zeros out of one, durable but for its name. `None` when there is none that can be used. Blocks.
    pub(super) fn take(&self, path: &Path) -> Option<Box<dyn Segment>> {
        let mut files = self.files.lock();
        let mut segment = None;
        while segment.is_none()
            && let Some(spare) = files.pop()
        {
            match self.disk.reuse_segment(&spare, path, self.segment_bytes) {
                Ok(reused) => segment = Some(reused),
                Err(error) => {
                    tracing::debug!(spare = %spare.display(), %error, "a spare segment is not used");
                    if error.kind() == ErrorKind::Unsupported {
                        self.is_of_use.store(false, Ordering::Relaxed);
                        self.most.store(0, Ordering::Relaxed);
                    }
                    self.remove(&spare);
                }
            }
        }
        self.count.store(files.len(), Ordering::Relaxed);
        segment
    }

    /// One that cannot be removed is found again at the next start.
    fn remove(&self, path: &Path) {
        let removed = self.disk.remove(path);
        if let Err(error) = removed
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "a spare segment cannot be removed");
        }
    }
}

/// Beside the log, since only files of one file system can be moved, and with its name, since others may have logs there.
fn folder_beside(log: &Path) -> PathBuf {
    let mut name = log.file_name().unwrap_or_default().to_owned();
    name.push(".spare");
    log.with_file_name(name)
}
