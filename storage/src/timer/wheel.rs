//! The wheel: for each stretch of time, the head of the chain of what waits for it.
//!
//! Pages of slots are in memory as they are needed. A changed page stays there until it is written, and it is written only
//! once all units are durable that it leads to: a slot in the file never leads beyond the log. Changed pages are as many
//! as the roll window covers, 1,350 of 4 KiB at RocketMQ's sizes.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;

use super::error::{During, TimerError};
use super::places::Places;
use super::slot::{SLOT_BYTES, Slot};
use crate::disk::{Disk, DiskFile, Wait};

const PAGE_BYTES: usize = 4096;
const SLOTS_PER_PAGE: u64 = (PAGE_BYTES / SLOT_BYTES) as u64;

/// Pages in memory beyond those that are changed: 8 MiB.
const MAX_PAGES: usize = 2048;

/// Slots read at once when all are looked at.
const BYTES_PER_READ: u64 = 1 << 20;

#[derive(Debug)]
struct Page {
    bytes: Box<[u8; PAGE_BYTES]>,
    is_changed: bool,
}

/// The wheel and the file it is in.
#[derive(Debug)]
pub(super) struct Wheel {
    pub(super) path: PathBuf,
    file: Arc<dyn DiskFile>,
    slots: u64,
    pages: HashMap<u64, Page>,
    /// Whether written pages are not durable yet.
    is_unsynced: bool,
}

/// What looking at all slots told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Survey {
    /// Messages that wait, less delete markers.
    pub(super) waiting: i64,
    /// The last unit that a slot leads to.
    pub(super) last: Option<u64>,
}

impl Wheel {
    pub(super) fn file_bytes(slots: u64) -> u64 {
        slots * SLOT_BYTES as u64
    }

