//! A disk in memory on which everything that goes wrong with disks goes wrong on demand.
//!
//! # What is durable
//!
//! - Bytes of a file or segment: after a sync that covers them, in pages of 4 KiB. So is the length of a new file,
//!   segments included: before the first sync a power cut leaves it as it was made or empty.
//! - Names: after [`Disk::sync_directory`] of the directory they are in, and of those above it. A segment is no
//!   exception, since creating one on the operating system's disk syncs no directory either. A rename is lost or kept
//!   as a whole.
//! - Everything else survives a power cut or not, each page and each name on its own; half of the pages that do are
//!   torn at sectors of 512 bytes. Nothing older than the last write of a page is kept in mind: a real disk could also
//!   leave a version between the last sync and now.
//! - After a sync that failed, its pages count as written, as on Linux: another sync reports success without writing
//!   them, and a power cut loses them.
//!
//! Bytes that a segment's writer wrote and did not publish yet are in no image.
//!
//! # Layout
//!
//! - `image`: pages of one file in memory, in the kernel's belief, on the device.
//! - `names`: the directory tree and what of it is durable.
//! - `file`: files and segments.
//! - `world`: what the handles of one disk share, and what is to go wrong.

mod file;
mod image;
mod names;
mod world;

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use self::file::{FaultFile, FaultSegment, Node};
use self::image::Dice;
use self::names::Named;
use self::world::World;
use super::{Disk, DiskFile, Entry, Segment, Space};

/// A disk in memory. Clones share it.
#[derive(Debug, Clone)]
pub struct FaultDisk {
    world: Arc<Mutex<World>>,
}

impl Default for FaultDisk {
    fn default() -> Self {
        Self::new()
    }
}

/// What happens to it.
impl FaultDisk {
    /// An empty disk on which nothing goes wrong.
    pub fn new() -> Self {
        Self::over(World::new())
    }

    fn over(world: World) -> Self {
        Self {
            world: Arc::new(Mutex::new(world)),
        }
    }

    /// What a power cut leaves; the seed decides about everything that was not durable. This disk goes on untouched.
    pub fn crash(&self, seed: u64) -> Self {
        let world = self.world.lock();
        let mut dice = Dice(seed);
        let left = world.names.after_power_cut(&mut dice);
        let files = each_once(|node| node.after_power_cut(&mut dice));
        let mut left = world.reborn(left.map_files(files));
        left.power_cuts += 1;
        Self::over(left)
    }

    /// What the end of the process leaves: all that was written, durable or not. This disk goes on untouched.
    pub fn kill(&self) -> Self {
        let world = self.world.lock();
        let files = each_once(|node| node.after_kill());
        Self::over(world.reborn(world.names.map_files(files)))
    }

    /// Makes the `nth` sync from now fail; 1 is the next. Syncs of directories count.
    pub fn fail_sync(&self, nth: u64) {
        self.world.lock().faults.failing_sync = Some(nth.max(1));
    }

    /// Makes the `nth` write to a file from now fail with nothing written; 1 is the next.
    pub fn fail_write(&self, nth: u64) {
        self.world.lock().faults.failing_write = Some(nth.max(1));
    }

    /// Lets this many more changes happen (writes, syncs, changes of names) and then fails everything, so that
    /// [`crash`](Self::crash) can follow in the middle of an operation.
    pub fn cut_power_after(&self, changes: u64) {
        let faults = &mut self.world.lock().faults;
        faults.last_change = Some(faults.changes.saturating_add(changes));
    }

    /// Changes so far, in the sense of [`cut_power_after`](Self::cut_power_after).
    pub fn changes(&self) -> u64 {
        self.world.lock().faults.changes
    }

    /// Syncs so far, failed ones included.
    pub fn syncs(&self) -> u64 {
        self.world.lock().faults.syncs
    }

    /// Sets the size of the disk. Files take what their pages take, segments all of their size.
    pub fn set_capacity(&self, bytes: u64) {
        self.world.lock().capacity_bytes = bytes;
    }

    /// Bytes taken by files and segments.
    pub fn used_bytes(&self) -> u64 {
        self.world.lock().used_bytes
    }

    /// Fails every read of a file, or of all files below a directory.
    pub fn fail_reads(&self, path: &Path) {
        self.world.lock().faults.unreadable.insert(path.to_owned());
    }

    /// Ends all [`fail_reads`](Self::fail_reads).
    pub fn heal_reads(&self) {
        self.world.lock().faults.unreadable.clear();
    }

    /// Makes every read that must not wait fail with [`ErrorKind::WouldBlock`], and segments not resident until loaded.
    pub fn set_cold(&self, is_cold: bool) {
        self.world.lock().faults.is_cold = is_cold;
    }

    /// Sets the time that changed files get; it stands still, from the epoch on.
    pub fn set_now(&self, now: SystemTime) {
        self.world.lock().now = now;
    }

