//! Opening a store: what the last run left, and what is done about it.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::{self, JoinHandle};

use castmq_protocol::model::{DelayLevels, PhysicalOffset, TopicName};
use parking_lot::Mutex;

use super::{OpenReport, Progress, Store, StoreError, StoreOptions, io_error, ring};
use crate::abort;
use crate::checkpoint::{Checkpoint, CheckpointState, OwnState};
use crate::commit_log::CommitLog;
use crate::commit_log::recovery::{self, Known, Recovered, Start};
use crate::commit_log::spares::Spares;
use crate::consume_queue::{ConsumeQueues, Leftovers};
use crate::deletion::Deletion;
use crate::disk::Disk;
use crate::dispatch::Dispatch;
use crate::index::KeyIndex;
use crate::lock::StoreLock;
use crate::metadata::{Metadata, MetadataError};
use crate::sequences::Sequences;
use crate::takeover::{self, Found};
use crate::unseen::Unseen;

/// Bytes of log that are dispatched before the memory they take in queues is given back.
const DISPATCH_STEP_BYTES: u64 = 64 * 1024 * 1024;

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
        ring::settle(&*disk, &options)?;
        let found = Found::look(&*disk, &options)?;
        let mut metadata = OpeningMetadata::begin(&options);
        let import = match found.is_any() {
            true => found.settle(&*disk, &options, metadata.wait()?)?,
            false => None,
        };
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
        queues.restore_deletions(deletions);
        let (from, leftovers) = match is_lost || !opened.fits(&queues) {
            true => (log.begin(), Leftovers::Anywhere),
            false => (opened.dispatch_from(&recovered), opened.leftovers()),
        };
        if from < recovered.start {
            tracing::warn!("the consume queues are not as they were left: they are filled again");
        }
        opened.lower_recovery_point(from, &options)?;
        queues.truncate(from, leftovers)?;
        queues.remove_below(log.begin())?;
        if options.is_sync_flush {
            log.sync(log.appended())?;
        }
        let queues = Arc::new(queues);
        let unseen = Unseen::load(&metadata, &log, &queues)?;
        let sequences = Sequences::load(&metadata, options.producers, log.appended())?;
        let notes = Notes {
            unseen: &unseen,
            sequences: &sequences,
        };
        let (dispatched, last_store_ms) =
            dispatch_all(&log, &queues, notes, &options.delays, from)?;
        forget_deletions(&metadata, &log, &queues)?;
        if let Some(import) = &import {
            import.resume(&unseen, &log, &queues);
        }
        takeover::settle_repeated(&metadata, &unseen, &log)?;
        ring::make(&*disk, &options, &log);
        log.use_spares(Spares::open(
            disk.clone(),
            &options.commit_log,
            options.segment_bytes,
            options.spare_segments,
        ));
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
        lower_offsets(&metadata, &queues)?;
        // What the index knows beyond the log was lost with it, and its places will be others' now.
        let covered = opened.state.own.map(|own| own.index).unwrap_or_default();
        let mut covered = covered.below(log.appended());
        if let Some(index) = &index {
            index.truncate(log.appended())?;
            index.resume(covered);
            covered = index.durable();
        }
        let own = OwnState {
            durable: log.flushed(),
            recovery_point: from.min(log.flushed()),
            queues: None,
            index: covered,
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
            unseen,
            sequences,
            checkpoint: opened.checkpoint,
            has_unsynced_notes: Mutex::default(),
            noted: AtomicU64::default(),
            durable: AtomicU64::new(own.durable.0),
            progress: Mutex::new(Progress {
                saved: opened.state,
                own,
                passed: VecDeque::from([(log.appended(), last_store_ms)]),
            }),
            log,
            options,
            _lock: lock,
            in_use: Arc::default(),
        };
        store.save_progress(&mut store.progress.lock(), own)?;
        // From here on the checkpoint is our own again, and nothing of what the power took is left to be found.
        if !is_marked {
            mark_used(&*store.disk, &store.options, Some(&boot))?;
        }
        if let Some(import) = import {
            let end = store.log.sync(store.log.appended())?;
            store.save_checkpoint(end, last_store_ms)?;
            import.finish(&store)?;
        }
        Ok((store, report))
    }
}

/// The metadata on its way: opening takes sled a while.
struct OpeningMetadata {
    path: PathBuf,
    thread: Option<JoinHandle<Result<Metadata, MetadataError>>>,
    opened: Option<Metadata>,
}

impl OpeningMetadata {
    fn begin(options: &StoreOptions) -> Self {
        let (path, cache_bytes) = (options.metadata.clone(), options.metadata_cache_bytes);
        Self {
            path: path.clone(),
            thread: Some(thread::spawn(move || Metadata::open(&path, cache_bytes))),
            opened: None,
        }
    }

