//! A whole store: opened, kept durable, closed.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use castmq_protocol::model::{PhysicalOffset, TopicName, keys};
use castmq_protocol::record::{RecordView, sys_flag};
use parking_lot::Mutex;
use thiserror::Error;

use crate::abort;
use crate::checkpoint::{Checkpoint, CheckpointState, OwnState};
use crate::commit_log::recovery::{self, Known, Recovered, Start};
use crate::commit_log::{CommitLog, LogError, LogSlice};
use crate::consume_queue::{ConsumeQueueError, ConsumeQueues, Leftovers, SyncRound};
use crate::deletion::Deletion;
use crate::disk::Disk;
use crate::dispatch::{Dispatch, DispatchError};
use crate::index::{IndexError, KeyIndex};
use crate::lock::{LockError, StoreLock};
use crate::metadata::{Metadata, MetadataError};

pub mod check;

/// Bytes of log that are dispatched before the memory they take in queues is given back.
const DISPATCH_STEP_BYTES: u64 = 64 * 1024 * 1024;

/// Where a store is and how it is laid out.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Holds lock, abort, checkpoint.
    pub root: PathBuf,
    /// Holds the metadata, on the operating system's disk whatever disk the rest is on.
    pub metadata: PathBuf,
    /// Whether other processes could use the folder, and are to be kept out.
    pub takes_lock: bool,
    /// Holds the log's segments.
    pub commit_log: PathBuf,
    /// Holds the consume queues.
    pub consume_queues: PathBuf,
    /// Holds the key index.
    pub index: PathBuf,
    /// Size of every segment in bytes.
    pub segment_bytes: u64,
    /// Size of every consume queue file in bytes.
    pub consume_queue_file_bytes: u64,
    /// Whether there is a key index.
    pub has_index: bool,
    /// Hash slots of an index file.
    pub index_slots: u32,
    /// Entries of an index file, the unused first one included.
    pub index_entries: u32,
    /// Memory for metadata in bytes.
    pub metadata_cache_bytes: u64,
    /// Whether recovery compares bodies with their check sums.
    pub verify_bodies: bool,
    /// Whether what recovery found is made durable before anybody sees it.
    pub is_sync_flush: bool,
    /// Cut the log at damage, and keep what is cut.
    pub repair: bool,
}

/// Why a store cannot be opened or closed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Somebody else has it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The consume queues.
    #[error(transparent)]
    Queues(#[from] ConsumeQueueError),
    /// The way from the log to the queues.
    #[error(transparent)]
    Dispatch(#[from] DispatchError),
    /// The key index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The metadata.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// Another file.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The thread that opens the metadata died.
    #[error("opening the metadata in {} failed without an error: see the log", path.display())]
    MetadataThread {
        /// The folder.
        path: PathBuf,
    },
}

/// How a store was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenReport {
    /// Whether the last stop was clean.
    pub was_clean: bool,
    /// What the log's recovery found.
    pub log: Recovered,
    /// Messages that queues did not know.
    pub dispatched: u64,
}

/// Everything that lasts.
#[derive(Debug)]
pub struct Store {
    /// Where files are.
    pub disk: Arc<dyn Disk>,
    /// The messages.
    pub log: Arc<CommitLog>,
    /// Where each queue's messages are.
    pub queues: Arc<ConsumeQueues>,
    /// Where messages with keys are, unless switched off.
    pub index: Option<KeyIndex>,
    /// Topics, groups, offsets.
    pub metadata: Metadata,
    options: StoreOptions,
    checkpoint: Checkpoint,
    /// The log was durable up to here: noted apart from the rest, which is locked while the disk is waited for.
    durable: AtomicU64,
    progress: Mutex<Progress>,
    _lock: Option<StoreLock>,
}

/// A checkpoint that is being made.
#[derive(Debug)]
pub struct CheckpointRound {
    dispatched: PhysicalOffset,
    store_ms: i64,
    queues: SyncRound,
}