    /// Flips a bit in memory and on the device. Refused while the file is open as a segment, whose readers hold its
    /// bytes.
    pub fn flip_bit(&self, path: &Path, byte: u64, bit: u8) -> io::Result<()> {
        let world = self.world.lock();
        let mut content = world.names.file(path)?.content.lock();
        if content.is_mapped() {
            return Err(ErrorKind::ResourceBusy.into());
        }
        content.images.flip_bit(byte, bit);
        Ok(())
    }
}

/// Files keep their identity when they are copied: what two names lead to, two names lead to again.
fn each_once(mut copy: impl FnMut(&Node) -> Arc<Node>) -> impl FnMut(&Arc<Node>) -> Arc<Node> {
    let mut copies: HashMap<*const Node, Arc<Node>> = HashMap::new();
    move |node| {
        copies
            .entry(Arc::as_ptr(node))
            .or_insert_with(|| copy(node))
            .clone()
    }
}

impl World {
    fn new_file(&mut self, path: &Path, bytes: u64, reserved_bytes: u64) -> io::Result<Arc<Node>> {
        self.faults.check_change()?;
        if reserved_bytes > self.free_bytes() {
            return Err(world::full());
        }
        let node = Node::new(bytes, reserved_bytes, self.now);
        self.names.add(path, Named::File(node.clone()))?;
        self.used_bytes += reserved_bytes;
        Ok(node)
    }

    fn forget(&mut self, node: &Node) {
        let mut content = node.content.lock();
        content.is_named = false;
        self.used_bytes = self.used_bytes.saturating_sub(content.taken_bytes());
    }
}

impl Disk for FaultDisk {
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let world = self.world.lock();
        world.faults.check_read(directory)?;
        let entries = world.names.children(directory).map(|(name, named)| {
            let (bytes, modified) = match named {
                Named::Directory => (0, SystemTime::UNIX_EPOCH),
                Named::File(node) => {
                    let mut content = node.content.lock();
                    content.catch_up(Some(world.now));
                    (content.images.memory.bytes, content.modified)
                }
            };
            Entry {
                name: name.to_owned(),
                bytes,
                is_directory: matches!(named, Named::Directory),
                modified,
            }
        });
        let mut entries: Vec<_> = entries.collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let mut missing: Vec<_> = directory
            .ancestors()
            .take_while(|path| !world.names.is_directory(path))
            .collect();
        while let Some(path) = missing.pop() {
            world.faults.check_change()?;
            world.names.add(path, Named::Directory)?;
        }
        Ok(())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let works = world.faults.check_sync()?;
        world.names.sync(directory, works)?;
        world::sync_result(works)
    }

    fn write_out(&self, _: &Path) {}

    fn max_open_files(&self) -> usize {
        64
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let world = self.world.lock();
        Ok(Arc::new(FaultFile {
            world: self.world.clone(),
            node: world.names.file(path)?.clone(),
            path: path.to_owned(),
        }))
    }

    fn create(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let node = self.world.lock().new_file(path, bytes, 0)?;
        Ok(Arc::new(FaultFile {
            world: self.world.clone(),
            node,
            path: path.to_owned(),
        }))
    }

    fn open_segment(&self, path: &Path) -> io::Result<Box<dyn Segment>> {
        let node = self.world.lock().names.file(path)?.clone();
        let segment = FaultSegment::map(self.world.clone(), node, path.to_owned(), true)?;
        Ok(Box::new(segment))
    }

    fn create_segment(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn Segment>> {
        if bytes == 0 {
            return Err(ErrorKind::InvalidInput.into());
        }
        let node = self.world.lock().new_file(path, bytes, bytes)?;
        let segment = FaultSegment::map(self.world.clone(), node, path.to_owned(), false)?;
        Ok(Box::new(segment))
    }

    fn reuse_segment(&self, from: &Path, to: &Path, bytes: u64) -> io::Result<Box<dyn Segment>> {
        let mut world = self.world.lock();
        world.faults.check_change()?;
        if world.names.file(to).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let node = world.names.file(from)?.clone();
        let mut content = node.content.lock();
        if content.images.memory.bytes != bytes {
            return Err(ErrorKind::InvalidData.into());
        }
        content.clear()?;
        let works = world.faults.check_sync()?;
        content.images.sync(0..u64::MAX, works);
        content.modified = world.now;
        drop(content);
        world::sync_result(works)?;
        world.faults.check_change()?;
        world.names.rename(from, to)?;
        drop(world);
        let segment = FaultSegment::map(self.world.clone(), node, to.to_owned(), false)?;
        Ok(Box::new(segment))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.faults.check_change()?;
        let node = world.names.remove_file(path)?;
        world.forget(&node);
        Ok(())
    }

    fn remove_directory(&self, directory: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.faults.check_change()?;
        world.names.remove_directory(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.faults.check_change()?;
        if let Some(replaced) = world.names.rename(from, to)? {
            world.forget(&replaced);
        }
        Ok(())
    }

    fn boot(&self) -> Option<String> {
        Some(self.world.lock().power_cuts.to_string())
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        let world = self.world.lock();
        Ok(Space {
            total_bytes: world.capacity_bytes,
            available_bytes: world.free_bytes(),
        })
    }
}

#[cfg(test)]
mod tests;
