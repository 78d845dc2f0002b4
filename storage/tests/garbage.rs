//! Files with any bytes in them: whatever opens them ends with an answer, and never invents a message.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueId};
use castmq_protocol::record::{Record, RecordView};
use castmq_storage::checkpoint::{Checkpoint, CheckpointState};
use castmq_storage::commit_log::recovery::{self, Known, Start};
use castmq_storage::commit_log::{LogError, LogWriter};
use castmq_storage::consume_queue::{ConsumeQueues, Leftovers};
use castmq_storage::disk::fault::FaultDisk;
use castmq_storage::disk::{Disk, Wait};
use castmq_storage::index::{IndexKey, KeyIndex};
use proptest::prelude::*;

const SEGMENT_BYTES: u64 = 8192;

fn disk_with(folder: &str, name: &str, content: &[u8]) -> FaultDisk {
    let disk = FaultDisk::new();
    disk.create_directory(Path::new(folder)).expect("it is new");
    let path = PathBuf::from(folder).join(name);
    let file = disk.create(&path, content.len() as u64).expect("it is new");
    file.write_at(content, 0).expect("there is room");
    disk
}

/// Bytes that look like units of a consume queue, or entries of an index, more often than by chance.
fn numbers(bytes: usize) -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        3 => Just(0_u32),
        3 => 0..300_u32,
        1 => Just(0x7FFF_FFFF_u32),
        1 => any::<u32>(),
    ];
    prop::collection::vec(word, bytes / 4)
        .prop_map(|words| words.into_iter().flat_map(u32::to_be_bytes).collect())
}

/// Records one after the other, the last of them synced or not, on a disk.
fn log(bodies: &[Vec<u8>]) -> (FaultDisk, Vec<Vec<u8>>) {
    let disk = FaultDisk::new();
    let known = known(Some(0));
    let folder = Path::new("/log");
    let (log, _) = recovery::open(Arc::new(disk.clone()), folder, SEGMENT_BYTES, known)
        .expect("an empty folder opens");
    let mut writer = LogWriter::resume(log.clone()).expect("nobody else writes");
    let mut records = Vec::new();
    for (number, body) in bodies.iter().enumerate() {
        let record = |physical_offset| Record {
            physical_offset,
            properties: b"KEYS\x01k\x02",
            ..support::message("T", QueueId(0), number as u64, body)
        };
        let bytes = record(PhysicalOffset::ZERO).encoded_bytes();
        let place = writer.reserve(bytes).or_else(|_| {
            log.add_segment().expect("there is room");
            writer.reserve(bytes)
        });
        let record = record(place.expect("there is room"));
        writer.append(&record);
        writer.publish();
        let mut encoded = vec![0; bytes];
        record.encode(&mut encoded);
        records.push(encoded);
    }
    drop((writer, log));
    (disk.kill(), records)
}

fn known(durable: Option<u64>) -> Known {
    Known {
        durable: durable.map(PhysicalOffset),
        start: Start::Beginning,
        verify_bodies: true,
        may_be_torn: true,
        clean: false,
        repair: false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_consume_queue_of_any_bytes_ends_somewhere(
        content in numbers(600),
        cut_at in 0..2000_u64,
        leftovers in prop_oneof![
            Just(Leftovers::Nothing), Just(Leftovers::Near), Just(Leftovers::Anywhere)
        ],
    ) {
        let disk = disk_with("/q/T/0", "00000000000000000600", &content);
        let Ok(queues) = ConsumeQueues::open(Arc::new(disk), "/q", 600) else { return Ok(()) };
        if queues.truncate(PhysicalOffset(cut_at), leftovers).is_err() {
            return Ok(());
        }
        let queue = queues.find("T", QueueId(0)).expect("it has a folder");
        prop_assert!(queue.min_offset() <= queue.max_offset());
        prop_assert!(queue.max_offset().0 <= 60);
        let mut units = Vec::new();
        if queue.read(queue.min_offset(), 100, Wait::ForDisk, &mut units).is_ok() {
            let count = queue.max_offset().0 - queue.min_offset().0;
            prop_assert_eq!(units.len() as u64, count);
        }
    }

    #[test]
    fn an_index_of_any_bytes_is_read_to_an_end(content in numbers(40 + 5 * 4 + 20 * 20), clean: bool) {
        let disk = disk_with("/i", "20231114221320042", &content);
        let Ok(index) = KeyIndex::open(Arc::new(disk), "/i", 5, 20, clean) else { return Ok(()) };
        for key in ["a", "b", "c"] {
            let found = index.query("T", key, 100, 0, i64::MAX);
            prop_assert!(found.expect("the disk is sound").len() <= 20);
        }
        let _ = index.enter(&[IndexKey::new("T", "a", PhysicalOffset(1 << 40), 5)]);
        let _ = index.sync();
    }

    #[test]
    fn a_checkpoint_of_any_bytes_is_nobodys(content in prop::collection::vec(any::<u8>(), 0..5000)) {
        let disk = disk_with("/c", "checkpoint", &content);
        let (checkpoint, found) =
            Checkpoint::open(&disk, Path::new("/c/checkpoint")).expect("it can be read");
        prop_assert_eq!(found.own, None);
        let state = CheckpointState { log_timestamp_ms: 7, ..found };
        checkpoint.save(&state).expect("there is room");
    }

    /// One bit is flipped anywhere in a log: what is recovered is a prefix of what was written, with no other record in it,
    /// unless the bit lies in a field that nothing checks; what was durable is all there or the log is refused.
    #[test]
    fn a_log_with_a_flipped_bit_is_a_prefix_or_refused(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 1..12),
        durable in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let (disk, records) = log(&bodies);
        let durable = records.iter().take(durable.index(records.len() + 1)).map(Vec::len).sum::<usize>() as u64;
        let damaged = place.index(records.iter().map(Vec::len).sum::<usize>().min(8000)) as u64;
        disk.flip_bit(Path::new("/log/00000000000000000000"), damaged, bit).expect("it is there");
        let opened = recovery::open(Arc::new(disk), Path::new("/log"), SEGMENT_BYTES, known(Some(durable)));
        let log = match opened {
            Ok((log, _)) => log,
            Err(LogError::Damaged(damage)) => {
                prop_assert!(damage.offset.0 < durable, "{}", damage);
                return Ok(());
            }
            Err(error) => panic!("{error}"),
        };
        prop_assert!(log.appended().0 >= durable);
        let mut at = PhysicalOffset::ZERO;
        for written in &records {
            if at >= log.appended() {
                break;
            }
            let found = log.record(at).or_else(|| {
                at = PhysicalOffset((at.0 / SEGMENT_BYTES + 1) * SEGMENT_BYTES);
                log.record(at)
            });
            let Some(found) = found else { break };
            let view = RecordView::parse(found.as_ref()).expect("it is one");
            let sent = RecordView::parse(written).expect("it is one");
            let is_hit = (at.0..at.0 + written.len() as u64).contains(&damaged);
            prop_assert!(is_hit || found.as_ref() == written, "another record at {}", at);
            prop_assert_eq!(view.body(), sent.body());
            at = at + found.len() as u64;
        }
    }
}
