//! Shared memory with one writer and many readers: the only unsafe code of the libraries.
//!
//! A [`Region`] is a mapping divided by a watermark. Bytes below `published` are frozen: shared references to them are
//! handed out freely and nobody writes there again. Bytes above belong to the one [`RegionWriter`]. The watermark only
//! grows while a writer or a reader can exist; [`Region::truncate`] lowers it under `&mut`, when neither does.
//!
//! A mapping of a file is sound only while nobody outside changes or shortens the file: the store's lock keeps other
//! brokers away, and segments are reserved to their full size before they are mapped, so that a full disk cannot turn
//! a write into a bus error.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
use std::fs::File;
use std::hint::black_box;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use memmap2::{Advice, MmapMut, MmapOptions, MmapRaw, UncheckedAdvice};
use rustix::mm::{MapFlags, ProtFlags};

use super::SegmentWriter;
use super::ring::{Ring, Seal};

const CACHE_LINE_BYTES: usize = 64;

/// Has the processor fetch a value that will soon be changed.
pub(crate) fn fetch<T>(value: &T) {
    fetch_bytes(std::ptr::from_ref(value).cast(), size_of::<T>());
}

/// Has the processor fetch bytes that will soon be changed.
pub(crate) fn fetch_bytes(from: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(CACHE_LINE_BYTES) {
        // SAFETY: it is a hint, which changes nothing and can be given for any address.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            _mm_prefetch::<_MM_HINT_ET0>(from.wrapping_add(line).cast());
        }
    }
}

/// A mapping with a published part that anybody reads and a rest that one writer fills.
#[derive(Debug)]
pub struct Region {
    map: MmapRaw,
    is_anonymous: bool,
    published: AtomicUsize,
    /// Behind the last byte that the writer may change.
    writable: AtomicUsize,
    has_writer: AtomicBool,
    sealing: OnceLock<Sealing>,
}

/// Where the writer seals what it publishes.
#[derive(Debug)]
struct Sealing {
    ring: Arc<Ring>,
    /// The segment's place in the log.
    base: u64,
    /// The slots of its chunks, counted from 1; 0 for none.
    slots: Box<[AtomicU32]>,
}

impl Sealing {
    fn slot(&self, chunk: u64) -> Option<usize> {
        let distance = chunk.checked_sub(self.base)?;
        let index = usize::try_from(distance).ok()? / self.ring.chunk_bytes();
        let slot = self.slots.get(index)?.load(Ordering::Acquire);
        (slot as usize).checked_sub(1)
    }
}

impl Region {
    /// Memory of `bytes` zeros that no file stands behind; nothing is published.
    pub fn anonymous(bytes: usize) -> io::Result<Arc<Self>> {
        let map = MmapRaw::from(MmapMut::map_anon(bytes)?);
        Ok(Arc::new(Self {
            is_anonymous: true,
            ..Self::over(map, 0)
        }))
    }

    /// A shared mapping of a file.
    pub(super) fn over(map: MmapRaw, published: usize) -> Self {
        Self {
            published: AtomicUsize::new(published),
            writable: AtomicUsize::new(map.len()),
            has_writer: AtomicBool::new(false),
            sealing: OnceLock::new(),
            is_anonymous: false,
            map,
        }
    }

    /// Behind the last byte that the writer may change.
    pub fn writable(&self) -> usize {
        self.writable.load(Ordering::Acquire)
    }

    /// Lets the writer go on up to `end`.
    pub(super) fn set_writable(&self, end: usize) {
        self.writable.store(end, Ordering::Release);
    }

    /// From now on what is published in slots of the ring is sealed there. The region begins at `base` in the log.
    pub(super) fn seal_in(&self, ring: Arc<Ring>, base: u64) {
        let chunks = self.capacity() / ring.chunk_bytes();
        let slots = (0..chunks).map(|_| AtomicU32::new(0)).collect();
        let _ = self.sealing.set(Sealing { ring, base, slots });
    }

    /// Says which slot lies in the place of a chunk.
    pub(super) fn set_slot(&self, chunk: usize, slot: Option<usize>) {
        let slots = self.sealing.get().map(|sealing| &sealing.slots);
        if let Some(word) = slots.and_then(|slots| slots.get(chunk)) {
            let slot = slot.map_or(0, |slot| slot as u32 + 1);
            word.store(slot, Ordering::Release);
        }
    }

