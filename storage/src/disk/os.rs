//! The operating system's disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::SeekFrom;
use rustix::io::{Errno, ReadWriteFlags};
use rustix::process::Resource;

use super::ring::{self, Ring};
use super::segment_file::FileSegment;
use super::{Disk, DiskFile, Entry, Segment, Space, Wait};

/// Directories and files of the operating system.
///
/// What a name needs to survive a power cut is left to the caller: neither creating, renaming nor removing syncs the
/// directory, [`Disk::sync_directory`] does.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let names = match fs::read_dir(directory) {
            Ok(names) => names,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut entries = Vec::new();
        for name in names {
            if let Some(entry) = describe(directory, &name?)? {
                entries.push(entry);
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    fn write_out(&self, directory: &Path) {
        // What goes wrong here is told by the syncs that follow.
        let written = File::open(directory).and_then(|folder| Ok(rustix::fs::syncfs(folder)?));
        if let Err(error) = written {
            tracing::debug!(directory = %directory.display(), %error, "files are synced one by one");
        }
    }

    /// A part of what the process may have open: connections and segments need most of it.
    fn max_open_files(&self) -> usize {
        const MOST: u64 = 16 * 1024;
        let limit = rustix::process::getrlimit(Resource::Nofile).current;
        limit.map_or(MOST, |limit| MOST.min(limit / 4)) as usize
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(OsFile::new(file)))
    }

    fn create(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        if let Err(error) = file.set_len(bytes) {
            // A file of the wrong length would be mistaken for a damaged one later.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        Ok(Arc::new(OsFile::new(file)))
    }

    fn open_segment(&self, path: &Path) -> io::Result<Box<dyn Segment>> {
        Ok(Box::new(FileSegment::open(path)?))
    }

    fn create_segment(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn Segment>> {
        Ok(Box::new(FileSegment::create(path, bytes)?))
    }

    fn reuse_segment(&self, from: &Path, to: &Path, bytes: u64) -> io::Result<Box<dyn Segment>> {
        Ok(Box::new(FileSegment::reuse(from, to, bytes)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_directory(&self, directory: &Path) -> io::Result<()> {
        fs::remove_dir(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn boot(&self) -> Option<String> {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(id.trim().to_owned()).filter(|id| !id.is_empty())
    }

    fn create_ring(&self, path: &Path, bytes: u64) -> io::Result<Option<Arc<Ring>>> {
        let ring = Ring::create(path, bytes, ring::CHUNK_BYTES)?;
        Ok(Some(Arc::new(ring)))
    }

    /// Blocks reserved for root count as neither used nor available, as in `df` and in RocketMQ.
    fn space(&self, directory: &Path) -> io::Result<Space> {
        let partition = rustix::fs::statvfs(directory)?;
        let used_blocks = partition.f_blocks.saturating_sub(partition.f_bfree);
        let block = partition.f_frsize;
        Ok(Space {
            total_bytes: (used_blocks + partition.f_bavail).saturating_mul(block),
            available_bytes: partition.f_bavail.saturating_mul(block),
        })
    }
}

/// What a name stands for; `None` when it vanished meanwhile or is no text, which no file of the store is.
fn describe(directory: &Path, name: &fs::DirEntry) -> io::Result<Option<Entry>> {
    let Ok(text) = name.file_name().into_string() else {
        tracing::warn!(directory = %directory.display(), name = ?name.file_name(), "ignoring a file whose name is not text");
        return Ok(None);
    };
    let metadata = match fs::metadata(name.path()) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // What is there but leads nowhere must not be taken for what is not there.
            if fs::symlink_metadata(name.path()).is_ok() {
                let reason = format!("{} is a link that leads nowhere", name.path().display());
                return Err(io::Error::new(ErrorKind::NotFound, reason));
            }
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let is_directory = metadata.is_dir();
    Ok(Some(Entry {
        name: text,
        bytes: if is_directory { 0 } else { metadata.len() },
        is_directory,
        modified: metadata.modified()?,
    }))
}

#[derive(Debug)]
struct OsFile {
    file: File,
    /// Whether reads can be told not to wait; not every file system can.
    can_refuse_to_wait: AtomicBool,
}

impl OsFile {
    fn new(file: File) -> Self {
        Self {
            file,
            can_refuse_to_wait: AtomicBool::new(true),
        }
    }

    /// `None` when the file system cannot tell whether a read would wait.
    fn read_cached(&self, buffer: &mut [u8], at: u64) -> io::Result<Option<usize>> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let into = &mut [IoSliceMut::new(rest)];
            match rustix::io::preadv2(&self.file, into, at + done as u64, ReadWriteFlags::NOWAIT) {
                Ok(0) => break,
                // Short at the end of what is in memory as well as at the end of the file: the next round tells.
                Ok(bytes) => done += bytes,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(ErrorKind::WouldBlock.into()),
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                    self.can_refuse_to_wait.store(false, Ordering::Relaxed);
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(done))
    }

    fn read_waiting(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, at + done as u64) {
                Ok(0) => break,
                Ok(bytes) => done += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

impl DiskFile for OsFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64, wait: Wait) -> io::Result<usize> {
        if wait == Wait::Never
            && self.can_refuse_to_wait.load(Ordering::Relaxed)
            && let Some(bytes) = self.read_cached(buffer, at)?
        {
            return Ok(bytes);
        }
        self.read_waiting(buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn next_data(&self, at: u64) -> io::Result<Option<Range<u64>>> {
        let start = match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            Err(Errno::INVAL) => {
                let end = self.bytes()?;
                return Ok((at < end).then_some(at..end));
            }
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(&self.file, SeekFrom::Hole(start))?;
        Ok(Some(start..end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_missing_directory_lists_as_empty() {
        let folder = folder();
        assert_eq!(OsDisk.list(&folder.path().join("none")).unwrap(), vec![]);
    }

    #[test]
    fn a_directory_lists_sorted_with_lengths() {
        let folder = folder();
        OsDisk.create(&folder.path().join("b"), 7).unwrap();
        OsDisk.create(&folder.path().join("a"), 0).unwrap();
        OsDisk.create_directory(&folder.path().join("c/d")).unwrap();
        let names: Vec<_> = OsDisk
            .list(folder.path())
            .unwrap()
            .into_iter()
            .map(|entry| (entry.name, entry.bytes, entry.is_directory))
            .collect();
        assert_eq!(
            names,
            vec![
                ("a".to_owned(), 0, false),
                ("b".to_owned(), 7, false),
                ("c".to_owned(), 0, true)
            ]
        );
    }

    #[test]
    fn a_created_file_is_zeros_and_takes_no_room() {
        use std::os::unix::fs::MetadataExt;
        let folder = folder();
        let path = folder.path().join("sparse");
        let file = OsDisk.create(&path, 6_000_000).unwrap();
        assert_eq!(file.bytes().unwrap(), 6_000_000);
        assert_eq!(fs::metadata(&path).unwrap().blocks(), 0);
        let mut bytes = [1; 8];
        assert_eq!(
            file.read_at(&mut bytes, 5_999_996, Wait::ForDisk).unwrap(),
            4
        );
        assert_eq!(bytes[..4], [0; 4]);
        let again = OsDisk.create(&path, 1).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    }

    #[test]
    fn data_is_told_from_holes() {
        let folder = folder();
        let file = OsDisk.create(&folder.path().join("f"), 1 << 20).unwrap();
        assert_eq!(file.next_data(0).unwrap(), None);
        file.write_at(&[7; 10], 500_000).unwrap();
        let data = file.next_data(0).unwrap().unwrap();
        assert!(data.start <= 500_000 && data.end >= 500_010, "{data:?}");
        assert_eq!(file.next_data(500_005).unwrap().unwrap().start, 500_005);
        assert_eq!(file.next_data(1 << 20).unwrap(), None);
        assert_eq!(file.next_data(1 << 21).unwrap(), None);
    }

    #[test]
    fn what_was_just_written_is_read_without_waiting() {
        let folder = folder();
        let file = OsDisk.create(&folder.path().join("f"), 0).unwrap();
        file.write_at(b"hello", 3).unwrap();
        let mut bytes = [9; 16];
        assert_eq!(file.read_at(&mut bytes, 3, Wait::Never).unwrap(), 5);
        assert_eq!(&bytes[..5], b"hello");
        file.sync().unwrap();
        OsDisk.sync_directory(folder.path()).unwrap();
    }

    #[test]
    fn bytes_that_left_memory_are_not_waited_for() {
        let folder = folder();
        let path = folder.path().join("cold");
        let file = OsDisk.create(&path, 0).unwrap();
        file.write_at(&[7; 1 << 20], 0).unwrap();
        file.sync().unwrap();
        let raw = File::open(&path).unwrap();
        rustix::fs::fadvise(&raw, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let mut bytes = [0; 100];
        // Some file systems (tmpfs) keep everything in memory: then there is nothing to wait for.
        match file.read_at(&mut bytes, 500_000, Wait::Never) {
            Ok(100) => {}
            Ok(short) => panic!("read {short} bytes in the middle of a file"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert_eq!(
            file.read_at(&mut bytes, 500_000, Wait::ForDisk).unwrap(),
            100
        );
        assert_eq!(bytes, [7; 100]);
    }

    #[test]
    fn rename_replaces_and_remove_leaves_open_files_readable() {
        let folder = folder();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        let file = OsDisk.create(&a, 0).unwrap();
        file.write_at(b"new", 0).unwrap();
        OsDisk.create(&b, 100).unwrap();
        OsDisk.rename(&a, &b).unwrap();
        assert_eq!(OsDisk.open(&b).unwrap().bytes().unwrap(), 3);
        OsDisk.remove(&b).unwrap();
        let mut bytes = [0; 3];
        assert_eq!(file.read_at(&mut bytes, 0, Wait::ForDisk).unwrap(), 3);
        assert_eq!(OsDisk.open(&b).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn the_machine_has_been_on_since_the_same_time() {
        let boot = OsDisk.boot();
        assert!(boot.as_ref().is_none_or(|id| !id.contains('\n')));
        assert_eq!(OsDisk.boot(), boot);
    }

    #[test]
    fn the_partition_has_room() {
        let folder = folder();
        let space = OsDisk.space(folder.path()).unwrap();
        assert!(space.available_bytes > 0 && space.available_bytes <= space.total_bytes);
        assert!((0.0..=1.0).contains(&space.used_ratio()));
    }
}
