//! The files of the timer log as they are found, and cutting its end.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::{During, TimerError};
use super::log::{LogFile, TimerLog};
use super::places::Places;
use super::unit::{FILLER_BYTES, filler};
use crate::disk::{Disk, Wait};

/// Bytes looked at together when what follows the end is zeroed.
const ZEROED_AT_ONCE: u64 = 64 * 1024;

impl TimerLog {
    /// Opens the files of a folder, which are durable up to `flushed`; `None` when nobody knows. What follows a file that a
    /// power cut took is removed, be it the first one.
    pub(super) fn load(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        places: Places,
        flushed: Option<u64>,
    ) -> Result<Self, TimerError> {
        let mut log = Self {
            disk,
            folder,
            places,
            files: VecDeque::new(),
            written: 0,
            pending: Vec::new(),
            synced: 0,
            has_unsynced_names: true,
        };
        let mut next = None;
        let mut is_lost = false;
        let first_start = flushed.unwrap_or(u64::MAX);
        let flushed = flushed.unwrap_or(0);
        for entry in log.disk.list(&log.folder).during("list", &log.folder)? {
            let path = log.folder.join(&entry.name);
            let Some(start) = places.start_of(&entry.name).filter(|_| !entry.is_directory) else {
                tracing::warn!(path = %path.display(), "ignoring what is no file of the timer log");
                continue;
            };
            let expected = next.unwrap_or(start);
            if start != expected && expected < flushed && !is_lost {
                let path = places.path(&log.folder, expected);
                return Err(TimerError::Missing { path });
            }
            // Names and lengths of new files are lost one by one.
            is_lost |= start != expected || (entry.bytes == 0 && start >= flushed);
            is_lost |= next.is_none() && start > first_start;
            let file = log.disk.open(&path).during("open", &path)?;
            let file = LogFile { start, path, file };
            if is_lost {
                log.remove(&file)?;
                continue;
            }
            if entry.bytes != places.file_bytes {
                return Err(TimerError::FileLength {
                    path: file.path,
                    bytes: entry.bytes,
                    expected: places.file_bytes,
                });
            }
            next = Some(start + places.file_bytes);
            log.files.push_back(file);
        }
        log.written = log.start();
        Ok(log)
    }

    /// Where the last file ends.
    pub(super) fn files_end(&self) -> u64 {
        let last = self.files.back();
        last.map_or(0, |file| file.start + self.places.file_bytes)
    }

    /// Whether the filler stands at this position, which is a filler's.
    pub(super) fn has_filler(&self, at: u64) -> Result<bool, TimerError> {
        let Some(file) = self.file_at(at) else {
            return Ok(false);
        };
        let within = self.places.within(at);
        let mut bytes = [0; FILLER_BYTES];
        let read = file.file.read_at(&mut bytes, within, Wait::ForDisk);
        read.during("read", &file.path)?;
        Ok(bytes == filler(self.places.file_bytes - within))
    }

    /// Lets a unit follow another one than it does, in the file.
    pub(super) fn relink(&self, at: u64, previous: Option<u64>) -> Result<(), TimerError> {
        let Some(file) = self.file_at(at) else {
            return Ok(());
        };
        let previous = previous.map_or(-1, u64::cast_signed).to_be_bytes();
        let written = file.file.write_at(&previous, self.places.within(at) + 4);
        written.during("write", &file.path)
    }

    /// Makes the log end here: what lies behind is zeroed, and later files are removed.
    pub(super) fn cut(&mut self, end: u64) -> Result<(), TimerError> {
        while let Some(last) = self.files.back().filter(|last| last.start > end) {
            self.remove(last)?;
            self.files.pop_back();
        }
        self.written = end;
        let Some(file) = self.file_at(end) else {
            return Ok(());
        };
        let mut at = self.places.within(end);
        let mut bytes = Vec::new();
        let mut is_changed = false;
        while let Some(data) = file.file.next_data(at).during("read", &file.path)? {
            let start = data.start.max(at);
            let behind = data.end.min(start + ZEROED_AT_ONCE);
            bytes.resize((behind - start) as usize, 0);
            let read = file.file.read_at(&mut bytes, start, Wait::ForDisk);
            read.during("read", &file.path)?;
            if bytes.iter().any(|byte| *byte != 0) {
                bytes.fill(0);
                let written = file.file.write_at(&bytes, start);
                written.during("write", &file.path)?;
                is_changed = true;
            }
            at = behind.max(at + 1);
        }
        if is_changed {
            file.file.sync().during("sync", &file.path)?;
        }
        Ok(())
    }
}
