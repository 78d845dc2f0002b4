//! One index file: what of it is in memory, entering keys, following a chain.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use super::error::{During, IndexError};
use super::format::{ENTRY_BYTES, Entry, HEADER_BYTES, Header, Layout, seconds_since};
use super::keys::IndexKey;
use super::slots::SlotTable;
use crate::disk::{DiskFile, Wait};

/// Entries read from a file at once when the slot table is rebuilt.
const ENTRIES_PER_READ: u32 = 3_200;
/// Slots read from a file at once.
const SLOTS_PER_READ: u32 = 16_384;

/// An index file and what of it is in memory only.
#[derive(Debug)]
pub(super) struct IndexFile {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) layout: Layout,
    /// Not there before the first write-back.
    pub(super) file: OnceLock<Arc<dyn DiskFile>>,
    pub(super) state: RwLock<State>,
}

/// What of a file is in memory.
#[derive(Debug)]
pub(super) struct State {
    pub(super) header: Header,
    /// The header that a power cut leaves.
    pub(super) durable: Header,
    /// Absent until a key is entered, and when the file is full and durable.
    pub(super) slots: Option<SlotTable>,
    pub(super) entries: NewEntries,
    /// The header as of the entries in the file.
    pub(super) written: Header,
    /// The header as of those being written.
    writing: Header,
    /// Entries below were there before their message came again.
    repeated_below: u32,
}

/// Entries that are not in the file yet, encoded.
#[derive(Debug, Default)]
pub(super) struct NewEntries {
    /// The first of them.
    start: u32,
    /// Stays readable until it is in the file; kept for another attempt when writing fails.
    writing: Option<Arc<Vec<u8>>>,
    fresh: Vec<u8>,
}

impl NewEntries {
    fn starting_at(start: u32) -> Self {
        Self {
            start,
            ..Self::default()
        }
    }

    fn get(&self, entry: u32) -> Option<Entry> {
        let at = (entry.checked_sub(self.start)?) as usize * ENTRY_BYTES;
        let writing = self.writing.as_ref().map_or(&[][..], |bytes| bytes);
        let bytes = match at.checked_sub(writing.len()) {
            None => writing.get(at..),
            Some(at) => self.fresh.get(at..),
        };
        bytes?.first_chunk().map(Entry::from_bytes)
    }

    pub(super) fn count(&self) -> usize {
        let writing = self.writing.as_ref().map_or(0, |bytes| bytes.len());
        (writing + self.fresh.len()) / ENTRY_BYTES
    }
}

impl State {
    /// What is to be written next, and its first entry.
    pub(super) fn chunk_to_write(&mut self) -> Option<(u32, Arc<Vec<u8>>)> {
        let entries = &mut self.entries;
        if entries.writing.is_none() && !entries.fresh.is_empty() {
            entries.writing = Some(Arc::new(std::mem::take(&mut entries.fresh)));
            self.writing = self.header;
        }
        entries.writing.clone().map(|chunk| (entries.start, chunk))
    }

    /// Forgets the chunk, which is in the file now.
    pub(super) fn chunk_is_written(&mut self) {
        let written = self.entries.writing.take().map_or(0, |chunk| chunk.len());
        self.entries.start += (written / ENTRY_BYTES) as u32;
        self.written = self.writing;
    }
}

impl IndexFile {
    /// A file that is not on the disk yet.
    pub(super) fn new(name: String, path: PathBuf, layout: Layout, header: Header) -> Self {
        Self {
            name,
            path,
            layout,
            file: OnceLock::new(),
            state: RwLock::new(State {
                header,
                durable: Header::following(0, 0),
                written: header,
                writing: header,
                slots: None,
                entries: NewEntries::starting_at(header.next_entry),
                repeated_below: 1,
            }),
        }
    }

    /// A file that is on the disk.
    pub(super) fn open(
        name: String,
        path: PathBuf,
        layout: Layout,
        file: Arc<dyn DiskFile>,
    ) -> Result<Self, IndexError> {
        let mut bytes = [0; HEADER_BYTES];
        read_exactly(&*file, &mut bytes, 0).during("read", &path)?;
        let Some(header) = Header::from_bytes(&bytes, layout) else {
            return Err(IndexError::Damaged { path });
        };
        let opened = Self::new(name, path, layout, header);
        opened.state.write().durable = header;
        let _ = opened.file.set(file);
        Ok(opened)
    }

