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

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use memmap2::{Advice, MmapMut, MmapRaw, UncheckedAdvice};
use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;

use super::{Grain, Segment, SegmentWriter};

/// As much as every kernel brings in when it is told that it will be needed: the rest of a longer range it forgets.
const WILL_NEED_BYTES: usize = 128 * 1024;

/// A mapping with a published part that anybody reads and a rest that one writer fills.
#[derive(Debug)]
pub struct Region {
    map: MmapRaw,
    published: AtomicUsize,
    has_writer: AtomicBool,
}

impl Region {
    /// Memory of `bytes` zeros that no file stands behind; nothing is published.
    pub fn anonymous(bytes: usize) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self::over(
            MmapRaw::from(MmapMut::map_anon(bytes)?),
            0,
        )))
    }

    fn over(map: MmapRaw, published: usize) -> Self {
        Self {
            map,
            published: AtomicUsize::new(published),
            has_writer: AtomicBool::new(false),
        }
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

    fn zero_from(&mut self, start: usize, end: usize) {
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
    fn advise(&self, advice: Advice, range: Range<usize>) -> io::Result<bool> {
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
    fn touch(&self, range: Range<usize>) {
        let range = self.page_aligned(range);
        let end = range.end.min(self.published());
        if let Some(bytes) = self.read(range.start..end) {
            let pages = bytes.iter().step_by(rustix::param::page_size());
            pages.for_each(|byte| _ = black_box(*byte));
        }
    }

    fn page_aligned(&self, range: Range<usize>) -> Range<usize> {
        let page = rustix::param::page_size();
        let start = range.start.min(self.capacity()) / page * page;
        start..range.end.clamp(start, self.capacity())
    }

    fn is_resident(&self, range: Range<usize>) -> bool {
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
                self.region.capacity() - published,
            )
        }
    }

    fn publish(&mut self, bytes: usize) {
        let published = self.region.published() + bytes;
        assert!(
            published <= self.region.capacity(),
            "published {published} bytes of a segment of {}",
            self.region.capacity()
        );
        self.region.published.store(published, Ordering::Release);
    }
}

impl Drop for RegionWriter {
    fn drop(&mut self) {
        self.region.has_writer.store(false, Ordering::Release);
    }
}

/// A segment of the commit log in a file.
#[derive(Debug)]
pub struct FileSegment {
    file: File,
    region: Arc<Region>,
}

impl FileSegment {
    /// Maps a file that is there; all of it is published.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if bytes == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the segment file is empty",
            ));
        }
        Self::map(file, bytes)
    }

    /// Makes a file of `bytes` zeros and reserves its space on the disk.
    pub fn create(path: &Path, bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        let reserved = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes)
            .map_err(io::Error::from)
            .and_then(|()| Self::map(file, 0));
        if reserved.is_err() {
            // Half a segment is worth nothing, and the space it took may be what is missing.
            let _ = std::fs::remove_file(path);
        }
        reserved
    }

    fn map(file: File, published: usize) -> io::Result<Self> {
        let map = MmapRaw::map_raw(&file)?;
        let published = published.min(map.len());
        Ok(Self {
            file,
            region: Arc::new(Region::over(map, published)),
        })
    }

    /// Takes the whole pages of a range out of the page table, and leaves them in the page cache.
    ///
    /// Before pages are written back the kernel has to notice the next change of each: page by page it takes the right to
    /// write out of the page table and interrupts every processor that may remember it. Of pages that are not mapped
    /// nobody remembers anything, and taking out a long range interrupts once.
    fn unmap(&self, range: Range<usize>) -> io::Result<()> {
        let page = rustix::param::page_size();
        let (start, end) = (range.start / page * page, range.end / page * page);
        if start >= end {
            return Ok(());
        }
        // SAFETY: the mapping is one of a file and shared (`map`); it loses no bytes by this: whoever touches a page
        // next, to read or to write, gets the same page of the page cache again. Memory without a file would be zeroed.
        unsafe {
            self.region
                .map
                .unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start)
        }
    }
}

impl Segment for FileSegment {
    fn capacity(&self) -> usize {
        self.region.capacity()
    }

    fn published(&self) -> usize {
        self.region.published()
    }

    fn read(&self, range: Range<usize>) -> Option<&[u8]> {
        self.region.read(range)
    }

    fn truncate(&mut self, published: usize) -> io::Result<()> {
        let end = self.data_end()?;
        let region = Arc::get_mut(&mut self.region)
            .ok_or_else(|| io::Error::other("the segment is in use"))?;
        region.zero_from(published, end);
        region.published.store(published, Ordering::Release);
        if end > published {
            self.region.map.flush_range(published, end - published)?;
        }
        Ok(())
    }

    /// Pages that only lie in memory as zeros (prepared, or read ahead) count as data too: an upper bound.
    fn data_end(&self) -> io::Result<usize> {
        let capacity = self.capacity() as u64;
        let mut end = 0;
        loop {
            match rustix::fs::seek(&self.file, SeekFrom::Data(end)) {
                Ok(data) => end = rustix::fs::seek(&self.file, SeekFrom::Hole(data))?,
                Err(Errno::NXIO) => break,
                // A file system that cannot tell holes from data: all of it may be data.
                Err(Errno::INVAL) => end = capacity,
                Err(error) => return Err(error.into()),
            }
            if end >= capacity {
                break;
            }
        }
        usize::try_from(end.min(capacity)).map_err(io::Error::other)
    }

    fn writer(self: Arc<Self>) -> Option<Box<dyn SegmentWriter>> {
        let writer = self.region.clone().writer()?;
        Some(Box::new(writer))
    }

