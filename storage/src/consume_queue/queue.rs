//! One consume queue: what it holds, appending to it and reading from it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset, TopicName};
use parking_lot::{Mutex, MutexGuard};

use super::error::ConsumeQueueError;
use super::files::{FileKey, read_exactly};
use super::queues::Shared;
use super::tail::{Spares, Tail};
use super::unit::{ConsumeUnit, Stored, UNIT, UNIT_BYTES};
use crate::deletion::Deletion;
use crate::disk::{Wait, region};

/// Units read from a file at once.
const UNITS_PER_READ: usize = 400;

/// What became of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is in the queue now.
    New,
    /// It, or one that came later in the log, had been there before.
    Repeat,
}

/// What became of several units.
#[derive(Debug, Default)]
pub struct RunAppended {
    /// Units that are recorded, or had been before.
    pub taken: usize,
    /// Those of them that are new.
    pub new: u64,
    /// Why the unit behind those is refused.
    pub error: Option<ConsumeQueueError>,
}

/// The consume queue of one queue of a topic.
///
/// Any thread may append, though units must come in order; any number may read meanwhile.
pub struct ConsumeQueue {
    pub(super) topic: TopicName,
    pub(super) id: QueueId,
    /// Names its files among those of all queues.
    pub(super) number: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) state: Mutex<State>,
    /// Where in memory the next unit goes, if nothing changed since: only to be fetched.
    next_unit: AtomicPtr<u8>,
    /// Behind the last message that may expire; 0 without any.
    pub(super) expiring_end: AtomicU64,
    /// Held by whoever changes files. Taken before `state`, which is never held during I/O.
    pub(super) files_lock: Mutex<()>,
}

/// Where a queue begins and ends, in memory and in files. All numbers without a unit count units.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The first unit whose record is still in the log.
    pub(super) min: u64,
    /// Start of that record; the largest number when there is none.
    pub(super) min_physical: u64,
    /// End of the last record.
    pub(super) max_physical: u64,
    /// Units below are in files. Inside `tail` while it is being written.
    pub(super) written: u64,
    /// Units below survive a power cut. `synced ≤ written ≤ max`.
    pub(super) synced: u64,
    /// Start of the record of unit `synced`.
    pub(super) unsynced_physical: u64,
    /// Number of the first file there is.
    pub(super) first_file: u64,
    /// One past the number of the last file there is; equal to `first_file` when there is none.
    pub(super) end_file: u64,
    pub(super) tail: Tail,
    pub(super) unsynced_names: UnsyncedNames,
    /// Whether a power cut could bring back what was behind the last unit, which is zeros in the files now.
    pub(super) has_unsynced_cut: bool,
    /// Whether a unit ever came: before, any offset from `min` on can be the first.
    pub(super) has_start: bool,
    /// Whether bytes that are no units may lie behind the last unit in the files.
    pub(super) is_ragged: bool,
    /// Whether it is among those to be written back and synced.
    pub(super) is_dirty: bool,
}

/// Names that a power cut could still lose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum UnsyncedNames {
    #[default]
    None,
    /// Of a file in the queue's folder.
    File,
    /// Of the folders, too.
    Folders,
}

impl State {
    /// A queue that holds nothing.
    pub(super) fn empty() -> Self {
        Self {
            min_physical: u64::MAX,
            ..Self::default()
        }
    }

    /// A queue that goes on after its topic was deleted: what lies below, in the log or in the queue, is not its own.
    pub(super) fn after(deletion: &Deletion, queue: QueueId) -> Self {
        let next = deletion.next_of(queue).0;
        Self {
            min: next,
            max_physical: deletion.below.0,
            written: next,
            synced: next,
            tail: Tail::starting_at(next),
            ..Self::empty()
        }
    }

    pub(super) fn max(&self) -> u64 {
        self.tail.end()
    }

    fn start_at(&mut self, at: u64) {
        self.has_start = true;
        self.min = at;
        self.written = at;
        self.synced = at;
        self.tail = Tail::starting_at(at);
    }