#[derive(Debug)]
struct Progress {
    saved: CheckpointState,
    own: OwnState,
    /// Places that were dispatched, and the store time there: a place that becomes durable gives its time to the
    /// checkpoint.
    passed: VecDeque<(PhysicalOffset, i64)>,
}

impl Store {
    /// Opens a store, or makes one.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: StoreOptions,
    ) -> Result<(Self, OpenReport), StoreError> {
        let root = options.root.clone();
        disk.create_directory_durably(&root)
            .map_err(io_error("create", &root))?;
        let lock = match options.takes_lock {
            true => Some(StoreLock::take(&root, &options.abort_path())?),
            false => None,
        };
        let metadata = OpeningMetadata::begin(&options);
        let opened = Opened::new(&*disk, &options)?;
        // From here on files change: a stop before the end of this is not a clean one.
        mark_used(&*disk, &options, opened.sound_boot.as_deref())?;
        let queues = ConsumeQueues::open(
            disk.clone(),
            &options.consume_queues,
            options.consume_queue_file_bytes,
        )?;
        let known = opened.known(&options, &queues);
        let (log, recovered) = recovery::open(
            disk.clone(),
            &options.commit_log,
            options.segment_bytes,
            known,
        )?;
        let metadata = metadata.finish()?;
        let deletions = settle_deletions(&metadata, &log)?;
        let is_lost = queues.is_empty() && deletions.is_empty();
        let (from, leftovers) = match is_lost || !opened.fits(&queues) {
            true => {
                if log.begin() < log.appended() {
                    tracing::warn!(
                        "the consume queues are not as they were left: they are filled from the log again"
                    );
                }
                (log.begin(), Leftovers::Anywhere)
            }
            false => (opened.dispatch_from(&recovered), opened.leftovers()),
        };
        queues.restore_deletions(deletions);
        queues.truncate(from, leftovers)?;
        queues.remove_below(log.begin())?;
        if options.is_sync_flush {
            log.sync(log.appended())?;
        }
        let queues = Arc::new(queues);
        let (dispatched, last_store_ms) = dispatch_all(&log, &queues, from)?;
        let index = match options.has_index {
            true => Some(KeyIndex::open(
                disk.clone(),
                &options.index,
                options.index_slots,
                options.index_entries,
                opened.was_clean,
            )?),
            false => None,
        };
        if !opened.was_clean || leftovers == Leftovers::Anywhere {
            lower_offsets(&metadata, &queues)?;
        }
        if let Some(index) = &index {
            // What the index knows beyond the log was lost with it, and its places will be others' now.
            index.truncate(log.appended())?;
        }
        let own = OwnState {
            durable: log.flushed(),
            recovery_point: from.min(log.flushed()),
            queues: None,
        };
        let boot = disk.boot().unwrap_or_default();
        let is_marked = opened.sound_boot.as_ref() == Some(&boot);
        let report = OpenReport {
            was_clean: opened.was_clean,
            log: recovered,
            dispatched,
        };
        let store = Self {
            disk,
            queues,
            index,
            metadata,
            checkpoint: opened.checkpoint,
            durable: AtomicU64::new(own.durable.0),
            progress: Mutex::new(Progress {
                saved: opened.state,
                own,
                passed: VecDeque::from([(log.appended(), last_store_ms)]),
            }),
            log,
            options,
            _lock: lock,
        };
        store.save_progress(&mut store.progress.lock(), own)?;
        // From here on the checkpoint is our own again, and nothing of what the power took is left to be found.
        if !is_marked {
            mark_used(&*store.disk, &store.options, Some(&boot))?;
        }
        Ok((store, report))
    }

    /// Where the store is.
    pub fn root(&self) -> &Path {
        &self.options.root
    }

    /// Notes that the log is durable up to here: cheap, and kept unless the power is cut. Does not wait: while a
    /// checkpoint is being written, that takes the note along.
    pub fn note_durable(&self, durable: PhysicalOffset) {
        self.durable.fetch_max(durable.0, Ordering::AcqRel);
        if let Some(mut progress) = self.progress.try_lock() {
            self.write_note(&mut progress);
        }
    }

    fn write_note(&self, progress: &mut Progress) {
        let durable = PhysicalOffset(self.durable.load(Ordering::Acquire));
        if durable <= progress.own.durable {
            return;
        }
        progress.own.durable = durable;
        if let Err(error) = self.checkpoint.note(progress.own) {
            // The note before stays: damage below would be noticed up to there.
            tracing::warn!(%error, "the checkpoint cannot be written");
        }
    }

    /// Writes consume queues and index back to their files. Blocks.
    pub fn write_back(&self) -> Result<(), StoreError> {
        self.queues.write_back_all()?;
        if let Some(index) = &self.index {
            index.write_back()?;
        }
        Ok(())
    }

    /// Makes consume queues and index durable and moves the place from which recovery begins. Blocks.
    ///
    /// `dispatched`: everything below is in the queues. `store_ms`: when the record before was stored.
    pub fn save_checkpoint(
        &self,
        dispatched: PhysicalOffset,
        store_ms: i64,
    ) -> Result<(), StoreError> {
        let mut round = self.begin_checkpoint(dispatched, store_ms)?;
        while !self.go_on_with_checkpoint(&mut round)? {}
        Ok(())
    }

    /// Begins with [`save_checkpoint`](Self::save_checkpoint), to go on in steps between which other things can be done.
    /// Blocks.
    pub fn begin_checkpoint(
        &self,
        dispatched: PhysicalOffset,
        store_ms: i64,
    ) -> Result<CheckpointRound, StoreError> {
        self.write_back()?;
        Ok(CheckpointRound {
            dispatched,
            store_ms,
            queues: self.queues.begin_sync(),
        })
    }

    /// Takes a step of bounded length. Returns whether the checkpoint is made. Blocks.
    pub fn go_on_with_checkpoint(&self, round: &mut CheckpointRound) -> Result<bool, StoreError> {
        if !self.queues.sync_some(&mut round.queues)? {
            return Ok(false);
        }
        if let Some(index) = &self.index {
            index.sync()?;
        }
        self.finish_checkpoint(round.dispatched, round.store_ms)?;
        Ok(true)
    }

    fn finish_checkpoint(
        &self,
        dispatched: PhysicalOffset,
        store_ms: i64,
    ) -> Result<(), StoreError> {
        let durable = self.log.flushed();
        let point = self.queues.durable_physical(dispatched).min(durable);
        let mut progress = self.progress.lock();
        progress.passed.push_back((dispatched, store_ms));
        while let Some((_, time)) = progress.passed.pop_front_if(|(place, _)| *place <= point) {
            progress.saved.log_timestamp_ms = progress.saved.log_timestamp_ms.max(time);
            progress.saved.queues_timestamp_ms = progress.saved.log_timestamp_ms;
        }
        if let Some(index) = &self.index {
            progress.saved.index_timestamp_ms = index.durable_end_ms();
        }
        let own = OwnState {
            durable: progress.own.durable.max(durable),
            recovery_point: progress.own.recovery_point.max(point),
            queues: None,
        };
        self.save_progress(&mut progress, own)
    }

    /// Deletes a topic with everything that queues and metadata know of it. Its records stay in the log until retention
    /// takes them, but nobody will see them again. Blocks.
    ///
    /// `dispatched`: everything below is in the queues.
    pub fn delete_topic(
        &self,
        name: &TopicName,
        dispatched: PhysicalOffset,
    ) -> Result<(), StoreError> {
        let mut kept = self.queues.deletion(name).unwrap_or_default();
        kept.below = self.log.appended();
        for queue in self.queues.of_topic(name) {
            kept.raise(queue.id(), queue.max_offset());
        }
        for record in Records::new(&self.log, dispatched..kept.below) {
            let (_, record) = record?;
            let view = RecordView::parse(record.as_ref());
            if let Ok(record) = view
                && record.topic() == Ok(name.as_str())
                && let (Ok(queue), Ok(offset)) = (record.queue(), record.queue_offset())
                && matches!(
                    record.sys_flag() & sys_flag::TRANSACTION_MASK,
                    0 | sys_flag::TRANSACTION_COMMIT
                )
            {
                kept.raise(queue, offset + 1);
            }
        }
        self.metadata.delete_topic(name, &kept)?;
        self.metadata.sync()?;
        Ok(self.queues.delete_topic(name, kept)?)
    }

    fn save_progress(&self, progress: &mut Progress, own: OwnState) -> Result<(), StoreError> {
        progress.saved.own = Some(own);
        let path = self.options.checkpoint_path();
        self.checkpoint
            .save(&progress.saved)
            .map_err(io_error("write", &path))?;
        progress.own = own;
        self.write_note(progress);
        Ok(())
    }

    /// Takes the oldest segment out of the log, see [`CommitLog::retire`]; refuses while a crash would still have queues
    /// filled from it, since they could not be without a gap then.
    pub fn retire(&self, base: PhysicalOffset) -> bool {
        let end = base + self.log.segment_bytes();
        end <= self.progress.lock().own.recovery_point && self.log.retire(base)
    }

    /// Drops what queues and index know of messages that are no longer in the log. Blocks.
    pub fn forget_removed(&self) -> Result<(), StoreError> {
        let begin = self.log.begin();
        self.queues.remove_below(begin)?;
        if let Some(index) = &self.index {
            index.remove_below(begin)?;
        }
        Ok(())
    }

    /// Makes everything durable and says that the stop was clean. Nobody may append any more. Blocks.
    ///
    /// `dispatched`: everything below is in the queues; the rest is dispatched now.
    pub fn close(&self, dispatched: PhysicalOffset) -> Result<(), StoreError> {
        let end = self.log.sync(self.log.appended())?;
        let (_, store_ms) = dispatch_all(&self.log, &self.queues, dispatched)?;
        self.save_checkpoint(end, store_ms)?;
        {
            let mut progress = self.progress.lock();
            let own = OwnState {
                queues: Some(self.queues.fingerprint()),
                ..progress.own
            };
            self.save_progress(&mut progress, own)?;
        }
        self.metadata.sync()?;
        let path = self.options.abort_path();
        abort::remove(&*self.disk, &path).map_err(io_error("remove", &path))
    }
}

