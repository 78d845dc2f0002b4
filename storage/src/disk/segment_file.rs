//! Segments of the log in files.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use memmap2::{Advice, MmapMut, MmapRaw};
use parking_lot::Mutex;
use rustix::fs::{CWD, FallocateFlags, OFlags, RenameFlags, SeekFrom};
use rustix::io::Errno;

use super::region::Region;
use super::ring::Ring;
use super::{Grain, Segment, SegmentWriter};

/// As much as every kernel brings in when it is told that it will be needed: the rest of a longer range it forgets.
const WILL_NEED_BYTES: usize = 128 * 1024;

/// Files are written past the page cache in blocks of this size.
const BLOCK_BYTES: usize = 4096;

/// Chunks of a ring that are written in one go when so many wait. Disks take twice as much a second in pieces of 4 MiB and more
/// as in pieces of 2; whoever syncs waits for the end of one.
const MOST_CHUNKS_A_WRITE: usize = 4;

/// A segment of the commit log in a file.
#[derive(Debug)]
pub(super) struct FileSegment {
    /// Written past the page cache once the segment uses a ring.
    file: Arc<File>,
    region: Arc<Region>,
    ring: OnceLock<UsedRing>,
    /// Held by whoever writes out of the ring.
    writing: Mutex<()>,
}

/// The ring that a segment's newest bytes lie in.
#[derive(Debug)]
struct UsedRing {
    ring: Arc<Ring>,
    /// The segment's place in the log.
    base: u64,
}

impl FileSegment {
    /// Maps a file that is there; all of it is published.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
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
    pub(super) fn create(path: &Path, bytes: u64) -> io::Result<Self> {
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

    /// Makes a file of zeros out of another, which keeps its blocks.
    pub(super) fn reuse(from: &Path, to: &Path, bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(from)?;
        let found = file.metadata()?;
        let unusable = |reason| Err(io::Error::new(ErrorKind::InvalidData, reason));
        if found.len() != bytes {
            return unusable("the file is not as long as a segment");
        }
        if found.nlink() > 1 {
            // A backup, say.
            return unusable("the file has another name, under which it has to stay as it is");
        }
        rustix::fs::fallocate(&file, FallocateFlags::ZERO_RANGE, 0, bytes)?;
        file.sync_all()?;
        // What has the name already stays, as it does when a segment is made.
        rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?;
        Self::map(file, 0)
    }

    fn map(file: File, published: usize) -> io::Result<Self> {
        let map = MmapRaw::map_raw(&file)?;
        let published = published.min(map.len());
        Ok(Self {
            file: Arc::new(file),
            region: Arc::new(Region::over(map, published)),
            ring: OnceLock::new(),
            writing: Mutex::new(()),
        })
    }

    /// Writes what lies in the ring below `end` to the file, and says whether there was anything.
    fn write_ring(&self, end: usize) -> io::Result<bool> {
        let Some(UsedRing { ring, .. }) = self.ring.get() else {
            return Ok(false);
        };
        let _alone = self.writing.lock();
        let unwritten = ring.placed(&self.region).into_iter().filter_map(|chunk| {
            let to = end.min(chunk.start + ring.chunk_bytes());
            let from = chunk.start + chunk.written;
            (from < to).then_some(from..to)
        });
        let unwritten: Vec<_> = unwritten.collect();
        let follows = |one: &Range<usize>, next: &Range<usize>| one.end == next.start;
        for run in unwritten
            .chunk_by(follows)
            .flat_map(|run| run.chunks(MOST_CHUNKS_A_WRITE))
        {
            if let (Some(first), Some(last)) = (run.first(), run.last()) {
                self.write_past_cache(first.start, last.end)?;
            }
            for chunk in run {
                ring.note_written(&self.region, chunk.end);
            }
        }
        Ok(!unwritten.is_empty())
    }

    /// Writes published bytes in whole blocks: the first begins with bytes that are there, the last ends with zeros.
    fn write_past_cache(&self, from: usize, to: usize) -> io::Result<()> {
        let begin = from / BLOCK_BYTES * BLOCK_BYTES;
        let end = to / BLOCK_BYTES * BLOCK_BYTES;
        let unpublished = || io::Error::other("bytes that are not published cannot be written");
        if begin < end {
            let blocks = self.region.read(begin..end).ok_or_else(unpublished)?;
            self.write_blocks(blocks, begin)?;
        }
        if end < to {
            let rest = self.region.read(end..to).ok_or_else(unpublished)?;
            let mut block = MmapMut::map_anon(BLOCK_BYTES)?;
            block[..rest.len()].copy_from_slice(rest);
            self.write_blocks(&block, end)?;
        }
        Ok(())
    }

    /// Where the range lies in the ring, in order.
    fn chunks_in_ring(&self, range: &Range<usize>) -> Vec<Range<usize>> {
        let Some(UsedRing { ring, .. }) = self.ring.get() else {
            return Vec::new();
        };
        let placed = ring.placed(&self.region).into_iter();
        let chunks = placed.map(|chunk| chunk.start..chunk.start + ring.chunk_bytes());
        chunks
            .filter(|chunk| chunk.start < range.end && chunk.end > range.start)
            .collect()
    }

    /// Makes pages of the file durable that were changed through the mapping.
    fn sync_mapped(&self, range: Range<usize>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.region.unmap(range.clone()) {
            tracing::debug!(%error, "pages are written back mapped, which takes longer");
        }
        self.region.flush(range)
    }

    /// Puts a slot of the ring in the place of a chunk; false when there is none, and then the file lies there.
    fn place_slot(&self, ring: &Ring, base: u64, start: usize) -> io::Result<bool> {
        match ring.place(&self.region, &self.file, base, start) {
            Err(error) => {
                tracing::debug!(%error, "a part of the log is written through the page cache");
                let bytes = ring.chunk_bytes();
                self.region.place(start, bytes, &self.file, start as u64)?;
                Ok(false)
            }
            placed => placed,
        }
    }

    fn withdraw(&self) -> io::Result<()> {
        match self.ring.get() {
            Some(UsedRing { ring, .. }) => ring.withdraw(&self.region),
            None => Ok(()),
        }
    }

    fn write_blocks(&self, blocks: &[u8], at: usize) -> io::Result<()> {
        match self.file.write_all_at(blocks, at as u64) {
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                // Blocks of the device are larger than ours.
                set_direct(&self.file, false)?;
                self.file.write_all_at(blocks, at as u64)
            }
            result => result,
        }
    }
}

