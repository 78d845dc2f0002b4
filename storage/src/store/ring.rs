//! The ring of a store, before it is opened and while it is used: see [`Ring`](crate::disk::ring::Ring).

use std::io::ErrorKind;

use super::{StoreError, StoreOptions, io_error};
use crate::commit_log::CommitLog;
use crate::commit_log::restore::{Restored, restore};
use crate::disk::Disk;

/// Name of a ring that was not used.
const OVERTAKEN: &str = "ring.unused";

/// Brings what the last run left in its ring into the log, and removes the ring.
pub(super) fn settle(disk: &dyn Disk, options: &StoreOptions) -> Result<(), StoreError> {
    let path = options.ring_path();
    let restored = restore(disk, &path, &options.commit_log)
        .map_err(io_error("bring into the log what is in", &path))?;
    let gone = match restored {
        Restored::NoRing => return Ok(()),
        Restored::All { bytes } => {
            if bytes > 0 {
                tracing::info!(
                    bytes,
                    "messages of the last moments are taken from the ring"
                );
            }
            disk.remove(&path).map_err(io_error("remove", &path))
        }
        Restored::Overtaken { position } => {
            let kept = options.root.join(OVERTAKEN);
            tracing::warn!(
                position,
                kept = %kept.display(),
                "the log was written by another broker since the last stop: what this one had in memory stays out of it"
            );
            disk.rename(&path, &kept).map_err(io_error("rename", &path))
        }
    };
    gone.and_then(|()| {
        let synced = disk.sync_directory(&options.root);
        synced.map_err(io_error("sync", &options.root))
    })
}

/// Has the log's newest bytes lie in a ring, where that can be done.
pub(super) fn make(disk: &dyn Disk, options: &StoreOptions, log: &CommitLog) {
    if options.ring_bytes == 0 {
        return;
    }
    let path = options.ring_path();
    match disk.create_ring(&path, options.ring_bytes) {
        Ok(Some(ring)) => log.use_ring(ring),
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the log is written through the page cache");
        }
    }
}

/// Removes the ring: all that it holds is durable elsewhere.
pub(super) fn remove(disk: &dyn Disk, options: &StoreOptions) -> Result<(), StoreError> {
    let path = options.ring_path();
    match disk.remove(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("remove", &path)(error)),
        _ => Ok(()),
    }
}