impl StoreOptions {
    fn abort_path(&self) -> PathBuf {
        self.root.join("abort")
    }

    fn checkpoint_path(&self) -> PathBuf {
        self.root.join("checkpoint")
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io {
        action,
        path,
        source,
    }
}

/// The metadata on its way: opening takes sled a while.
struct OpeningMetadata {
    path: PathBuf,
    thread: Option<JoinHandle<Result<Metadata, MetadataError>>>,
}

impl OpeningMetadata {
    fn begin(options: &StoreOptions) -> Self {
        let (path, cache_bytes) = (options.metadata.clone(), options.metadata_cache_bytes);
        Self {
            path: path.clone(),
            thread: Some(thread::spawn(move || Metadata::open(&path, cache_bytes))),
        }
    }

    fn finish(mut self) -> Result<Metadata, StoreError> {
        let joined = self.thread.take().map(JoinHandle::join);
        match joined {
            Some(Ok(opened)) => Ok(opened?),
            Some(Err(_)) | None => Err(StoreError::MetadataThread {
                path: self.path.clone(),
            }),
        }
    }
}

impl Drop for OpeningMetadata {
    /// When something else keeps the store from opening, nobody is left behind who has the metadata locked.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Says that the stop of this run is not clean yet.
fn mark_used(
    disk: &dyn Disk,
    options: &StoreOptions,
    sound_boot: Option<&str>,
) -> Result<(), StoreError> {
    let path = options.abort_path();
    abort::create(disk, &path, std::process::id(), sound_boot).map_err(io_error("create", &path))
}

/// What the last run left.
struct Opened {
    was_clean: bool,
    /// Whether the power was cut since all of the log was last sound, or may have been.
    may_be_torn: bool,
    /// What the machine was doing when the log was last sound; `None` when somebody else wrote it since.
    sound_boot: Option<String>,
    checkpoint: Checkpoint,
    state: CheckpointState,
}

impl Opened {
    fn new(disk: &dyn Disk, options: &StoreOptions) -> Result<Self, StoreError> {
        let path = options.abort_path();
        let left = abort::read(disk, &path).map_err(io_error("read", &path))?;
        let path = options.checkpoint_path();
        let (checkpoint, mut state) =
            Checkpoint::open(disk, &path).map_err(io_error("open", &path))?;
        disk.sync_directory(&options.root)
            .map_err(io_error("sync", &options.root))?;
        let boot = disk.boot();
        let was_clean = left.is_none();
        let sound_boot = match left {
            None => Some(boot.clone().unwrap_or_default()),
            Some(left) => left.boot,
        };
        if sound_boot.is_none() {
            // Another broker used the store, and may have stopped before it wrote its part of the checkpoint.
            state.own = None;
        }
        Ok(Self {
            was_clean,
            may_be_torn: !was_clean && (boot.is_none() || boot != sound_boot),
            sound_boot,
            checkpoint,
            state,
        })
    }

