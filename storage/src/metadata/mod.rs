//! Topics, consumer groups, consumer offsets and key-values, in sled.
//!
//! There is one writer. Topics, groups and key-values are durable when [`Metadata::sync`] has returned; offsets are
//! written every few seconds and survive the end of the process from [`Metadata::flush`] on.

mod error;
mod keys;
mod leftovers;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::{Decode, Encode};
use castmq_protocol::model::{
    GroupConfig, GroupName, QueueId, QueueOffset, TopicConfig, TopicName,
};
use sled::transaction::{TransactionError, Transactional};
use sled::{Batch, Db, IVec, Tree};

pub use error::MetadataError;

use self::error::during;
use self::keys::{decode_offset_key, decode_u64, encode_offset_key, value_key};
use crate::deletion::Deletion;

/// The layout of keys and values. A store with a greater one was written by a later release.
pub const SCHEMA_VERSION: u32 = 1;

/// A value that claims more is damaged.
const MAX_VALUE_BYTES: usize = 1024 * 1024;

/// How often a locked database is tried again.
const LOCKED_TRIES: u32 = 20;
const LOCKED_PAUSE: Duration = Duration::from_millis(10);

const SCHEMA_KEY: &[u8] = b"schema_version";

type Config = Configuration<LittleEndian, Fixint, Limit<MAX_VALUE_BYTES>>;

const CONFIG: Config = bincode::config::standard()
    .with_little_endian()
    .with_fixed_int_encoding()
    .with_limit::<MAX_VALUE_BYTES>();

/// A group's offset in a queue.
pub type StoredOffset = (GroupName, (TopicName, QueueId), QueueOffset);

/// A key-value: namespace, key, value.
pub(crate) type Value = (&'static str, String, Vec<u8>);

/// All that comes from elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) topics: Vec<(TopicName, TopicConfig)>,
    pub(crate) groups: Vec<(GroupName, GroupConfig)>,
    pub(crate) offsets: Vec<StoredOffset>,
    /// Namespaces that hold nothing else afterwards than what is among the key-values.
    pub(crate) emptied: Vec<&'static str>,
    pub(crate) values: Vec<Value>,
}

/// The metadata of a store.
#[derive(Debug)]
pub struct Metadata {
    path: PathBuf,
    db: Db,
    topics: Tree,
    groups: Tree,
    offsets: Tree,
    values: Tree,
    deletions: Tree,
}

