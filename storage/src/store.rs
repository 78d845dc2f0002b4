//! A whole store: opened, kept durable, closed.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use castmq_protocol::model::{DelayLevels, PhysicalOffset, TopicName};
use castmq_protocol::record::{RecordView, sys_flag};
use parking_lot::Mutex;
use thiserror::Error;

use crate::abort;
use crate::checkpoint::{Checkpoint, CheckpointState, OwnState};
use crate::commit_log::recovery::Recovered;
use crate::commit_log::{CommitLog, LogError};
use crate::consume_queue::{ConsumeQueueError, ConsumeQueues, SyncRound, UNIT_BYTES};
use crate::deletion::Deletion;
use crate::disk::{Disk, Space};
use crate::dispatch::DispatchError;
use crate::index::{IndexError, KeyIndex};
use crate::lock::{LockError, StoreLock};
use crate::metadata::{Metadata, MetadataError};
use crate::sequences::{ProducerLimits, Sequences};
use crate::takeover::TakeoverError;
use crate::unseen::Unseen;

pub mod check;
mod opening;
mod rebase;
mod records;
mod ring;

use self::opening::{Notes, Opened, dispatch_all};
pub use self::records::{Records, index_keys};

/// Where it is kept up to where saved notes may know the log.
const NOTES: &str = "notes";
const NOTED: &str = "noted_to";

/// Bytes of log whose keys are entered into the index before the store is closed.
const MAX_INDEXED_AT_CLOSE: u64 = 256 * 1024 * 1024;

/// Spare segments take one part in so many of the log's partition at most.
const SPARES_PART: u64 = 10;

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
    /// Memory for the log's newest bytes; 0 has them written through the page cache.
    pub ring_bytes: u64,
    /// Files of removed segments that are kept for new ones, at most.
    pub spare_segments: usize,
    /// Memory for metadata in bytes.
    pub metadata_cache_bytes: u64,
    /// How long messages in the schedule topic wait.
    pub delays: DelayLevels,
    /// What is remembered of producers that number their sends.
    pub producers: ProducerLimits,
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
    /// What RocketMQ left.
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
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
    /// What the log says of messages that nobody sees yet.
    pub unseen: Unseen,
    /// Which numbered sends are stored.
    pub sequences: Sequences,
    options: StoreOptions,
    checkpoint: Checkpoint,
    /// The log was durable up to here: noted apart from the rest, which is locked while the disk is waited for.
    durable: AtomicU64,
    progress: Mutex<Progress>,
    /// Whether notes were written and not synced since. Held while they are: the store may be closed while a checkpoint is
    /// still being made, and older notes must not come after newer ones.
    has_unsynced_notes: Mutex<bool>,
    /// Up to where saved notes may know the log.
    noted: AtomicU64,
    _lock: Option<StoreLock>,
    /// Dropped last: see [`Store::in_use`].
    in_use: Arc<()>,
}

/// A checkpoint that is being made.
#[derive(Debug)]
pub struct CheckpointRound {
    dispatched: PhysicalOffset,
    /// All that was noted of records below is saved.
    noted: PhysicalOffset,
    store_ms: i64,
    queues: SyncRound,
}

impl CheckpointRound {
    /// Queues that are still to be synced.
    pub fn queues_left(&self) -> usize {
        self.queues.left()
    }
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
    /// Where the store is.
    pub fn root(&self) -> &Path {
        &self.options.root
    }

    /// Lives until the store has been dropped whole and its folder is free for another one.
    pub fn in_use(&self) -> Weak<()> {
        Arc::downgrade(&self.in_use)
    }

    /// Where recovery begins after a crash, by the last checkpoint. Waits while one is being written.
    pub fn recovery_point(&self) -> PhysicalOffset {
        self.progress.lock().own.recovery_point
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
        let durable = self.log.flushed();
        let unsaved = self.save_notes(durable)?;
        Ok(CheckpointRound {
            dispatched,
            // More may be durable when the round is over; what was noted of that is not saved.
            noted: unsaved.map_or(durable, |from| from.min(durable)),
            store_ms,
            queues: self.queues.begin_sync(),
        })
    }

    /// Makes what was noted of records below `durable` survive a power cut, as the place will from which recovery begins: what
    /// lies before that is known from notes only. Returns from where on recovery has to look at the log for what is not saved.
    fn save_notes(&self, durable: PhysicalOffset) -> Result<Option<PhysicalOffset>, StoreError> {
        let mut has_unsynced = self.has_unsynced_notes.lock();
        if self.noted.fetch_max(durable.0, Ordering::AcqRel) < durable.0 {
            // Before the notes: it may say too much, but not too little.
            let noted = durable.0.to_be_bytes();
            self.metadata.put_value(NOTES, NOTED, &noted)?;
        }
        // Whatever fails in between may have been written.
        let had = std::mem::replace(&mut *has_unsynced, true);
        let (is_any, unsaved) = self.unseen.save(&self.metadata, durable)?;
        let is_any_send = self.sequences.save(&self.metadata, durable)?;
        if had || is_any || is_any_send {
            self.metadata.sync()?;
        }
        *has_unsynced = false;
        Ok(unsaved)
    }

    /// Takes a step of bounded length. Returns whether the checkpoint is made. Blocks.
    pub fn go_on_with_checkpoint(&self, round: &mut CheckpointRound) -> Result<bool, StoreError> {
        if !self.queues.sync_some(&mut round.queues)? {
            return Ok(false);
        }
        if let Some(index) = &self.index {
            index.sync()?;
        }
        self.finish_checkpoint(round)?;
        Ok(true)
    }

