//! `[store]`

use std::path::PathBuf;

use crate::declare::{choices, section};
use crate::key::{Effect, Rule, Unit};

choices!(
    /// When an acknowledged message is on disk.
    Flush {
        /// Soon after: what the last moments brought is lost when the machine (not the process) dies.
        Async = "async", "ASYNC_FLUSH";
        /// Before it is acknowledged.
        Sync = "sync", "SYNC_FLUSH";
    }
);

section!(
    /// Folders, file sizes and flushing.
    StoreSettings in store {
        /// Folder of the store. RocketMQ's default is `$HOME/store`.
        data_dir: PathBuf = PathBuf::from("./castmq-data"), Rule::path().rocketmq(&["storePathRootDir"]);
        /// Folder of the commit log. Unset: `commitlog` in `store.data_dir`.
        commit_log_dir: Option<PathBuf> = None, Rule::path().optional().rocketmq(&["storePathCommitLog"]);
        /// Folder of the consume queues. Unset: `consumequeue` in `store.data_dir`.
        consume_queue_dir: Option<PathBuf> = None, Rule::path().optional().rocketmq(&["storePathConsumeQueue"]);
        /// Folder of the key index. Unset: `index` in `store.data_dir`.
        index_dir: Option<PathBuf> = None, Rule::path().optional().rocketmq(&["storePathIndex"]);
        /// Size of one commit log file. A store opens only with the size it was written with. RocketMQ keeps it in 31 bits.
        commit_log_segment_bytes: u64 = 1_073_741_824, Rule::integer(Unit::Bytes, 4_096, i32::MAX as i64).effect(Effect::NewStore).rocketmq(&["mappedFileSizeCommitLog", "mapedFileSizeCommitLog"]);
        /// Size of one consume queue file; a message takes 20 bytes. RocketMQ rounds other sizes up to the next multiple.
        consume_queue_file_bytes: u64 = 6_000_000, Rule::integer(Unit::Bytes, 20, 2_147_483_640).step(20).effect(Effect::NewStore).rocketmq(&["mappedFileSizeConsumeQueue", "mapedFileSizeConsumeQueue"]).rocketmq_rounds_up();
        /// Whether messages can be found by key and unique id.
        index_enabled: bool = true, Rule::switch().rocketmq(&["messageIndexEnable"]);
        /// Hash slots of one index file; a slot takes 4 bytes.
        index_hash_slots: u32 = 5_000_000, Rule::integer(Unit::Count, 1, 500_000_000).effect(Effect::NewStore).rocketmq(&["maxHashSlotNum"]);
        /// Entries of one index file; an entry takes 20 bytes and the first is never used.
        index_max_entries: u32 = 20_000_000, Rule::integer(Unit::Count, 2, 100_000_000).effect(Effect::NewStore).rocketmq(&["maxIndexNum"]);
        /// Whether a message is on disk before it is acknowledged.
        flush: Flush = Flush::Async, Rule::choice(Flush::CHOICES).rocketmq(&["flushDiskType"]);
        /// With `store.flush` async: time between two flushes of the commit log; it is flushed sooner when 128 MiB wait.
        flush_interval_ms: u64 = 500, Rule::integer(Unit::Milliseconds, 1, 60_000).rocketmq(&["flushIntervalCommitLog"]);
        /// With `store.flush` async: pages that must be dirty for a flush to be worth it; 0 for none.
        flush_least_pages: u32 = 4, Rule::integer(Unit::Pages, 0, 65_536).rocketmq(&["flushCommitLogLeastPages"]);
        /// With `store.flush` async: time after which the commit log is flushed however little is dirty.
        flush_thorough_interval_ms: u64 = 10_000, Rule::integer(Unit::Milliseconds, 1, 3_600_000).rocketmq(&["flushCommitLogThoroughInterval"]);
        /// Time between two flushes of the consume queues.
        consume_queue_flush_interval_ms: u64 = 1_000, Rule::integer(Unit::Milliseconds, 1, 60_000).rocketmq(&["flushIntervalConsumeQueue"]);
        /// Time after which consume queues are flushed however little is dirty.
        consume_queue_flush_thorough_interval_ms: u64 = 60_000, Rule::integer(Unit::Milliseconds, 1, 3_600_000).rocketmq(&["flushConsumeQueueThoroughInterval"]);
        /// With `store.flush` sync: time after which a producer is told that its message is stored but not yet on disk.
        sync_flush_timeout_ms: u64 = 5_000, Rule::integer(Unit::Milliseconds, 1, 600_000).rocketmq(&["syncFlushTimeout"]);
        /// Whether message bodies are checked against their CRC when the store is recovered.
        verify_crc_on_recovery: bool = true, Rule::switch().rocketmq(&["checkCRCOnRecover"]);
        /// Time between two writes of consumer offsets to disk.
        offsets_flush_interval_ms: u64 = 5_000, Rule::integer(Unit::Milliseconds, 10, 3_600_000).rocketmq(&["flushConsumerOffsetInterval"]);
        /// Memory in which the newest messages lie until they are written to the commit log past the page cache; 0 writes them through the page cache.
        ring_bytes: u64 = 134_217_728, Rule::integer(Unit::Bytes, 0, 1_073_741_824);
        /// Files of deleted commit log segments that are kept for new ones, which takes less of the disk's time than making files anew; they take at most a tenth of the partition. 0 keeps none.
        spare_segments: u32 = 4, Rule::integer(Unit::Count, 0, 1_024);
        /// Memory for recently used metadata (topics, groups, offsets).
        metadata_cache_bytes: u64 = 16_777_216, Rule::integer(Unit::Bytes, 1_048_576, 17_179_869_184);
    }
);

impl StoreSettings {
    /// Where the commit log is: its own folder, or RocketMQ's `commitlog` in the store's.
    pub fn commit_log_path(&self) -> PathBuf {
        self.folder(&self.commit_log_dir, "commitlog")
    }

    /// Where consume queues are: their own folder, or RocketMQ's `consumequeue` in the store's.
    pub fn consume_queue_path(&self) -> PathBuf {
        self.folder(&self.consume_queue_dir, "consumequeue")
    }

    /// Where the key index is: its own folder, or RocketMQ's `index` in the store's.
    pub fn index_path(&self) -> PathBuf {
        self.folder(&self.index_dir, "index")
    }

    fn folder(&self, own: &Option<PathBuf>, name: &str) -> PathBuf {
        own.clone().unwrap_or_else(|| self.data_dir.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_lie_in_the_stores_unless_they_are_given() {
        let mut store = StoreSettings::default();
        assert_eq!(store.index_path(), PathBuf::from("./castmq-data/index"));
        store.index_dir = Some(PathBuf::from("/fast/index"));
        assert_eq!(store.index_path(), PathBuf::from("/fast/index"));
        assert_eq!(
            store.commit_log_path().file_name(),
            Some("commitlog".as_ref())
        );
        assert_eq!(
            store.consume_queue_path().file_name(),
            Some("consumequeue".as_ref())
        );
    }
}
