//! All consume queues of a store.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset, TopicName};
use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard, RwLock};

use super::error::{ConsumeQueueError, During};
use super::files::Files;
use super::load::{load, remove_files};
use super::queue::{ConsumeQueue, State};
use super::tail::{Spares, Tail};
use super::truncate::Leftovers;
use super::unit::UNIT;
use crate::deletion::Deletion;
use crate::disk::{Disk, Wait};

/// Threads that look at queues when the store opens: more than cores, since they wait for the disk.
const PARALLEL_THREADS: usize = 16;
/// Queues that a thread takes at once.
const PARALLEL_CHUNK: usize = 64;

/// Queues that are synced before somebody else gets the thread: some tens of milliseconds for new files.
const QUEUES_A_STEP: usize = 128;
/// From so many queues on, bringing everything on the file system to the device first costs less: each sync of a new file
/// commits the file system's journal otherwise.
const MANY_QUEUES: usize = 64;

/// What all queues share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) files: Files,
    /// Queues that have units which are not written or not synced, since they were listed last: added to by whoever
    /// appends, who does not wait.
    newly_dirty: Mutex<Queues>,
    /// All the others. With the former each queue once.
    dirty: Mutex<Queues>,
    pending_units: AtomicU64,
    pub(super) spares: Spares,
    /// What is kept of topics that were deleted.
    deletions: RwLock<HashMap<TopicName, Deletion>>,
}

impl Shared {
    /// Units of records below are those of a topic that was deleted.
    pub(super) fn deleted_below(&self, topic: &TopicName) -> PhysicalOffset {
        let deletions = self.deletions.read();
        deletions
            .get(topic)
            .map_or(PhysicalOffset::ZERO, |kept| kept.below)
    }

    /// Whether records that end there were all deleted with a topic of this name.
    pub(super) fn is_deleted(&self, topic: &TopicName, end: u64) -> bool {
        let deletions = self.deletions.read();
        deletions.get(topic).is_some_and(|kept| end <= kept.below.0)
    }

    /// A queue without messages.
    pub(super) fn initial(&self, topic: &TopicName, id: QueueId) -> State {
        let deletions = self.deletions.read();
        let kept = deletions.get(topic);
        kept.map_or_else(State::empty, |kept| State::after(kept, id))
    }

    pub(super) fn add_pending(&self, units: u64) {
        self.pending_units.fetch_add(units, Ordering::Relaxed);
    }

    pub(super) fn remove_pending(&self, units: u64) {
        self.pending_units.fetch_sub(units, Ordering::Relaxed);
    }

    /// Called without the lock of the queue, which is taken while this list is locked.
    pub(super) fn add_dirty(&self, queue: &Arc<ConsumeQueue>) {
        self.newly_dirty.lock().push(queue.clone());
    }

    /// All queues with units that are not written or not synced.
    fn dirty(&self) -> MutexGuard<'_, Queues> {
        let mut dirty = self.dirty.lock();
        dirty.append(&mut self.newly_dirty.lock());
        dirty
    }
}

/// From so many units in memory on, several queues are written back at once.
const MANY_UNITS: u64 = 512 * 1024;

type Queues = Vec<Arc<ConsumeQueue>>;

/// Queues that are still to be synced.
#[derive(Debug)]
pub struct SyncRound {
    left: Queues,
}

impl SyncRound {
    /// How many there are.
    pub(crate) fn left(&self) -> usize {
        self.left.len()
    }
}

/// All consume queues of a store.
#[derive(Debug)]
pub struct ConsumeQueues {
    shared: Arc<Shared>,
    /// The queues of each topic, in the order of their numbers.
    topics: RwLock<HashMap<TopicName, Queues>>,
    next_number: AtomicU64,
}