    fn prepare(&self, range: Range<usize>, grain: Grain) -> io::Result<()> {
        let region = &self.region;
        if grain == Grain::Coarse && region.advise(Advice::PopulateWrite, range.clone())? {
            return Ok(());
        }
        // Pages that are asked for come one by one; those that are found missing at a write come with their neighbours.
        let mut at = range.start;
        while at < range.end {
            let to = range.end.min(at + WILL_NEED_BYTES);
            region.advise(Advice::WillNeed, at..to)?;
            // Kernels before 5.14 do not make them writable ahead: that is done at the first write to each.
            region.advise(Advice::PopulateWrite, at..to)?;
            at = to;
        }
        Ok(())
    }

    fn load(&self, range: Range<usize>) -> io::Result<()> {
        // Not known to kernels before 5.14.
        if !self.region.advise(Advice::PopulateRead, range.clone())? {
            self.region.touch(range);
        }
        Ok(())
    }

    fn is_resident(&self, range: Range<usize>) -> bool {
        self.region.is_resident(range)
    }

    fn sync(&self, range: Range<usize>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.unmap(range.clone()) {
            tracing::debug!(%error, "pages are written back mapped, which takes longer");
        }
        self.region
            .map
            .flush_range(range.start, range.end - range.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(bytes: u64) -> (tempfile::TempDir, FileSegment) {
        let folder = tempfile::tempdir().unwrap();
        let segment = FileSegment::create(&folder.path().join("segment"), bytes).unwrap();
        (folder, segment)
    }

    fn write(segment: &Arc<FileSegment>, bytes: &[u8]) {
        let mut writer = segment.clone().writer().unwrap();
        writer.unpublished()[..bytes.len()].copy_from_slice(bytes);
        writer.publish(bytes.len());
    }

    #[test]
    fn only_published_bytes_can_be_read() {
        let (_folder, segment) = segment(1 << 16);
        let segment = Arc::new(segment);
        assert!(segment.read(0..1).is_none());
        write(&segment, b"hello");
        assert_eq!(segment.read(0..5), Some(&b"hello"[..]));
        assert!(segment.read(0..6).is_none());
    }

    #[test]
    fn there_is_one_writer_at_a_time() {
        let (_folder, segment) = segment(1 << 16);
        let segment = Arc::new(segment);
        let first = segment.clone().writer().unwrap();
        assert!(segment.clone().writer().is_none());
        drop(first);
        assert!(segment.writer().is_some());
    }

    #[test]
    fn a_segment_reopens_whole_and_truncates_to_zeros() {
        let (folder, segment) = segment(1 << 26);
        let segment = Arc::new(segment);
        write(&segment, &[7; 9000]);
        segment.sync(0..9000).unwrap();
        drop(segment);
        let mut again = FileSegment::open(&folder.path().join("segment")).unwrap();
        assert_eq!(again.published(), 1 << 26);
        let data_end = again.data_end().unwrap();
        assert!(
            (9000..1 << 25).contains(&data_end),
            "data ends at {data_end}"
        );
        again.truncate(5).unwrap();
        assert_eq!(again.published(), 5);
        let mut again = FileSegment::open(&folder.path().join("segment")).unwrap();
        assert_eq!(again.read(0..6), Some(&[7, 7, 7, 7, 7, 0][..]));
        assert!(again.read(5..1 << 26).unwrap().iter().all(|b| *b == 0));
        again.truncate(0).unwrap();
    }

    #[test]
    fn what_is_synced_while_more_is_written_stays_readable() {
        let (folder, segment) = segment(1 << 20);
        let segment = Arc::new(segment);
        let mut writer = segment.clone().writer().unwrap();
        let records: Vec<u8> = (0..100_000_usize).map(|at| (at % 251) as u8).collect();
        let view = |end: usize| segment.read(0..end).unwrap() == &records[..end];
        for at in (0..records.len()).step_by(3_000) {
            let end = records.len().min(at + 3_000);
            writer.unpublished()[..end - at].copy_from_slice(&records[at..end]);
            writer.publish(end - at);
            // Its last page goes on being written.
            segment.sync(at..end).unwrap();
            assert!(view(end));
        }
        let again = FileSegment::open(&folder.path().join("segment")).unwrap();
        assert_eq!(again.read(0..records.len()), Some(&records[..]));
    }

    #[test]
    fn a_segment_in_use_cannot_be_truncated() {
        let (_folder, mut segment) = segment(1 << 16);
        let other = segment.region.clone();
        assert!(segment.truncate(0).is_err());
        drop(other);
        assert!(segment.truncate(0).is_ok());
    }

    #[test]
    fn prepared_pages_are_resident() {
        let (_folder, segment) = segment(1 << 20);
        segment.prepare(0..1 << 19, Grain::Fine).unwrap();
        segment.prepare(1 << 19..1 << 20, Grain::Coarse).unwrap();
        assert!(segment.is_resident(0..1 << 20));
        assert!(segment.is_resident(5000..5001));
    }

    #[test]
    fn pages_that_are_touched_are_resident() {
        const BYTES: usize = 1 << 22;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segment");
        File::create(&path).unwrap().set_len(BYTES as u64).unwrap();
        let segment = FileSegment::open(&path).unwrap();
        assert!(!segment.is_resident(0..BYTES));
        segment.region.touch(5..BYTES);
        assert!(segment.is_resident(0..BYTES));
        segment.region.touch(BYTES - 5..BYTES + 5);
        segment.region.touch(BYTES + 5..BYTES + 6);
    }

    #[test]
    fn an_empty_file_is_not_a_segment() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segment");
        File::create(&path).unwrap();
        assert!(FileSegment::open(&path).is_err());
    }
}