    fn push(&mut self, unit: ConsumeUnit, spares: &Spares) {
        let at = self.max();
        if self.min == at {
            self.min_physical = unit.physical.0;
        }
        if self.synced == at {
            self.unsynced_physical = unit.physical.0;
        }
        self.max_physical = unit.end().0;
        self.tail.push(unit, spares);
    }

    /// Forgets the last unit, which is in a file.
    fn drop_last(&mut self) {
        let last = self.max().saturating_sub(1);
        self.min = self.min.min(last);
        self.written = last;
        self.synced = self.synced.min(last);
        self.tail = Tail::starting_at(last);
    }
}

impl fmt::Debug for ConsumeQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConsumeQueue({}/{})", self.topic, self.id)
    }
}

impl ConsumeQueue {
    pub(super) fn new(
        shared: Arc<Shared>,
        number: u64,
        topic: TopicName,
        id: QueueId,
        state: State,
    ) -> Self {
        Self {
            topic,
            id,
            number,
            shared,
            state: Mutex::new(state),
            next_unit: AtomicPtr::default(),
            expiring_end: AtomicU64::new(0),
            files_lock: Mutex::new(()),
        }
    }

    /// Its topic.
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// Its number in the topic.
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// The first unit whose record is still in the log, as of the last
    /// [`remove_below`](super::ConsumeQueues::remove_below).
    pub fn min_offset(&self) -> QueueOffset {
        QueueOffset(self.state.lock().min)
    }

    /// The offset that the next message gets.
    pub fn max_offset(&self) -> QueueOffset {
        QueueOffset(self.state.lock().max())
    }

    /// The next offset, if there ever was a message that was not deleted with its topic.
    pub(super) fn end(&self) -> Option<u64> {
        let state = self.state.lock();
        let is_deleted = self.shared.is_deleted(&self.topic, state.max_physical);
        (state.has_start && !is_deleted).then(|| state.max())
    }

    /// The end of the last recorded message; 0 when there is none.
    pub fn max_physical(&self) -> PhysicalOffset {
        PhysicalOffset(self.state.lock().max_physical)
    }

    /// Units that are in memory only.
    pub fn pending_units(&self) -> u64 {
        let state = self.state.lock();
        state.max() - state.written
    }

    /// Records that the message at offset `at` lies where `unit` says.
    ///
    /// Costs a lock and 20 bytes of memory. Recording a message again changes nothing, as in RocketMQ: it is one when its
    /// record ends at or before [`max_physical`](Self::max_physical), or its offset is below the next one.
    ///
    /// # Errors
    ///
    /// [`ConsumeQueueError::Gap`] when offsets in between are missing; the first message of a queue may have any.
    pub fn append(
        self: &Arc<Self>,
        at: QueueOffset,
        unit: ConsumeUnit,
    ) -> Result<Appended, ConsumeQueueError> {
        match self.append_run(&[(at, unit)]) {
            RunAppended {
                error: Some(error), ..
            } => Err(error),
            RunAppended { new: 0, .. } => Ok(Appended::Repeat),
            RunAppended { .. } => Ok(Appended::New),
        }
    }

    /// Records several messages, one after the other, for the price of one lock. Ends at the first that is refused.
    pub fn append_run(self: &Arc<Self>, run: &[(QueueOffset, ConsumeUnit)]) -> RunAppended {
        let mut done = RunAppended::default();
        let mut state = self.state.lock();
        for (at, unit) in run {
            match self.record(&mut state, *at, *unit) {
                Ok(Appended::New) => done.new += 1,
                Ok(Appended::Repeat) => {}
                Err(error) => {
                    done.error = Some(error);
                    break;
                }
            }
            done.taken += 1;
        }
        if done.new > 0 {
            let next_unit = state.tail.next_unit().cast_mut();
            self.next_unit.store(next_unit, Ordering::Relaxed);
            self.become_dirty(state);
            self.shared.add_pending(done.new);
        }
        done
    }