    fn finish_checkpoint(&self, round: &CheckpointRound) -> Result<(), StoreError> {
        let CheckpointRound {
            dispatched,
            noted,
            store_ms,
            ..
        } = *round;
        let durable = self.log.flushed();
        let point = self.queues.durable_physical(dispatched);
        let point = point.min(noted).min(durable);
        let needed = self.unseen.needed_from(durable);
        let point = needed.map_or(point, |from| from.min(point));
        let mut progress = self.progress.lock();
        progress.passed.push_back((dispatched, store_ms));
        while let Some((_, time)) = progress.passed.pop_front_if(|(place, _)| *place <= point) {
            progress.saved.log_timestamp_ms = progress.saved.log_timestamp_ms.max(time);
            progress.saved.queues_timestamp_ms = progress.saved.log_timestamp_ms;
        }
        let mut covered = progress.own.index;
        if let Some(index) = &self.index {
            progress.saved.index_timestamp_ms = index.durable_end_ms();
            covered = index.durable();
        }
        let own = OwnState {
            durable: progress.own.durable.max(durable),
            recovery_point: progress.own.recovery_point.max(point),
            queues: None,
            index: covered,
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

    /// Takes over what the master keeps of a topic that was deleted there; `is_gone` when nobody made it again. To be synced by
    /// the caller. Blocks.
    pub fn adopt_deletion(
        &self,
        name: &TopicName,
        kept: Deletion,
        is_gone: bool,
    ) -> Result<(), StoreError> {
        match is_gone {
            true => self.metadata.delete_topic(name, &kept)?,
            false => self.metadata.put_deletion(name, Some(&kept))?,
        }
        Ok(self.queues.adopt_deletion(name, kept)?)
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

    /// Bytes that have to be free before another segment is added, for it and for what queues and index have still to write:
    /// without queues that are written down nothing of the log can be deleted. Of the shortest messages, what queues and
    /// index have of a segment takes less than half of it.
    pub fn room_for_segment(&self) -> u64 {
        let segment_bytes = self.log.segment_bytes();
        segment_bytes + segment_bytes / 2 + self.queues.pending_units() * UNIT_BYTES as u64
    }

    /// Room on the log's partition. What spare segments take counts as free: as soon as there is no
    /// [room for a segment](Self::room_for_segment) beside them, they are given up. Blocks.
    pub fn log_space(&self) -> io::Result<Space> {
        let measure = || self.disk.space(self.log.directory());
        let mut space = measure()?;
        let Some(spares) = self.log.spares() else {
            return Ok(space);
        };
        let segments = space.total_bytes / SPARES_PART / self.log.segment_bytes();
        let mut most = usize::try_from(segments).unwrap_or(usize::MAX);
        most = most.min(self.options.spare_segments);
        if space.available_bytes < self.room_for_segment() {
            most = 0;
        }
        if spares.keep(most) {
            space = measure()?;
        }
        space.available_bytes += spares.bytes();
        Ok(space)
    }

    /// Takes the oldest segment out of the log, see [`CommitLog::retire`]; refuses while a crash would still have queues
    /// filled from it, since they could not be without a gap then.
    pub fn retire(&self, base: PhysicalOffset) -> bool {
        let end = base + self.log.segment_bytes();
        end <= self.recovery_point() && self.log.retire(base)
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

    /// Where keys begin that the index may lack, if there is one.
    pub fn indexed(&self) -> Option<PhysicalOffset> {
        let index = self.index.as_ref()?;
        Some(index.entered().max(self.log.begin()))
    }

    /// Enters keys that the index lacks, of at most about `max_bytes` of the log, and returns how many bytes are left. Nobody
    /// else may enter keys meanwhile. Blocks.
    pub fn enter_missing_keys(&self, max_bytes: u64) -> Result<u64, StoreError> {
        let (Some(index), Some(from)) = (&self.index, self.indexed()) else {
            return Ok(0);
        };
        let end = self.log.appended();
        let to = end.min(PhysicalOffset(from.0.saturating_add(max_bytes)));
        let done = index_keys(&self.log, index, from..to)?;
        Ok(end.0.saturating_sub(done.0))
    }

    /// Makes everything durable and says that the stop was clean. Nobody may append any more, or enter keys into the index.
    /// Blocks.
    ///
    /// `dispatched`: everything below is in the queues; the rest is dispatched now.
    pub fn close(&self, dispatched: PhysicalOffset) -> Result<(), StoreError> {
        let end = self.log.sync(self.log.appended())?;
        let (_, store_ms) = dispatch_all(
            &self.log,
            &self.queues,
            Notes {
                unseen: &self.unseen,
                sequences: &self.sequences,
            },
            &self.options.delays,
            dispatched,
        )?;
        let left = self.enter_missing_keys(MAX_INDEXED_AT_CLOSE)?;
        if left > 0 {
            tracing::warn!(
                bytes = left,
                "the index does not have the keys of the end of the log: the next start enters them"
            );
        }
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
        ring::remove(&*self.disk, &self.options)?;
        let path = self.options.abort_path();
        abort::remove(&*self.disk, &path).map_err(io_error("remove", &path))
    }
}

impl Drop for Store {
    /// As the page cache keeps what was written to files, so does the log, whoever else holds a part of it: the next who opens
    /// the store finds it there.
    fn drop(&mut self) {
        if let Err(error) = self.log.leave_ring() {
            tracing::error!(%error, "the newest messages are not in the log's files");
        }
    }
}

impl StoreOptions {
    pub(crate) fn abort_path(&self) -> PathBuf {
        self.root.join("abort")
    }

    pub(crate) fn ring_path(&self) -> PathBuf {
        self.root.join("ring")
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
