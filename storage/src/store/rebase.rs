//! Making the store of a slave that has stopped fit its master's log.
//!
//! A log that goes on beyond what the master has is cut there, and what is cut is kept aside. A log that ends before the first
//! byte that the master still has is given up. What was noted of records that are not there any more is forgotten with them.

use std::path::Path;
use std::sync::Arc;

use castmq_protocol::model::PhysicalOffset;

use super::{NOTED, NOTES, Store, StoreError, StoreOptions, io_error, ring};
use crate::checkpoint::{Checkpoint, CheckpointState, OwnState};
use crate::commit_log::recovery::{self, Cut};
use crate::commit_log::segment_file_name;
use crate::disk::Disk;
use crate::halves::Halves;
use crate::lock::StoreLock;
use crate::metadata::{Metadata, MetadataError};
use crate::moved::Moved;

impl Store {
    /// Ends the log at `at`, where a record begins. Returns where what lay behind is kept; `None` when nothing did. Blocks.
    pub fn cut(
        disk: &Arc<dyn Disk>,
        options: &StoreOptions,
        at: PhysicalOffset,
        reason: &str,
    ) -> Result<Option<Cut>, StoreError> {
        let _lock = lock(options)?;
        ring::settle(&**disk, options)?;
        let metadata = Metadata::open(&options.metadata, options.metadata_cache_bytes)?;
        let is_noted = noted(&metadata)? > at;
        if is_noted {
            forget_notes(&metadata)?;
        }
        // Before the log: a stop in between leaves more to be read, and nothing wrong.
        lower(&**disk, options, at, is_noted)?;
        remove_timer(&**disk, &options.root)?;
        let (log, segment_bytes) = (&options.commit_log, options.segment_bytes);
        Ok(recovery::cut(&**disk, log, segment_bytes, at, reason)?)
    }

    /// Forgets how far messages that wait for a time are: a slave keeps none of that. Blocks.
    pub fn forget_wheel(&self) -> Result<(), StoreError> {
        remove_timer(&*self.disk, &self.options.root)
    }

    /// Gives up all messages: the log begins anew at `at`, the first byte of a segment. Blocks.
    pub fn begin_anew(
        disk: &Arc<dyn Disk>,
        options: &StoreOptions,
        at: PhysicalOffset,
    ) -> Result<(), StoreError> {
        let _lock = lock(options)?;
        ring::remove(&**disk, options)?;
        let metadata = Metadata::open(&options.metadata, options.metadata_cache_bytes)?;
        forget_notes(&metadata)?;
        for folder in [&options.commit_log, &options.consume_queues, &options.index] {
            empty(&**disk, folder)?;
        }
        remove_timer(&**disk, &options.root)?;
        let path = options.checkpoint_path();
        if disk.open(&path).is_ok() {
            disk.remove(&path).map_err(io_error("remove", &path))?;
        }
        disk.create_directory_durably(&options.commit_log)
            .map_err(io_error("create", &options.commit_log))?;
        let path = options.commit_log.join(segment_file_name(at.0));
        let segment = disk
            .create_segment(&path, options.segment_bytes)
            .map_err(io_error("reserve", &path))?;
        segment.sync(0..1).map_err(io_error("sync", &path))?;
        disk.sync_directory(&options.commit_log)
            .map_err(io_error("sync the folder of", &path))
    }
}

fn lock(options: &StoreOptions) -> Result<Option<StoreLock>, StoreError> {
    Ok(match options.takes_lock {
        true => Some(StoreLock::take(&options.root, &options.abort_path())?),
        false => None,
    })
}

/// Up to where saved notes may know the log.
fn noted(metadata: &Metadata) -> Result<PhysicalOffset, MetadataError> {
    let bytes = metadata.value(NOTES, NOTED)?.unwrap_or_default();
    let place = <[u8; 8]>::try_from(bytes.as_slice()).map(u64::from_be_bytes);
    Ok(PhysicalOffset(place.unwrap_or_default()))
}

fn forget_notes(metadata: &Metadata) -> Result<(), MetadataError> {
    Moved::forget(metadata)?;
    Halves::forget(metadata)?;
    metadata.sync()
}

/// Has the next start read the log from `at` on, or all of it.
fn lower(
    disk: &dyn Disk,
    options: &StoreOptions,
    at: PhysicalOffset,
    is_all: bool,
) -> Result<(), StoreError> {
    let path = options.checkpoint_path();
    let (checkpoint, state) = Checkpoint::open(disk, &path).map_err(io_error("open", &path))?;
    let Some(own) = state.own else {
        // What is there is somebody else's, and then all of it is read.
        return Ok(());
    };
    let recovery_point = match is_all {
        true => PhysicalOffset::ZERO,
        false => own.recovery_point.min(at),
    };
    let own = OwnState {
        durable: own.durable.min(at),
        recovery_point,
        queues: None,
        index: own.index.below(at),
    };
    let own = Some(own);
    checkpoint
        .save(&CheckpointState { own, ..state })
        .map_err(io_error("write", &path))
}

/// The wheel does not know what of it came out only in what is cut: it is filled again from the timer topic.
fn remove_timer(disk: &dyn Disk, root: &Path) -> Result<(), StoreError> {
    empty(disk, &root.join("timerlog"))?;
    for name in ["timerwheel", "config/timercheck"] {
        let path = root.join(name);
        if disk.open(&path).is_ok() {
            disk.remove(&path).map_err(io_error("remove", &path))?;
        }
    }
    Ok(())
}

/// Removes everything in a folder.
fn empty(disk: &dyn Disk, folder: &Path) -> Result<(), StoreError> {
    for entry in disk.list(folder).map_err(io_error("list", folder))? {
        let path = folder.join(&entry.name);
        if entry.is_directory {
            empty(disk, &path)?;
            disk.remove_directory(&path)
        } else {
            disk.remove(&path)
        }
        .map_err(io_error("remove", &path))?;
    }
    Ok(())
}
