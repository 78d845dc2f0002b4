//! Forgetting units whose records the log no longer has.

use castmq_protocol::model::PhysicalOffset;

use super::error::ConsumeQueueError;
use super::queue::ConsumeQueue;
use super::unit::Stored;

impl ConsumeQueue {
    /// Forgets units of records below `physical`, the first record of the log, and removes files that hold nothing else.
    /// The last file stays, so that the queue remembers its next offset.
    pub(super) fn remove_below(&self, physical: PhysicalOffset) -> Result<(), ConsumeQueueError> {
        // What is left of a topic of this name that was deleted goes first.
        let physical = physical.max(self.shared.deleted_below(&self.topic));
        // Almost always the end of it, and paid for every queue there is.
        if self.state.lock().min_physical >= physical.0 {
            return Ok(());
        }
        let _files_lock = self.files_lock.lock();
        let (min, max) = {
            let state = self.state.lock();
            (state.min, state.max())
        };
        let (min, min_physical) = self.first_at_or_beyond(physical, min, max)?;
        {
            let mut state = self.state.lock();
            state.min = min;
            state.min_physical = match min_physical {
                Some(physical) => physical,
                None => state
                    .tail
                    .units(min)
                    .next()
                    .map_or(u64::MAX, |unit| unit.physical.0),
            };
        }
        self.remove_files_before(min)
    }

    /// The first unit at or beyond `physical` and where its record starts, if there is one.
    fn first_at_or_beyond(
        &self,
        physical: PhysicalOffset,
        min: u64,
        max: u64,
    ) -> Result<(u64, Option<u64>), ConsumeQueueError> {
        let (mut low, mut high, mut found) = (min, max, None);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.unit_at(middle)? {
                Stored::Unit(unit) if unit.physical < physical => low = middle + 1,
                Stored::Unit(unit) => {
                    found = Some(unit.physical.0);
                    high = middle;
                }
                Stored::Filler | Stored::Nothing => return Err(self.damaged(middle)),
            }
        }
        Ok((low, found))
    }

    fn remove_files_before(&self, min: u64) -> Result<(), ConsumeQueueError> {
        let files = &self.shared.files;
        loop {
            // A removal whose sync failed may come back, and leave a gap where later ones do not.
            files.check_poison()?;
            let (first, end) = {
                let state = self.state.lock();
                (state.first_file, state.end_file)
            };
            if end - first <= 1 || (first + 1) * files.units_per_file() > min {
                return Ok(());
            }
            files.remove(self.key(first), &self.path(first))?;
            // One by one, so that a power cut leaves no gap between the files.
            files.sync_directory(&self.folder())?;
            self.state.lock().first_file = first + 1;
        }
    }
}