    /// Opens a wheel that is there; `None` when there is none, or only what a crash left of its making.
    pub(super) fn open(
        disk: &dyn Disk,
        path: &Path,
        slots: u64,
    ) -> Result<Option<Self>, TimerError> {
        let file = match disk.open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.during("open", path)?,
        };
        match file.bytes().during("measure", path)? {
            0 => Ok(None),
            bytes if bytes == Self::file_bytes(slots) => Ok(Some(Self::over(file, path, slots))),
            bytes => Err(TimerError::FileLength {
                path: path.to_owned(),
                bytes,
                expected: Self::file_bytes(slots),
            }),
        }
    }

    /// Makes a wheel without messages. What has its name is removed.
    pub(super) fn create(disk: &dyn Disk, path: &Path, slots: u64) -> Result<Self, TimerError> {
        match disk.remove(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            result => result.during("remove", path)?,
        }
        let file = disk.create(path, Self::file_bytes(slots));
        let mut wheel = Self::over(file.during("create", path)?, path, slots);
        wheel.is_unsynced = true;
        Ok(wheel)
    }

    fn over(file: Arc<dyn DiskFile>, path: &Path, slots: u64) -> Self {
        Self {
            path: path.to_owned(),
            file,
            slots,
            pages: HashMap::new(),
            is_unsynced: false,
        }
    }

    /// The slot of a time above 0, empty when its place has another one.
    pub(super) fn get(&mut self, time: i64) -> Result<Slot, TimerError> {
        let (page, within) = self.place(time);
        let page = self.page(page)?;
        let bytes = page.bytes.get(within).and_then(|bytes| bytes.first_chunk());
        let slot = bytes.map(Slot::from_bytes);
        Ok(slot
            .filter(|slot| slot.time == time)
            .unwrap_or(Slot::empty(time)))
    }

    /// Puts a slot in its place, in memory.
    pub(super) fn put(&mut self, slot: Slot) -> Result<(), TimerError> {
        let (page, within) = self.place(slot.time);
        let page = self.page(page)?;
        if let Some(bytes) = page.bytes.get_mut(within) {
            bytes.copy_from_slice(&slot.to_bytes());
            page.is_changed = true;
        }
        Ok(())
    }

    fn place(&self, time: i64) -> (u64, Range<usize>) {
        let index = time.unsigned_abs() % self.slots;
        let within = (index % SLOTS_PER_PAGE) as usize * SLOT_BYTES;
        (index / SLOTS_PER_PAGE, within..within + SLOT_BYTES)
    }

    fn page(&mut self, number: u64) -> Result<&mut Page, TimerError> {
        if !self.pages.contains_key(&number) {
            let mut bytes = Box::new([0; PAGE_BYTES]);
            let at = number * PAGE_BYTES as u64;
            let read = self.file.read_at(bytes.as_mut_slice(), at, Wait::ForDisk);
            read.during("read", &self.path)?;
            if self.pages.len() >= MAX_PAGES {
                self.pages.retain(|_, page| page.is_changed);
            }
            let page = Page {
                bytes,
                is_changed: false,
            };
            self.pages.insert(number, page);
        }
        let page = self.pages.get_mut(&number);
        page.ok_or_else(|| TimerError::Io {
            action: "keep",
            path: self.path.clone(),
            source: ErrorKind::OutOfMemory.into(),
        })
    }

    /// Writes changed pages, which must lead to durable units only, and makes them durable.
    pub(super) fn sync(&mut self) -> Result<(), TimerError> {
        let changed = self.pages.iter().filter(|(_, page)| page.is_changed);
        let mut changed: Vec<u64> = changed.map(|(number, _)| *number).collect();
        changed.sort_unstable();
        for number in changed {
            let Some(page) = self.pages.get_mut(&number) else {
                continue;
            };
            let at = number * PAGE_BYTES as u64;
            let length = (Self::file_bytes(self.slots) - at).min(PAGE_BYTES as u64);
            let bytes = page.bytes.get(..length as usize).unwrap_or_default();
            self.file.write_at(bytes, at).during("write", &self.path)?;
            page.is_changed = false;
            self.is_unsynced = true;
        }
        if self.is_unsynced {
            self.file.sync().during("sync", &self.path)?;
            self.is_unsynced = false;
        }
        Ok(())
    }

    /// Gives the file its right name.
    pub(super) fn rename(&mut self, disk: &dyn Disk, path: &Path) -> Result<(), TimerError> {
        disk.rename(&self.path, path).during("rename", &self.path)?;
        self.path = path.to_owned();
        let folder = path.parent().unwrap_or(path);
        disk.sync_directory(folder)
            .during("sync the folder", folder)
    }

    /// Looks at all slots of the file from a time on, and counts what waits in those from `count_from` on; `None` when one
    /// of them cannot be of this log, whose files cover `log`.
    pub(super) fn survey(
        &self,
        from: i64,
        count_from: i64,
        log: Range<u64>,
        places: Places,
    ) -> Result<Option<Survey>, TimerError> {
        let mut survey = Survey {
            waiting: 0,
            last: None,
        };
        let times = from..from.saturating_add_unsigned(self.slots);
        let mut at = 0;
        let mut bytes = Vec::new();
        // Slots that nobody wrote are holes, most of the file.
        while let Some(data) = self.file.next_data(at).during("read", &self.path)? {
            let start = data.start.max(at) / SLOT_BYTES as u64 * SLOT_BYTES as u64;
            let end = data.end.min(start + BYTES_PER_READ);
            bytes.resize((end - start) as usize, 0);
            let read = self.file.read_at(&mut bytes, start, Wait::ForDisk);
            read.during("read", &self.path)?;
            for slot in bytes.as_chunks().0.iter().map(Slot::from_bytes) {
                if !times.contains(&slot.time) {
                    continue;
                }
                if slot.time >= count_from {
                    survey.waiting += i64::from(slot.count);
                }
                let ends = [slot.first, slot.last].into_iter().flatten();
                let mut ends = ends.map(|at| places.is_unit(at) && log.contains(&at));
                if slot.first.is_some() != slot.last.is_some() || ends.any(|sound| !sound) {
                    return Ok(None);
                }
                survey.last = survey.last.max(slot.last);
            }
            at = end.max(at + 1);
        }
        Ok(Some(survey))
    }

    /// Pages in memory.
    #[cfg(test)]
    pub(super) fn page_count(&self) -> usize {
        self.pages.len()
    }
}
