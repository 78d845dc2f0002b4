//! Memory in which the newest bytes of the log lie until they are in its files.
//!
//! A page of the page cache that is filled for the first time is found, zeroed, entered with its file system, mapped, written
//! back and taken away again: four times what it costs to copy a record into it. The pages of the ring go round instead. A
//! *slot* of it is mapped in the place of a chunk of a segment before the writer comes there. When the chunk is full it is
//! written to the segment's file past the page cache, and when the slot is needed again the file is mapped over it. Readers
//! notice nothing of that.
//!
//! The ring is a file, so that what it holds outlives the process. Its head says which chunks its slots hold, with a [`Seal`] for
//! each; what a process that was killed [`Left`] behind is put into the segments at the next start.

mod head;
mod left;
mod seal;

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use memmap2::Advice;
use parking_lot::Mutex;
use rustix::fs::FallocateFlags;
use serde::Serialize;

use self::head::{HEAD_BYTES, Head, MOST_SLOTS};
use super::region::Region;

pub use head::LeftSlot;
pub use left::Left;
pub use seal::Seal;

/// Bytes of a slot.
pub const CHUNK_BYTES: usize = 2 * 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Ring {
    file: File,
    head: Head,
    chunk_bytes: usize,
    most_slots: usize,
    state: Mutex<State>,
    passed_by: AtomicU64,
}

/// How much of a ring is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RingUse {
    /// Slots there are.
    pub slots: usize,
    /// Slots of chunks that are not wholly in their files.
    pub unwritten: usize,
    /// Chunks that went through the page cache since the ring was made, for want of a slot.
    pub passed_by: u64,
}

#[derive(Debug, Default)]
struct State {
    /// Slots that the file has.
    slots: usize,
    /// Those of them that hold nothing.
    free: Vec<usize>,
    /// The others, in the order of the log.
    placed: VecDeque<Placed>,
}

/// A slot in the place of a chunk.
#[derive(Debug)]
struct Placed {
    slot: usize,
    region: Weak<Region>,
    file: Arc<File>,
    /// The chunk's place in its segment.
    start: usize,
    /// Bytes of it that are in the file.
    written: usize,
}

/// What can be placed next.
#[derive(Debug)]
enum Slot {
    Free(usize),
    /// What it holds is in its file.
    InFile(Placed),
}

/// A chunk that lies in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    /// The chunk's place in its segment.
    pub(super) start: usize,
    /// Bytes of it that are in the file.
    pub(super) written: usize,
}