    /// Has the processor fetch what [`append_run`](Self::append_run) needs first.
    pub(crate) fn fetch(&self) {
        region::fetch(self);
    }

    /// Has it fetch where the next unit goes.
    pub(crate) fn fetch_end(&self) {
        region::fetch_bytes(self.next_unit.load(Ordering::Relaxed), UNIT_BYTES);
    }

    /// Puts it among those to be written back and synced.
    pub(super) fn become_dirty(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let was_dirty = std::mem::replace(&mut state.is_dirty, true);
        drop(state);
        if !was_dirty {
            self.shared.add_dirty(self);
        }
    }

    fn record(
        &self,
        state: &mut State,
        at: QueueOffset,
        unit: ConsumeUnit,
    ) -> Result<Appended, ConsumeQueueError> {
        if unit.end().0 <= state.max_physical {
            return Ok(Appended::Repeat);
        }
        self.check_storable(at, &unit)?;
        if !state.has_start && at.0 >= state.min {
            state.start_at(at.0);
        } else if at.0 < state.max() {
            if !self.is_torn_image(state, at.0, &unit) {
                return Ok(Appended::Repeat);
            }
            state.drop_last();
        } else if at.0 > state.max() {
            return Err(self.gap(state.max(), at));
        }
        state.push(unit, &self.shared.spares);
        Ok(Appended::New)
    }

    fn check_storable(&self, at: QueueOffset, unit: &ConsumeUnit) -> Result<(), ConsumeQueueError> {
        let position_fits = at.0 <= i64::MAX as u64 / UNIT;
        if position_fits && unit.is_storable() {
            return Ok(());
        }
        Err(ConsumeQueueError::Unstorable {
            topic: self.topic.clone(),
            queue: self.id,
            given: at,
            physical: unit.physical,
            size: unit.size,
        })
    }

    fn gap(&self, expected: u64, given: QueueOffset) -> ConsumeQueueError {
        ConsumeQueueError::Gap {
            topic: self.topic.clone(),
            queue: self.id,
            expected: QueueOffset(expected),
            given,
        }
    }

    /// Whether the last unit in the files is what a power cut left of this one.
    ///
    /// A unit that crosses a border between sectors can lose the first part, so that the upper half or all of its
    /// physical offset reads as zeros. Then it looks like a unit of an older record and survives a truncation.
    fn is_torn_image(&self, state: &State, at: u64, unit: &ConsumeUnit) -> bool {
        const SECTOR_BYTES: u64 = 512;
        let position = at % self.shared.files.units_per_file() * UNIT;
        let kept = match SECTOR_BYTES - position % SECTOR_BYTES {
            4 => unit.physical.0 & 0xFFFF_FFFF,
            8 => 0,
            _ => return false,
        };
        state.has_start
            && at + 1 == state.max()
            && state.tail.start() == state.max()
            && kept + u64::from(unit.size) == state.max_physical
    }

    /// Shows all units from offset `from` on, which are read in batches. Waits for the disk.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read); what comes before was shown.
    pub(crate) fn each_unit(
        &self,
        from: QueueOffset,
        mut seen: impl FnMut(QueueOffset, &ConsumeUnit),
    ) -> Result<(), ConsumeQueueError> {
        /// Units read at once.
        const UNITS: usize = 1024;
        let mut at = from;
        let mut units = Vec::with_capacity(UNITS);
        while at < self.max_offset() {
            units.clear();
            self.read(at, UNITS, Wait::ForDisk, &mut units)?;
            if units.is_empty() {
                break;
            }
            for unit in &units {
                seen(at, unit);
                at = at + 1;
            }
        }
        Ok(())
    }

