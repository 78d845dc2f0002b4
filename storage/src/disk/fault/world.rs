//! What all handles of one fault disk share: names, room, the clock, and what is to go wrong.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::file::Content;
use super::image::PAGE_BYTES;
use super::names::Names;

/// Room on a disk that nobody limited.
const DEFAULT_CAPACITY_BYTES: u64 = 1 << 40;

/// The shared state of a fault disk.
#[derive(Debug)]
pub(super) struct World {
    pub(super) names: Names,
    pub(super) faults: Faults,
    pub(super) capacity_bytes: u64,
    pub(super) used_bytes: u64,
    pub(super) now: SystemTime,
    pub(super) power_cuts: u64,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            names: Names::default(),
            faults: Faults::default(),
            capacity_bytes: DEFAULT_CAPACITY_BYTES,
            used_bytes: 0,
            now: SystemTime::UNIX_EPOCH,
            power_cuts: 0,
        }
    }

    /// The same disk with other names, after whoever used it is gone. What was to go wrong is forgotten.
    pub(super) fn reborn(&self, names: Names) -> Self {
        let used = names.files().map(|node| node.content.lock().taken_bytes());
        Self {
            used_bytes: used.sum(),
            names,
            faults: Faults::default(),
            capacity_bytes: self.capacity_bytes,
            now: self.now,
            power_cuts: self.power_cuts,
        }
    }

    pub(super) fn free_bytes(&self) -> u64 {
        self.capacity_bytes.saturating_sub(self.used_bytes)
    }

    /// How many bytes of a write find room.
    pub(super) fn room_for(&self, content: &Content, at: u64, bytes: usize) -> usize {
        let page_bytes = PAGE_BYTES as u64;
        let end = at + bytes as u64;
        let mut free = self.free_bytes() / page_bytes;
        for page in at / page_bytes..end.div_ceil(page_bytes) {
            if content.images.memory.has_page(page) {
                continue;
            }
            if free == 0 {
                return (page * page_bytes).saturating_sub(at) as usize;
            }
            free -= 1;
        }
        bytes
    }
}

/// What is to go wrong, and how much has been done.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) syncs: u64,
    pub(super) changes: u64,
    pub(super) failing_sync: Option<u64>,
    pub(super) failing_write: Option<u64>,
    pub(super) last_change: Option<u64>,
    pub(super) unreadable: BTreeSet<PathBuf>,
    pub(super) is_cold: bool,
}

fn device_error(what: &str) -> io::Error {
    io::Error::other(format!("{what}: input/output error on purpose"))
}

impl Faults {
    fn check_power(&self) -> io::Result<()> {
        match self.last_change {
            Some(last) if self.changes >= last => Err(device_error("the power is off")),
            _ => Ok(()),
        }
    }

    /// Called before anything that changes names or bytes or makes them durable.
    pub(super) fn check_change(&mut self) -> io::Result<()> {
        self.check_power()?;
        self.changes += 1;
        Ok(())
    }

    pub(super) fn check_write(&mut self) -> io::Result<()> {
        self.check_change()?;
        match self.failing_write {
            Some(1) => {
                self.failing_write = None;
                Err(device_error("write"))
            }
            Some(left) => {
                self.failing_write = Some(left - 1);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether the sync works; when it does not, the caller marks what it covers as written and returns
    /// [`sync_result`].
    pub(super) fn check_sync(&mut self) -> io::Result<bool> {
        self.check_change()?;
        self.syncs += 1;
        let works = self.failing_sync != Some(1);
        self.failing_sync = self.failing_sync.and_then(|left| match left {
            0 | 1 => None,
            left => Some(left - 1),
        });
        Ok(works)
    }

    pub(super) fn check_read(&self, path: &Path) -> io::Result<()> {
        self.check_power()?;
        if path.ancestors().any(|path| self.unreadable.contains(path)) {
            return Err(device_error("read"));
        }
        Ok(())
    }
}

/// What a sync reports.
pub(super) fn sync_result(works: bool) -> io::Result<()> {
    match works {
        true => Ok(()),
        false => Err(device_error("sync")),
    }
}

/// The error of a disk without room.
pub(super) fn full() -> io::Error {
    ErrorKind::StorageFull.into()
}
