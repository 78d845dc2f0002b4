//! Files and segments of the fault disk.

use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::image::{Dice, Image, Images, PAGE_BYTES};
use super::world::{World, sync_result};
use crate::disk::region::Region;
use crate::disk::{DiskFile, Grain, Segment, SegmentWriter, Wait};

/// The content behind a name.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) content: Mutex<Content>,
}

/// What a [`Node`] holds.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) images: Images,
    /// Where the readable bytes are while the file is open as a segment; `images.memory` trails it.
    region: Option<Arc<Region>>,
    /// Bytes reserved on the disk; what a plain file takes is counted by its pages.
    reserved_bytes: u64,
    pub(super) modified: SystemTime,
    /// Whether a name leads here: what has none takes no space.
    pub(super) is_named: bool,
    /// Whether it was brought into memory on a cold disk.
    is_loaded: bool,
}

impl Node {
    pub(super) fn new(bytes: u64, reserved_bytes: u64, modified: SystemTime) -> Arc<Self> {
        Self::with_images(Images::new(bytes), reserved_bytes, modified)
    }

    fn with_images(images: Images, reserved_bytes: u64, modified: SystemTime) -> Arc<Self> {
        Arc::new(Self {
            content: Mutex::new(Content {
                images,
                region: None,
                reserved_bytes,
                modified,
                is_named: true,
                is_loaded: false,
            }),
        })
    }

    pub(super) fn after_kill(&self) -> Arc<Self> {
        let mut content = self.content.lock();
        content.catch_up(None);
        Self::with_images(
            content.images.clone(),
            content.reserved_bytes,
            content.modified,
        )
    }

    pub(super) fn after_power_cut(&self, dice: &mut Dice) -> Arc<Self> {
        let mut content = self.content.lock();
        content.catch_up(None);
        Self::with_images(
            content.images.after_power_cut(dice),
            content.reserved_bytes,
            content.modified,
        )
    }
}

impl Content {
    pub(super) fn taken_bytes(&self) -> u64 {
        self.reserved_bytes
            .max(self.images.memory.page_count() * PAGE_BYTES as u64)
    }

    pub(super) fn is_mapped(&self) -> bool {
        self.region.is_some()
    }

    /// Makes all of it zeros.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        if self.is_mapped() {
            return Err(ErrorKind::ResourceBusy.into());
        }
        self.images.memory.zero_from(0);
        Ok(())
    }

    /// Takes over what the segment's writer published since.
    pub(super) fn catch_up(&mut self, now: Option<SystemTime>) {
        let Some(region) = &self.region else { return };
        let published = region.snapshot();
        let mut page = [0; PAGE_BYTES];
        for (number, bytes) in published.chunks(PAGE_BYTES).enumerate() {
            let at = (number * PAGE_BYTES) as u64;
            let old = &mut page[..bytes.len()];
            self.images.memory.read(old, at);
            if old != bytes {
                self.images.memory.write(bytes, at);
                self.modified = now.unwrap_or(self.modified);
            }
        }
    }
}

/// A plain file of the fault disk.
#[derive(Debug)]
pub(super) struct FaultFile {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) node: Arc<Node>,
    pub(super) path: PathBuf,
}

impl DiskFile for FaultFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.node.content.lock().images.memory.bytes)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64, wait: Wait) -> io::Result<usize> {
        let world = self.world.lock();
        world.faults.check_read(&self.path)?;
        let mut content = self.node.content.lock();
        if wait == Wait::Never && world.faults.is_cold {
            return Err(ErrorKind::WouldBlock.into());
        }
        content.catch_up(Some(world.now));
        Ok(content.images.memory.read(buffer, at))
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut world = self.world.lock();
        world.faults.check_write()?;
        let mut content = self.node.content.lock();
        if content.is_mapped() {
            return Err(io::Error::other(
                "the file is open as a segment, which owns its bytes",
            ));
        }
        let fits = world.room_for(&content, at, bytes.len());
        let before = content.taken_bytes();
        let Some(part) = bytes.get(..fits) else {
            return Err(ErrorKind::InvalidInput.into());
        };
        content.images.memory.write(part, at);
        content.modified = world.now;
        if content.is_named {
            world.used_bytes += content.taken_bytes() - before;
        }
        if fits < bytes.len() {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.world.lock();
        let works = world.faults.check_sync()?;
        let mut content = self.node.content.lock();
        content.catch_up(Some(world.now));
        content.images.sync(0..u64::MAX, works);
        sync_result(works)
    }

