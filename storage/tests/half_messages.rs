//! A committed half message stays committed, wherever between its message and its mark the store is cut off.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset, system_topics};
use castmq_protocol::record::{Record, sys_flag};
use castmq_storage::commit_log::LogWriter;
use castmq_storage::disk::fault::FaultDisk;
use castmq_storage::dispatch::Dispatch;
use castmq_storage::halves::QUEUE;
use castmq_storage::store::Store;
use tempfile::TempDir;

/// A store with what writes and dispatches.
struct Running {
    store: Store,
    writer: LogWriter,
    dispatch: Dispatch,
    _folder: TempDir,
}

impl Running {
    /// The metadata is in the folder.
    fn open(disk: &FaultDisk, folder: TempDir) -> Self {
        let options = support::options(Path::new("/data/store"), folder.path().join("metadata"));
        let (store, _) = Store::open(Arc::new(disk.clone()), options).unwrap();
        let end = store.log.appended();
        let (log, queues) = (store.log.clone(), store.queues.clone());
        Self {
            writer: LogWriter::resume(log.clone()).unwrap(),
            dispatch: Dispatch::new(log, queues, Default::default(), end),
            store,
            _folder: folder,
        }
    }

    /// Where it lies.
    fn append(
        &mut self,
        topic: &str,
        offset: u64,
        half: PhysicalOffset,
        body: &str,
    ) -> PhysicalOffset {
        let is_message = topic == "paid";
        let mut record = Record {
            sys_flag: if is_message {
                sys_flag::TRANSACTION_COMMIT
            } else {
                0
            },
            prepared_transaction_offset: if is_message { half.as_i64() } else { 0 },
            ..support::message(topic, QUEUE, offset, body.as_bytes())
        };
        let bytes = record.encoded_bytes();
        let place = self.writer.reserve(bytes).or_else(|_| {
            self.store.log.add_segment().unwrap();
            self.writer.reserve(bytes)
        });
        record.physical_offset = place.unwrap();
        self.writer.append(&record);
        self.writer.publish();
        record.physical_offset
    }

    fn dispatch(&mut self) {
        let end = self.store.log.appended();
        let from = self.dispatch.position();
        self.dispatch.advance(end, 1 << 20, |_| {}).unwrap();
        let met = self.dispatch.take_met();
        let part = from..self.dispatch.position();
        self.store.unseen.note(&met, part);
    }

    fn sync(&self) {
        self.store.log.sync(self.store.log.appended()).unwrap();
    }

    fn checkpoint(&self) {
        let position = self.dispatch.position();
        self.store.save_checkpoint(position, 1000).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// What becomes of a store whose power is cut, or whose process is killed, now.
fn after_the_end(disk: &FaultDisk, metadata: &Path) -> [Running; 2] {
    [disk.crash(1), disk.kill()].map(|left| {
        let folder = tempfile::tempdir().unwrap();
        copy(metadata, &folder.path().join("metadata"));
        Running::open(&left, folder)
    })
}

#[test]
fn a_committed_half_message_is_not_open_again_wherever_the_store_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = folder.path().join("metadata");
    let disk = FaultDisk::new();
    let mut running = Running::open(&disk, folder);
    running.append("paid", 0, PhysicalOffset::ZERO, "sent plainly");
    let half = running.append(
        system_topics::TRANSACTION_HALF,
        0,
        PhysicalOffset::ZERO,
        "order",
    );
    running.sync();
    running.dispatch();
    running.checkpoint();
    for cut in after_the_end(&disk, &metadata) {
        assert_eq!(cut.store.unseen.halves.open(), 1, "nobody ended it");
    }
    running.append("paid", 1, half, "order");
    running.sync();
    let is_settled = |step: &str, unmarked: &[u64]| {
        for cut in after_the_end(&disk, &metadata) {
            let halves = &cut.store.unseen.halves;
            assert_eq!(halves.open(), 0, "{step}");
            let found: Vec<_> = halves.unmarked().iter().map(|half| half.0).collect();
            assert_eq!(found, unmarked, "{step}");
            let messages = cut.store.queues.find("paid", QueueId(0)).unwrap();
            assert_eq!(messages.max_offset(), QueueOffset(2), "{step}");
        }
    };
    is_settled("committed", &[0]);
    running.dispatch();
    is_settled("noted", &[0]);
    running.checkpoint();
    running.checkpoint();
    is_settled("saved", &[0]);
    running.append(system_topics::TRANSACTION_OP, 0, PhysicalOffset::ZERO, "0,");
    running.dispatch();
    running.checkpoint();
    // The power takes the mark, and the queues know it.
    let [cut, killed] = after_the_end(&disk, &metadata);
    for (left, unmarked) in [(cut, 1), (killed, 0)] {
        assert_eq!(left.store.unseen.halves.open(), 0);
        assert_eq!(left.store.unseen.halves.unmarked().len(), unmarked);
    }
    running.sync();
    running.checkpoint();
    is_settled("marked", &[]);
}
