//! `config/*.json`, as RocketMQ reads and writes it (`ConfigManager`): a file that is missing, empty or torn counts as its
//! `.bak`, and what was there becomes the `.bak` when it is written.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use castmq_protocol::remoting::bodies::group::GroupTable;
use castmq_protocol::remoting::bodies::offset::{ConsumerOffsets, DelayOffsets};
use castmq_protocol::remoting::bodies::topic::TopicTable;
use castmq_protocol::remoting::json;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::TakeoverError;
use crate::disk::{Disk, Wait};

pub(super) const FOLDER: &str = "config";
pub(super) const TOPICS: &str = "topics.json";
pub(super) const GROUPS: &str = "subscriptionGroup.json";
pub(super) const OFFSETS: &str = "consumerOffset.json";
pub(super) const DELAYS: &str = "delayOffset.json";

/// Tells files that are these from others.
pub(super) type Digest = [u8; 12];

/// What the files say.
#[derive(Debug, Clone, Default)]
pub struct ConfigFiles {
    /// Where they are.
    pub folder: PathBuf,
    /// Topics.
    pub topics: TopicTable,
    /// Consumer groups.
    pub groups: GroupTable,
    /// How far groups are.
    pub offsets: ConsumerOffsets,
    /// How far delayed messages are moved.
    pub delays: DelayOffsets,
    pub(super) hasher: crc32fast::Hasher,
    pub(super) bytes: u64,
}

impl ConfigFiles {
    /// Reads them; `None` when none of them is there.
    ///
    /// # Errors
    ///
    /// I/O errors, and a file that cannot be read when its backup cannot either.
    pub fn read(disk: &dyn Disk, root: &Path) -> Result<Option<Self>, TakeoverError> {
        let mut files = Self {
            folder: root.join(FOLDER),
            ..Self::default()
        };
        let topics = files.take(disk, TOPICS)?;
        let groups = files.take(disk, GROUPS)?;
        let offsets = files.take(disk, OFFSETS)?;
        let delays = files.take(disk, DELAYS)?;
        let is_any = topics.is_some() || groups.is_some() || offsets.is_some();
        files.topics = topics.unwrap_or_default();
        files.groups = groups.unwrap_or_default();
        files.offsets = offsets.unwrap_or_default();
        files.delays = delays.unwrap_or_default();
        Ok(is_any.then_some(files))
    }

    pub(super) fn digest(&self) -> Digest {
        let mut digest = [0; 12];
        let (sum, bytes) = digest.split_at_mut(4);
        sum.copy_from_slice(&self.hasher.clone().finalize().to_be_bytes());
        bytes.copy_from_slice(&self.bytes.to_be_bytes());
        digest
    }

    fn take<T: DeserializeOwned>(
        &mut self,
        disk: &dyn Disk,
        name: &str,
    ) -> Result<Option<T>, TakeoverError> {
        let Some((text, value)) = read_json(disk, &self.folder.join(name))? else {
            return Ok(None);
        };
        self.note(name, &text);
        Ok(Some(value))
    }

    fn note(&mut self, name: &str, text: &[u8]) {
        self.hasher.update(name.as_bytes());
        self.hasher.update(&(text.len() as u64).to_be_bytes());
        self.hasher.update(text);
        self.bytes += text.len() as u64;
    }

    /// Writes all of them durably, each with what was there before as its backup.
    ///
    /// # Errors
    ///
    /// I/O errors; files before the one that failed are written.
    pub fn write(&self, disk: &dyn Disk) -> Result<(), TakeoverError> {
        let made = disk.create_directory_durably(&self.folder);
        made.map_err(TakeoverError::io("create the folder", &self.folder))?;
        let texts = [
            (TOPICS, text_of(&self.topics)),
            (GROUPS, text_of(&self.groups)),
            (OFFSETS, text_of(&self.offsets)),
            (DELAYS, text_of(&self.delays)),
        ];
        for (name, text) in texts {
            write_json(disk, &self.folder.join(name), &text)?;
        }
        Ok(())
    }
}

fn text_of(table: &impl Serialize) -> Vec<u8> {
    json::to_bytes(table).to_vec()
}

fn backup(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".bak");
    PathBuf::from(name)
}

/// A file's text and what it says, or its backup's.
pub(super) fn read_json<T: DeserializeOwned>(
    disk: &dyn Disk,
    path: &Path,
) -> Result<Option<(Vec<u8>, T)>, TakeoverError> {
    let mut wrong = None;
    for path in [path.to_owned(), backup(path)] {
        let Some(text) = read(disk, &path)?.filter(|text| !text.trim_ascii().is_empty()) else {
            continue;
        };
        match json::from_slice(&text) {
            Ok(value) => return Ok(Some((text, value))),
            Err(source) => {
                tracing::warn!(path = %path.display(), %source, "a file of RocketMQ's is torn");
                wrong.get_or_insert(source);
            }
        }
    }
    match wrong {
        None => Ok(None),
        Some(source) => Err(TakeoverError::Unreadable {
            path: path.to_owned(),
            source,
        }),
    }
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, TakeoverError> {
    let file = match disk.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(TakeoverError::io("open", path))?,
    };
    let bytes = file.bytes().map_err(TakeoverError::io("measure", path))?;
    let mut text = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    let read = file.read_at(&mut text, 0, Wait::ForDisk);
    let read = read.map_err(TakeoverError::io("read", path))?;
    text.truncate(read);
    Ok(Some(text))
}

/// Under another name first, so that no moment is without a whole file or a whole backup.
fn write_json(disk: &dyn Disk, path: &Path, text: &[u8]) -> Result<(), TakeoverError> {
    let new = path.with_extension("json.new");
    match disk.remove(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(TakeoverError::io("remove", &new)(error));
        }
        _ => {}
    }
    let file = disk.create(&new, 0);
    let file = file.map_err(TakeoverError::io("create", &new))?;
    let written = file.write_at(text, 0).and_then(|()| file.sync());
    written.map_err(TakeoverError::io("write", &new))?;
    let folder = path.parent().unwrap_or(path);
    // An empty or torn file is no backup, and the one that is there may be all there is.
    let is_whole =
        read(disk, path)?.is_some_and(|text| json::from_slice::<IgnoredAny>(&text).is_ok());
    if is_whole {
        let kept = disk.rename(path, &backup(path));
        kept.map_err(TakeoverError::io("keep a backup of", path))?;
    }
    let named = disk
        .rename(&new, path)
        .and_then(|()| disk.sync_directory(folder));
    named.map_err(TakeoverError::io("write", path))
}
