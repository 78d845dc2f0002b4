//! The disk as the store sees it: directories, plain files, log segments.
//!
//! Two implementations: the operating system's, and one in memory that loses unsynced bytes, tears writes, flips bits,
//! fails syncs and runs out of space on demand. Everything the store writes, but for sled, goes through here, so that
//! crash tests reach all of it.

pub mod fault;
pub mod os;
pub mod region;
pub mod ring;
mod segment_file;

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use self::ring::{Ring, Seal};

/// Whether a read may wait for the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Read whatever it takes.
    ForDisk,
    /// Fail with [`io::ErrorKind::WouldBlock`] when the bytes are not in memory. A hint: a disk that cannot tell waits.
    Never,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The last part of its path.
    pub name: String,
    /// Its length; 0 for a directory.
    pub bytes: u64,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// When its content last changed.
    pub modified: SystemTime,
}

/// Room on the partition that holds the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Size of the partition in bytes.
    pub total_bytes: u64,
    /// Bytes that the store could still take.
    pub available_bytes: u64,
}

impl Space {
    /// The used part of the partition, 0.0 to 1.0.
    pub fn used_ratio(self) -> f64 {
        if self.total_bytes == 0 {
            return 1.0;
        }
        1.0 - self.available_bytes as f64 / self.total_bytes as f64
    }
}

/// A place for files.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Names in a directory, sorted; empty when there is no such directory.
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>>;
    /// Makes a directory and those above it.
    fn create_directory(&self, directory: &Path) -> io::Result<()>;
    /// Makes a directory and those above it, and the names of all of them durable.
    fn create_directory_durably(&self, directory: &Path) -> io::Result<()> {
        self.create_directory(directory)?;
        for above in directory.ancestors().skip(1) {
            let above = if above.as_os_str().is_empty() {
                Path::new(".")
            } else {
                above
            };
            match self.sync_directory(above) {
                // A directory that we may pass but not open was there before.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
                result => result?,
            }
        }
        Ok(())
    }
    /// Makes the names in a directory durable.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
    /// Brings what was written to files on the same file system to the device, if that can be done for all of them at
    /// once: makes the syncs of many files cheap, which are needed all the same. Blocks.
    fn write_out(&self, directory: &Path);
    /// How many files may be kept open to be used again.
    fn max_open_files(&self) -> usize;
    /// Opens a file that is there.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes a file of `bytes` zeros, sparse where the disk can; fails when it is there already.
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a segment that is there, readable from its first to its last byte.
    fn open_segment(&self, path: &Path) -> io::Result<Box<dyn Segment>>;
    /// Makes a segment of `bytes` zeros with its space reserved, so that no later write can run out of it.
    fn create_segment(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn Segment>>;
    /// Makes a segment of `bytes` zeros, as [`Disk::create_segment`] does, in the room that a segment has which nobody uses any
    /// more. The zeros are durable before it has its new name. Fails with [`io::ErrorKind::Unsupported`] where no file can be
    /// cleared without writing all of it.
    fn reuse_segment(&self, from: &Path, to: &Path, bytes: u64) -> io::Result<Box<dyn Segment>>;
    /// Removes a file. Readers that hold it open keep their bytes.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory that is empty.
    fn remove_directory(&self, directory: &Path) -> io::Result<()>;
    /// Gives a file another name, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Names what the machine has been doing since its power came on: while it is the same, nothing written can have been
    /// lost. `None` when the disk cannot tell.
    fn boot(&self) -> Option<String>;
    /// Makes an empty ring of `bytes` bytes for the log's newest bytes; `None` when the disk has none.
    fn create_ring(&self, _path: &Path, _bytes: u64) -> io::Result<Option<Arc<Ring>>> {
        Ok(None)
    }
    /// Room on the partition of `directory`.
    fn space(&self, directory: &Path) -> io::Result<Space>;
}

/// A file read and written at positions.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Length in bytes.
    fn bytes(&self) -> io::Result<u64>;
    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], at: u64, wait: Wait) -> io::Result<usize>;
    /// Writes all of `bytes`. After an error any part of them may be in the file.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Makes the content durable.
    fn sync(&self) -> io::Result<()>;
    /// The next stretch of bytes from `at` on that may be other than zero; `None` when only zeros follow. A disk that
    /// cannot tell takes everything for data.
    fn next_data(&self, at: u64) -> io::Result<Option<Range<u64>>>;
}

