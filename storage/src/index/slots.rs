//! The slot table of a file that is being written, in memory.

use super::format::SLOT_BYTES;

/// Slots that are written back together.
const PAGE_SLOTS: usize = 1024;

/// Numbers of the newest entries, and which of them the file does not have yet.
///
/// The memory comes as zeros from the operating system, so it is taken only where keys fall.
#[derive(Debug)]
pub(super) struct SlotTable {
    slots: Box<[u32]>,
    dirty_pages: Box<[bool]>,
    used: u32,
}

/// Slots on their way to the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DirtySlots {
    pub(super) first: u32,
    /// Encoded.
    pub(super) bytes: Vec<u8>,
    page: usize,
}

impl SlotTable {
    pub(super) fn new(slots: u32) -> Self {
        let slots = slots as usize;
        Self {
            slots: vec![0; slots].into_boxed_slice(),
            dirty_pages: vec![false; slots.div_ceil(PAGE_SLOTS)].into_boxed_slice(),
            used: 0,
        }
    }

    /// Slots that have an entry.
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// The newest entry of a slot; 0 when it has none.
    pub(super) fn get(&self, slot: u32) -> u32 {
        self.slots.get(slot as usize).copied().unwrap_or(0)
    }

    /// Sets the newest entry of a slot; returns the one before.
    pub(super) fn set(&mut self, slot: u32, entry: u32) -> u32 {
        let Some(place) = self.slots.get_mut(slot as usize) else {
            return 0;
        };
        let previous = std::mem::replace(place, entry);
        self.used += u32::from(previous == 0 && entry != 0);
        self.mark(slot as usize / PAGE_SLOTS, true);
        previous
    }

    /// Takes over a slot that the file has.
    pub(super) fn load(&mut self, slot: u32, entry: u32) {
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = entry;
            self.used += 1;
        }
    }

    /// Learns what the file has in a slot, after the table was built from entries.
    pub(super) fn compare(&mut self, slot: u32, in_file: u32) {
        if self.get(slot) != in_file {
            self.mark(slot as usize / PAGE_SLOTS, true);
        }
    }

    fn mark(&mut self, page: usize, is_dirty: bool) {
        if let Some(mark) = self.dirty_pages.get_mut(page) {
            *mark = is_dirty;
        }
    }

    /// Whether the file lacks anything.
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty_pages.contains(&true)
    }

    /// The next slots to be written, from a page on. They count as written from now on.
    pub(super) fn take_dirty(&mut self, from_page: usize) -> Option<DirtySlots> {
        let behind = self.dirty_pages.iter().skip(from_page);
        let page = from_page + behind.into_iter().position(|is_dirty| *is_dirty)?;
        self.mark(page, false);
        let first = page * PAGE_SLOTS;
        let slots = self.slots.iter().skip(first).take(PAGE_SLOTS);
        Some(DirtySlots {
            first: u32::try_from(first).ok()?,
            bytes: slots.flat_map(|entry| entry.to_be_bytes()).collect(),
            page,
        })
    }

    /// Takes back slots that could not be written.
    pub(super) fn put_back(&mut self, slots: &DirtySlots) {
        self.mark(slots.page, true);
    }
}

impl DirtySlots {
    pub(super) fn next_page(&self) -> usize {
        self.page + 1
    }
}

const _: () = assert!(SLOT_BYTES == size_of::<u32>() as u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_written_once() {
        let mut table = SlotTable::new(3000);
        table.load(5, 1);
        assert!(!table.is_dirty());
        assert_eq!(table.set(1024, 7), 0);
        assert_eq!(table.set(1024, 9), 7);
        assert_eq!(table.set(2999, 8), 0);
        assert_eq!(table.used(), 3);
        let first = table.take_dirty(0).unwrap();
        assert_eq!((first.first, first.bytes.len()), (1024, 4096));
        assert_eq!(first.bytes[..8], [0, 0, 0, 9, 0, 0, 0, 0]);
        let second = table.take_dirty(first.next_page()).unwrap();
        assert_eq!(
            (second.first, second.bytes.len()),
            (2048, (3000 - 2048) * 4)
        );
        assert_eq!(table.take_dirty(second.next_page()), None);
        assert!(!table.is_dirty());
        table.put_back(&first);
        assert_eq!(table.take_dirty(0), Some(first));
    }

    #[test]
    fn slots_that_the_file_has_otherwise_are_written() {
        let mut table = SlotTable::new(3000);
        table.load(3, 1);
        table.compare(3, 1);
        assert!(!table.is_dirty());
        table.compare(2000, 5);
        assert_eq!(table.take_dirty(0).unwrap().first, 1024);
    }
}
