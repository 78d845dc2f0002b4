//! Bringing an index file from memory to the device.
//!
//! Entries and slots go first, then a sync, then the header and another sync: the header never counts an entry that a
//! power cut could lose. Slots are written only together with a sync, since hashes touch most of the table in no time,
//! and after a stop that was not clean the table is built from the entries anyway.

use super::error::{During, IndexError};
use super::file::IndexFile;
use crate::disk::{Disk, DiskFile};

impl IndexFile {
    /// Writes new entries to the file, which is made when it is missing. They stay in memory when that fails.
    pub(super) fn write_entries(
        &self,
        disk: &dyn Disk,
        has_unsynced_name: &mut bool,
    ) -> Result<(), IndexError> {
        if self.state.read().entries.count() == 0 {
            return Ok(());
        }
        let file = match self.file.get() {
            Some(file) => file.clone(),
            None => {
                let file = disk
                    .create(&self.path, self.layout.file_bytes())
                    .during("create", &self.path)?;
                *has_unsynced_name = true;
                self.file.get_or_init(|| file).clone()
            }
        };
        // What failed last time, and what came since.
        for _ in 0..2 {
            let Some((first, chunk)) = self.state.write().chunk_to_write() else {
                break;
            };
            file.write_at(&chunk, self.layout.entry_position(first))
                .during("write", &self.path)?;
            self.state.write().chunk_is_written();
        }
        Ok(())
    }

    /// Whether a sync has anything to do.
    pub(super) fn is_dirty(&self) -> bool {
        let state = self.state.read();
        state.header != state.durable || state.slots.as_ref().is_some_and(|slots| slots.is_dirty())
    }

    /// Makes all entries of the file durable that have been written, and counts them in its header.
    pub(super) fn sync(&self) -> Result<(), IndexError> {
        let Some(file) = self.file.get() else {
            return Ok(());
        };
        let header = self.state.read().written;
        self.write_slots(&**file)?;
        file.sync().during("sync", &self.path)?;
        file.write_at(&header.to_bytes(), 0)
            .during("write", &self.path)?;
        file.sync().during("sync", &self.path)?;
        let mut state = self.state.write();
        state.durable = header;
        let is_done = header.next_entry >= self.layout.max_entries && header == state.header;
        if is_done && state.slots.as_ref().is_some_and(|slots| !slots.is_dirty()) {
            state.slots = None;
        }
        Ok(())
    }

    fn write_slots(&self, file: &dyn DiskFile) -> Result<(), IndexError> {
        let mut page = 0;
        loop {
            let dirty = match &mut self.state.write().slots {
                Some(slots) => slots.take_dirty(page),
                None => None,
            };
            let Some(dirty) = dirty else {
                return Ok(());
            };
            let written = file.write_at(&dirty.bytes, self.layout.slot_position(dirty.first));
            if let Err(error) = written.during("write", &self.path) {
                if let Some(slots) = &mut self.state.write().slots {
                    slots.put_back(&dirty);
                }
                return Err(error);
            }
            page = dirty.next_page();
        }
    }
}
