//! Cutting queues to what can be trusted, after a stop.

use std::io;
use std::sync::Arc;

use castmq_protocol::model::PhysicalOffset;

use super::error::{ConsumeQueueError, During};
use super::files::unsynced_limit;
use super::load::remove_files;
use super::queue::{ConsumeQueue, State, UnsyncedNames};
use super::tail::Tail;
use super::unit::{Stored, UNIT};
use crate::disk::{DiskFile, Wait};

/// Bytes looked at together.
const SCAN_BYTES: u64 = 64 * 1024;

/// What may lie behind the last unit in a queue's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftovers {
    /// Zeros: the last stop was clean.
    Nothing,
    /// What CastMQ was writing when its process or the machine stopped, near the end.
    Near,
    /// Anything at all: somebody else wrote the files last, and did not stop cleanly. All of the last file of each queue
    /// is read.
    Anywhere,
}

impl ConsumeQueue {
    /// Forgets units of records at or beyond `physical`.
    pub(super) fn truncate(
        self: &Arc<Self>,
        physical: PhysicalOffset,
        leftovers: Leftovers,
    ) -> Result<(), ConsumeQueueError> {
        self.cut(physical, leftovers)?;
        if leftovers == Leftovers::Nothing {
            return Ok(());
        }
        // A process that ended while it made, removed or cut files may not have synced any of that. Now they look as they
        // should, and would not be touched: they have to be synced before anybody relies on how they look.
        let mut state = self.state.lock();
        state.unsynced_names = UnsyncedNames::Folders;
        state.has_unsynced_cut = true;
        self.become_dirty(state);
        Ok(())
    }

    fn cut(&self, physical: PhysicalOffset, leftovers: Leftovers) -> Result<(), ConsumeQueueError> {
        if self.pending_units() > 0 {
            self.write_back()?;
        }
        let _files_lock = self.files_lock.lock();
        let (has_start, is_ragged, max, max_physical) = {
            let state = self.state.lock();
            (
                state.has_start,
                state.is_ragged,
                state.max(),
                state.max_physical,
            )
        };
        if !has_start || self.shared.is_deleted(&self.topic, max_physical) {
            return self.forget_everything();
        }
        let keep = match max_physical <= physical.0 {
            true => max,
            false => self.first_not_below(physical)?,
        };
        if keep == max && leftovers == Leftovers::Nothing && !is_ragged {
            return Ok(());
        }
        let last = self.last_kept(keep)?;
        let Stored::Unit(last) = last else {
            if keep == max && leftovers == Leftovers::Nothing {
                return Err(self.damaged(keep));
            }
            return self.forget_everything();
        };
        if self.shared.is_deleted(&self.topic, last.end().0) {
            return self.forget_everything();
        }
        self.cut_files(keep, leftovers)?;
        let mut state = self.state.lock();
        state.max_physical = last.end().0;
        state.written = keep;
        state.synced = keep;
        state.tail = Tail::starting_at(keep);
        state.end_file = (keep - 1) / self.shared.files.units_per_file() + 1;
        state.is_ragged = false;
        if state.min >= keep {
            state.min = keep;
            state.min_physical = u64::MAX;
        }
        Ok(())
    }

    /// Makes sure that only zeros lie behind the last unit in the files. The caller holds the files lock.
    pub(super) fn cut_behind_end(&self) -> Result<(), ConsumeQueueError> {
        let written = self.state.lock().written;
        self.cut_files(written, Leftovers::Near)?;
        self.state.lock().is_ragged = false;
        Ok(())
    }

    fn forget_everything(&self) -> Result<(), ConsumeQueueError> {
        remove_files(&self.shared.files, self.number, &self.folder(), |_| false)?;
        let mut state = self.state.lock();
        *state = State {
            is_dirty: state.is_dirty,
            ..self.shared.initial(&self.topic, self.id)
        };
        Ok(())
    }

