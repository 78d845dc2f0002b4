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
    pages: Box<[Page]>,
    used: u32,
}

/// What is known of slots that are written back together.
#[derive(Debug, Clone, Copy, Default)]
struct Page {
    /// One of them was set: before, all are 0. To read memory before it is written has the system map it twice.
    is_used: bool,
    is_dirty: bool,
}

impl Page {
    /// Writes a slot that is 0.
    #[cold]
    fn use_first(&mut self, slot: &mut u32) {
        self.is_used = true;
        // A compiler knows that it changes nothing.
        *std::hint::black_box(slot) = 0;
    }
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
            pages: vec![Page::default(); slots.div_ceil(PAGE_SLOTS)].into_boxed_slice(),
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
        let slot = slot as usize;
        let page = self.pages.get_mut(slot / PAGE_SLOTS);
        let (Some(place), Some(page)) = (self.slots.get_mut(slot), page) else {
            return 0;
        };
        page.is_dirty = true;
        if !page.is_used {
            page.use_first(place);
        }
        let previous = std::mem::replace(place, entry);
        self.used += u32::from(previous == 0 && entry != 0);
        previous
    }

    /// Takes over a slot that the file has.
    pub(super) fn load(&mut self, slot: u32, entry: u32) {
        let slot = slot as usize;
        let page = self.pages.get_mut(slot / PAGE_SLOTS);
        if let (Some(place), Some(page)) = (self.slots.get_mut(slot), page) {
            *place = entry;
            page.is_used = true;
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
        if let Some(page) = self.pages.get_mut(page) {
            page.is_dirty = is_dirty;
        }
    }

    /// Whether the file lacks anything.
    pub(super) fn is_dirty(&self) -> bool {
        self.pages.iter().any(|page| page.is_dirty)
    }

    /// The next slots to be written, from a page on. They count as written from now on.
    pub(super) fn take_dirty(&mut self, from_page: usize) -> Option<DirtySlots> {
        let mut behind = self.pages.iter().skip(from_page);
        let page = from_page + behind.position(|page| page.is_dirty)?;
        self.mark(page, false);
        let first = page * PAGE_SLOTS;
        let slots = self.slots.get(first..)?;
        let slots = slots.get(..PAGE_SLOTS).unwrap_or(slots);
        Some(DirtySlots {
            first: u32::try_from(first).ok()?,
            bytes: encoded(slots),
            page,
        })
    }

    /// Takes back slots that could not be written.
    pub(super) fn put_back(&mut self, slots: &DirtySlots) {
        self.mark(slots.page, true);
    }
}

fn encoded(slots: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0; size_of_val(slots)];
    let (places, _) = bytes.as_chunks_mut();
    for (place, slot) in places.iter_mut().zip(slots) {
        *place = slot.to_be_bytes();
    }
    bytes
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