impl ConsumeQueues {
    /// Opens the queues in `folder`, which is made when it is missing. `file_bytes` is the length of all their files.
    ///
    /// After a stop that was not clean nothing of it can be trusted before [`truncate`](Self::truncate).
    ///
    /// # Errors
    ///
    /// [`ConsumeQueueError::UnevenLength`], [`ConsumeQueueError::FileLength`], [`ConsumeQueueError::Damaged`], I/O errors.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: impl Into<PathBuf>,
        file_bytes: u64,
    ) -> Result<Self, ConsumeQueueError> {
        if file_bytes == 0 || !file_bytes.is_multiple_of(UNIT) {
            return Err(ConsumeQueueError::UnevenLength { bytes: file_bytes });
        }
        let folder = folder.into();
        disk.create_directory(&folder)
            .during("create the folder", &folder)?;
        let files = Files::new(disk, folder, file_bytes);
        if let Some(above) = files.root().parent() {
            files.sync_directory(above)?;
        }
        let queues = Self {
            shared: Arc::new(Shared {
                files,
                newly_dirty: Mutex::default(),
                dirty: Mutex::default(),
                pending_units: AtomicU64::new(0),
                spares: Spares::default(),
                deletions: RwLock::default(),
            }),
            topics: RwLock::default(),
            next_number: AtomicU64::new(0),
        };
        queues.load_all()?;
        Ok(queues)
    }

    fn load_all(&self) -> Result<(), ConsumeQueueError> {
        let found = self.find_folders()?;
        in_parallel(&found, PARALLEL_CHUNK, |(topic, id)| {
            self.insert(topic, *id, load(&self.shared.files, topic, *id)?);
            Ok(())
        })
    }

    /// The queues that have a folder.
    fn find_folders(&self) -> Result<Vec<(TopicName, QueueId)>, ConsumeQueueError> {
        let files = &self.shared.files;
        let mut found = Vec::new();
        for entry in files.disk.list(files.root()).during("list", files.root())? {
            let Ok(topic) = TopicName::new(&entry.name) else {
                tracing::warn!(folder = %files.root().display(), name = entry.name, "ignoring what is no topic");
                continue;
            };
            let folder = files.topic_folder(&topic);
            for entry in files.disk.list(&folder).during("list", &folder)? {
                match entry.name.parse() {
                    Ok(id) if entry.is_directory && id <= i32::MAX as u32 => {
                        found.push((topic.clone(), QueueId(id)));
                    }
                    _ => {
                        tracing::warn!(folder = %folder.display(), name = entry.name, "ignoring what is no queue");
                    }
                }
            }
        }
        Ok(found)
    }

    fn insert(&self, topic: &TopicName, id: QueueId, state: State) -> Arc<ConsumeQueue> {
        let mut topics = self.topics.write();
        let (topic, queues) = match topics.get_key_value(topic.as_str()) {
            Some((name, _)) => (name.clone(), topics.get_mut(topic.as_str())),
            None => (topic.clone(), None),
        };
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let queue = ConsumeQueue::new(self.shared.clone(), number, topic.clone(), id, state);
        let queue = Arc::new(queue);
        match queues {
            None => {
                topics.insert(topic, vec![queue.clone()]);
            }
            Some(queues) => match position(queues, id) {
                Ok(at) => return queues.get(at).cloned().unwrap_or(queue),
                Err(at) => queues.insert(at, queue.clone()),
            },
        }
        queue
    }

    /// The queue of this topic and number, made when there is none. Has no file before its first write-back.
    pub fn queue(&self, topic: &TopicName, id: QueueId) -> Arc<ConsumeQueue> {
        match self.find(topic.as_str(), id) {
            Some(queue) => queue,
            None => self.insert(topic, id, self.shared.initial(topic, id)),
        }
    }

    /// Where the message of a queue's offset lies, or the first after it that is there. Blocks.
    ///
    /// # Errors
    ///
    /// I/O errors.
    pub fn place(
        &self,
        topic: &str,
        id: QueueId,
        offset: QueueOffset,
    ) -> Result<Option<PhysicalOffset>, ConsumeQueueError> {
        let Some(queue) = self.find(topic, id) else {
            return Ok(None);
        };
        let mut units = Vec::new();
        let from = offset.max(queue.min_offset());
        queue.read(from, 1, Wait::ForDisk, &mut units)?;
        Ok(units.first().map(|unit| unit.physical))
    }

    /// The queue of this topic and number.
    pub fn find(&self, topic: &str, id: QueueId) -> Option<Arc<ConsumeQueue>> {
        let topics = self.topics.read();
        let queues = topics.get(topic)?;
        queues.get(position(queues, id).ok()?).cloned()
    }

    /// Whether there is no queue at all.
    pub fn is_empty(&self) -> bool {
        self.topics.read().is_empty()
    }

    /// The offset that the next message of this queue gets, as far as the log is dispatched.
    pub fn next_offset(&self, topic: &TopicName, id: QueueId) -> QueueOffset {
        match self.find(topic.as_str(), id) {
            Some(queue) => queue.max_offset(),
            None => QueueOffset(self.shared.initial(topic, id).max()),
        }
    }

    /// The queues of a topic, in order.
    pub fn of_topic(&self, topic: &TopicName) -> Vec<Arc<ConsumeQueue>> {
        let topics = self.topics.read();
        topics.get(topic.as_str()).cloned().unwrap_or_default()
    }

    /// All queues as of now, those of a topic together and in order.
    pub fn iter(&self) -> impl Iterator<Item = Arc<ConsumeQueue>> + use<> {
        let queues: Vec<_> = self.topics.read().values().flatten().cloned().collect();
        queues.into_iter()
    }

    /// Units of all queues that are in memory only: 20 bytes each.
    pub fn pending_units(&self) -> u64 {
        self.shared.pending_units.load(Ordering::Relaxed)
    }

    /// The end of the last record that any queue knows; 0 when there is none.
    pub fn max_physical(&self) -> PhysicalOffset {
        let topics = self.topics.read();
        let ends = topics.values().flatten().map(|queue| queue.max_physical());
        ends.max().unwrap_or_default()
    }

    /// Tells whether these are the same queues with the same next offsets; 63 bits.
    pub fn fingerprint(&self) -> u64 {
        let with_units = self.iter().filter_map(|queue| Some((queue.end()?, queue)));
        with_units.fold(0, |sum, (end, queue)| {
            let mut hash = crc32fast::Hasher::new();
            hash.update(queue.topic().as_str().as_bytes());
            hash.update(&[0]);
            hash.update(&queue.id().0.to_be_bytes());
            // The offset is mixed in by itself, so that what one queue lacks another cannot make up for.
            let mixed = u64::from(hash.finalize()).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ end;
            sum.wrapping_add(mixed.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 1) & (u64::MAX >> 1)
        })
    }

    /// Writes what is in memory to files, of all queues that have something. To be called every second, and sooner when
    /// [`pending_units`](Self::pending_units) grows.
    ///
    /// # Errors
    ///
    /// The first error; the other queues are written nevertheless, and what could not be is tried again next time.
    pub fn write_back_all(&self) -> Result<(), ConsumeQueueError> {
        let pending = self.pending_units();
        self.shared.spares.keep_for(pending);
        let dirty = self.shared.dirty().clone();
        let first_error = Mutex::new(Ok(()));
        let write = |queue: &Arc<ConsumeQueue>| {
            if let Err(error) = queue.write_back() {
                let mut first = first_error.lock();
                if first.is_ok() {
                    *first = Err(error);
                }
            }
            Ok(())
        };
        let at_once = match pending < MANY_UNITS {
            true => dirty.len(),
            // Most of it is to wait for the device, and memory fills meanwhile.
            false => 1,
        };
        in_parallel(&dirty, at_once, write)?;
        first_error.into_inner()
    }

    /// Makes durable what was written back, of all queues that have something.
    ///
    /// # Errors
    ///
    /// The first error. A sync that fails is final: see [`ConsumeQueueError::Poisoned`].
    pub fn sync_all(&self) -> Result<(), ConsumeQueueError> {
        let mut round = self.begin_sync();
        while !self.sync_some(&mut round)? {}
        Ok(())
    }

    /// Begins to make durable what was written back, in steps: [`sync_some`](Self::sync_some).
    pub fn begin_sync(&self) -> SyncRound {
        let left = self.shared.dirty().clone();
        if left.len() >= MANY_QUEUES {
            let files = &self.shared.files;
            files.disk.write_out(files.root());
        }
        SyncRound { left }
    }

    /// Syncs some more queues, a bounded number. Returns whether it was the last of them.
    ///
    /// # Errors
    ///
    /// Those of [`sync_all`](Self::sync_all).
    pub fn sync_some(&self, round: &mut SyncRound) -> Result<bool, ConsumeQueueError> {
        let rest = round.left.len().saturating_sub(QUEUES_A_STEP);
        let step = round.left.split_off(rest);
        self.sync_folders(&step)?;
        step.iter().try_for_each(|queue| queue.sync())?;
        let is_done = round.left.is_empty();
        if is_done {
            self.shared.dirty().retain(|queue| !queue.settle());
        }
        Ok(is_done)
    }

    /// Syncs the folders above those of new queues, each once.
    fn sync_folders(&self, queues: &Queues) -> Result<(), ConsumeQueueError> {
        let is_new = |queue: &&Arc<ConsumeQueue>| queue.has_unsynced_folders();
        let new: Vec<_> = queues.iter().filter(is_new).collect();
        if new.is_empty() {
            return Ok(());
        }
        let files = &self.shared.files;
        let topics: BTreeSet<_> = new.iter().map(|queue| queue.topic()).collect();
        for topic in topics {
            files.sync_directory(&files.topic_folder(topic))?;
        }
        files.sync_directory(files.root())?;
        new.iter().for_each(|queue| queue.folders_are_synced());
        Ok(())
    }

    /// Up to where a power cut loses no unit, given that every record below `dispatched` has been appended.
    ///
    /// `dispatched` has to be read before this is called.
    pub fn durable_physical(&self, dispatched: PhysicalOffset) -> PhysicalOffset {
        let dirty = self.shared.dirty();
        let unsynced = dirty.iter().filter_map(|queue| queue.first_unsynced());
        unsynced
            .min()
            .map_or(dispatched, |first| first.min(dispatched))
    }

    /// Forgets units of records at or beyond `physical`. Nobody else may use the queues meanwhile.
    ///
    /// The contract with recovery: units of records below `physical` are in the files, durable and undamaged; of all
    /// others nothing is trusted. So `physical` is the end of the log after a clean stop, and a position that
    /// [`durable_physical`](Self::durable_physical) reported after any other, from which on the log is then dispatched
    /// again. Damage that it meets below is an error; what it does not meet it does not look for.
    ///
    /// # Errors
    ///
    /// I/O errors. What was cut until then stays cut, and it can be called again.
    pub fn truncate(
        &self,
        physical: PhysicalOffset,
        leftovers: Leftovers,
    ) -> Result<(), ConsumeQueueError> {
        let queues: Queues = self.iter().collect();
        in_parallel(&queues, PARALLEL_CHUNK, |queue| {
            queue.truncate(physical, leftovers)
        })
    }

    /// Forgets units of records below `physical`, the first record of the log, and removes files that hold nothing else.
    /// To be called after opening, too, since files do not say where the log begins.
    ///
    /// # Errors
    ///
    /// The first error; the other queues are attended to nevertheless.
    pub fn remove_below(&self, physical: PhysicalOffset) -> Result<(), ConsumeQueueError> {
        self.iter()
            .map(|queue| queue.remove_below(physical))
            .fold(Ok(()), Result::and)
    }

    /// What is kept of a topic that was deleted, if one of this name was.
    pub fn deletion(&self, topic: &TopicName) -> Option<Deletion> {
        self.shared.deletions.read().get(topic).cloned()
    }

    /// Learns of topics that were deleted before the last stop. To be called before [`truncate`](Self::truncate), which
    /// removes what is left of them.
    pub fn restore_deletions(&self, deletions: impl IntoIterator<Item = (TopicName, Deletion)>) {
        self.shared.deletions.write().extend(deletions);
    }

    /// All that is kept of deleted topics.
    pub fn deletions(&self) -> Vec<(TopicName, Deletion)> {
        let deletions = self.shared.deletions.read();
        let known = deletions.iter();
        known
            .map(|(name, kept)| (name.clone(), kept.clone()))
            .collect()
    }

    /// Takes over what another broker keeps of a topic that was deleted there. Messages of the topic may have come since,
    /// and stay.
    ///
    /// # Errors
    ///
    /// I/O errors. Readers do not see the messages all the same.
    pub fn adopt_deletion(
        &self,
        topic: &TopicName,
        kept: Deletion,
    ) -> Result<(), ConsumeQueueError> {
        let below = kept.below;
        self.restore_deletions([(topic.clone(), kept)]);
        let queues = self.of_topic(topic);
        queues
            .iter()
            .try_for_each(|queue| queue.remove_below(below))
    }

    /// Removes all messages of a topic from its queues, and their files. Whoever holds such a queue goes on with messages
    /// of a topic that has the name after this one, if there will be one.
    ///
    /// # Errors
    ///
    /// I/O errors. The queues are empty all the same; files that are left over go with the next start.
    pub fn delete_topic(&self, topic: &TopicName, kept: Deletion) -> Result<(), ConsumeQueueError> {
        self.shared.deletions.write().insert(topic.clone(), kept);
        let queues = self.of_topic(topic);
        let emptied = queues.iter().map(|queue| queue.delete());
        emptied.fold(Ok(()), Result::and)?;
        let files = &self.shared.files;
        match files.disk.remove_directory(&files.topic_folder(topic)) {
            // Somebody made the topic again.
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result.during("remove the folder", &files.topic_folder(topic)),
        }?;
        files.sync_directory(files.root())
    }
}

