//! The index of a store: its files in order, the newest of which takes keys.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use castmq_protocol::model::PhysicalOffset;
use jiff::tz::TimeZone;
use parking_lot::{Mutex, RwLock};

use super::error::{During, IndexError};
use super::file::IndexFile;
use super::format::{Header, Layout};
use super::keys::{IndexKey, TopicHash};
use super::name::{is_name, next_name};
use crate::disk::Disk;

/// Keys that are entered before queries get their turn.
const KEYS_A_LOCK: usize = 1024;

/// Finds messages by topic and key. One thread enters keys, any number query meanwhile.
#[derive(Debug)]
pub struct KeyIndex {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    layout: Layout,
    /// In order of their names, which is that of their messages.
    files: RwLock<Vec<Arc<IndexFile>>>,
    /// Held by whoever changes files on the disk, and taken before all other locks. Whether names of files could be lost.
    has_unsynced_names: Mutex<bool>,
    poison: OnceLock<String>,
    /// A message of which the log brings again keys that are entered.
    repeated: AtomicI64,
    /// See [`KeyIndex::entered`].
    entered: AtomicU64,
    durable: Mutex<Covered>,
}

/// How far an index went through the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Covered {
    /// The keys of all messages below have been entered.
    pub entered: PhysicalOffset,
    /// The last of them that has any, 0 when there is none.
    pub last: PhysicalOffset,
}

impl Covered {
    /// What of it is left when the log ends at `end`.
    pub(crate) fn below(self, end: PhysicalOffset) -> Self {
        Self {
            entered: self.entered.min(end),
            ..self
        }
    }
}