impl Ring {
    /// Makes an empty ring of slots of `chunk_bytes` bytes, as many as fit `bytes`, in place of a file that may be there.
    pub fn create(path: &Path, bytes: u64, chunk_bytes: usize) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        let most_slots = usize::try_from(bytes).unwrap_or(usize::MAX) / chunk_bytes;
        let most_slots = most_slots.min(MOST_SLOTS);
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, HEAD_BYTES as u64)?;
        let head = Head::create(&file, chunk_bytes)?;
        Ok(Self {
            file,
            head,
            chunk_bytes,
            most_slots,
            state: Mutex::default(),
            passed_by: AtomicU64::new(0),
        })
    }

    /// Bytes of a slot.
    pub fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// How far ahead of the writer slots may lie: the rest is for what is being written to files.
    pub fn reach(&self) -> u64 {
        (self.most_slots / 4 * self.chunk_bytes) as u64
    }

    /// How much of it is in use; `None` while that changes.
    pub fn usage(&self) -> Option<RingUse> {
        let state = self.state.try_lock()?;
        let placed = state.placed.iter();
        Some(RingUse {
            slots: state.slots,
            unwritten: placed
                .filter(|slot| slot.written < self.chunk_bytes)
                .count(),
            passed_by: self.passed_by.load(Ordering::Relaxed),
        })
    }

    /// Notes that a chunk lies in no slot.
    pub(super) fn pass_by(&self) {
        self.passed_by.fetch_add(1, Ordering::Relaxed);
    }

    /// Seals what a slot holds.
    #[inline]
    pub(super) fn set_seal(&self, slot: usize, seal: &Seal) {
        self.head.set_seal(slot, seal);
    }

    /// The last seal of a slot.
    pub(super) fn seal(&self, slot: usize) -> Option<Seal> {
        self.head.seal(slot)
    }

    fn slot_at(&self, slot: usize) -> u64 {
        slot_at(slot, self.chunk_bytes)
    }

    /// Puts a slot in the place of the chunk of `region` from `start` on; false when none is left.
    pub(super) fn place(
        &self,
        region: &Arc<Region>,
        file: &Arc<File>,
        base: u64,
        start: usize,
    ) -> io::Result<bool> {
        let mut state = self.state.lock();
        let Some(slot) = self.find_slot(&mut state)? else {
            return Ok(false);
        };
        let slot = match slot {
            Slot::Free(slot) => {
                let from = self.slot_at(slot);
                let placed = region.place(start, self.chunk_bytes, &self.file, from);
                if let Err(error) = placed {
                    state.free.push(slot);
                    return Err(error);
                }
                slot
            }
            Slot::InFile(oldest) => {
                self.head.clear_slot(oldest.slot);
                if let Err(error) = self.take_over(&oldest, region, start) {
                    state.placed.push_front(oldest);
                    return Err(error);
                }
                oldest.slot
            }
        };
        self.head.set_slot(slot, base + start as u64);
        region.set_slot(start / self.chunk_bytes, Some(slot));
        state.placed.push_back(Placed {
            slot,
            region: Arc::downgrade(region),
            file: file.clone(),
            start,
            written: 0,
        });
        // Where the kernel cannot do that, the writer does it page by page.
        if let Err(error) = region.advise(Advice::PopulateWrite, start..start + self.chunk_bytes) {
            tracing::debug!(%error, "a slot of the ring is mapped as it is written");
        }
        Ok(true)
    }

    /// A free slot, the one that has been in its file for longest, or a new one.
    fn find_slot(&self, state: &mut State) -> io::Result<Option<Slot>> {
        if let Some(slot) = state.free.pop() {
            return Ok(Some(Slot::Free(slot)));
        }
        let is_in_file = |placed: &Placed| placed.written == self.chunk_bytes;
        if state.placed.front().is_some_and(is_in_file) {
            return Ok(state.placed.pop_front().map(Slot::InFile));
        }
        if state.slots == self.most_slots {
            return Ok(None);
        }
        let slot = state.slots;
        // Written at once the page cache keeps it in few large pieces, which are mapped at once each time.
        self.file
            .write_all_at(&vec![0; self.chunk_bytes], self.slot_at(slot))?;
        state.slots += 1;
        Ok(Some(Slot::Free(slot)))
    }

    /// Brings the slot of a chunk that is in its file to another place, and maps the file where it was.
    fn take_over(&self, old: &Placed, region: &Arc<Region>, start: usize) -> io::Result<()> {
        let bytes = self.chunk_bytes;
        let from = self.slot_at(old.slot);
        match old.region.upgrade() {
            Some(old_region) => {
                old_region.set_slot(old.start / bytes, None);
                region.take_pages(start, &old_region, old.start, bytes, (&self.file, from))?;
                old_region.place(old.start, bytes, &old.file, old.start as u64)
            }
            None => region.place(start, bytes, &self.file, from),
        }
    }

    /// Chunks of `region` that lie in the ring, in order.
    pub(super) fn placed(&self, region: &Arc<Region>) -> Vec<Chunk> {
        let state = self.state.lock();
        let placed = state.placed.iter().filter(|placed| is_of(placed, region));
        placed
            .map(|placed| Chunk {
                start: placed.start,
                written: placed.written,
            })
            .collect()
    }

    /// What a chunk of `region` has below `end`, where it may end, is in its file.
    pub(super) fn note_written(&self, region: &Arc<Region>, end: usize) {
        let mut state = self.state.lock();
        let mut placed = state.placed.iter_mut();
        let holds = |placed: &Placed| placed.start < end && end <= placed.start + self.chunk_bytes;
        if let Some(placed) = placed.find(|placed| holds(placed) && is_of(placed, region)) {
            placed.written = placed.written.max(end - placed.start);
        }
    }

    /// Takes all slots away from a region. What they hold and its file does not is gone.
    pub(super) fn withdraw(&self, region: &Arc<Region>) -> io::Result<()> {
        let mut state = self.state.lock();
        let mut at = 0;
        while let Some(placed) = state.placed.get(at) {
            if !is_of(placed, region) {
                at += 1;
                continue;
            }
            region.place(
                placed.start,
                self.chunk_bytes,
                &placed.file,
                placed.start as u64,
            )?;
            let slot = placed.slot;
            self.head.clear_slot(slot);
            region.set_slot(placed.start / self.chunk_bytes, None);
            state.placed.remove(at);
            state.free.push(slot);
        }
        Ok(())
    }
}

/// Where a slot lies in the file. The kernel can map it as one piece when that is a multiple of its size.
fn slot_at(slot: usize, chunk_bytes: usize) -> u64 {
    let first = HEAD_BYTES.next_multiple_of(chunk_bytes);
    (first + slot * chunk_bytes) as u64
}

fn is_of(placed: &Placed, region: &Arc<Region>) -> bool {
    std::ptr::eq(placed.region.as_ptr(), Arc::as_ptr(region))
}
