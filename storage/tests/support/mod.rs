//! What tests of a store begin with: its options, and records for its log.

// Each test uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::path::{Path, PathBuf};

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset};
use castmq_protocol::record::{Record, body_crc};
use castmq_storage::store::StoreOptions;

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
        metadata_cache_bytes: 1 << 20,
        delays: Default::default(),
        producers: Default::default(),
        verify_bodies: true,
        is_sync_flush: false,
        repair: false,
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
        body_crc: body_crc(body),
        properties: b"",
    }
}
