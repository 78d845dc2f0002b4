//! Offsets that a broadcasting consumer keeps itself, in memory or in a file.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use castmq_protocol::model::QueueOffset;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::message::Queue;

/// What stands in the file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    group: String,
    offsets: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    topic: String,
    broker: String,
    queue: u32,
    offset: u64,
}

/// How far a broadcasting consumer is. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub(super) struct OffsetStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    group: String,
    path: Option<PathBuf>,
    offsets: Mutex<BTreeMap<Queue, QueueOffset>>,
    /// One writer at a time. Held on the thread that writes: whoever asked may have stopped waiting for it.
    saving: Mutex<()>,
}

impl OffsetStore {
    /// Reads the file, when there is one.
    ///
    /// # Errors
    ///
    /// When the file is there but cannot be read, or belongs to another group.
    pub(super) async fn open(group: &str, path: Option<PathBuf>) -> Result<Self> {
        let content = match &path {
            None => Content::default(),
            Some(path) => {
                let read = blocking(path.clone(), |path| read(&path)).await;
                read.map_err(|reason| error(path, &reason))?
            }
        };
        if let Some(path) = &path
            && !content.offsets.is_empty()
            && content.group != group
        {
            let reason = format!(
                "it belongs to group {}, not {group}: name another",
                content.group
            );
            return Err(error(path, &reason));
        }
        let entries = content.offsets.into_iter().map(|entry| {
            let queue = Queue::new(entry.topic, entry.broker, entry.queue);
            (queue, QueueOffset(entry.offset))
        });
        let inner = Inner {
            group: group.to_owned(),
            path,
            offsets: Mutex::new(entries.collect()),
            saving: Mutex::new(()),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    pub(super) fn get(&self, queue: &Queue) -> Option<QueueOffset> {
        self.inner.offsets.lock().get(queue).copied()
    }

    pub(super) fn set(&self, queue: Queue, offset: QueueOffset) {
        self.inner.offsets.lock().insert(queue, offset);
    }

    /// Writes the file, when there is one: the old content stays until the new one is whole.
    pub(super) async fn save(&self) -> Result<()> {
        let Some(path) = self.inner.path.clone() else {
            return Ok(());
        };
        let inner = self.inner.clone();
        let written = blocking(path.clone(), move |path| inner.write(&path)).await;
        written.map_err(|reason| error(&path, &reason))
    }
}

impl Inner {
    fn write(&self, path: &Path) -> io::Result<()> {
        let _turn = self.saving.lock();
        let entry = |(queue, offset): (&Queue, &QueueOffset)| Entry {
            topic: queue.topic.to_string(),
            broker: queue.broker.to_string(),
            queue: queue.id.0,
            offset: offset.0,
        };
        let content = Content {
            group: self.group.clone(),
            offsets: self.offsets.lock().iter().map(entry).collect(),
        };
        write(path, &content)
    }
}

fn error(path: &Path, reason: &impl std::fmt::Display) -> Error {
    Error::OffsetFile {
        path: path.display().to_string().into(),
        reason: reason.to_string().into(),
    }
}

async fn blocking<T: Send + 'static>(
    path: PathBuf,
    what: impl FnOnce(PathBuf) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(move || what(path)).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn read(path: &Path) -> io::Result<Content> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Content::default()),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, content: &Content) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    std::fs::write(&new, serde_json::to_vec_pretty(content)?)?;
    std::fs::File::open(&new)?.sync_all()?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn offsets_are_there_again_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/offsets.json");
        let queue = Queue::new("orders", "a", 3);
        let store = OffsetStore::open("g", Some(path.clone())).await.unwrap();
        assert_eq!(store.get(&queue), None);
        store.set(queue.clone(), QueueOffset(17));
        store.save().await.unwrap();
        store.set(queue.clone(), QueueOffset(18));
        store.save().await.unwrap();
        let again = OffsetStore::open("g", Some(path)).await.unwrap();
        assert_eq!(again.get(&queue), Some(QueueOffset(18)));
    }

    #[tokio::test]
    async fn a_file_that_is_damaged_or_anothers_is_an_error_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("offsets.json");
        std::fs::write(&path, "{").unwrap();
        let damaged = OffsetStore::open("g", Some(path.clone()))
            .await
            .unwrap_err();
        assert!(damaged.to_string().contains("offsets.json"), "{damaged}");
        std::fs::remove_file(&path).unwrap();
        let store = OffsetStore::open("g", Some(path.clone())).await.unwrap();
        store.set(Queue::new("t", "a", 0), QueueOffset(1));
        store.save().await.unwrap();
        let other = OffsetStore::open("h", Some(path)).await.unwrap_err();
        assert!(other.to_string().contains("belongs to group g"), "{other}");
    }

    #[tokio::test]
    async fn saves_that_nobody_waits_for_do_not_spoil_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("offsets.json");
        let store = OffsetStore::open("g", Some(path.clone())).await.unwrap();
        for round in 0..100 {
            for id in 0..100 {
                store.set(Queue::new("t", "a", id), QueueOffset(round));
            }
            // Begun, and given up.
            assert!(store.save().now_or_never().is_none());
        }
        store.save().await.unwrap();
        let again = OffsetStore::open("g", Some(path)).await.unwrap();
        for id in 0..100 {
            let found = again.get(&Queue::new("t", "a", id));
            assert_eq!(found, Some(QueueOffset(99)));
        }
    }

    #[tokio::test]
    async fn without_a_file_offsets_live_in_memory() {
        let store = OffsetStore::open("g", None).await.unwrap();
        store.set(Queue::new("t", "a", 0), QueueOffset(1));
        store.save().await.unwrap();
        assert_eq!(store.get(&Queue::new("t", "a", 0)), Some(QueueOffset(1)));
    }
}