    /// The last unit that stays when the queue ends at `keep`.
    fn last_kept(&self, keep: u64) -> Result<Stored, ConsumeQueueError> {
        let first = self.state.lock().first_file * self.shared.files.units_per_file();
        match keep > first {
            true => self.unit_at(keep - 1),
            false => Ok(Stored::Nothing),
        }
    }

    /// The first unit whose record is not below `physical`, or that is none.
    ///
    /// Everything below was synced, everything else can be damaged in any way: lost pages read as zeros, torn units as
    /// other numbers. A search that hits such a unit notices that the one before it does not fit, and goes on below.
    fn first_not_below(&self, physical: PhysicalOffset) -> Result<u64, ConsumeQueueError> {
        let (first, mut end) = {
            let state = self.state.lock();
            let first = state.first_file * self.shared.files.units_per_file();
            (first, state.max())
        };
        loop {
            let (mut low, mut high) = (first, end);
            while low < high {
                let middle = low + (high - low) / 2;
                match self.unit_at(middle)? {
                    Stored::Filler => low = middle + 1,
                    Stored::Unit(unit) if unit.physical < physical => low = middle + 1,
                    Stored::Unit(_) | Stored::Nothing => high = middle,
                }
            }
            if low < first + 2 || self.unit_at(low - 2)?.can_precede(self.unit_at(low - 1)?) {
                return Ok(low);
            }
            end = low - 1;
        }
    }

    /// Leaves nothing but zeros behind unit `keep`, of which there is at least one below.
    fn cut_files(&self, keep: u64, leftovers: Leftovers) -> Result<(), ConsumeQueueError> {
        let files = &self.shared.files;
        let per_file = files.units_per_file();
        let (first_file, end_file, written, is_ragged) = {
            let state = self.state.lock();
            (
                state.first_file,
                state.end_file,
                state.written,
                state.is_ragged,
            )
        };
        let Some(last_file) = keep.checked_sub(1).map(|last| last / per_file) else {
            return Ok(());
        };
        if is_ragged || last_file + 1 < end_file {
            let kept_files = first_file..=last_file;
            let keep = |number| kept_files.contains(&number);
            remove_files(files, self.number, &self.folder(), keep)?;
        }
        let from = (keep - last_file * per_file) * UNIT;
        let known = (written - last_file * per_file).min(per_file) * UNIT;
        let to = match leftovers {
            Leftovers::Nothing | Leftovers::Near => known + unsynced_limit(known),
            Leftovers::Anywhere => files.file_bytes(),
        };
        let path = self.path(last_file);
        let file = files.handle(self.key(last_file), || path.clone())?;
        let to = to.min(files.file_bytes());
        let end = data_end(&*file, from, to).during("read", &path)?;
        let zeroed = zero_backwards(&*file, from, end).during("write zeros to", &path);
        files.poison_on_error(zeroed)
    }
}

/// The end of the last byte in a range that is not zero; its start when there is none.
fn data_end(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<u64> {
    let mut buffer = Vec::new();
    let (mut at, mut end) = (from, from);
    while at < to
        && let Some(data) = file.next_data(at)?.filter(|data| data.start < to)
    {
        let stop = data.end.min(to).min(data.start + SCAN_BYTES);
        buffer.resize((stop - data.start) as usize, 0);
        let read = file.read_at(&mut buffer, data.start, Wait::ForDisk)?;
        let last = buffer.iter().take(read).rposition(|byte| *byte != 0);
        if let Some(last) = last {
            end = data.start + last as u64 + 1;
        }
        at = stop;
    }
    Ok(end)
}

/// Zeroes a range from its end to its start in synced steps, so that a power cut leaves units up to some point, a
/// damaged stretch no longer than [`unsynced_limit`] allows, and zeros: what the next start knows to deal with.
fn zero_backwards(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let step = unsynced_limit(from);
    let zeros = vec![0; step.min(to.saturating_sub(from)) as usize];
    let mut end = to;
    while end > from {
        let start = end.saturating_sub(step).max(from);
        file.write_at(
            zeros.get(..(end - start) as usize).unwrap_or_default(),
            start,
        )?;
        file.sync()?;
        end = start;
    }
    Ok(())
}