/// Has writes to a file go past the page cache, or not. An error where the file system cannot do that.
fn set_direct(file: &File, is_direct: bool) -> io::Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, is_direct);
    Ok(rustix::fs::fcntl_setfl(file, flags)?)
}

impl Drop for FileSegment {
    fn drop(&mut self) {
        // Of a segment that is given up before its log is, all is in the file.
        if let Err(error) = self.withdraw() {
            tracing::warn!(%error, "slots of the ring are lost");
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
        self.leave_ring()?;
        let end = self.data_end()?;
        let region = Arc::get_mut(&mut self.region)
            .ok_or_else(|| io::Error::other("the segment is in use"))?;
        region.zero_from(published, end);
        region.set_published(published);
        if end > published {
            region.flush(published..end)?;
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
        let in_ring = self.chunks_in_ring(&range);
        if in_ring
            .iter()
            .any(|chunk| chunk.start <= range.start && chunk.end >= range.end)
        {
            // It was made ready when it was placed.
            return Ok(());
        }
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

    fn join_ring(&self, ring: &Arc<Ring>, base: u64) {
        let chunk_bytes = ring.chunk_bytes();
        if self.capacity() < 2 * chunk_bytes {
            return;
        }
        if let Err(error) = set_direct(&self.file, true) {
            tracing::debug!(%error, "the log cannot be written past the page cache");
            return;
        }
        let ring = ring.clone();
        let used = UsedRing {
            ring: ring.clone(),
            base,
        };
        if self.ring.set(used).is_ok() {
            let begun = self.published().next_multiple_of(chunk_bytes);
            self.region.set_writable(begun.min(self.capacity()));
            self.region.seal_in(ring, base);
        }
    }

    fn chunk_bytes(&self) -> u64 {
        self.ring
            .get()
            .map_or(0, |used| used.ring.chunk_bytes() as u64)
    }

    fn writable(&self) -> usize {
        self.region.writable()
    }

    fn open_to(&self, wanted: usize, needed: usize) -> io::Result<usize> {
        let Some(UsedRing { ring, base }) = self.ring.get() else {
            return Ok(self.capacity());
        };
        let mut writable = self.writable();
        while writable < wanted.max(needed).min(self.capacity()) {
            let end = writable + ring.chunk_bytes();
            let is_placed = end <= self.capacity() && self.place_slot(ring, *base, writable)?;
            if !is_placed && writable >= needed && end <= self.capacity() {
                break;
            }
            if !is_placed && end <= self.capacity() {
                ring.pass_by();
            }
            writable = end.min(self.capacity());
            self.region.set_writable(writable);
        }
        Ok(writable)
    }

    fn leave_ring(&self) -> io::Result<()> {
        self.write_ring(self.published())?;
        self.withdraw()
    }

    fn write_out(&self) -> io::Result<bool> {
        let Some(UsedRing { ring, .. }) = self.ring.get() else {
            return Ok(false);
        };
        let chunk_bytes = ring.chunk_bytes();
        self.write_ring(self.published() / chunk_bytes * chunk_bytes)
    }

    fn sync(&self, range: Range<usize>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let chunks = self.chunks_in_ring(&range);
        let mut at = range.start;
        for chunk in &chunks {
            self.sync_mapped(at..chunk.start.max(at))?;
            at = chunk.end.min(range.end);
        }
        self.sync_mapped(at..range.end)?;
        if !chunks.is_empty() {
            self.write_ring(range.end)?;
            self.file.sync_data()?;
        }
        Ok(())
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