impl Metadata {
    /// Opens the metadata in a folder, which is made when it is missing. sled keeps up to `cache_bytes` in memory.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Self, MetadataError> {
        let wrap = |source| MetadataError::Sled {
            action: "open",
            path: path.to_owned(),
            source,
        };
        leftovers::remove(path)?;
        // Nothing is written by itself: what is durable when is said by whoever writes.
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(cache_bytes)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(None);
        let db = open_soon(&config).map_err(wrap)?;
        let tree = |name: &str| db.open_tree(name).map_err(wrap);
        let metadata = Self {
            path: path.to_owned(),
            topics: tree("topics")?,
            groups: tree("groups")?,
            offsets: tree("offsets")?,
            values: tree("values")?,
            deletions: tree("deletions")?,
            db,
        };
        metadata.check_schema()?;
        Ok(metadata)
    }

    fn check_schema(&self) -> Result<(), MetadataError> {
        let stored = self.db.get(SCHEMA_KEY).map_err(|e| self.error("read", e))?;
        let Some(stored) = stored else {
            self.db
                .insert(SCHEMA_KEY, &SCHEMA_VERSION.to_be_bytes())
                .map_err(|e| self.error("write", e))?;
            return Ok(());
        };
        let found = <[u8; 4]>::try_from(&*stored)
            .map(u32::from_be_bytes)
            .map_err(|_| self.damaged(SCHEMA_KEY, "a version has 4 bytes"))?;
        if found > SCHEMA_VERSION {
            return Err(MetadataError::NewerSchema {
                path: self.path.clone(),
                found,
                known: SCHEMA_VERSION,
            });
        }
        Ok(())
    }

    /// All topics.
    pub fn topics(&self) -> Result<Vec<(TopicName, TopicConfig)>, MetadataError> {
        self.all(&self.topics, |name| TopicName::new(name).ok())
    }

    /// All consumer groups.
    pub fn groups(&self) -> Result<Vec<(GroupName, GroupConfig)>, MetadataError> {
        self.all(&self.groups, |name| GroupName::new(name).ok())
    }

    /// Writes a topic.
    pub fn put_topic(&self, name: &TopicName, config: &TopicConfig) -> Result<(), MetadataError> {
        self.put(&self.topics, name.as_str(), config)
    }

    /// Removes a topic with all consumer offsets in it, and keeps where its queues go on. All of it happens or nothing.
    pub fn delete_topic(&self, name: &TopicName, kept: &Deletion) -> Result<(), MetadataError> {
        let offsets = self.offset_keys(|_, topic| topic == name)?;
        let trees = (&self.topics, &self.offsets, &self.deletions);
        let deleted = trees.transaction(|(topics, all_offsets, deletions)| {
            topics.remove(name.as_str())?;
            for key in &offsets {
                all_offsets.remove(key)?;
            }
            deletions.insert(name.as_str(), kept.encode())?;
            Ok(())
        });
        self.done(deleted)
    }

    /// What is kept of deleted topics, those that were made again among them.
    pub fn deletions(&self) -> Result<Vec<(TopicName, Deletion)>, MetadataError> {
        self.deletions
            .iter()
            .map(|entry| {
                let (key, value) = entry.map_err(|e| self.error("read", e))?;
                let name = std::str::from_utf8(&key).ok();
                let name = name.and_then(|name| TopicName::new(name).ok());
                let found = name.zip(Deletion::decode(&value));
                found.ok_or_else(|| self.damaged(&key, "it is no deletion"))
            })
            .collect()
    }

    /// Writes what is kept of a deleted topic, or removes it.
    pub fn put_deletion(
        &self,
        name: &TopicName,
        kept: Option<&Deletion>,
    ) -> Result<(), MetadataError> {
        let Some(kept) = kept else {
            return self.remove(&self.deletions, name.as_str().as_bytes());
        };
        let written = self.deletions.insert(name.as_str(), kept.encode());
        written.map(drop).map_err(|e| self.error("write", e))
    }

    /// Writes a consumer group.
    pub fn put_group(&self, name: &GroupName, config: &GroupConfig) -> Result<(), MetadataError> {
        self.put(&self.groups, name.as_str(), config)
    }

    /// Removes a consumer group with its offsets. All of it happens or nothing.
    pub fn delete_group(&self, name: &GroupName) -> Result<(), MetadataError> {
        let offsets = self.offset_keys(|group, _| group == name)?;
        let trees = (&self.groups, &self.offsets);
        let deleted = trees.transaction(|(groups, all_offsets)| {
            groups.remove(name.as_str())?;
            for key in &offsets {
                all_offsets.remove(key)?;
            }
            Ok(())
        });
        self.done(deleted)
    }

    /// The keys of those consumer offsets.
    fn offset_keys(
        &self,
        are_meant: impl Fn(&GroupName, &TopicName) -> bool,
    ) -> Result<Vec<IVec>, MetadataError> {
        let mut keys = Vec::new();
        for entry in self.offsets.iter().keys() {
            let key = entry.map_err(|e| self.error("read", e))?;
            if decode_offset_key(&key).is_some_and(|(group, (topic, _))| are_meant(&group, &topic))
            {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    fn done(&self, result: Result<(), TransactionError<()>>) -> Result<(), MetadataError> {
        result.map_err(|error| match error {
            TransactionError::Storage(error) => self.error("write", error),
            TransactionError::Abort(()) => self.damaged(b"", "nobody gave up"),
        })
    }

    /// All consumer offsets.
    pub fn offsets(&self) -> Result<Vec<StoredOffset>, MetadataError> {
        self.offsets
            .iter()
            .map(|entry| {
                let (key, value) = entry.map_err(|e| self.error("read", e))?;
                let decoded = decode_offset_key(&key).zip(decode_u64(&value));
                let ((group, queue), offset) =
                    decoded.ok_or_else(|| self.damaged(&key, "it is no consumer offset"))?;
                Ok((group, queue, QueueOffset(offset)))
            })
            .collect()
    }

    /// Writes a consumer offset, or removes it.
    pub fn put_offset(
        &self,
        group: &GroupName,
        topic: &TopicName,
        queue: QueueId,
        offset: Option<QueueOffset>,
    ) -> Result<(), MetadataError> {
        let key = encode_offset_key(group, topic, queue);
        match offset {
            None => self.remove(&self.offsets, &key),
            Some(offset) => {
                let written = self.offsets.insert(key, &offset.0.to_be_bytes());
                written.map(drop).map_err(|e| self.error("write", e))
            }
        }
    }

    /// A key-value.
    pub fn value(&self, namespace: &str, key: &str) -> Result<Option<Vec<u8>>, MetadataError> {
        let found = self.values.get(value_key(namespace, key));
        let found = found.map_err(|e| self.error("read", e))?;
        Ok(found.map(|value| value.to_vec()))
    }

    /// Key-values of a namespace.
    pub fn values(&self, namespace: &str) -> Result<Vec<(String, Vec<u8>)>, MetadataError> {
        let prefix = value_key(namespace, "");
        self.values
            .scan_prefix(&prefix)
            .map(|entry| {
                let (key, value) = entry.map_err(|e| self.error("read", e))?;
                let name = key.get(prefix.len()..).unwrap_or_default();
                let name = std::str::from_utf8(name)
                    .map_err(|_| self.damaged(&key, "the key is not UTF-8"))?;
                Ok((name.to_owned(), value.to_vec()))
            })
            .collect()
    }

    /// Writes a key-value.
    pub fn put_value(&self, namespace: &str, key: &str, value: &[u8]) -> Result<(), MetadataError> {
        let written = self.values.insert(value_key(namespace, key), value);
        written.map(drop).map_err(|e| self.error("write", e))
    }

    /// Removes a key-value.
    pub fn remove_value(&self, namespace: &str, key: &str) -> Result<(), MetadataError> {
        self.remove(&self.values, &value_key(namespace, key))
    }

    /// Puts other topics, groups and offsets in the place of all there are, and writes key-values. All of it happens or nothing.
    pub(crate) fn replace(&self, tables: &Tables) -> Result<(), MetadataError> {
        let mut topics = self.removal(self.topics.iter().keys())?;
        for (name, config) in &tables.topics {
            topics.insert(name.as_str(), self.encode(name.as_str(), config)?);
        }
        let mut groups = self.removal(self.groups.iter().keys())?;
        for (name, config) in &tables.groups {
            groups.insert(name.as_str(), self.encode(name.as_str(), config)?);
        }
        let mut offsets = self.removal(self.offsets.iter().keys())?;
        for (group, (topic, queue), offset) in &tables.offsets {
            let key = encode_offset_key(group, topic, *queue);
            offsets.insert(key, &offset.0.to_be_bytes());
        }
        let emptied = tables.emptied.iter();
        let emptied = emptied.flat_map(|name| self.values.scan_prefix(value_key(name, "")).keys());
        let mut values = self.removal(emptied)?;
        for (namespace, key, value) in &tables.values {
            values.insert(value_key(namespace, key), value.as_slice());
        }
        let trees = (&self.topics, &self.groups, &self.offsets, &self.values);
        let replaced = trees.transaction(|(all_topics, all_groups, all_offsets, all_values)| {
            all_topics.apply_batch(&topics)?;
            all_groups.apply_batch(&groups)?;
            all_offsets.apply_batch(&offsets)?;
            all_values.apply_batch(&values)?;
            Ok(())
        });
        self.done(replaced)
    }

    fn removal(
        &self,
        keys: impl Iterator<Item = sled::Result<IVec>>,
    ) -> Result<Batch, MetadataError> {
        let mut batch = Batch::default();
        for key in keys {
            batch.remove(key.map_err(|e| self.error("read", e))?);
        }
        Ok(batch)
    }

    /// Hands everything written to the operating system: it survives the end of the process. Blocks.
    pub fn flush(&self) -> Result<(), MetadataError> {
        self.db
            .flush()
            .map(drop)
            .map_err(|e| self.error("flush", e))
    }

    /// Makes everything written durable: it survives a power cut. Blocks.
    ///
    /// sled's own flush ends with `sync_file_range`, which does not reach the device's cache, so its files are synced
    /// behind it.
    pub fn sync(&self) -> Result<(), MetadataError> {
        self.flush()?;
        sync_all_in(&self.path)
    }

    fn all<N, C: Decode<()>>(
        &self,
        tree: &Tree,
        name: impl Fn(&str) -> Option<N>,
    ) -> Result<Vec<(N, C)>, MetadataError> {
        tree.iter()
            .map(|entry| {
                let (key, value) = entry.map_err(|e| self.error("read", e))?;
                let name = std::str::from_utf8(&key).ok().and_then(&name);
                let name = name.ok_or_else(|| self.damaged(&key, "the key is no name"))?;
                let (config, bytes) = bincode::decode_from_slice(&value, CONFIG)
                    .map_err(|error| self.damaged(&key, &error.to_string()))?;
                if bytes != value.len() {
                    return Err(self.damaged(&key, "the value is too long"));
                }
                Ok((name, config))
            })
            .collect()
    }

    fn put(&self, tree: &Tree, name: &str, config: &impl Encode) -> Result<(), MetadataError> {
        let written = tree.insert(name, self.encode(name, config)?);
        written.map(drop).map_err(|e| self.error("write", e))
    }

    fn encode(&self, name: &str, config: &impl Encode) -> Result<Vec<u8>, MetadataError> {
        let encoded = bincode::encode_to_vec(config, CONFIG);
        encoded.map_err(|error| self.damaged(name.as_bytes(), &error.to_string()))
    }

    fn remove(&self, tree: &Tree, key: &[u8]) -> Result<(), MetadataError> {
        tree.remove(key)
            .map(drop)
            .map_err(|e| self.error("remove from", e))
    }

    fn error(&self, action: &'static str, source: sled::Error) -> MetadataError {
        MetadataError::Sled {
            action,
            path: self.path.clone(),
            source,
        }
    }

    pub(crate) fn damaged(&self, key: &[u8], reason: &str) -> MetadataError {
        MetadataError::Damaged {
            path: self.path.clone(),
            key: String::from_utf8_lossy(key).into_owned(),
            reason: reason.to_owned(),
        }
    }
}

/// Opens a database. One that this process has just closed may be locked for another moment, until sled's threads are
/// done with it; other processes have been kept out before.
fn open_soon(config: &sled::Config) -> sled::Result<Db> {
    for _ in 0..LOCKED_TRIES {
        match config.open() {
            Err(sled::Error::Io(error)) if is_locked(&error) => thread::sleep(LOCKED_PAUSE),
            opened => return opened,
        }
    }
    config.open()
}

fn is_locked(error: &io::Error) -> bool {
    // sled wraps the system's error into one that has only its text.
    error.kind() == ErrorKind::WouldBlock || error.to_string().contains("could not acquire lock")
}

/// Syncs the files of a folder, those of the folders in it, and their names.
fn sync_all_in(folder: &Path) -> Result<(), MetadataError> {
    for entry in fs::read_dir(folder).map_err(during("list", folder))? {
        let path = entry.map_err(during("list", folder))?.path();
        if path.is_dir() {
            sync_all_in(&path)?;
            continue;
        }
        match File::open(&path).and_then(|file| file.sync_data()) {
            // sled replaces its snapshots at any time; their successors are synced when they are needed.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            synced => synced.map_err(during("sync", &path))?,
        }
    }
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(during("sync", folder))
}
