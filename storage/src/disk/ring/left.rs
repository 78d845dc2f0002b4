//! What a process that was killed left in its ring.

use std::io;
use std::sync::Arc;

use super::head::{self, HEAD_BYTES, LeftSlot};
use super::slot_at;
use crate::disk::{DiskFile, Wait};

/// No slot is larger.
const MOST_CHUNK_BYTES: usize = 64 * 1024 * 1024;

/// A ring that nobody uses.
#[derive(Debug)]
pub struct Left {
    file: Arc<dyn DiskFile>,
    chunk_bytes: usize,
    slots: Vec<LeftSlot>,
}

impl Left {
    /// Reads its head; `None` when there is no whole one.
    pub fn read(file: Arc<dyn DiskFile>) -> io::Result<Option<Self>> {
        let mut bytes = vec![0; HEAD_BYTES];
        let length = file.read_at(&mut bytes, 0, Wait::ForDisk)?;
        let Some((chunk_bytes, mut slots)) = head::read(&bytes[..length]) else {
            return Ok(None);
        };
        if chunk_bytes == 0 || chunk_bytes > MOST_CHUNK_BYTES {
            return Ok(None);
        }
        // No log is that long.
        slots.retain(|slot| slot.position.checked_add(chunk_bytes as u64).is_some());
        slots.sort_by_key(|slot| slot.position);
        Ok(Some(Self {
            file,
            chunk_bytes,
            slots,
        }))
    }

    /// Bytes of a slot.
    pub fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// Slots that hold a chunk, in the order of the log.
    pub fn slots(&self) -> &[LeftSlot] {
        &self.slots
    }

    /// What a slot holds, as far as the file goes.
    pub fn image(&self, slot: &LeftSlot) -> io::Result<Vec<u8>> {
        let mut image = vec![0; self.chunk_bytes];
        let at = slot_at(slot.slot, self.chunk_bytes);
        self.file.read_at(&mut image, at, Wait::ForDisk)?;
        Ok(image)
    }
}
