//! Bringing units from memory to files, and files to the device.
//!
//! Units reach a file in order, at most [`unsynced_limit`] bytes beyond what is synced, and a file is synced whole, with
//! its name, before the next one is made. So whatever a power cut leaves of unsynced bytes lies in one file, in a
//! stretch of known length behind the last unit that can be trusted.

use castmq_protocol::model::PhysicalOffset;

use super::error::{ConsumeQueueError, During};
use super::files::unsynced_limit;
use super::load::remove_files;
use super::queue::{ConsumeQueue, UnsyncedNames};
use super::unit::{FILLER, UNIT, UNIT_BYTES};

/// Fillers written at once.
const FILLERS_PER_WRITE: u64 = 3_000;

impl ConsumeQueue {
    /// Writes what is in memory to files. Units stay in memory, and a later call tries again, when that fails.
    pub fn write_back(&self) -> Result<(), ConsumeQueueError> {
        let files_lock = self.files_lock.lock();
        self.shared.files.check_poison()?;
        if self.state.lock().is_ragged {
            self.cut_behind_end()?;
        }
        let end = self.state.lock().max();
        let next = || {
            let mut state = self.state.lock();
            let is_more = state.tail.start() < end;
            is_more.then(|| state.tail.chunk_to_write()).flatten()
        };
        while let Some((start, chunk)) = next() {
            self.write_chunk(start, &chunk)?;
            self.state.lock().tail.chunk_is_written();
            self.shared.spares.put(chunk);
        }
        drop(files_lock);
        Ok(())
    }

    /// Makes what is in files durable. After a failure all consume queues refuse to write until they are opened again.
    pub fn sync(&self) -> Result<(), ConsumeQueueError> {
        let _files_lock = self.files_lock.lock();
        self.sync_files()
    }

    fn write_chunk(&self, start: u64, chunk: &[u8]) -> Result<(), ConsumeQueueError> {
        let end = start + (chunk.len() / UNIT_BYTES) as u64;
        let mut at = self.state.lock().written.max(start);
        while at < end {
            let room = self.make_room(at)?;
            let to = end.min(at + room);
            let bytes = (at - start) as usize * UNIT_BYTES..(to - start) as usize * UNIT_BYTES;
            let per_file = self.shared.files.units_per_file();
            let number = at / per_file;
            let file = self
                .shared
                .files
                .handle(self.key(number), || self.path(number))?;
            file.write_at(chunk.get(bytes).unwrap_or_default(), at % per_file * UNIT)
                .during("write", &self.path(number))?;
            self.state.lock().written = to;
            self.shared.remove_pending(to - at);
            at = to;
        }
        Ok(())
    }

    /// Makes sure that units can be written at `at`, the end of what is in files, and says how many.
    fn make_room(&self, at: u64) -> Result<u64, ConsumeQueueError> {
        let synced = self.state.lock().synced;
        let mut limit = self.write_limit(synced);
        if at >= limit {
            self.sync_files()?;
            limit = self.write_limit(at);
        }
        let number = at / self.shared.files.units_per_file();
        let has_file = {
            let state = self.state.lock();
            (state.first_file..state.end_file).contains(&number)
        };
        if !has_file {
            self.create_file(number, at)?;
        }
        Ok(limit - at)
    }

    /// The unit up to which files may be written while units below `synced` are.
    fn write_limit(&self, synced: u64) -> u64 {
        let per_file = self.shared.files.units_per_file();
        let file_end = (synced / per_file + 1) * per_file;
        let ahead = unsynced_limit(synced % per_file * UNIT) / UNIT;
        file_end.min(synced + ahead)
    }

    fn create_file(&self, number: u64, at: u64) -> Result<(), ConsumeQueueError> {
        let files = &self.shared.files;
        let (folder, path) = (self.folder(), self.path(number));
        let is_first = {
            let state = self.state.lock();
            state.first_file == state.end_file
        };
        if is_first {
            files
                .disk
                .create_directory(&folder)
                .during("create the folder", &folder)?;
            // What a crash left of a queue that held nothing yet.
            remove_files(files, self.number, &folder, |_| false)?;
        }
        let file = files.create(self.key(number), &path)?;
        let fillers = at % files.units_per_file();
        for from in (0..fillers).step_by(FILLERS_PER_WRITE as usize) {
            let count = FILLERS_PER_WRITE.min(fillers - from) as usize;
            file.write_at(&FILLER.repeat(count), from * UNIT)
                .during("write", &path)?;
        }
        let mut state = self.state.lock();
        if is_first {
            state.first_file = number;
        }
        state.end_file = number + 1;
        let names = match is_first {
            true => UnsyncedNames::Folders,
            false => UnsyncedNames::File,
        };
        state.unsynced_names = state.unsynced_names.max(names);
        Ok(())
    }

    /// Syncs everything written. The caller holds the files lock.
    pub(super) fn sync_files(&self) -> Result<(), ConsumeQueueError> {
        let files = &self.shared.files;
        files.check_poison()?;
        let (number, written, is_unsynced, names) = {
            let state = self.state.lock();
            let number = state.synced / files.units_per_file();
            let has_file = (state.first_file..state.end_file).contains(&number);
            let is_cut = state.has_unsynced_cut && has_file;
            let is_unsynced = state.synced < state.written || is_cut;
            (number, state.written, is_unsynced, state.unsynced_names)
        };
        if is_unsynced {
            let path = || self.path(number);
            let file = files.handle(self.key(number), path)?;
            files.poison_on_error(file.sync().during("sync", &path()))?;
        }
        if names >= UnsyncedNames::File {
            files.sync_directory(&self.folder())?;
        }
        if names == UnsyncedNames::Folders {
            files.sync_directory(&files.topic_folder(&self.topic))?;
            files.sync_directory(files.root())?;
        }
        let mut state = self.state.lock();
        state.synced = written;
        state.unsynced_names = UnsyncedNames::None;
        state.has_unsynced_cut = false;
        let next = state.tail.units(written).next();
        if let Some(unit) = next {
            state.unsynced_physical = unit.physical.0;
        }
        Ok(())
    }

    /// Whether the names of its folders could be lost.
    pub(super) fn has_unsynced_folders(&self) -> bool {
        self.state.lock().unsynced_names == UnsyncedNames::Folders
    }

    /// To be told when the folders above its own have been synced, after it had [unsynced
    /// ones](Self::has_unsynced_folders).
    pub(super) fn folders_are_synced(&self) {
        let mut state = self.state.lock();
        state.unsynced_names = state.unsynced_names.min(UnsyncedNames::File);
    }

    /// Start of the first record whose unit a power cut could lose.
    pub(super) fn first_unsynced(&self) -> Option<PhysicalOffset> {
        let state = self.state.lock();
        let is_synced = state.synced == state.max();
        (!is_synced).then_some(PhysicalOffset(state.unsynced_physical))
    }

    /// Takes it off the list of dirty queues if there is nothing to do for it; says so.
    pub(super) fn settle(&self) -> bool {
        let mut state = self.state.lock();
        let has_unsynced = state.has_unsynced_cut || state.unsynced_names > UnsyncedNames::None;
        if state.synced == state.max() && !has_unsynced {
            state.is_dirty = false;
        }
        !state.is_dirty
    }
}
