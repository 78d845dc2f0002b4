//! The timer log: units in the order in which they came, in files of one size.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::{During, TimerError};
use super::places::Places;
use super::unit::{UNIT_BYTES, Unit, filler};
use crate::disk::{Disk, DiskFile, Wait};

/// Units that are in memory only, at the most: more are written at once.
const MAX_PENDING_BYTES: usize = 256 * 1024;

/// How much is read at once when a chain is followed: units of a busy slot lie together.
const BLOCK_BYTES: u64 = 8 * 1024;

/// One file of the log.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) start: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
}

/// Bytes of the log that were read together.
#[derive(Debug, Default)]
pub(super) struct Block {
    start: u64,
    bytes: Vec<u8>,
}

/// The files, and the end that is in memory.
#[derive(Debug)]
pub(super) struct TimerLog {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    pub(super) places: Places,
    /// Without gaps.
    pub(super) files: VecDeque<LogFile>,
    /// Up to here units are in the files.
    pub(super) written: u64,
    /// Units behind `written`, all of them for the last file.
    pub(super) pending: Vec<u8>,
    /// Up to here units are durable.
    pub(super) synced: u64,
    pub(super) has_unsynced_names: bool,
}

impl TimerLog {
    /// Where the next unit will start, after [`make_room`](Self::make_room).
    pub(super) fn end(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    pub(super) fn start(&self) -> u64 {
        self.files.front().map_or(self.written, |file| file.start)
    }

    pub(super) fn file_at(&self, at: u64) -> Option<&LogFile> {
        let index = at.checked_sub(self.start())? / self.places.file_bytes;
        self.files.get(usize::try_from(index).ok()?)
    }

    /// Sees to it that the next unit fits where the log ends. What fails can be tried again.
    pub(super) fn make_room(&mut self) -> Result<(), TimerError> {
        let is_full = self.places.within(self.end()) == self.places.filler_within();
        if is_full || self.pending.len() >= MAX_PENDING_BYTES {
            self.write()?;
        }
        if is_full {
            self.fill_file()?;
        }
        if self.file_at(self.end()).is_none() {
            self.add_file()?;
        }
        Ok(())
    }

    fn fill_file(&mut self) -> Result<(), TimerError> {
        let at = self.places.filler_within();
        let rest_bytes = self.places.file_bytes - at;
        if let Some(last) = self.file_at(self.written) {
            let written = last.file.write_at(&filler(rest_bytes), at);
            written.during("write", &last.path)?;
        }
        self.written += rest_bytes;
        Ok(())
    }

    fn add_file(&mut self) -> Result<(), TimerError> {
        let start = self.end();
        let path = self.places.path(&self.folder, start);
        let created = self.disk.create(&path, self.places.file_bytes);
        let file = created.during("create", &path)?;
        self.has_unsynced_names = true;
        self.files.push_back(LogFile { start, path, file });
        Ok(())
    }

    /// Adds a unit where the log ends, in memory.
    pub(super) fn append(&mut self, unit: &Unit) {
        self.pending.extend_from_slice(&unit.to_bytes());
    }

    /// Writes units to the last file. They stay in memory when that fails.
    pub(super) fn write(&mut self) -> Result<(), TimerError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if let Some(last) = self.file_at(self.written) {
            let within = self.places.within(self.written);
            let written = last.file.write_at(&self.pending, within);
            written.during("write", &last.path)?;
        }
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Makes everything written durable, names of files included.
    pub(super) fn sync(&mut self) -> Result<(), TimerError> {
        if self.has_unsynced_names {
            let synced = self.disk.sync_directory(&self.folder);
            synced.during("sync the folder", &self.folder)?;
            self.has_unsynced_names = false;
        }
        let unsynced = self.synced;
        let file_bytes = self.places.file_bytes;
        for file in &self.files {
            if file.start < self.written && file.start + file_bytes > unsynced {
                file.file.sync().during("sync", &file.path)?;
            }
        }
        self.synced = self.written;
        Ok(())
    }

    /// The unit at a position, to which a chain led.
    pub(super) fn unit_at(&self, at: u64, block: &mut Block) -> Result<Unit, TimerError> {
        if !self.places.is_unit(at) || at < self.start() || at >= self.end() {
            return Err(self.damaged(at, "the wheel or a unit leads there, and no unit is there"));
        }
        let bytes = match at.checked_sub(self.written) {
            Some(pending) => self.pending.get(pending as usize..),
            None => {
                self.read_block(at, block)?;
                block.bytes.get((at - block.start) as usize..)
            }
        };
        let unit = bytes
            .and_then(|bytes| bytes.first_chunk())
            .and_then(Unit::from_bytes);
        unit.ok_or_else(|| self.damaged(at, "the wheel leads there, and the bytes are no unit"))
    }

    /// Has a unit in the block, and those before it.
    fn read_block(&self, at: u64, block: &mut Block) -> Result<(), TimerError> {
        let end = at + UNIT_BYTES as u64;
        if at >= block.start && end <= block.start + block.bytes.len() as u64 {
            return Ok(());
        }
        let Some(file) = self.file_at(at) else {
            return Err(self.damaged(at, "the file is gone"));
        };
        let start = file.start.max(end.saturating_sub(BLOCK_BYTES));
        block.bytes.clear();
        block.bytes.resize((end - start) as usize, 0);
        block.start = start;
        let read = file
            .file
            .read_at(&mut block.bytes, start - file.start, Wait::ForDisk)
            .and_then(|read| match read == block.bytes.len() {
                true => Ok(()),
                false => Err(ErrorKind::UnexpectedEof.into()),
            });
        if read.is_err() {
            block.bytes.clear();
        }
        read.during("read", &file.path)
    }

    /// Reads written units from a position on into `bytes`, at most `max` and none of another file.
    pub(super) fn read_units(
        &self,
        at: u64,
        max: u64,
        bytes: &mut Vec<u8>,
    ) -> Result<(), TimerError> {
        bytes.clear();
        let Some(file) = self.file_at(at) else {
            return Ok(());
        };
        let within = self.places.within(at);
        let rest = self.places.filler_within().saturating_sub(within);
        bytes.resize(rest.min(max * UNIT_BYTES as u64) as usize, 0);
        let read = file.file.read_at(bytes, within, Wait::ForDisk);
        match read.during("read", &file.path)? {
            read if read == bytes.len() => Ok(()),
            _ => Err(ErrorKind::UnexpectedEof.into()).during("read", &file.path),
        }
    }

    /// Removes the first file. There must be another one with units.
    pub(super) fn remove_first(&mut self) -> Result<(), TimerError> {
        let Some(first) = self.files.front() else {
            return Ok(());
        };
        self.remove(first)?;
        self.files.pop_front();
        Ok(())
    }

    /// Removes a file durably: one by one, so that a power cut leaves no gap.
    pub(super) fn remove(&self, file: &LogFile) -> Result<(), TimerError> {
        match self.disk.remove(&file.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            result => result.during("remove", &file.path)?,
        }
        let synced = self.disk.sync_directory(&self.folder);
        synced.during("sync the folder", &self.folder)
    }

    /// The error of a position whose bytes are not what they should be.
    pub(super) fn damaged(&self, at: u64, what: &'static str) -> TimerError {
        let start = self.places.file_start(at);
        TimerError::Damaged {
            path: self.places.path(&self.folder, start),
            at: self.places.within(at),
            what,
        }
    }
}