    /// What the log's recovery is told. A store that RocketMQ wrote has no fields of ours: then its rules are taken.
    fn known(&self, options: &StoreOptions, queues: &ConsumeQueues) -> Known {
        let start = match (self.state.own, self.was_clean) {
            (Some(own), _) => Start::At(own.recovery_point),
            (None, _) if self.state.is_missing() => Start::Beginning,
            (None, true) => {
                let known = queues.max_physical().0;
                Start::At(PhysicalOffset(
                    known / options.segment_bytes * options.segment_bytes,
                ))
            }
            (None, false) => Start::StoredBefore(self.state.safe_timestamp_ms()),
        };
        Known {
            durable: self.state.own.map(|own| own.durable),
            start,
            verify_bodies: options.verify_bodies,
            may_be_torn: self.may_be_torn,
            clean: self.was_clean,
            repair: options.repair,
        }
    }

    /// Whether queues are as a clean stop left them; after any other nobody knows.
    fn fits(&self, queues: &ConsumeQueues) -> bool {
        let left = self.state.own.and_then(|own| own.queues);
        !self.was_clean || left.is_none_or(|left| left == queues.fingerprint())
    }

    /// Where queues are cut, and filled again from.
    fn dispatch_from(&self, recovered: &Recovered) -> PhysicalOffset {
        match (self.state.own, self.was_clean) {
            (Some(own), _) => own.recovery_point.max(recovered.start).min(recovered.end),
            (None, _) => recovered.start,
        }
    }

