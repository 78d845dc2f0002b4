//! Looking at a whole store that nobody uses: what is damaged, and what a start would do about it. Changes nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueOffset};
use thiserror::Error;

use super::{Opened, StoreError, StoreOptions, io_error, ring};
use crate::abort;
use crate::checkpoint::{Checkpoint, CheckpointState};
use crate::commit_log::recovery::inspect::{Inspection, Item, Outlook, Stretch};
use crate::commit_log::recovery::{Known, Start};
use crate::commit_log::segment_file_name;
use crate::consume_queue::{ConsumeQueue, ConsumeQueues, ConsumeUnit};
use crate::disk::fault::FaultDisk;
use crate::disk::{Disk, Wait};
use crate::lock::StoreLock;

/// Units of a queue that are read together.
const UNITS_AT_ONCE: usize = 1024;

/// Why a folder cannot be looked at.
#[derive(Debug, Error)]
pub enum CheckError {
    /// It holds no store.
    #[error("{} is not the data folder of a broker: it has no {}", folder.display(), missing.display())]
    NotAStore {
        /// The folder.
        folder: PathBuf,
        /// What a store would have.
        missing: PathBuf,
    },
    /// It cannot be locked or read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A store, kept from being used while it is looked at.
#[derive(Debug)]
pub struct Closed {
    disk: Arc<dyn Disk>,
    options: StoreOptions,
    lock: Option<StoreLock>,
}

/// What was found.
#[derive(Debug)]
pub struct Checked {
    /// Whether the last stop was clean.
    pub was_clean: bool,
    /// The log's folder.
    pub commit_log: PathBuf,
    /// The log's first byte.
    pub begin: PhysicalOffset,
    /// Whole records in the log.
    pub records: u64,
    /// Segments of the log.
    pub segments: usize,
    /// Places in queues that were compared with the log.
    pub units: u64,
    /// What a start would find.
    pub outlook: Outlook,
    /// Bytes in the log that are no records, those behind its end left out.
    pub stretches: Vec<Stretch>,
    /// What is wrong with queues.
    pub queues: Vec<QueueDamage>,
}

/// A queue that does not fit the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDamage {
    /// Its folder, or that of all queues.
    pub path: PathBuf,
    /// The first place that does not fit, if it can be told.
    pub offset: Option<QueueOffset>,
    /// How many do not.
    pub count: u64,
    /// What is wrong with the first.
    pub reason: String,
}

impl Closed {
    /// Keeps everybody else from using a store.
    ///
    /// The sizes of files are those that are there, whatever `options` say, unless there are none.
    ///
    /// # Errors
    ///
    /// When the folder holds no store, or is in use.
    pub fn open(disk: Arc<dyn Disk>, mut options: StoreOptions) -> Result<Self, CheckError> {
        let listed = disk.list(&options.commit_log);
        let listed = listed.map_err(io_error("list", &options.commit_log))?;
        if listed.is_empty() {
            return Err(CheckError::NotAStore {
                folder: options.root,
                missing: options.commit_log.join(segment_file_name(0)),
            });
        }
        // Whoever uses a store makes this file first, so without it there is nobody to keep out.
        let has_lock = disk.open(&options.root.join("lock")).is_ok();
        let lock = match options.takes_lock && has_lock {
            true => Some(
                StoreLock::take(&options.root, &options.abort_path()).map_err(StoreError::Lock)?,
            ),
            false => None,
        };
        match ring::settle(&*disk, &options) {
            // Who may only look sees the log without it.
            Err(StoreError::Io { source, path, .. }) if is_read_only(&source) => {
                tracing::warn!(path = %path.display(), "the newest messages of a broker that was killed may be left out");
            }
            result => result?,
        }
        // A segment that lost its end is damaged; the others tell their size.
        let sizes = listed.iter().filter(|entry| entry.name.len() == 20);
        if let Some(bytes) = sizes
            .map(|entry| entry.bytes)
            .max()
            .filter(|bytes| *bytes > 0)
        {
            options.segment_bytes = bytes;
        }
        if let Some(bytes) = longest_file_bytes(&*disk, &options.consume_queues, 2) {
            options.consume_queue_file_bytes = bytes;
        }
        Ok(Self {
            disk,
            options,
            lock,
        })
    }

