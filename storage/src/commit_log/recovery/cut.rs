//! Ending a log: what lies behind is kept aside.

use std::path::{Path, PathBuf};

use castmq_protocol::model::PhysicalOffset;

use super::{Walk, open_segments};
use crate::commit_log::{LogError, segment_file_name};
use crate::disk::Disk;

/// A tail that was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Where in the log.
    pub from: PhysicalOffset,
    /// How many bytes were kept aside.
    pub bytes: u64,
    /// The file that has them.
    pub kept_in: PathBuf,
    /// What ended the walk.
    pub reason: String,
}

/// Ends the log of a stopped store at `at`, where a record begins, and keeps aside what lies behind. `None` when nothing does.
pub fn cut(
    disk: &dyn Disk,
    directory: &Path,
    segment_bytes: u64,
    at: PhysicalOffset,
    reason: &str,
) -> Result<Option<Cut>, LogError> {
    let mut walk = Walk {
        disk,
        directory,
        segment_bytes,
        segments: open_segments(disk, directory, segment_bytes)?,
    };
    if walk.data_end()? <= at {
        return Ok(None);
    }
    let cut = walk.keep_tail(at, reason.to_owned())?;
    walk.truncate(at)?;
    Ok(Some(cut))
}

impl Walk<'_> {
    /// Copies everything from `end` to the last byte that may be data into a file beside the log.
    pub(super) fn keep_tail(&self, end: PhysicalOffset, reason: String) -> Result<Cut, LogError> {
        let mut path = self.directory.to_owned();
        path.set_extension("cut");
        let kept_in = path.join(segment_file_name(end.0));
        let io = |action| {
            let path = kept_in.clone();
            move |source| LogError::Io {
                action,
                path,
                source,
            }
        };
        self.disk
            .create_directory_durably(&path)
            .map_err(io("create the folder of"))?;
        if self.disk.open(&kept_in).is_ok() {
            self.disk.remove(&kept_in).map_err(io("replace"))?;
        }
        let file = self.disk.create(&kept_in, 0).map_err(io("create"))?;
        let mut bytes = 0;
        for found in &self.segments {
            if found.base + self.segment_bytes <= end {
                continue;
            }
            let from = usize::try_from(end.distance_from(found.base)).unwrap_or(usize::MAX);
            let data_end = found.segment.data_end().map_err(io("fill"))?;
            let tail = found
                .segment
                .read(from..data_end.max(from))
                .unwrap_or_default();
            let place = (found.base + from as u64).distance_from(end);
            file.write_at(tail, place).map_err(io("write"))?;
            bytes = place + tail.len() as u64;
        }
        file.sync().map_err(io("sync"))?;
        self.disk
            .sync_directory(&path)
            .map_err(io("sync the folder of"))?;
        Ok(Cut {
            from: end,
            bytes,
            kept_in,
            reason,
        })
    }

    /// Ends the log at `end`: zeros behind it in its segment, no segment behind that.
    pub(super) fn truncate(&mut self, end: PhysicalOffset) -> Result<(), LogError> {
        let io = |action, path: PathBuf| {
            move |source| LogError::Io {
                action,
                path,
                source,
            }
        };
        while let Some(last) = self.segments.last() {
            let (base, path) = (last.base, self.path(last.base));
            // An empty segment right behind the end was made ready before the stop: it stays.
            let is_spare = base == end || base == segment_end(end, self.segment_bytes);
            if base < end || (is_spare && last.segment.data_end().is_ok_and(|end| end == 0)) {
                break;
            }
            if base == end && self.segments.len() == 1 {
                break;
            }
            self.segments.pop();
            // One by one, each durable: a power cut in between must not leave a gap.
            self.disk
                .remove(&path)
                .and_then(|()| self.disk.sync_directory(self.directory))
                .map_err(io("remove", path))?;
        }
        for index in 0..self.segments.len() {
            let Some(found) = self.segments.get_mut(index) else {
                break;
            };
            let base = found.base;
            let within = usize::try_from(end.distance_from(base)).unwrap_or(usize::MAX);
            if within < found.segment.capacity() {
                let path = self.directory.join(segment_file_name(base.0));
                found
                    .segment
                    .truncate(within)
                    .map_err(io("truncate", path))?;
            }
        }
        Ok(())
    }
}

/// The end of the segment in which `offset` lies.
fn segment_end(offset: PhysicalOffset, segment_bytes: u64) -> PhysicalOffset {
    PhysicalOffset((offset.0 / segment_bytes + 1) * segment_bytes)
}