    pub(super) fn header(&self) -> Header {
        self.state.read().header
    }

    pub(super) fn is_full(&self) -> bool {
        self.header().next_entry >= self.layout.max_entries
    }

    /// Enters keys, but for those whose message is older than the last one entered, until there is no room for more. Returns
    /// how many it went through.
    pub(super) fn put(&self, keys: &[IndexKey]) -> Result<usize, IndexError> {
        let mut state = self.state.write();
        let state = &mut *state;
        let (header, fresh) = (&mut state.header, &mut state.entries.fresh);
        let slots = match &mut state.slots {
            Some(slots) => slots,
            absent => absent.insert(self.read_slots(header.next_entry)?),
        };
        let mut done = 0;
        for key in keys {
            let number = header.next_entry;
            if number >= self.layout.max_entries {
                break;
            }
            done += 1;
            let physical = key.physical.as_i64();
            if physical < header.end_physical {
                continue;
            }
            let entry = Entry {
                key_hash: key.hash,
                physical,
                // RocketMQ takes the begin as it is before the first entry sets it: in all files but the first that is the
                // end of the file before.
                seconds: seconds_since(header.begin_ms, key.stored_ms),
                previous: slots.set(self.layout.slot_of(key.hash), number),
            };
            fresh.extend_from_slice(&entry.to_bytes());
            if number == 1 {
                header.begin_physical = physical;
                header.begin_ms = key.stored_ms;
            }
            header.next_entry += 1;
            header.end_physical = physical;
            header.end_ms = key.stored_ms;
        }
        header.used_slots = slots.used();
        Ok(done)
    }

    /// The last message comes again.
    pub(super) fn expect_again(&self) {
        let mut state = self.state.write();
        state.repeated_below = state.header.next_entry;
    }

    /// Whether a key of the last message was there before it came again.
    pub(super) fn was_there(&self, key_hash: u32, physical: i64) -> Result<bool, IndexError> {
        let repeated_below = self.state.read().repeated_below;
        let mut next = self.newest(key_hash, &self.header())?;
        while next != 0 {
            let entry = self.entry(next)?;
            if entry.physical != physical {
                break;
            }
            if entry.key_hash == key_hash && next < repeated_below {
                return Ok(true);
            }
            next = entry.previous.min(next - 1);
        }
        Ok(false)
    }

    /// Adds messages with this key in a span of time, the newest first, until there are `max`.
    pub(super) fn query(
        &self,
        key_hash: u32,
        (begin_ms, end_ms): (i64, i64),
        max: usize,
        found: &mut Vec<i64>,
    ) -> Result<(), IndexError> {
        let header = self.header();
        let mut next = self.newest(key_hash, &header)?;
        while next != 0 && found.len() < max {
            let entry = self.entry(next)?;
            if entry.seconds < 0 {
                break;
            }
            let stored_ms = header
                .begin_ms
                .saturating_add(i64::from(entry.seconds) * 1000);
            if entry.key_hash == key_hash && (begin_ms..=end_ms).contains(&stored_ms) {
                found.push(entry.physical);
            }
            // Chains lead to older entries; one that does not is damaged and could be endless.
            if stored_ms < begin_ms || entry.previous >= next {
                break;
            }
            next = entry.previous;
        }
        Ok(())
    }

