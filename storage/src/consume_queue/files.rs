//! The files of all queues: paths, a bounded number of open handles, the poison of a failed sync.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;

use castmq_protocol::model::{QueueId, TopicName};
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::error::{ConsumeQueueError, During};
use super::unit::UNIT;
use crate::disk::{Disk, DiskFile, Wait};

/// How far units may be written beyond what is synced, at the least.
const MIN_UNSYNCED_BYTES: u64 = 32 * 1024;

/// How far units may be written beyond what is synced, given the position in their file up to which they are.
///
/// A power cut leaves any part of what is not synced, so that valid units can follow holes. This bound says where to
/// look for them. It grows with the file, so that a busy queue syncs rarely and an idle one is searched quickly.
pub(super) fn unsynced_limit(position: u64) -> u64 {
    (position / 4).max(MIN_UNSYNCED_BYTES) / UNIT * UNIT
}

/// One file of one queue: the queue's number in this process, and which of its files.
pub(super) type FileKey = (u64, u64);

/// What all queues of a store share about files.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) disk: Arc<dyn Disk>,
    root: PathBuf,
    file_bytes: u64,
    open: Mutex<OpenFiles>,
    poison: OnceLock<String>,
}

/// Files that stay open: a file takes a descriptor of the process, a queue may be one of a million. When there is no room, the
/// first goes that was not used since the hand came by.
#[derive(Debug)]
struct OpenFiles {
    most: usize,
    places: HashMap<FileKey, usize>,
    kept: Vec<Kept>,
    hand: usize,
}

#[derive(Debug)]
struct Kept {
    key: FileKey,
    file: Arc<dyn DiskFile>,
    is_used: bool,
}