    fn next_data(&self, at: u64) -> io::Result<Option<Range<u64>>> {
        let world = self.world.lock();
        world.faults.check_read(&self.path)?;
        let mut content = self.node.content.lock();
        content.catch_up(Some(world.now));
        Ok(content.images.memory.next_data(at))
    }
}

/// A segment of the fault disk.
#[derive(Debug)]
pub(super) struct FaultSegment {
    world: Arc<Mutex<World>>,
    node: Arc<Node>,
    path: PathBuf,
    region: Arc<Region>,
}

impl FaultSegment {
    /// Maps a file; all of it is published when `is_published`, nothing otherwise.
    pub(super) fn map(
        world: Arc<Mutex<World>>,
        node: Arc<Node>,
        path: PathBuf,
        is_published: bool,
    ) -> io::Result<Self> {
        let mut content = node.content.lock();
        let region = match &content.region {
            Some(region) => region.clone(),
            None => load(&content.images.memory, is_published)?,
        };
        content.region = Some(region.clone());
        drop(content);
        Ok(Self {
            world,
            node,
            path,
            region,
        })
    }
}

fn load(image: &Image, is_published: bool) -> io::Result<Arc<Region>> {
    let bytes = usize::try_from(image.bytes).map_err(io::Error::other)?;
    if bytes == 0 {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            "the segment file is empty",
        ));
    }
    let region = Region::anonymous(bytes)?;
    if let Some(mut writer) = region.clone().writer()
        && is_published
    {
        image.read(writer.unpublished(), 0);
        writer.publish(bytes);
    }
    Ok(region)
}

impl Drop for FaultSegment {
    /// The page cache keeps the bytes of a mapping that ends.
    fn drop(&mut self) {
        let mut content = self.node.content.lock();
        content.catch_up(None);
        // Ours and the node's: nobody else maps the file.
        if Arc::strong_count(&self.region) == 2 {
            content.region = None;
        }
    }
}

impl Segment for FaultSegment {
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
        let mut content = self.node.content.lock();
        content.catch_up(None);
        content.region = None;
        let truncated = match Arc::get_mut(&mut self.region) {
            Some(region) => {
                region.truncate(published);
                content.images.memory.zero_from(published as u64);
                Ok(())
            }
            None => Err(io::Error::other("the segment is in use")),
        };
        content.region = Some(self.region.clone());
        drop(content);
        truncated.and_then(|()| self.sync(published..self.region.capacity()))
    }

    fn data_end(&self) -> io::Result<usize> {
        let mut content = self.node.content.lock();
        content.catch_up(None);
        usize::try_from(content.images.memory.data_end()).map_err(io::Error::other)
    }

    fn writer(self: Arc<Self>) -> Option<Box<dyn SegmentWriter>> {
        let writer = self.region.clone().writer()?;
        Some(Box::new(writer))
    }

    fn prepare(&self, _: Range<usize>, _: Grain) -> io::Result<()> {
        Ok(())
    }

    fn load(&self, _: Range<usize>) -> io::Result<()> {
        self.world.lock().faults.check_read(&self.path)?;
        self.node.content.lock().is_loaded = true;
        Ok(())
    }

    fn is_resident(&self, _: Range<usize>) -> bool {
        !self.world.lock().faults.is_cold || self.node.content.lock().is_loaded
    }

    fn sync(&self, range: Range<usize>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let mut world = self.world.lock();
        let works = world.faults.check_sync()?;
        let mut content = self.node.content.lock();
        content.catch_up(Some(world.now));
        let range = range.start as u64..range.end as u64;
        content.images.sync(range, works);
        sync_result(works)
    }
}
