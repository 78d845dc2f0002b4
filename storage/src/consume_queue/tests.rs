use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset, TopicName};

use super::*;
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
fn queues_come_back_after_a_clean_stop() {
    let disk = disk();
    let queues = open(&disk);
    for (name, units) in [
        ("A", 0..3),
        ("B", 0..25),
        ("C", 7..10),
        ("D", 18..40),
        ("E", 20..30),
    ] {
        fill(&queues.queue(&topic(name), QueueId(1)), units);
    }
    save(&queues);
    let again = open(&disk.crash(1));
    for (name, units) in [
        ("A", 0..3),
        ("B", 0..25),
        ("C", 7..10),
        ("D", 18..40),
        ("E", 20..30),
    ] {
        let queue = again.find(name, QueueId(1)).unwrap();
        assert_eq!(queue.min_offset(), QueueOffset(units.start), "{name}");
        assert_eq!(queue.max_offset(), QueueOffset(units.end), "{name}");
        assert_eq!(queue.max_physical(), PhysicalOffset(units.end * 100));
        assert_eq!(
            read(&queue, units.start, 99),
            units.clone().collect::<Vec<_>>()
        );
        fill(&queue, units.end..units.end + 15);
        again.write_back_all().unwrap();
        assert_eq!(
            read(&queue, units.end - 1, 3),
            [units.end - 1, units.end, units.end + 1]
        );
    }
    assert!(again.find("A", QueueId(0)).is_none());
    assert_eq!(again.iter().count(), 5);
}

#[test]
fn long_files_are_opened_at_their_end() {
    for units in [203, 204, 205, 408, 409, 5_000, 59_999, 60_000] {
        let disk = disk();
        let queues = open_with(&disk, 1_200_000);
        let queue = queues.queue(&topic("T"), QueueId(0));
        fill(&queue, 0..units);
        save(&queues);
        let again = open_with(&disk, 1_200_000).find("T", QueueId(0)).unwrap();
        assert_eq!(again.max_offset(), QueueOffset(units));
        assert_eq!(again.max_physical(), PhysicalOffset(units * 100));
    }
}

#[test]
fn truncation_removes_files_and_zeroes_the_rest() {
    let disk = disk();
    let queues = open(&disk);
    let queue = queues.queue(&topic("T"), QueueId(0));
    let other = queues.queue(&topic("T"), QueueId(1));
    fill(&queue, 4..35);
    fill(&other, 30..32);
    save(&queues);
    queues
        .truncate(PhysicalOffset(1500), Leftovers::Nothing)
        .unwrap();
    assert_eq!(queue.max_offset(), QueueOffset(15));
    assert_eq!(queue.max_physical(), PhysicalOffset(1500));
    assert_eq!(read(&queue, 13, 9), [13, 14]);
    let names = ["00000000000000000000", "00000000000000000200"];
    assert_eq!(file_names(&disk, "T/0"), names);
    let last = bytes_of(&disk, "/store/cq/T/0/00000000000000000200");
    assert!(last[99] != 0 && last[100..].iter().all(|byte| *byte == 0));
    assert_eq!(other.max_offset(), QueueOffset(0), "nothing is left of it");
    assert_eq!(file_names(&disk, "T/1"), Vec::<String>::new());
    fill(&queue, 15..20);
    fill(&other, 3..5);
    queues.write_back_all().unwrap();
    assert_eq!(read(&queue, 13, 9), [13, 14, 15, 16, 17, 18, 19]);
    queues
        .truncate(PhysicalOffset(0), Leftovers::Nothing)
        .unwrap();
    assert_eq!(queue.max_offset(), QueueOffset(0));
    assert_eq!(file_names(&disk, "T/0"), Vec::<String>::new());
}

#[test]
fn units_behind_a_hole_are_found_and_removed() {
    let disk = disk();
    let queues = open_with(&disk, 6_000_000);
    let queue = queues.queue(&topic("T"), QueueId(0));
    fill(&queue, 0..1500);
    save(&queues);
    let path = Path::new("/store/cq/T/0/00000000000000000000");
    disk.open(path)
        .unwrap()
        .write_at(&[0; 2000], 10_000)
        .unwrap();
    for leftovers in [Leftovers::Near, Leftovers::Anywhere] {
        let disk = disk.kill();
        let queues = open_with(&disk, 6_000_000);
        queues.truncate(PhysicalOffset(50_000), leftovers).unwrap();
        let queue = queues.find("T", QueueId(0)).unwrap();
        assert_eq!(queue.max_offset(), QueueOffset(500));
        let bytes = bytes_of(&disk, "/store/cq/T/0/00000000000000000000");
        assert!(bytes[10_000..].iter().all(|byte| *byte == 0));
        fill(&queue, 500..501);
        save(&queues);
        let again = open_with(&disk, 6_000_000).find("T", QueueId(0)).unwrap();
        assert_eq!(again.max_offset(), QueueOffset(501));
    }
}