impl Files {
    pub(super) fn new(disk: Arc<dyn Disk>, root: PathBuf, file_bytes: u64) -> Self {
        let most = disk.max_open_files().max(1);
        Self {
            disk,
            root,
            file_bytes,
            open: Mutex::new(OpenFiles::new(most)),
            poison: OnceLock::new(),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    pub(super) fn units_per_file(&self) -> u64 {
        self.file_bytes / UNIT
    }

    pub(super) fn topic_folder(&self, topic: &TopicName) -> PathBuf {
        self.root.join(topic.as_str())
    }

    pub(super) fn queue_folder(&self, topic: &TopicName, queue: QueueId) -> PathBuf {
        self.topic_folder(topic).join(queue.to_string())
    }

    /// RocketMQ names a file by the position of its first byte in the queue, with 20 digits.
    pub(super) fn file_name(&self, number: u64) -> String {
        format!("{:020}", number * self.file_bytes)
    }

    /// The number of the file with this name; `None` when it is not one of the queue's.
    pub(super) fn file_number(&self, name: &str) -> Option<u64> {
        if name.len() != 20 || !name.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let position: u64 = name.parse().ok()?;
        position
            .is_multiple_of(self.file_bytes)
            .then_some(position / self.file_bytes)
    }

    /// An open handle of a file, from memory if there is one.
    pub(super) fn handle(
        &self,
        key: FileKey,
        path: impl FnOnce() -> PathBuf,
    ) -> Result<Arc<dyn DiskFile>, ConsumeQueueError> {
        if let Some(file) = self.open.lock().touch(key) {
            return Ok(file);
        }
        let path = path();
        let file = self.disk.open(&path).during("open", &path)?;
        self.open.lock().keep(key, file.clone());
        Ok(file)
    }

    /// Makes a file of zeros. Whatever has its name belongs to no queue: a crash left it.
    pub(super) fn create(
        &self,
        key: FileKey,
        path: &Path,
    ) -> Result<Arc<dyn DiskFile>, ConsumeQueueError> {
        let create = || self.disk.create(path, self.file_bytes);
        let file = match create() {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.disk.remove(path).during("remove", path)?;
                create()
            }
            result => result,
        };
        let file = file.during("create", path)?;
        self.open.lock().keep(key, file.clone());
        Ok(file)
    }

    /// Closes the files of a queue.
    pub(super) fn forget(&self, queue_number: u64) {
        let mut open = self.open.lock();
        let keys = open.kept.iter().map(|kept| kept.key);
        let its: Vec<_> = keys.filter(|(queue, _)| *queue == queue_number).collect();
        its.into_iter().for_each(|key| open.remove(key));
    }

    /// Removes a file. It does not matter when it is gone already.
    pub(super) fn remove(&self, key: FileKey, path: &Path) -> Result<(), ConsumeQueueError> {
        self.open.lock().remove(key);
        match self.disk.remove(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result.during("remove", path),
        }
    }

    /// Fails once a sync has failed.
    pub(super) fn check_poison(&self) -> Result<(), ConsumeQueueError> {
        match self.poison.get() {
            Some(reason) => Err(ConsumeQueueError::Poisoned {
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Passes on the result of a sync. After a failure the kernel forgets which pages it could not write, so that no
    /// later sync means anything.
    pub(super) fn poison_on_error<T>(
        &self,
        result: Result<T, ConsumeQueueError>,
    ) -> Result<T, ConsumeQueueError> {
        result.inspect_err(|error| {
            self.poison.get_or_init(|| error.to_string());
        })
    }

    pub(super) fn sync_directory(&self, folder: &Path) -> Result<(), ConsumeQueueError> {
        let result = self.disk.sync_directory(folder);
        self.poison_on_error(result.during("sync the folder", folder))
    }
}

impl OpenFiles {
    fn new(most: usize) -> Self {
        Self {
            most,
            places: HashMap::new(),
            kept: Vec::new(),
            hand: 0,
        }
    }

    fn touch(&mut self, key: FileKey) -> Option<Arc<dyn DiskFile>> {
        let kept = self.kept.get_mut(*self.places.get(&key)?)?;
        kept.is_used = true;
        Some(kept.file.clone())
    }

    fn keep(&mut self, key: FileKey, file: Arc<dyn DiskFile>) {
        self.remove(key);
        let kept = Kept {
            key,
            file,
            is_used: false,
        };
        if self.kept.len() < self.most {
            self.places.insert(key, self.kept.len());
            self.kept.push(kept);
            return;
        }
        loop {
            self.hand = (self.hand + 1) % self.kept.len();
            let oldest = &mut self.kept[self.hand];
            if !std::mem::take(&mut oldest.is_used) {
                self.places.remove(&oldest.key);
                self.places.insert(key, self.hand);
                *oldest = kept;
                return;
            }
        }
    }

    fn remove(&mut self, key: FileKey) {
        let Some(place) = self.places.remove(&key) else {
            return;
        };
        self.kept.swap_remove(place);
        if let Some(moved) = self.kept.get(place) {
            self.places.insert(moved.key, place);
        }
    }
}

/// Reads exactly these bytes.
pub(super) fn read_exactly(
    file: &dyn DiskFile,
    path: impl FnOnce() -> PathBuf,
    buffer: &mut [u8],
    at: u64,
    wait: Wait,
) -> Result<(), ConsumeQueueError> {
    let result = match file.read_at(buffer, at, wait) {
        Ok(read) if read == buffer.len() => return Ok(()),
        Ok(_) => Err(ErrorKind::UnexpectedEof.into()),
        Err(error) => Err(error),
    };
    result.during("read", &path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::fault::FaultDisk;

    fn files() -> Files {
        Files::new(Arc::new(FaultDisk::new()), PathBuf::from("/q"), 40)
    }

    #[test]
    fn names_have_20_digits_and_whole_files() {
        let files = files();
        assert_eq!(files.file_name(3), "00000000000000000120");
        assert_eq!(files.file_number("00000000000000000120"), Some(3));
        for other in ["00000000000000000121", "120", "+0000000000000000120", ""] {
            assert_eq!(files.file_number(other), None);
        }
    }

    #[test]
    fn the_files_used_last_stay_open() {
        let files = files();
        let path = PathBuf::from("/f");
        files.create((0, 0), &path).unwrap();
        let most = FaultDisk::new().max_open_files() as u64;
        for number in 1..most + 10 {
            files.handle((0, 0), || unreachable!("it is open")).unwrap();
            files.handle((0, number), || path.clone()).unwrap();
        }
        assert_eq!(files.open.lock().kept.len() as u64, most);
        let is_open = |key| files.open.lock().touch(key).is_some();
        assert!(is_open((0, most + 9)), "the last");
        assert!(!is_open((0, 1)), "the first but for the one that is used");
    }

    #[test]
    fn files_that_are_forgotten_make_room_and_leave_the_others_open() {
        let files = files();
        let path = PathBuf::from("/f");
        files.create((0, 0), &path).unwrap();
        let keys = (0..4).flat_map(|queue| (0..3).map(move |number| (queue, number)));
        for key in keys.clone() {
            files.handle(key, || path.clone()).unwrap();
        }
        files.forget(1);
        files.remove((3, 1), &PathBuf::from("/none")).unwrap();
        for key in keys {
            let is_open = files.open.lock().touch(key).is_some();
            assert_eq!(is_open, key.0 != 1 && key != (3, 1), "{key:?}");
        }
        assert_eq!(files.open.lock().kept.len(), 8);
    }

    #[test]
    fn a_busy_queue_may_run_further_ahead_of_its_syncs() {
        assert_eq!(unsynced_limit(0), 32_760);
        assert_eq!(unsynced_limit(4_000_000), 1_000_000);
    }
}