    fn wait(&mut self) -> Result<&Metadata, StoreError> {
        let opened = self.join()?;
        Ok(self.opened.insert(opened))
    }

    fn finish(mut self) -> Result<Metadata, StoreError> {
        match self.opened.take() {
            Some(opened) => Ok(opened),
            None => self.join(),
        }
    }

    fn join(&mut self) -> Result<Metadata, StoreError> {
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
pub(super) struct Opened {
    pub(super) was_clean: bool,
    /// Whether the power was cut since all of the log was last sound, or may have been.
    pub(super) may_be_torn: bool,
    /// What the machine was doing when the log was last sound; `None` when somebody else wrote it since.
    pub(super) sound_boot: Option<String>,
    pub(super) checkpoint: Checkpoint,
    pub(super) state: CheckpointState,
}

impl Opened {
    pub(super) fn new(disk: &dyn Disk, options: &StoreOptions) -> Result<Self, StoreError> {
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
    pub(super) fn known(&self, options: &StoreOptions, queues: &ConsumeQueues) -> Known {
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

    /// Says that queues are filled again from further back than was planned, before they are cut: the next start must
    /// not take them for whole when this one is cut off.
    fn lower_recovery_point(
        &self,
        from: PhysicalOffset,
        options: &StoreOptions,
    ) -> Result<(), StoreError> {
        let Some(own) = self.state.own.filter(|own| from < own.recovery_point) else {
            return Ok(());
        };
        let state = CheckpointState {
            own: Some(OwnState {
                recovery_point: from,
                queues: None,
                ..own
            }),
            ..self.state
        };
        let path = options.checkpoint_path();
        self.checkpoint
            .save(&state)
            .map_err(io_error("write", &path))
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

/// What whoever dispatches notes.
#[derive(Clone, Copy)]
pub(super) struct Notes<'a> {
    pub(super) unseen: &'a Unseen,
    pub(super) sequences: &'a Sequences,
}

/// Dispatches the rest of the log. Returns how many messages were new to their queues, and the last one's store time.
pub(super) fn dispatch_all(
    log: &Arc<CommitLog>,
    queues: &Arc<ConsumeQueues>,
    notes: Notes<'_>,
    delays: &DelayLevels,
    from: PhysicalOffset,
) -> Result<(u64, i64), StoreError> {
    let mut dispatch =
        Dispatch::new(log.clone(), queues.clone(), delays.clone(), from).finding_sends();
    let mut messages = 0;
    while dispatch.position() < log.appended() {
        let from = dispatch.position();
        let done = dispatch.advance(log.appended(), DISPATCH_STEP_BYTES, |_| {})?;
        messages += done.messages;
        let met = dispatch.take_met();
        notes.unseen.note(&met, from..dispatch.position());
        let sends = dispatch.take_sends();
        sends.iter().for_each(|send| notes.sequences.note(send));
        queues.write_back_all()?;
    }
    Ok((messages, dispatch.last_store_timestamp_ms()))
}

/// What is kept of deleted topics, brought in line with the log.
fn settle_deletions(
    metadata: &Metadata,
    log: &CommitLog,
) -> Result<Vec<(TopicName, Deletion)>, StoreError> {
    let mut deletions = metadata.deletions()?;
    let mut is_changed = false;
    for (name, kept) in &mut deletions {
        if kept.below > log.appended() {
            // The end of the log was lost after the topic was deleted: what comes there next is new.
            kept.below = log.appended();
            metadata.put_deletion(name, Some(kept))?;
            is_changed = true;
        }
    }
    if is_changed {
        metadata.sync()?;
    }
    Ok(deletions)
}

/// Forgets deleted topics that nobody made again when retention has taken all that was deleted. Their queues must have been
/// cleared before: what a crash left of them could not be told from others' any more.
fn forget_deletions(
    metadata: &Metadata,
    log: &CommitLog,
    queues: &ConsumeQueues,
) -> Result<(), StoreError> {
    let deletions = metadata.deletions()?;
    if deletions.is_empty() {
        return Ok(());
    }
    let topics: BTreeSet<_> = metadata
        .topics()?
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    for (name, kept) in deletions {
        let has_messages = queues
            .of_topic(&name)
            .iter()
            .any(|queue| queue.min_offset() < queue.max_offset());
        if kept.below <= log.begin() && !topics.contains(&name) && !has_messages {
            metadata.put_deletion(&name, None)?;
        }
    }
    Ok(())
}

/// Takes consumer offsets back to where queues end: a crash may have taken messages that were consumed, or a slave that
/// becomes the master never had them, and the next ones get their offsets.
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