/// How large the pieces are in which the kernel keeps what is prepared.
///
/// File systems with large folios (xfs, and ext4 since Linux 6.16) write a whole piece back when a byte of it has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// Page by page: a sync writes the pages that changed.
    Fine,
    /// Up to 2 MiB, as the kernel likes: a page costs a fifth of the time to prepare.
    Coarse,
}

impl Grain {
    /// Syncs from this size on write little beside what changed, however large the pieces are.
    const COARSE_SYNC_BYTES: u64 = 1024 * 1024;

    /// What suits syncs of so many bytes.
    pub fn for_syncs_of(bytes: u64) -> Self {
        match bytes >= Self::COARSE_SYNC_BYTES {
            true => Self::Coarse,
            false => Self::Fine,
        }
    }
}

/// A fixed-size stretch of the commit log, held in memory by the page cache.
///
/// Bytes below [`published`](Segment::published) never change and can be read by anybody; bytes above belong to the
/// one [`SegmentWriter`].
pub trait Segment: fmt::Debug + Send + Sync {
    /// Size in bytes.
    fn capacity(&self) -> usize;
    /// Bytes that can be read.
    fn published(&self) -> usize;
    /// Readable bytes; `None` when any of the range is not published.
    fn read(&self, range: Range<usize>) -> Option<&[u8]>;
    /// Cuts the readable part to `published` bytes and zeroes the rest. Only possible while nobody else holds the
    /// segment, which is why it takes the only reference there is.
    fn truncate(&mut self, published: usize) -> io::Result<()>;
    /// The end of the last byte that may be non-zero: everything from there on is known to read as zeros.
    fn data_end(&self) -> io::Result<usize>;
    /// The right to write, given out once.
    fn writer(self: Arc<Self>) -> Option<Box<dyn SegmentWriter>>;
    /// Brings pages into memory, ready to be written without a fault. Blocks.
    fn prepare(&self, range: Range<usize>, grain: Grain) -> io::Result<()>;
    /// Brings pages into memory to be read. Blocks.
    fn load(&self, range: Range<usize>) -> io::Result<()>;
    /// Whether reading the range would not wait for the disk.
    fn is_resident(&self, range: Range<usize>) -> bool;
    /// From now on the newest bytes lie in a ring until they are in the file, if the disk can do that. The segment begins
    /// at `base` in the log. Only before there is a writer.
    fn join_ring(&self, _ring: &Arc<Ring>, _base: u64) {}
    /// Bytes of a chunk of the ring; 0 when there is none.
    fn chunk_bytes(&self) -> u64 {
        0
    }
    /// Behind the last byte that the writer may change: see [`Segment::open_to`].
    fn writable(&self) -> usize {
        self.capacity()
    }
    /// Decides where bytes up to `wanted` are to lie before the writer comes there, as far as there is room in the ring, and
    /// in any case up to `needed`. Returns how far the writer may go. Only one caller at a time.
    fn open_to(&self, _wanted: usize, _needed: usize) -> io::Result<usize> {
        Ok(self.capacity())
    }
    /// Brings what lies in the ring to the file, in whole chunks, and makes nothing durable. Says whether there was anything.
    /// Blocks.
    fn write_out(&self) -> io::Result<bool> {
        Ok(false)
    }
    /// Brings all that is published to the file and ends the use of the ring. Nobody may write.
    fn leave_ring(&self) -> io::Result<()> {
        Ok(())
    }
    /// Makes a range durable. Blocks; while the device does that, more can be written out.
    fn sync(&self, range: Range<usize>) -> io::Result<()>;
}

/// The one writer of a segment.
pub trait SegmentWriter: Send {
    /// The bytes after the published part, to be written in place.
    fn unpublished(&mut self) -> &mut [u8];
    /// Has the processor fetch some of them, counted from the published part, which will be written soon.
    fn fetch(&self, _range: Range<usize>) {}
    /// Lets readers see the next `bytes` of them.
    fn publish(&mut self, bytes: usize);
    /// Says what proves a chunk, which begins at `chunk` in the log, if it lies in the ring. Comes before its bytes are
    /// published.
    fn seal(&mut self, _chunk: u64, _seal: &Seal) {}
    /// What was said last.
    fn sealed(&self, _chunk: u64) -> Option<Seal> {
        None
    }
}