impl Drop for ConsumeQueues {
    fn drop(&mut self) {
        // Queues hold what they share, which must not hold them any longer.
        self.shared.dirty().clear();
    }
}

/// Does something for each item, on several threads, each of which takes `chunk` of them at once: most of it is waiting
/// for the disk.
fn in_parallel<T: Sync>(
    items: &[T],
    chunk: usize,
    work: impl Fn(&T) -> Result<(), ConsumeQueueError> + Sync,
) -> Result<(), ConsumeQueueError> {
    if items.len() <= chunk {
        return items.iter().try_for_each(work);
    }
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..PARALLEL_THREADS.min(items.len().div_ceil(chunk)) {
            scope.spawn(|| {
                while failed.lock().is_none() {
                    let from = next.fetch_add(chunk, Ordering::Relaxed);
                    let Some(rest) = items.get(from..).filter(|rest| !rest.is_empty()) else {
                        return;
                    };
                    let result = rest.iter().take(chunk).try_for_each(&work);
                    if let Err(error) = result {
                        *failed.lock() = Some(error);
                    }
                }
            });
        }
    });
    failed.into_inner().map_or(Ok(()), Err)
}

fn position(queues: &Queues, id: QueueId) -> Result<usize, usize> {
    queues.binary_search_by_key(&id, |queue| queue.id())
}

impl ConsumeQueue {
    /// Empties the queue and removes its folder.
    fn delete(&self) -> Result<(), ConsumeQueueError> {
        let _files_lock = self.files_lock.lock();
        {
            let mut state = self.state.lock();
            self.shared.remove_pending(state.max() - state.written);
            let after = self.shared.initial(&self.topic, self.id);
            // A message may have come since it was noted where the queue goes on.
            let next = state.max().max(after.max());
            *state = State {
                min: next,
                written: next,
                synced: next,
                tail: Tail::starting_at(next),
                max_physical: state.max_physical.max(after.max_physical),
                is_dirty: state.is_dirty,
                ..after
            };
        }
        let (files, folder) = (&self.shared.files, self.folder());
        files.forget(self.number);
        files.check_poison()?;
        remove_files(files, self.number, &folder, |_| false)?;
        match files.disk.remove_directory(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result.during("remove the folder", &folder),
        }
    }
}