    /// The options to open it with, sizes as they are. Gives up the lock.
    pub fn into_options(self) -> StoreOptions {
        drop(self.lock);
        self.options
    }

    /// The log, to be read.
    ///
    /// # Errors
    ///
    /// When its files do not make a log.
    pub fn log(&self) -> Result<Inspection<'_>, StoreError> {
        let (directory, bytes) = (&self.options.commit_log, self.options.segment_bytes);
        Ok(Inspection::open(&*self.disk, directory, bytes)?)
    }

    /// Looks at everything there is in log and queues.
    ///
    /// # Errors
    ///
    /// When files cannot be read, or do not make a log.
    pub fn check(&self) -> Result<Checked, StoreError> {
        let log = self.log()?;
        let (opened, has_checkpoint) = self.opened()?;
        let (queues, mut damage) = self.queues();
        let known = match &queues {
            Some(queues) => opened.known(&self.options, queues),
            None => Known {
                start: Start::Beginning,
                durable: opened.state.own.map(|own| own.durable),
                verify_bodies: true,
                may_be_torn: opened.may_be_torn,
                clean: opened.was_clean,
                repair: false,
            },
        };
        let outlook = log.outlook(&known)?;
        let mut records = 0;
        let mut stretches = Vec::new();
        for item in log.items(log.begin()) {
            match item? {
                Item::Record(at, _) if at < outlook.end => records += 1,
                Item::Damaged(stretch) if stretch.range.start < outlook.end => {
                    stretches.push(stretch);
                }
                // The outlook tells of what is behind.
                _ => break,
            }
        }
        // From there on a start fills queues anew, whatever is in them.
        let filled = match (opened.was_clean, opened.state.own) {
            (true, _) if has_checkpoint => None,
            (_, Some(own)) => Some(own.recovery_point),
            (_, None) => Some(PhysicalOffset::ZERO),
        };
        let mut units = 0;
        for queue in queues.iter().flat_map(ConsumeQueues::iter) {
            let (seen, found) = check_queue(&log, &queue, filled);
            units += seen;
            damage.extend(found.map(|found| self.name(&queue, found)));
        }
        Ok(Checked {
            was_clean: opened.was_clean,
            commit_log: self.options.commit_log.clone(),
            begin: log.begin(),
            records,
            segments: log.segments(),
            units,
            outlook,
            stretches,
            queues: damage,
        })
    }

    /// What the last run left, and whether there is a checkpoint.
    fn opened(&self) -> Result<(Opened, bool), StoreError> {
        let path = self.options.checkpoint_path();
        let is_there = match self.disk.open(&path) {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(io_error("open", &path)(error)),
        };
        if is_there {
            return Ok((Opened::new(&*self.disk, &self.options)?, true));
        }
        let abort = self.options.abort_path();
        let left = abort::read(&*self.disk, &abort).map_err(io_error("read", &abort))?;
        // A checkpoint that is not there says what an empty one says. That one must not be made on the disk.
        let (checkpoint, state) = Checkpoint::open(&FaultDisk::new(), Path::new("/checkpoint"))
            .map_err(io_error("read", &path))?;
        let opened = Opened {
            was_clean: left.is_none(),
            may_be_torn: left.is_some(),
            sound_boot: None,
            checkpoint,
            state,
        };
        Ok((opened, false))
    }

    /// The queues, and why they cannot be opened if they cannot.
    fn queues(&self) -> (Option<ConsumeQueues>, Vec<QueueDamage>) {
        let folder = &self.options.consume_queues;
        let is_empty = self.disk.list(folder).is_ok_and(|list| list.is_empty());
        if is_empty {
            return (None, Vec::new());
        }
        let bytes = self.options.consume_queue_file_bytes;
        match ConsumeQueues::open(self.disk.clone(), folder, bytes) {
            Ok(queues) => (Some(queues), Vec::new()),
            Err(error) => {
                let damage = QueueDamage {
                    path: folder.clone(),
                    offset: None,
                    count: 1,
                    reason: error.to_string(),
                };
                (None, vec![damage])
            }
        }
    }

    fn name(&self, queue: &ConsumeQueue, damage: QueueDamage) -> QueueDamage {
        let topic = self.options.consume_queues.join(queue.topic().as_str());
        QueueDamage {
            path: topic.join(queue.id().to_string()),
            ..damage
        }
    }

    /// Has the next start build all queues anew from the log. Those that are there are kept beside, in the folder that is
    /// returned.
    ///
    /// # Errors
    ///
    /// When files cannot be written.
    pub fn set_queues_aside(&self) -> Result<PathBuf, StoreError> {
        let folder = &self.options.consume_queues;
        let mut aside = folder.clone();
        let mut number = 0;
        let is_taken = |path: &Path| self.disk.list(path).is_ok_and(|list| !list.is_empty());
        while number == 0 || is_taken(&aside) {
            number += 1;
            aside.set_extension(format!("damaged-{number}"));
        }
        let path = self.options.checkpoint_path();
        let begin = self.log()?.begin();
        let (checkpoint, state) =
            Checkpoint::open(&*self.disk, &path).map_err(io_error("open", &path))?;
        let own = state.own.map(|mut own| {
            own.recovery_point = begin;
            own
        });
        // First: when this is cut off in between, the next start does more than it has to.
        checkpoint
            .save(&CheckpointState { own, ..state })
            .map_err(io_error("write", &path))?;
        self.disk
            .rename(folder, &aside)
            .and_then(|()| self.disk.sync_directory(&self.options.root))
            .map_err(io_error("rename", folder))?;
        Ok(aside)
    }
}