    fn leftovers(&self) -> Leftovers {
        match (self.state.own, self.was_clean) {
            (Some(_), true) => Leftovers::Nothing,
            (Some(_), false) => Leftovers::Near,
            (None, _) => Leftovers::Anywhere,
        }
    }
}

/// Dispatches the rest of the log. Returns how many messages were new to their queues, and the last one's store time.
fn dispatch_all(
    log: &Arc<CommitLog>,
    queues: &Arc<ConsumeQueues>,
    from: PhysicalOffset,
) -> Result<(u64, i64), StoreError> {
    let mut dispatch = Dispatch::new(log.clone(), queues.clone(), from);
    let mut messages = 0;
    while dispatch.position() < log.appended() {
        let done = dispatch.advance(log.appended(), DISPATCH_STEP_BYTES, |_| {})?;
        messages += done.messages;
        queues.write_back_all()?;
    }
    Ok((messages, dispatch.last_store_timestamp_ms()))
}

/// The records in a stretch of the log that begins at one of them, or where nothing is any more.
struct Records<'a> {
    log: &'a CommitLog,
    range: Range<PhysicalOffset>,
}

impl<'a> Records<'a> {
    fn new(log: &'a CommitLog, range: Range<PhysicalOffset>) -> Self {
        let start = range.start.max(log.begin());
        Self {
            log,
            range: start..range.end,
        }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<(PhysicalOffset, LogSlice), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.range.start < self.range.end {
            let at = self.range.start;
            if let Some(record) = self.log.record(at) {
                self.range.start = at + record.len() as u64;
                return Some(Ok((at, record)));
            }
            if self.log.rest_of_segment(at).is_none() {
                self.range.start = self.range.end;
                return Some(Err(LogError::Missing { offset: at }.into()));
            }
            // The filler at a segment's end.
            let segment_bytes = self.log.segment_bytes();
            self.range.start = PhysicalOffset((at.0 / segment_bytes + 1) * segment_bytes);
        }
        None
    }
}

/// Enters messages with keys into the index, from a record's start on. Returns where the next record begins.
pub fn index_keys(
    log: &CommitLog,
    index: &KeyIndex,
    range: Range<PhysicalOffset>,
) -> Result<PhysicalOffset, StoreError> {
    let mut records = Records::new(log, range);
    for record in records.by_ref() {
        let (at, record) = record?;
        if let Ok(record) = RecordView::parse(record.as_ref()) {
            enter(index, &record, at)?;
        }
    }
    Ok(records.range.start)
}

/// What is kept of deleted topics, brought in line with the log.
fn settle_deletions(
    metadata: &Metadata,
    log: &CommitLog,
) -> Result<Vec<(TopicName, Deletion)>, StoreError> {
    let mut deletions = metadata.deletions()?;
    if deletions.is_empty() {
        return Ok(deletions);
    }
    let topics: BTreeSet<_> = metadata
        .topics()?
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let mut is_changed = false;
    for (name, kept) in &mut deletions {
        if kept.below > log.appended() {
            // The end of the log was lost after the topic was deleted: what comes there next is new.
            kept.below = log.appended();
            metadata.put_deletion(name, Some(kept))?;
            is_changed = true;
        }
    }
    let mut forgotten = Vec::new();
    deletions.retain(|(name, kept)| {
        // Retention took what was deleted, and nobody made the topic again.
        let is_past = kept.below <= log.begin() && !topics.contains(name);
        if is_past {
            forgotten.push(name.clone());
        }
        !is_past
    });
    for name in &forgotten {
        metadata.put_deletion(name, None)?;
    }
    if is_changed || !forgotten.is_empty() {
        metadata.sync()?;
    }
    Ok(deletions)
}

/// Takes consumer offsets back to where queues end: a crash may have taken messages that were consumed, and the next ones
/// get their offsets.
fn lower_offsets(metadata: &Metadata, queues: &ConsumeQueues) -> Result<(), StoreError> {
    for (group, (topic, queue), offset) in metadata.offsets()? {
        let next = queues.next_offset(&topic, queue);
        if offset > next {
            tracing::warn!(%group, %topic, %queue, %offset, %next, "messages that were consumed are lost");
            metadata.put_offset(&group, &topic, queue, Some(next))?;
        }
    }
    Ok(())
}

/// Enters one message under each of its keys, its unique one first (RocketMQ `IndexService.buildIndex`).
fn enter(index: &KeyIndex, record: &RecordView<'_>, at: PhysicalOffset) -> Result<(), StoreError> {
    if record.sys_flag() & sys_flag::TRANSACTION_MASK == sys_flag::TRANSACTION_ROLLBACK {
        return Ok(());
    }
    let Ok(topic) = record.topic() else {
        return Ok(());
    };
    let stored = record.store_timestamp_ms();
    let unique = record.property(keys::UNIQ_KEY).into_iter();
    let keyed = record.property(keys::KEYS).unwrap_or_default().split(' ');
    for key in unique.chain(keyed).filter(|key| !key.is_empty()) {
        index.put(topic, key, at, stored, stored)?;
    }
    Ok(())
}