/// Found by the model: probing for the end landed behind the hole, and the file counted as empty.
#[test]
fn a_hole_right_before_the_probed_end_ends_the_queue() {
    let disk = disk();
    let queues = open_with(&disk, 6_000_000);
    fill(&queues.queue(&topic("T"), QueueId(0)), 0..1700);
    save(&queues);
    let path = Path::new("/store/cq/T/0/00000000000000000000");
    let file = disk.open(path).unwrap();
    file.write_at(&[0; 5000], 1690 * 20 - 5000).unwrap();
    let queue = open_with(&disk, 6_000_000).find("T", QueueId(0)).unwrap();
    assert_eq!(queue.max_offset(), QueueOffset(1440));
}

/// Found by the model: such a queue could not be opened, although truncation would have dealt with it.
#[test]
fn a_hole_right_behind_the_fillers_is_no_start() {
    let disk = disk();
    let queues = open_with(&disk, 6_000_000);
    fill(&queues.queue(&topic("T"), QueueId(0)), 500..900);
    save(&queues);
    let path = Path::new("/store/cq/T/0/00000000000000000000");
    disk.open(path)
        .unwrap()
        .write_at(&[0; 20], 500 * 20)
        .unwrap();
    let queues = open_with(&disk, 6_000_000);
    let queue = queues.find("T", QueueId(0)).unwrap();
    assert_eq!(queue.min_offset(), queue.max_offset());
    let clean = queues.truncate(PhysicalOffset(90_000), Leftovers::Nothing);
    assert!(matches!(
        clean,
        Err(ConsumeQueueError::Damaged { at: 10_000, .. })
    ));
    queues
        .truncate(PhysicalOffset(50_000), Leftovers::Near)
        .unwrap();
    fill(&queue, 500..600);
    save(&queues);
    assert_eq!(read(&queue, 500, 99), (500..599).collect::<Vec<_>>());
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
fn durable_is_what_every_queue_has_synced() {
    let disk = disk();
    let queues = open(&disk);
    let (one, two) = (
        queues.queue(&topic("A"), QueueId(0)),
        queues.queue(&topic("B"), QueueId(0)),
    );
    let durable = |dispatched| queues.durable_physical(PhysicalOffset(dispatched)).0;
    one.append(QueueOffset(0), unit(0)).unwrap();
    assert_eq!(durable(100), 0);
    queues.write_back_all().unwrap();
    assert_eq!(durable(100), 0);
    queues.sync_all().unwrap();
    assert_eq!(durable(100), 100);
    two.append(QueueOffset(0), unit(100)).unwrap();
    one.append(QueueOffset(1), unit(200)).unwrap();
    assert_eq!(durable(300), 100);
    two.write_back().unwrap();
    two.sync().unwrap();
    assert_eq!(durable(300), 200);
    two.append(QueueOffset(1), unit(300)).unwrap();
    save(&queues);
    assert_eq!(durable(400), 400);
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
fn a_failed_sync_is_final() {
    let disk = disk();
    let queues = open(&disk);
    let queue = queues.queue(&topic("T"), QueueId(0));
    fill(&queue, 0..3);
    queues.write_back_all().unwrap();
    disk.fail_sync(1);
    assert!(queues.sync_all().is_err());
    let again = queues.sync_all().unwrap_err();
    assert!(
        matches!(again, ConsumeQueueError::Poisoned { .. }),
        "{again}"
    );
    assert!(queues.write_back_all().is_err());
    assert_eq!(queues.durable_physical(PhysicalOffset(300)).0, 0);
    assert_eq!(read(&queue, 0, 9), [0, 1, 2], "reading goes on");
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
fn deleted_topics_are_gone_and_can_be_made_again() {
    let disk = disk();
    let queues = open(&disk);
    let queue = queues.queue(&topic("T"), QueueId(0));
    fill(&queue, 0..25);
    queues.write_back_all().unwrap();
    fill(&queue, 25..26);
    queues.delete_topic(&topic("T")).unwrap();
    assert_eq!(queues.pending_units(), 0);
    assert!(disk.list(Path::new("/store/cq")).unwrap().is_empty());
    let gone = queue.append(QueueOffset(26), unit(2600)).unwrap_err();
    assert_eq!(gone.to_string(), "topic T was deleted");
    assert!(
        queue
            .read(QueueOffset(0), 1, Wait::ForDisk, &mut Vec::new())
            .is_err()
    );
    queues.delete_topic(&topic("T")).unwrap();
    fill(&queues.queue(&topic("T"), QueueId(0)), 0..2);
    save(&queues);
    assert_eq!(file_names(&disk, "T/0"), ["00000000000000000000"]);
    assert!((0..20).all(|seed| open(&disk.crash(seed)).find("T", QueueId(0)).is_some()));
}

#[test]
fn damage_and_wrong_lengths_are_reported() {
    let disk = disk();
    let queues = open(&disk);
    fill(&queues.queue(&topic("T"), QueueId(0)), 0..25);
    save(&queues);
    let uneven = ConsumeQueues::open(Arc::new(disk.clone()), "/store/cq", 30).unwrap_err();
    assert!(matches!(
        uneven,
        ConsumeQueueError::UnevenLength { bytes: 30 }
    ));
    let other = ConsumeQueues::open(Arc::new(disk.clone()), "/store/cq", 400).unwrap_err();
    assert!(
        matches!(other, ConsumeQueueError::FileLength { bytes: 200, .. }),
        "{other}"
    );
    let path = Path::new("/store/cq/T/0/00000000000000000200");
    disk.open(path).unwrap().write_at(&[0; 20], 40).unwrap();
    let queue = open(&disk).find("T", QueueId(0)).unwrap();
    let mut units = Vec::new();
    let damaged = queue
        .read(QueueOffset(10), 9, Wait::ForDisk, &mut units)
        .unwrap_err();
    assert!(
        matches!(damaged, ConsumeQueueError::Damaged { at: 40, .. }),
        "{damaged}"
    );
}

#[test]
fn what_is_no_queue_is_left_alone() {
    let disk = disk();
    let queues = open(&disk);
    fill(&queues.queue(&topic("T"), QueueId(0)), 0..2);
    save(&queues);
    for folder in ["/store/cq/not a topic/0", "/store/cq/T/x", "/store/cq/T/-1"] {
        disk.create_directory(Path::new(folder)).unwrap();
    }
    disk.create(Path::new("/store/cq/T/0/notes.txt"), 7)
        .unwrap();
    let again = open(&disk);
    assert_eq!(again.iter().count(), 1);
    again
        .truncate(PhysicalOffset(100), Leftovers::Anywhere)
        .unwrap();
    assert!(disk.open(Path::new("/store/cq/T/0/notes.txt")).is_ok());
}

/// A power cut can keep the second sector of a unit and lose the first, or the other way round.
#[test]
fn a_torn_unit_that_looks_like_an_older_one_is_replaced() {
    for (torn, border) in [(51_u64, 4_usize), (102, 8)] {
        let disk = disk();
        let queues = open_with(&disk, 6_000_000);
        let queue = queues.queue(&topic("T"), QueueId(0));
        fill(&queue, 0..torn);
        let base: u64 = 7 << 32;
        let kept = if border == 4 { torn * 100 } else { 0 };
        let real = unit(base + kept);
        queue.append(QueueOffset(torn), real).unwrap();
        save(&queues);
        let path = Path::new("/store/cq/T/0/00000000000000000000");
        let position = torn * 20;
        assert_eq!((position + border as u64) % 512, 0);
        disk.open(path)
            .unwrap()
            .write_at(&vec![0; border], position)
            .unwrap();
        let queues = open_with(&disk, 6_000_000);
        queues
            .truncate(PhysicalOffset(base), Leftovers::Near)
            .unwrap();
        let queue = queues.find("T", QueueId(0)).unwrap();
        queue.append(QueueOffset(torn), real).unwrap();
        assert_eq!(queue.max_offset(), QueueOffset(torn + 1));
        save(&queues);
        let mut units = Vec::new();
        let from = QueueOffset(torn - 1);
        queue.read(from, 9, Wait::ForDisk, &mut units).unwrap();
        assert_eq!(units, [unit((torn - 1) * 100), real]);
    }
}