/// The length of the longest file some levels below a folder: one that lost its end is damaged.
fn longest_file_bytes(disk: &dyn Disk, folder: &Path, levels: u32) -> Option<u64> {
    let entries = disk.list(folder).ok()?;
    let lengths = entries
        .iter()
        .filter_map(|entry| match (levels, entry.is_directory) {
            (0, false) if entry.bytes > 0 => Some(entry.bytes),
            (1.., true) => longest_file_bytes(disk, &folder.join(&entry.name), levels - 1),
            _ => None,
        });
    lengths.max()
}

/// Compares a queue with the log, up to where a start relies on it if it does not on all. Returns how many units were
/// compared.
fn check_queue(
    log: &Inspection<'_>,
    queue: &ConsumeQueue,
    filled: Option<PhysicalOffset>,
) -> (u64, Option<QueueDamage>) {
    let mut damage: Option<QueueDamage> = None;
    let mut note = |offset: QueueOffset, reason: String| match &mut damage {
        Some(damage) => damage.count += 1,
        None => {
            damage = Some(QueueDamage {
                path: PathBuf::new(),
                offset: Some(offset),
                count: 1,
                reason,
            });
        }
    };
    let mut at = queue.min_offset();
    let mut compared = 0;
    let mut units = Vec::new();
    'all: while at < queue.max_offset() {
        units.clear();
        if let Err(error) = queue.read(at, UNITS_AT_ONCE, Wait::ForDisk, &mut units) {
            note(at, error.to_string());
            break;
        }
        if units.is_empty() {
            break;
        }
        for unit in &units {
            if filled.is_some_and(|filled| unit.physical >= filled) {
                break 'all;
            }
            if unit.physical >= log.begin()
                && let Err(reason) = fits(log, queue, at, unit)
            {
                note(at, reason);
            }
            compared += 1;
            at = at + 1;
        }
    }
    (compared, damage)
}

/// Whether the folder may be read and not written.
fn is_read_only(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem)
}

/// Whether the message is where a queue says it is.
fn fits(
    log: &Inspection<'_>,
    queue: &ConsumeQueue,
    offset: QueueOffset,
    unit: &ConsumeUnit,
) -> Result<(), String> {
    let place = unit.physical;
    let Some(record) = log.record(place) else {
        return Err(format!("no message begins at log position {place}"));
    };
    let is_same = record
        .topic()
        .is_ok_and(|topic| topic == queue.topic().as_str())
        && record.queue() == Ok(queue.id())
        && record.queue_offset() == Ok(offset)
        && record.total_bytes() == unit.size as usize;
    match is_same {
        true => Ok(()),
        false => Err(format!("another message lies at log position {place}")),
    }
}