    fn newest(&self, key_hash: u32, header: &Header) -> Result<u32, IndexError> {
        if header.next_entry <= 1 {
            return Ok(0);
        }
        let slot = self.layout.slot_of(key_hash);
        let in_memory = self
            .state
            .read()
            .slots
            .as_ref()
            .map(|slots| slots.get(slot));
        let newest = match in_memory {
            Some(newest) => newest,
            None => {
                let mut bytes = [0; 4];
                self.read(&mut bytes, self.layout.slot_position(slot))?;
                u32::from_be_bytes(bytes)
            }
        };
        // A slot can be newer than the header just read, or than the one that a power cut left.
        Ok(match newest < header.next_entry || in_memory.is_some() {
            true => newest,
            false => 0,
        })
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> Result<(), IndexError> {
        let result = match self.file.get() {
            Some(file) => read_exactly(&**file, buffer, at),
            None => Err(ErrorKind::NotFound.into()),
        };
        result.during("read", &self.path)
    }

    fn entry(&self, number: u32) -> Result<Entry, IndexError> {
        let in_memory = self.state.read().entries.get(number);
        if let Some(entry) = in_memory {
            return Ok(entry);
        }
        let mut bytes = [0; ENTRY_BYTES];
        self.read(&mut bytes, self.layout.entry_position(number))?;
        Ok(Entry::from_bytes(&bytes))
    }

    /// Calls `each` for all slots of the file that are not 0.
    fn each_slot(&self, mut each: impl FnMut(u32, u32)) -> Result<(), IndexError> {
        let Some(file) = self.file.get() else {
            return Ok(());
        };
        let end = self.layout.slot_position(self.layout.slots);
        let mut buffer = vec![0; SLOTS_PER_READ as usize * 4];
        let mut first = 0;
        while first < self.layout.slots {
            let position = self.layout.slot_position(first);
            // Slots that nobody wrote are holes, most of a young file.
            let data = file.next_data(position).during("read", &self.path)?;
            let Some(start) = data.map(|data| data.start).filter(|start| *start < end) else {
                return Ok(());
            };
            first += ((start - position) / 4) as u32;
            let count = SLOTS_PER_READ.min(self.layout.slots - first);
            let bytes = buffer.get_mut(..count as usize * 4).unwrap_or_default();
            self.read(bytes, self.layout.slot_position(first))?;
            for (index, slot) in bytes.as_chunks().0.iter().enumerate() {
                match u32::from_be_bytes(*slot) {
                    0 => {}
                    entry => each(first + index as u32, entry),
                }
            }
            first += count;
        }
        Ok(())
    }

    /// The slot table as the file has it.
    fn read_slots(&self, next_entry: u32) -> Result<SlotTable, IndexError> {
        let mut table = SlotTable::new(self.layout.slots);
        self.each_slot(|slot, entry| match entry < next_entry {
            true => table.load(slot, entry),
            // It would become valid, and wrong, as soon as there are so many entries.
            false => {
                table.set(slot, 0);
            }
        })?;
        Ok(table)
    }

    /// Builds the slot table from the entries before `next_entry` and below `physical`, and drops the others. Stops
    /// before the first entry that is damaged.
    pub(super) fn rebuild(&self, physical: i64) -> Result<(), IndexError> {
        let mut state = self.state.write();
        let mut table = SlotTable::new(self.layout.slots);
        let mut last = None;
        let mut number = 1;
        'entries: while number < state.header.next_entry {
            let count = ENTRIES_PER_READ.min(state.header.next_entry - number);
            let mut bytes = vec![0; count as usize * ENTRY_BYTES];
            self.read(&mut bytes, self.layout.entry_position(number))?;
            for bytes in bytes.as_chunks().0 {
                let entry = Entry::from_bytes(bytes);
                let slot = self.layout.slot_of(entry.key_hash);
                let follows = last.is_none_or(|last: Entry| last.physical <= entry.physical);
                let is_sound = entry.previous == table.get(slot)
                    && entry.key_hash <= i32::MAX.cast_unsigned()
                    && entry.seconds >= 0
                    && follows;
                if !is_sound || entry.physical >= physical {
                    break 'entries;
                }
                table.set(slot, number);
                last = Some(entry);
                number += 1;
            }
        }
        self.each_slot(|slot, entry| table.compare(slot, entry))?;
        let header = &mut state.header;
        if number < header.next_entry {
            header.next_entry = number;
            header.end_physical = last.map_or(header.begin_physical, |last| last.physical);
            // To the second, as the entries have it. That of the first counts from the file before.
            header.end_ms = match last {
                Some(last) if number > 2 => header.begin_ms + i64::from(last.seconds) * 1000,
                _ => header.begin_ms,
            };
        }
        header.used_slots = table.used();
        state.slots = Some(table);
        state.entries = NewEntries::starting_at(number);
        state.written = state.header;
        Ok(())
    }
}

fn read_exactly(file: &dyn DiskFile, buffer: &mut [u8], at: u64) -> std::io::Result<()> {
    match file.read_at(buffer, at, Wait::ForDisk)? {
        read if read == buffer.len() => Ok(()),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}