    /// Adds up to `max_units` units from offset `from` on to `into`: all there are, or fewer when going on would have to
    /// wait. From the next offset on there are none.
    ///
    /// # Errors
    ///
    /// [`ConsumeQueueError::BelowMin`]; an [I/O error](ConsumeQueueError::is_would_block) when not even one unit could be
    /// read without waiting.
    pub fn read(
        &self,
        from: QueueOffset,
        max_units: usize,
        wait: Wait,
        into: &mut Vec<ConsumeUnit>,
    ) -> Result<(), ConsumeQueueError> {
        let before = into.len();
        while into.len() - before < max_units {
            let done = into.len() - before;
            let next = from.0.saturating_add(done as u64);
            let state = self.state.lock();
            self.check_readable(&state, next)?;
            if next >= state.tail.start() {
                into.extend(state.tail.units(next).take(max_units - done));
                return Ok(());
            }
            let in_files = state.tail.start() - next;
            drop(state);
            let units = in_files.min((max_units - done) as u64);
            match self.read_files(next, units, wait, into) {
                Err(error) if error.is_would_block() && into.len() > before => return Ok(()),
                // Retention may have removed the file meanwhile, which says more than that it is not there.
                Err(error) => {
                    self.check_readable(&self.state.lock(), next)?;
                    return Err(error);
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn check_readable(&self, state: &State, from: u64) -> Result<(), ConsumeQueueError> {
        if from < state.min {
            return Err(ConsumeQueueError::BelowMin {
                topic: self.topic.clone(),
                queue: self.id,
                from: QueueOffset(from),
                min: QueueOffset(state.min),
            });
        }
        Ok(())
    }

    /// Reads some of these units, at least one.
    fn read_files(
        &self,
        from: u64,
        units: u64,
        wait: Wait,
        into: &mut Vec<ConsumeUnit>,
    ) -> Result<(), ConsumeQueueError> {
        let per_file = self.shared.files.units_per_file();
        let mut buffer = [0; UNITS_PER_READ * UNIT_BYTES];
        let units = units
            .min(UNITS_PER_READ as u64)
            .min(per_file - from % per_file);
        let Some(buffer) = buffer.get_mut(..units as usize * UNIT_BYTES) else {
            return Ok(());
        };
        self.read_bytes(from, buffer, wait)?;
        for (index, stored) in Stored::all(buffer).enumerate() {
            let Stored::Unit(unit) = stored else {
                return Err(self.damaged(from + index as u64));
            };
            into.push(unit);
        }
        Ok(())
    }

    /// Reads the bytes of units that are in one file.
    pub(super) fn read_bytes(
        &self,
        from: u64,
        buffer: &mut [u8],
        wait: Wait,
    ) -> Result<(), ConsumeQueueError> {
        let files = &self.shared.files;
        let number = from / files.units_per_file();
        let path = || self.path(number);
        let file = files.handle(self.key(number), path)?;
        let position = from % files.units_per_file() * UNIT;
        read_exactly(&*file, path, buffer, position, wait)
    }

    /// What is recorded at an offset, in memory or in a file.
    pub(super) fn unit_at(&self, at: u64) -> Result<Stored, ConsumeQueueError> {
        let state = self.state.lock();
        if at >= state.tail.start() {
            let unit = state.tail.units(at).next();
            return Ok(unit.map_or(Stored::Nothing, Stored::Unit));
        }
        drop(state);
        let mut bytes = [0; UNIT_BYTES];
        self.read_bytes(at, &mut bytes, Wait::ForDisk)?;
        Ok(Stored::from_bytes(&bytes))
    }

    pub(super) fn damaged(&self, at: u64) -> ConsumeQueueError {
        let per_file = self.shared.files.units_per_file();
        ConsumeQueueError::Damaged {
            path: self.path(at / per_file),
            at: at % per_file * UNIT,
        }
    }

    pub(super) fn key(&self, file: u64) -> FileKey {
        (self.number, file)
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.shared.files.queue_folder(&self.topic, self.id)
    }

    pub(super) fn path(&self, file: u64) -> PathBuf {
        self.folder().join(self.shared.files.file_name(file))
    }
}
