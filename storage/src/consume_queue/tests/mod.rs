mod stops;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset, TopicName};

use super::*;
use crate::deletion::Deletion;
use crate::disk::fault::FaultDisk;
use crate::disk::{Disk, Wait};

/// Files of ten units.
const FILE_BYTES: u64 = 200;

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn unit(physical: u64) -> ConsumeUnit {
    ConsumeUnit {
        physical: PhysicalOffset(physical),
        size: 100,
        tags_code: physical as i64 * 3,
    }
}

fn open(disk: &FaultDisk) -> ConsumeQueues {
    open_with(disk, FILE_BYTES)
}

fn open_with(disk: &FaultDisk, file_bytes: u64) -> ConsumeQueues {
    ConsumeQueues::open(Arc::new(disk.clone()), "/store/cq", file_bytes).unwrap()
}

fn disk() -> FaultDisk {
    let disk = FaultDisk::new();
    disk.create_directory(Path::new("/store")).unwrap();
    disk.sync_directory(Path::new("/")).unwrap();
    disk
}

/// Appends units for offsets in the range; the one for offset n at 100 n.
fn fill(queue: &Arc<ConsumeQueue>, offsets: std::ops::Range<u64>) {
    for at in offsets {
        let appended = queue.append(QueueOffset(at), unit(at * 100)).unwrap();
        assert_eq!(appended, Appended::New);
    }
}

fn read(queue: &ConsumeQueue, from: u64, max: usize) -> Vec<u64> {
    let mut units = Vec::new();
    queue
        .read(QueueOffset(from), max, Wait::ForDisk, &mut units)
        .unwrap();
    for found in &units {
        assert_eq!(*found, unit(found.physical.0));
    }
    units.iter().map(|unit| unit.physical.0 / 100).collect()
}

fn bytes_of(disk: &FaultDisk, path: &str) -> Vec<u8> {
    let file = disk.open(Path::new(path)).unwrap();
    let mut bytes = vec![0; file.bytes().unwrap() as usize];
    file.read_at(&mut bytes, 0, Wait::ForDisk).unwrap();
    bytes
}

fn file_names(disk: &FaultDisk, queue: &str) -> Vec<String> {
    let entries = disk.list(&PathBuf::from("/store/cq").join(queue)).unwrap();
    entries.into_iter().map(|entry| entry.name).collect()
}

fn save(queues: &ConsumeQueues) {
    queues.write_back_all().unwrap();
    queues.sync_all().unwrap();
}

#[test]
fn files_are_rocketmqs() {
    let disk = disk();
    let queues = open(&disk);
    let queue = queues.queue(&topic("T"), QueueId(2));
    for (at, physical) in [(11, 0x0102_0304_0506), (12, 0x0102_0304_0606)] {
        let unit = ConsumeUnit {
            physical: PhysicalOffset(physical),
            size: 0x100,
            tags_code: 0x7766_5544,
        };
        queue.append(QueueOffset(at), unit).unwrap();
    }
    assert_eq!(file_names(&disk, "T/2"), Vec::<String>::new());
    queues.write_back_all().unwrap();
    assert_eq!(file_names(&disk, "T/2"), ["00000000000000000200"]);
    let mut expected = Vec::new();
    expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF]);
    expected.extend([0; 8]);
    expected.extend([0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 1, 0]);
    expected.extend([0, 0, 0, 0, 0x77, 0x66, 0x55, 0x44]);
    expected.extend([0, 0, 1, 2, 3, 4, 6, 6, 0, 0, 1, 0]);
    expected.extend([0, 0, 0, 0, 0x77, 0x66, 0x55, 0x44]);
    expected.resize(FILE_BYTES as usize, 0);
    assert_eq!(
        bytes_of(&disk, "/store/cq/T/2/00000000000000000200"),
        expected
    );
}