    /// Puts `bytes` bytes of a file in the place of those of the mapping from `at` on, both at the start of a page.
    ///
    /// What is published there has to be the same bytes in both: readers go on reading.
    pub(super) fn place(&self, at: usize, bytes: usize, file: &File, from: u64) -> io::Result<()> {
        if !self.has_pages(at, bytes) || !from.is_multiple_of(rustix::param::page_size() as u64) {
            return Err(ErrorKind::InvalidInput.into());
        }
        // SAFETY: the range lies inside this mapping, so that nothing else of the process is replaced, and the pages that
        // come in its place are shared ones of a file, as all of it is. The kernel puts them there at once: whoever
        // touches the range meanwhile finds the one or the other. Published bytes are the same in both (the caller's
        // word), unpublished ones are nobody's: the writer stays below `writable`, which the caller raises afterwards.
        unsafe {
            rustix::mm::mmap(
                self.map.as_mut_ptr().add(at).cast(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::FIXED,
                file,
                from,
            )?;
        }
        Ok(())
    }

    /// Size in bytes.
    pub fn capacity(&self) -> usize {
        self.map.len()
    }

    /// Bytes that can be read.
    pub fn published(&self) -> usize {
        self.published.load(Ordering::Acquire)
    }

    /// Published bytes; `None` when any of the range is not.
    pub fn read(&self, range: Range<usize>) -> Option<&[u8]> {
        if range.start > range.end || range.end > self.published() {
            return None;
        }
        // SAFETY: the range lies inside the mapping, since `published` never exceeds its length. Bytes below
        // `published` are not written while `self` is borrowed: the writer only writes above it, `truncate` needs
        // `&mut self`. The acquire load above pairs with the release store in `publish`.
        Some(unsafe {
            slice::from_raw_parts(self.map.as_ptr().add(range.start), range.end - range.start)
        })
    }

    /// Puts `bytes` bytes of a file in the place of those from `at` on, as [`Region::place`] does, with the pages of another
    /// mapping of them, which finds them again when it touches them: their entries of the page table move along.
    pub(super) fn take_pages(
        &self,
        at: usize,
        other: &Self,
        other_at: usize,
        bytes: usize,
        (file, from): (&File, u64),
    ) -> io::Result<()> {
        let is_same = std::ptr::eq(self, other) && at == other_at;
        if is_same || !self.has_pages(at, bytes) || !other.has_pages(other_at, bytes) {
            return Err(ErrorKind::InvalidInput.into());
        }
        // SAFETY: as in `place` for the range of `self`. That of `other` lies inside its mapping, and what it maps stays as
        // it is (`DONTUNMAP`): whoever touches it gets the same pages.
        let moved = unsafe {
            libc::mremap(
                other.map.as_mut_ptr().add(other_at).cast(),
                bytes,
                bytes,
                libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP,
                self.map.as_mut_ptr().add(at),
            )
        };
        match moved {
            // Not known to kernels before 5.13.
            libc::MAP_FAILED => self.place(at, bytes, file, from),
            _ => Ok(()),
        }
    }

    /// Whether a range that begins with a page lies inside.
    fn has_pages(&self, at: usize, bytes: usize) -> bool {
        let end = at.checked_add(bytes);
        at.is_multiple_of(rustix::param::page_size())
            && end.is_some_and(|end| end <= self.capacity())
    }

    /// A copy of the published bytes.
    pub fn snapshot(&self) -> Vec<u8> {
        self.read(0..self.published())
            .map(<[u8]>::to_vec)
            .unwrap_or_default()
    }

    /// Sets the watermark and zeroes what lies above it.
    pub fn truncate(&mut self, published: usize) {
        let published = published.min(self.capacity());
        self.zero_from(published, self.capacity());
        self.published.store(published, Ordering::Release);
    }

    pub(super) fn zero_from(&mut self, start: usize, end: usize) {
        let end = end.min(self.capacity());
        if start >= end {
            return;
        }
        // SAFETY: the range lies inside the mapping, and `&mut self` means that no slice of it and no writer exists
        // (both borrow or hold the region).
        unsafe { self.map.as_mut_ptr().add(start).write_bytes(0, end - start) }
    }

    /// The right to write, given to the first who asks and back when the writer is dropped.
    pub fn writer(self: Arc<Self>) -> Option<RegionWriter> {
        self.has_writer
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        Some(RegionWriter { region: self })
    }

    /// Tells the kernel something of the pages of a range; `false` where it is too old to understand that.
    pub(super) fn advise(&self, advice: Advice, range: Range<usize>) -> io::Result<bool> {
        let range = self.page_aligned(range);
        let advised = self
            .map
            .advise_range(advice, range.start, range.end - range.start);
        match advised {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Brings published pages in by reading a byte of each.
    pub(super) fn touch(&self, range: Range<usize>) {
        let range = self.page_aligned(range);
        let end = range.end.min(self.published());
        if let Some(bytes) = self.read(range.start..end) {
            let pages = bytes.iter().step_by(rustix::param::page_size());
            pages.for_each(|byte| _ = black_box(*byte));
        }
    }

    /// Sets the watermark.
    pub(super) fn set_published(&mut self, published: usize) {
        self.published.store(published, Ordering::Release);
    }

    /// Writes a range back to its file.
    pub(super) fn flush(&self, range: Range<usize>) -> io::Result<()> {
        self.map.flush_range(range.start, range.end - range.start)
    }

    /// Takes the whole pages of a range of a file's mapping out of the page table, and leaves them in the page cache.
    ///
    /// Before pages are written back the kernel has to notice the next change of each: page by page it takes the right to
    /// write out of the page table and interrupts every processor that may remember it. Of pages that are not mapped
    /// nobody remembers anything, and taking out a long range interrupts once.
    pub(super) fn unmap(&self, range: Range<usize>) -> io::Result<()> {
        if self.is_anonymous {
            return Ok(());
        }
        let page = rustix::param::page_size();
        let (start, end) = (range.start / page * page, range.end / page * page);
        if start >= end {
            return Ok(());
        }
        // SAFETY: the mapping is one of files and shared (`over`); it loses no bytes by this: whoever touches a page next,
        // to read or to write, gets the same page of the page cache again. Memory without a file would be zeroed.
        unsafe {
            self.map
                .unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start)
        }
    }

    fn page_aligned(&self, range: Range<usize>) -> Range<usize> {
        let page = rustix::param::page_size();
        let start = range.start.min(self.capacity()) / page * page;
        start..range.end.clamp(start, self.capacity())
    }

    pub(super) fn is_resident(&self, range: Range<usize>) -> bool {
        let range = self.page_aligned(range);
        let pages = (range.end - range.start).div_ceil(rustix::param::page_size());
        let mut residency = vec![0_u8; pages];
        // SAFETY: the address is page-aligned and inside the mapping, the length ends inside it, and `residency` has a
        // byte for every page.
        let result = unsafe {
            libc::mincore(
                self.map.as_mut_ptr().add(range.start).cast(),
                range.end - range.start,
                residency.as_mut_ptr().cast(),
            )
        };
        result == 0 && residency.iter().all(|page| page & 1 == 1)
    }
}

/// The one writer of a [`Region`].
#[derive(Debug)]
pub struct RegionWriter {
    region: Arc<Region>,
}

impl SegmentWriter for RegionWriter {
    fn unpublished(&mut self) -> &mut [u8] {
        let published = self.region.published();
        // SAFETY: the range lies inside the mapping. Readers get slices below `published` only, there is one writer
        // (`has_writer`), and the slice borrows it mutably, so nothing else refers to these bytes.
        unsafe {
            slice::from_raw_parts_mut(
                self.region.map.as_mut_ptr().add(published),
                self.region.writable() - published,
            )
        }
    }

    #[inline]
    fn fetch(&self, range: Range<usize>) {
        let unpublished = self.region.writable() - self.region.published();
        let published = self.region.published();
        let range = range.start..range.end.min(unpublished);
        let from = self
            .region
            .map
            .as_ptr()
            .wrapping_add(published + range.start);
        fetch_bytes(from, range.len());
    }

    fn publish(&mut self, bytes: usize) {
        let published = self.region.published() + bytes;
        assert!(
            published <= self.region.writable(),
            "published {published} bytes of a segment of {}",
            self.region.writable()
        );
        self.region.published.store(published, Ordering::Release);
    }

    fn seal(&mut self, chunk: u64, seal: &Seal) {
        if let Some(sealing) = self.region.sealing.get()
            && let Some(slot) = sealing.slot(chunk)
        {
            sealing.ring.set_seal(slot, seal);
        }
    }

    fn sealed(&self, chunk: u64) -> Option<Seal> {
        let sealing = self.region.sealing.get()?;
        sealing.ring.seal(sealing.slot(chunk)?)
    }
}

impl Drop for RegionWriter {
    fn drop(&mut self) {
        self.region.has_writer.store(false, Ordering::Release);
    }
}

/// Words at the start of a file that other processes find as this one left them.
#[derive(Debug)]
pub(super) struct SharedWords {
    map: MmapRaw,
}

impl SharedWords {
    pub(super) fn map(file: &File, bytes: usize) -> io::Result<Self> {
        Ok(Self {
            map: MmapOptions::new().len(bytes).map_raw(file)?,
        })
    }

    /// One of them, which has to be there.
    #[inline]
    pub(super) fn get(&self, word: usize) -> &AtomicU64 {
        assert!(word < self.map.len() / size_of::<u64>());
        // SAFETY: the word lies inside the mapping, which begins at a page and lives as long as `self`. Nothing in this
        // process refers to it but such atomics; the store's lock keeps others away from the file.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().cast::<u64>().add(word)) }
    }
}