impl KeyIndex {
    /// Opens the index in `folder`, which is made when it is missing. A file has `slots` slots and room for one entry less
    /// than `max_entries` (RocketMQ: 5,000,000 and 20,000,000).
    ///
    /// After a stop that was not `clean` the slot table of the last file is built from its entries, all of which are read.
    ///
    /// # Errors
    ///
    /// [`IndexError::Sizes`], [`IndexError::FileLength`], [`IndexError::Damaged`], I/O errors.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: impl Into<PathBuf>,
        slots: u32,
        max_entries: u32,
        clean: bool,
    ) -> Result<Self, IndexError> {
        let is_count = |count: u32| (2..=i32::MAX.cast_unsigned()).contains(&count);
        if !is_count(slots) || !is_count(max_entries) {
            return Err(IndexError::Sizes {
                slots,
                entries: max_entries,
            });
        }
        let folder = folder.into();
        disk.create_directory(&folder)
            .during("create the folder", &folder)?;
        if let Some(above) = folder.parent() {
            disk.sync_directory(above)
                .during("sync the folder", above)?;
        }
        let index = Self {
            disk,
            folder,
            layout: Layout { slots, max_entries },
            files: RwLock::default(),
            // A process that ended after making a file may not have synced its name.
            has_unsynced_names: Mutex::new(!clean),
            poison: OnceLock::new(),
            repeated: AtomicI64::new(-1),
            entered: AtomicU64::default(),
            durable: Mutex::default(),
        };
        index.load(clean)?;
        Ok(index)
    }

    fn load(&self, clean: bool) -> Result<(), IndexError> {
        let entries = self.disk.list(&self.folder).during("list", &self.folder)?;
        for entry in entries {
            let path = self.folder.join(&entry.name);
            if entry.is_directory || !is_name(&entry.name) {
                tracing::warn!(path = %path.display(), "ignoring what is no index file");
                continue;
            }
            // A crash left it between its making and its first sync.
            if entry.bytes == 0 {
                self.remove_file(&path)?;
                continue;
            }
            if entry.bytes != self.layout.file_bytes() {
                return Err(IndexError::FileLength {
                    path,
                    bytes: entry.bytes,
                    expected: self.layout.file_bytes(),
                });
            }
            let file = self.disk.open(&path).during("open", &path)?;
            let file = IndexFile::open(entry.name, path, self.layout, file)?;
            // A file without entries is made again when there are some.
            match file.header().next_entry {
                1 => self.remove_file(&file.path)?,
                _ => self.files.write().push(Arc::new(file)),
            }
        }
        if let Some(last) = self.last().filter(|_| !clean) {
            self.rebuild(&last, i64::MAX)?;
        }
        self.begin_at_end();
        Ok(())
    }

    /// Forgets what is known beyond the last message entered.
    fn begin_at_end(&self) {
        self.expect_last_again();
        let end = self.end_physical();
        self.entered.store(end.0, Ordering::Release);
        *self.durable.lock() = Covered::default();
    }

    /// Has the keys that the last message has by now passed over when they come again, since the log is read from there.
    pub(crate) fn expect_last_again(&self) {
        let files = self.files.read();
        let end = files.last().map_or(-1, |last| last.header().end_physical);
        let ends_there = |file: &&Arc<IndexFile>| file.header().end_physical == end;
        let with_last = files.iter().rev().take_while(ends_there);
        with_last.for_each(|file| file.expect_again());
        self.repeated.store(end, Ordering::Relaxed);
    }

    /// The keys of all messages below have been entered: from here on the log has to be read for what is not.
    pub fn entered(&self) -> PhysicalOffset {
        PhysicalOffset(self.entered.load(Ordering::Acquire))
    }

    /// Says that the keys of all messages below `to`, which is a message's start or the log's end, have been entered.
    pub fn note_entered(&self, to: PhysicalOffset) {
        self.entered.fetch_max(to.0, Ordering::AcqRel);
    }

    /// Takes up what was [`durable`](Self::durable) before the last stop, unless files have gone since.
    pub(crate) fn resume(&self, covered: Covered) {
        if covered.last <= self.end_physical() {
            self.note_entered(covered.entered);
            *self.durable.lock() = covered;
        }
    }

    /// How much of the log would not have to be read again after a power cut.
    pub fn durable(&self) -> Covered {
        *self.durable.lock()
    }

    /// Whether a key of the last message was entered before it came again.
    fn was_there(&self, key_hash: u32, physical: i64) -> Result<bool, IndexError> {
        if physical != self.repeated.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let files = self.files.read().clone();
        for file in files.iter().rev() {
            if file.was_there(key_hash, physical)? {
                return Ok(true);
            }
            if file.header().begin_physical < physical {
                break;
            }
        }
        Ok(false)
    }

    /// Builds the slot table of the last file from its entries below `physical`, and writes down how many there are, so
    /// that new ones can take the place of the others.
    fn rebuild(&self, last: &Arc<IndexFile>, physical: i64) -> Result<(), IndexError> {
        last.rebuild(physical)?;
        if last.header().next_entry > 1 {
            return last.sync();
        }
        self.remove_file(&last.path)?;
        self.files.write().pop();
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> Result<(), IndexError> {
        match self.disk.remove(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            result => result.during("remove", path)?,
        }
        // One by one, so that a power cut leaves no gap.
        self.disk
            .sync_directory(&self.folder)
            .during("sync the folder", &self.folder)
    }

    fn last(&self) -> Option<Arc<IndexFile>> {
        self.files.read().last().cloned()
    }

    /// Enters keys in their order, in memory. Passes over one when one of a later message has been entered, as RocketMQ, or
    /// this very key before the log was read again.
    ///
    /// # Errors
    ///
    /// I/O errors of reading what was entered before the index was opened.
    pub fn enter(&self, keys: &[IndexKey]) -> Result<(), IndexError> {
        let mut rest = keys;
        while let [key, behind @ ..] = rest {
            let physical = key.physical.as_i64();
            let last = self.last();
            let is_older = |last: &Arc<IndexFile>| physical < last.header().end_physical;
            if last.as_ref().is_some_and(is_older) || self.was_there(key.hash, physical)? {
                rest = behind;
                continue;
            }
            let file = match last {
                Some(last) if !last.is_full() => last,
                last => self.add_file(last.as_deref(), key.stored_ms),
            };
            // Each key of a message that may have some already is asked for.
            let repeated = self.repeated.load(Ordering::Relaxed);
            let is_sure = |key: &IndexKey| key.physical.as_i64() != repeated;
            let sure = behind
                .iter()
                .take(KEYS_A_LOCK)
                .take_while(|key| is_sure(key));
            let (now, _) = rest.split_at(1 + sure.count());
            let done = file.put(now)?;
            rest = rest.get(done..).unwrap_or_default();
        }
        Ok(())
    }

    fn add_file(&self, last: Option<&IndexFile>, now_ms: i64) -> Arc<IndexFile> {
        let header = last.map_or(Header::following(0, 0), |last| {
            let end = last.header();
            Header::following(end.end_ms, end.end_physical)
        });
        let last_name = last.map(|last| last.name.as_str());
        let name = next_name(now_ms, TimeZone::system(), last_name);
        let path = self.folder.join(&name);
        let file = Arc::new(IndexFile::new(name, path, self.layout, header));
        self.files.write().push(file.clone());
        file
    }

    /// Where messages with this key and a store time in the span, both ends included, start in the log: the newest first,
    /// at most `max`. Other keys with the same hash are among them.
    ///
    /// # Errors
    ///
    /// I/O errors.
    pub fn query(
        &self,
        topic: &str,
        key: &str,
        max: usize,
        begin_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<PhysicalOffset>, IndexError> {
        let hash = TopicHash::of(topic).of_key(key);
        let files = self.files.read().clone();
        let mut found = Vec::new();
        for file in files.iter().rev() {
            let header = file.header();
            if header.overlaps(begin_ms, end_ms) {
                file.query(hash, (begin_ms, end_ms), max, &mut found)?;
            }
            if header.begin_ms < begin_ms || found.len() >= max {
                break;
            }
        }
        let offsets = found.into_iter();
        Ok(offsets
            .filter_map(|physical| PhysicalOffset::from_i64(physical).ok())
            .collect())
    }

    /// The last message entered, 0 when there is none.
    pub fn end_physical(&self) -> PhysicalOffset {
        let end = self.last().map_or(0, |last| last.header().end_physical);
        PhysicalOffset::from_i64(end).unwrap_or_default()
    }

    /// When the last message was stored of those whose keys are durable; 0 when there is none. RocketMQ drops files that
    /// end later after a stop that was not clean (checkpoint `indexMsgTimestamp`).
    pub fn durable_end_ms(&self) -> i64 {
        let files = self.files.read();
        let ends = files.iter().map(|file| file.state.read().durable.end_ms);
        ends.max().unwrap_or(0)
    }

    /// Entries that are in memory only: 20 bytes each.
    pub fn pending_entries(&self) -> usize {
        let files = self.files.read();
        let counts = files.iter().map(|file| file.state.read().entries.count());
        counts.sum()
    }

    /// Writes new entries to their file. They stay in memory, and a later call tries again, when that fails.
    ///
    /// # Errors
    ///
    /// I/O errors, [`IndexError::Poisoned`].
    pub fn write_back(&self) -> Result<(), IndexError> {
        let mut has_unsynced_names = self.has_unsynced_names.lock();
        self.check_poison()?;
        self.write_entries(&mut has_unsynced_names)
    }

    fn write_entries(&self, has_unsynced_names: &mut bool) -> Result<(), IndexError> {
        let files = self.files.read().clone();
        for file in files {
            file.write_entries(&*self.disk, has_unsynced_names)?;
        }
        Ok(())
    }

    /// Writes new entries and slots and makes all of it durable, and then the headers that count them.
    ///
    /// # Errors
    ///
    /// I/O errors. A sync that fails is final: see [`IndexError::Poisoned`].
    pub fn sync(&self) -> Result<(), IndexError> {
        let mut has_unsynced_names = self.has_unsynced_names.lock();
        self.check_poison()?;
        let covered = Covered {
            entered: self.entered(),
            last: self.end_physical(),
        };
        self.write_entries(&mut has_unsynced_names)?;
        let files = self.files.read().clone();
        let result = self.sync_files(&files, &mut has_unsynced_names);
        match &result {
            Ok(()) => *self.durable.lock() = covered,
            Err(error) if error.is_failed_sync() => {
                self.poison.get_or_init(|| error.to_string());
            }
            Err(_) => {}
        }
        result
    }

    fn sync_files(
        &self,
        files: &[Arc<IndexFile>],
        has_unsynced_names: &mut bool,
    ) -> Result<(), IndexError> {
        if *has_unsynced_names {
            self.disk
                .sync_directory(&self.folder)
                .during("sync the folder", &self.folder)?;
            *has_unsynced_names = false;
        }
        files
            .iter()
            .filter(|file| file.is_dirty())
            .try_for_each(|file| file.sync())
    }

    fn check_poison(&self) -> Result<(), IndexError> {
        match self.poison.get() {
            Some(reason) => Err(IndexError::Poisoned {
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Removes files whose messages all lie below `physical`, the first record of the log; never the last one.
    ///
    /// # Errors
    ///
    /// I/O errors; it can be called again.
    pub fn remove_below(&self, physical: PhysicalOffset) -> Result<(), IndexError> {
        let _disk_lock = self.has_unsynced_names.lock();
        loop {
            let first = {
                let files = self.files.read();
                let is_expired = |file: &Arc<IndexFile>| {
                    files.len() > 1 && file.header().end_physical < physical.as_i64()
                };
                files.first().filter(|file| is_expired(file)).cloned()
            };
            let Some(first) = first else {
                return Ok(());
            };
            self.remove_file(&first.path)?;
            self.files.write().remove(0);
        }
    }

    /// Forgets messages at or beyond `physical`, the end of the log after a crash, so that what comes there next is
    /// entered. Nobody may enter keys meanwhile.
    ///
    /// # Errors
    ///
    /// I/O errors; it can be called again.
    pub fn truncate(&self, physical: PhysicalOffset) -> Result<(), IndexError> {
        let mut has_unsynced_names = self.has_unsynced_names.lock();
        let physical = physical.as_i64();
        while let Some(last) = self.last() {
            let header = last.header();
            if header.end_physical < physical {
                break;
            }
            if header.begin_physical < physical {
                last.write_entries(&*self.disk, &mut has_unsynced_names)?;
                self.rebuild(&last, physical)?;
                break;
            }
            self.remove_file(&last.path)?;
            self.files.write().pop();
        }
        self.begin_at_end();
        Ok(())
    }
}
