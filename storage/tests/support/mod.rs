//! What tests of a store begin with: its options, and records for its log.

// Each test uses a part of it.
#![allow(dead_code, unreachable_pub)]
// A failed step fails the test.
#![allow(clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset};
use castmq_protocol::record::Record;
use castmq_storage::disk::Disk;
use castmq_storage::disk::fault::FaultDisk;
use castmq_storage::store::{OpenReport, Store, StoreOptions};
use tempfile::TempDir;

/// A small store that nobody else could use, without a key index.
pub(crate) fn options(root: &Path, metadata: PathBuf) -> StoreOptions {
    StoreOptions {
        root: root.to_owned(),
        metadata,
        takes_lock: false,
        commit_log: root.join("commitlog"),
        consume_queues: root.join("consumequeue"),
        index: root.join("index"),
        segment_bytes: 8192,
        consume_queue_file_bytes: 1000,
        has_index: false,
        index_slots: 10,
        index_entries: 100,
        ring_bytes: 0,
        spare_segments: 0,
        metadata_cache_bytes: 1 << 20,
        delays: Default::default(),
        producers: Default::default(),
        verify_bodies: true,
        is_sync_flush: false,
        repair: false,
    }
}

/// A store with a key index, which can be opened again and again.
pub(crate) struct Life {
    folder: TempDir,
    pub(crate) disk: Arc<dyn Disk>,
}

impl Life {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            disk: Arc::new(FaultDisk::new()),
        }
    }

    pub(crate) fn options(&self) -> StoreOptions {
        StoreOptions {
            segment_bytes: 1 << 16,
            has_index: true,
            ..options(Path::new("/store"), self.folder.path().join("metadata"))
        }
    }

    pub(crate) fn open(&self) -> Store {
        self.open_with_report().0
    }

    pub(crate) fn open_with_report(&self) -> (Store, OpenReport) {
        Store::open(self.disk.clone(), self.options()).expect("the store opens")
    }
}

/// A message that has no place yet.
pub(crate) fn message<'a>(
    topic: &'a str,
    queue: QueueId,
    offset: u64,
    body: &'a [u8],
) -> Record<'a> {
    Record {
        topic,
        queue,
        queue_offset: QueueOffset(offset),
        physical_offset: PhysicalOffset::ZERO,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 1,
        born_host: ([127, 0, 0, 1], 1).into(),
        store_timestamp_ms: 1000,
        store_host: ([127, 0, 0, 1], 2).into(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        body_crc: None,
        properties: b"",
    }
}