#[test]
fn a_queue_is_read_across_files_and_memory() {
    let queues = open(&disk());
    let queue = queues.queue(&topic("T"), QueueId(0));
    fill(&queue, 0..25);
    queues.write_back_all().unwrap();
    fill(&queue, 25..30);
    assert_eq!(read(&queue, 0, 100), (0..30).collect::<Vec<_>>());
    assert_eq!(read(&queue, 8, 5), [8, 9, 10, 11, 12]);
    assert_eq!(read(&queue, 24, 3), [24, 25, 26]);
    assert_eq!(read(&queue, 30, 3), []);
    assert_eq!(read(&queue, 1000, 3), []);
    assert_eq!(queue.pending_units(), 5);
    assert_eq!(queues.pending_units(), 5);
    assert_eq!(queue.max_physical(), PhysicalOffset(3000));
    assert_eq!(queues.max_physical(), PhysicalOffset(3000));
}

#[test]
fn repeats_change_nothing_and_gaps_name_both_offsets() {
    let queues = open(&disk());
    let queue = queues.queue(&topic("T"), QueueId(0));
    fill(&queue, 5..8);
    let append = |at, physical| queue.append(QueueOffset(at), unit(physical));
    assert_eq!(append(7, 700).unwrap(), Appended::Repeat);
    assert_eq!(append(8, 700).unwrap(), Appended::Repeat, "an older record");
    assert_eq!(
        append(6, 5000).unwrap(),
        Appended::Repeat,
        "an older offset"
    );
    let gap = append(9, 900).unwrap_err();
    assert!(
        gap.to_string()
            .contains("goes on at offset 8, but the log has a message for offset 9"),
        "{gap}"
    );
    assert_eq!(append(8, 800).unwrap(), Appended::New);
    assert_eq!(queue.min_offset(), QueueOffset(5));
    assert_eq!(queue.max_offset(), QueueOffset(9));
    let too_early = queue.read(QueueOffset(4), 1, Wait::ForDisk, &mut Vec::new());
    assert!(matches!(
        too_early,
        Err(ConsumeQueueError::BelowMin {
            min: QueueOffset(5),
            ..
        })
    ));
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let queues = open(&disk());
    let queue = queues.queue(&topic("T"), QueueId(0));
    for (at, physical, size) in [(0, 0, 0), (0, 0, 1 << 31), (0, 1 << 63, 1), (1 << 60, 0, 1)] {
        let unit = ConsumeUnit {
            physical: PhysicalOffset(physical),
            size,
            tags_code: 0,
        };
        let refused = queue.append(QueueOffset(at), unit);
        let nothing = size == 0 && matches!(refused, Ok(Appended::Repeat));
        assert!(
            nothing || matches!(refused, Err(ConsumeQueueError::Unstorable { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn retention_moves_the_start_and_keeps_the_last_file() {
    let disk = disk();
    let queues = open(&disk);
    let queue = queues.queue(&topic("T"), QueueId(0));
    fill(&queue, 3..35);
    queues.write_back_all().unwrap();
    fill(&queue, 35..37);
    queues.remove_below(PhysicalOffset(301)).unwrap();
    assert_eq!(queue.min_offset(), QueueOffset(4));
    assert_eq!(file_names(&disk, "T/0").len(), 4);
    queues.remove_below(PhysicalOffset(2000)).unwrap();
    assert_eq!(queue.min_offset(), QueueOffset(20));
    assert_eq!(
        file_names(&disk, "T/0"),
        ["00000000000000000400", "00000000000000000600"]
    );
    assert_eq!(read(&queue, 20, 2), [20, 21]);
    queues.remove_below(PhysicalOffset(3550)).unwrap();
    assert_eq!(queue.min_offset(), QueueOffset(36), "that is in memory");
    queues.remove_below(PhysicalOffset(9999)).unwrap();
    assert_eq!(queue.min_offset(), queue.max_offset());
    save(&queues);
    let again = open(&disk.crash(1));
    let queue = again.find("T", QueueId(0)).unwrap();
    assert_eq!(queue.max_offset(), QueueOffset(37), "remembered");
    again.remove_below(PhysicalOffset(9999)).unwrap();
    assert_eq!(queue.min_offset(), QueueOffset(37));
    queue.append(QueueOffset(37), unit(10_000)).unwrap();
    again.remove_below(PhysicalOffset(9999)).unwrap();
    assert_eq!(queue.min_offset(), QueueOffset(37));
    assert_eq!(queue.max_offset(), QueueOffset(38));
}

#[test]
fn times_are_found_as_in_rocketmq() {
    let queues = open(&disk());
    let queue = queues.queue(&topic("T"), QueueId(0));
    let times = [10, 10, 10, 30, 30, 50];
    fill(&queue, 3..9);
    queues.write_back_all().unwrap();
    let search = |timestamp, boundary| {
        let time = |unit: ConsumeUnit| Ok(times[unit.physical.0 as usize / 100 - 3]);
        let found = queue.search::<ConsumeQueueError>(timestamp, boundary, time);
        found.unwrap().0
    };
    let lower = [(5, 3), (10, 3), (20, 6), (30, 6), (31, 8), (50, 8), (51, 9)];
    for (timestamp, offset) in lower {
        assert_eq!(search(timestamp, Boundary::Lower), offset, "at {timestamp}");
    }
    let upper = [(5, 3), (10, 5), (20, 5), (30, 7), (31, 7), (50, 8), (51, 8)];
    for (timestamp, offset) in upper {
        assert_eq!(search(timestamp, Boundary::Upper), offset, "at {timestamp}");
    }
    let empty = queues.queue(&topic("T"), QueueId(1));
    let time = |_| -> Result<i64, ConsumeQueueError> { unreachable!("there is no unit") };
    assert_eq!(
        empty.search(5, Boundary::Upper, time).unwrap(),
        QueueOffset(0)
    );
}

#[test]
fn a_search_passes_on_what_the_log_says() {
    let queues = open(&disk());
    let queue = queues.queue(&topic("T"), QueueId(0));
    fill(&queue, 0..9);
    #[derive(Debug)]
    struct Gone;
    impl From<ConsumeQueueError> for Gone {
        fn from(error: ConsumeQueueError) -> Self {
            panic!("{error}")
        }
    }
    assert!(matches!(
        queue.search(5, Boundary::Lower, |_| Err(Gone)),
        Err(Gone)
    ));
}

#[test]
fn a_full_disk_loses_nothing() {
    let disk = disk();
    let queues = open(&disk);
    let queue = queues.queue(&topic("T"), QueueId(0));
    fill(&queue, 0..15);
    disk.set_capacity(4096);
    let full = queues.write_back_all().unwrap_err();
    assert_eq!(full.io_kind(), Some(ErrorKind::StorageFull));
    assert_eq!(queues.pending_units(), 5);
    fill(&queue, 15..33);
    assert!(queues.write_back_all().is_err());
    assert_eq!(read(&queue, 0, 99), (0..33).collect::<Vec<_>>());
    disk.set_capacity(1 << 20);
    save(&queues);
    assert_eq!(queues.pending_units(), 0);
    let again = open(&disk.crash(5)).find("T", QueueId(0)).unwrap();
    assert_eq!(read(&again, 0, 99), (0..33).collect::<Vec<_>>());
}

#[test]
fn cold_units_are_not_waited_for() {
    let disk = disk();
    let queues = open(&disk);
    let queue = queues.queue(&topic("T"), QueueId(0));
    fill(&queue, 0..5);
    queues.write_back_all().unwrap();
    fill(&queue, 5..7);
    disk.set_cold(true);
    let mut units = Vec::new();
    let cold = queue.read(QueueOffset(3), 9, Wait::Never, &mut units);
    assert!(cold.unwrap_err().is_would_block());
    queue
        .read(QueueOffset(5), 9, Wait::Never, &mut units)
        .unwrap();
    assert_eq!(units.len(), 2);
    assert_eq!(read(&queue, 3, 9), [3, 4, 5, 6]);
}

#[test]
fn a_deleted_topic_is_gone_and_goes_on_behind_its_last_offset() {
    let disk = disk();
    let queues = open(&disk);
    let queue = queues.queue(&topic("T"), QueueId(0));
    fill(&queue, 0..25);
    queues.write_back_all().unwrap();
    fill(&queue, 25..26);
    let kept = Deletion {
        below: PhysicalOffset(2800),
        next: [(QueueId(0), QueueOffset(28))].into(),
    };
    queues.delete_topic(&topic("T"), kept.clone()).unwrap();
    assert_eq!(queues.pending_units(), 0);
    assert!(disk.list(Path::new("/store/cq")).unwrap().is_empty());
    assert_eq!((queue.min_offset().0, queue.max_offset().0), (28, 28));
    assert!(
        queue
            .read(QueueOffset(0), 1, Wait::ForDisk, &mut Vec::new())
            .is_err()
    );
    // Messages that were on their way, and come again after a crash, are not the next topic's.
    let old = queue.append(QueueOffset(26), unit(2600)).unwrap();
    assert_eq!(old, Appended::Repeat);
    queues.delete_topic(&topic("T"), kept.clone()).unwrap();
    fill(&queues.queue(&topic("T"), QueueId(0)), 28..30);
    save(&queues);
    assert_eq!(file_names(&disk, "T/0"), ["00000000000000000400"]);
    for seed in 0..20 {
        let queues = open(&disk.crash(seed));
        queues.restore_deletions([(topic("T"), kept.clone())]);
        queues
            .truncate(PhysicalOffset(9000), Leftovers::Near)
            .unwrap();
        assert_eq!(
            read(&queues.find("T", QueueId(0)).unwrap(), 28, 9),
            [28, 29]
        );
    }
}

#[test]
fn what_a_stop_left_of_a_deleted_topic_goes_with_the_next_start() {
    let disk = disk();
    let queues = open(&disk);
    fill(&queues.queue(&topic("T"), QueueId(0)), 0..25);
    fill(&queues.queue(&topic("T"), QueueId(1)), 0..15);
    save(&queues);
    let kept = Deletion {
        below: PhysicalOffset(2000),
        next: [(QueueId(0), QueueOffset(20)), (QueueId(1), QueueOffset(15))].into(),
    };
    let queues = open(&disk.kill());
    queues.restore_deletions([(topic("T"), kept)]);
    queues
        .truncate(PhysicalOffset(2500), Leftovers::Near)
        .unwrap();
    queues.remove_below(PhysicalOffset(0)).unwrap();
    let found = |id| {
        let queue = queues.find("T", QueueId(id)).unwrap();
        (queue.min_offset().0, queue.max_offset().0)
    };
    assert_eq!((found(0), found(1)), ((20, 25), (15, 15)));
    assert_eq!(queues.next_offset(&topic("T"), QueueId(2)), QueueOffset(0));
    fill(&queues.queue(&topic("T"), QueueId(1)), 20..21);
}

#[test]
fn units_are_read_while_they_are_appended_and_written_back() {
    const UNITS: u64 = 20_000;
    let queues = open_with(&disk(), 20_000);
    let queue = queues.queue(&topic("T"), QueueId(0));
    std::thread::scope(|scope| {
        scope.spawn(|| fill(&queue, 0..UNITS));
        scope.spawn(|| {
            while queue.max_offset() < QueueOffset(UNITS) || queues.pending_units() > 0 {
                save(&queues);
            }
        });
        let mut seen = 0;
        while seen < UNITS {
            for found in read(&queue, seen, 333) {
                assert_eq!(found, seen);
                seen += 1;
            }
        }
    });
    assert_eq!(
        queues.durable_physical(PhysicalOffset(UNITS * 100)).0,
        UNITS * 100
    );
}
