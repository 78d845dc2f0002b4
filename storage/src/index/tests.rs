use std::path::Path;
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, java_string_hash};

use super::*;
use crate::disk::fault::FaultDisk;
use crate::disk::{Disk, Wait};

const SLOTS: u32 = 7;
const MAX_ENTRIES: u32 = 10;
const FOLDER: &str = "/store/index";

pub(super) fn disk() -> FaultDisk {
    let disk = FaultDisk::new();
    disk.create_directory(Path::new("/store")).unwrap();
    disk.sync_directory(Path::new("/")).unwrap();
    disk
}

pub(super) fn open_sized(disk: &FaultDisk, slots: u32, entries: u32, clean: bool) -> KeyIndex {
    KeyIndex::open(Arc::new(disk.clone()), FOLDER, slots, entries, clean).unwrap()
}

fn open(disk: &FaultDisk, clean: bool) -> KeyIndex {
    open_sized(disk, SLOTS, MAX_ENTRIES, clean)
}

fn put(index: &KeyIndex, key: &str, physical: u64, stored_ms: i64) {
    let physical = PhysicalOffset(physical);
    index
        .enter(&[IndexKey::new("T", key, physical, stored_ms)])
        .unwrap();
}

fn query(index: &KeyIndex, key: &str) -> Vec<u64> {
    query_span(index, key, 0, i64::MAX)
}

fn query_span(index: &KeyIndex, key: &str, begin_ms: i64, end_ms: i64) -> Vec<u64> {
    let found = index.query("T", key, 64, begin_ms, end_ms).unwrap();
    found.into_iter().map(|physical| physical.0).collect()
}

pub(super) fn contents(disk: &FaultDisk) -> Vec<Vec<u8>> {
    let entries = disk.list(Path::new(FOLDER)).unwrap();
    let read = |name: String| {
        let file = disk.open(&Path::new(FOLDER).join(name)).unwrap();
        let mut bytes = vec![0; file.bytes().unwrap() as usize];
        file.read_at(&mut bytes, 0, Wait::ForDisk).unwrap();
        bytes
    };
    entries.into_iter().map(|entry| read(entry.name)).collect()
}

/// What RocketMQ would have in its mapped files.
#[derive(Default)]
pub(super) struct Mapped {
    pub(super) files: Vec<Vec<u8>>,
}

impl Mapped {
    fn long(file: &[u8], at: usize) -> i64 {
        i64::from_be_bytes(file[at..at + 8].try_into().unwrap())
    }

    pub(super) fn int(file: &[u8], at: usize) -> i32 {
        i32::from_be_bytes(file[at..at + 4].try_into().unwrap())
    }

    pub(super) fn put(
        &mut self,
        slots: u32,
        max_entries: u32,
        key: &str,
        physical: i64,
        stored_ms: i64,
    ) {
        let is_full = |file: &Vec<u8>| Self::int(file, 36) >= max_entries as i32;
        if self.files.last().is_none_or(is_full) {
            let mut file = vec![0; 40 + 4 * slots as usize + 20 * max_entries as usize];
            if let Some(last) = self.files.last() {
                let (end_ms, end_physical) = (last[8..16].to_vec(), last[24..32].to_vec());
                file[0..8].copy_from_slice(&end_ms);
                file[8..16].copy_from_slice(&end_ms);
                file[16..24].copy_from_slice(&end_physical);
                file[24..32].copy_from_slice(&end_physical);
            }
            file[36..40].copy_from_slice(&1_i32.to_be_bytes());
            self.files.push(file);
        }
        let file = self.files.last_mut().unwrap();
        let hash = java_string_hash(&format!("T#{key}"));
        let hash = if hash == i32::MIN { 0 } else { hash.abs() };
        let slot_at = 40 + 4 * (hash as usize % slots as usize);
        let number = Self::int(file, 36);
        let entry_at = 40 + 4 * slots as usize + 20 * number as usize;
        let begin = Self::long(file, 0);
        let seconds = if begin <= 0 {
            0
        } else {
            ((stored_ms - begin) / 1000).max(0) as i32
        };
        let previous = Self::int(file, slot_at);
        file[entry_at..entry_at + 4].copy_from_slice(&hash.to_be_bytes());
        file[entry_at + 4..entry_at + 12].copy_from_slice(&physical.to_be_bytes());
        file[entry_at + 12..entry_at + 16].copy_from_slice(&seconds.to_be_bytes());
        file[entry_at + 16..entry_at + 20].copy_from_slice(&previous.to_be_bytes());
        file[slot_at..slot_at + 4].copy_from_slice(&number.to_be_bytes());
        if number <= 1 {
            file[0..8].copy_from_slice(&stored_ms.to_be_bytes());
            file[16..24].copy_from_slice(&physical.to_be_bytes());
        }
        let used = Self::int(file, 32) + i32::from(previous == 0);
        file[32..36].copy_from_slice(&used.to_be_bytes());
        file[36..40].copy_from_slice(&(number + 1).to_be_bytes());
        file[24..32].copy_from_slice(&physical.to_be_bytes());
        file[8..16].copy_from_slice(&stored_ms.to_be_bytes());
    }
}

#[test]
fn files_are_rocketmqs() {
    let disk = disk();
    let index = open(&disk, true);
    let mut mapped = Mapped::default();
    for n in 0..25 {
        let (key, physical, stored_ms) = (format!("k{}", n % 6), n * 100, 5_000 + n * 700);
        put(&index, &key, physical as u64, stored_ms);
        mapped.put(SLOTS, MAX_ENTRIES, &key, physical, stored_ms);
        if n == 4 {
            index.write_back().unwrap();
        }
        if n == 13 {
            index.sync().unwrap();
        }
    }
    put(&index, "00bhnqck", 9_000, 30_000);
    mapped.put(SLOTS, MAX_ENTRIES, "00bhnqck", 9_000, 30_000);
    assert_eq!(index.pending_entries(), 26 - 14);
    index.sync().unwrap();
    assert_eq!(index.pending_entries(), 0);
    assert_eq!(contents(&disk), mapped.files);
    assert_eq!(mapped.files.len(), 3);
}

#[test]
fn an_unused_index_has_no_file() {
    let disk = disk();
    let index = open(&disk, true);
    index.sync().unwrap();
    assert_eq!(query(&index, "k"), Vec::<u64>::new());
    assert_eq!(contents(&disk), Vec::<Vec<u8>>::new());
    assert_eq!(index.end_physical(), PhysicalOffset(0));
    assert_eq!(index.durable_end_ms(), 0);
}

#[test]
fn keys_are_found_newest_first_in_memory_and_in_files() {
    let disk = disk();
    let index = open(&disk, true);
    for n in 0..30 {
        put(
            &index,
            ["a", "b", "c"][n as usize % 3],
            n * 10,
            1_000 * (n as i64 + 1),
        );
    }
    let expected: Vec<u64> = (0..10).rev().map(|n| n * 30).collect();
    assert_eq!(query(&index, "a"), expected);
    assert_eq!(query(&index, "none"), Vec::<u64>::new());
    index.write_back().unwrap();
    assert_eq!(query(&index, "a"), expected);
    index.sync().unwrap();
    assert_eq!(query(&index, "a"), expected);
    let again = open(&disk.crash(1), true);
    assert_eq!(query(&again, "a"), expected);
    put(&again, "a", 1000, 99_000);
    assert_eq!(query(&again, "a")[..2], [1000, 270]);
    let limited = again.query("T", "a", 4, 0, i64::MAX).unwrap();
    assert_eq!(limited.len(), 4);
}

#[test]
fn times_are_seconds_behind_the_begin_of_the_file() {
    let index = open(&disk(), true);
    for n in 0..5 {
        put(&index, "k", n * 10, 10_500 + n as i64 * 1_000);
    }
    assert_eq!(query_span(&index, "k", 11_500, 13_499), [20, 10]);
    assert_eq!(query_span(&index, "k", 0, 10_500), [0]);
    assert_eq!(query_span(&index, "k", 14_501, 99_000), Vec::<u64>::new());
    assert_eq!(query_span(&index, "k", 14_500, 99_000), [40]);
}

#[test]
fn older_messages_are_not_entered_again() {
    let index = open(&disk(), true);
    put(&index, "k", 100, 1);
    put(&index, "k", 99, 1);
    put(&index, "l", 100, 1);
    assert_eq!(query(&index, "k"), [100]);
    assert_eq!(
        query(&index, "l"),
        [100],
        "the second key of the last message"
    );
}

#[test]
fn keys_of_the_last_message_come_again_without_harm() {
    let disk = disk();
    let index = open(&disk, true);
    put(&index, "k", 100, 1);
    put(&index, "k", 200, 1);
    put(&index, "l", 200, 1);
    index.sync().unwrap();
    put(&index, "m", 200, 1);
    let again = open(&disk.crash(3), false);
    assert_eq!(again.end_physical(), PhysicalOffset(200));
    for _ in 0..2 {
        put(&again, "k", 200, 1);
        put(&again, "l", 200, 1);
    }
    put(&again, "m", 200, 1);
    assert_eq!(query(&again, "k"), [200, 100]);
    assert_eq!(query(&again, "l"), [200]);
    assert_eq!(query(&again, "m"), [200]);
}

#[test]
fn files_below_the_log_are_removed_but_the_last() {
    let disk = disk();
    let index = open(&disk, true);
    for n in 0..27 {
        put(&index, "k", n * 10, 1_000);
    }
    index.sync().unwrap();
    index.remove_below(PhysicalOffset(80)).unwrap();
    assert_eq!(contents(&disk).len(), 3, "80 is in the first");
    index.remove_below(PhysicalOffset(81)).unwrap();
    assert_eq!(contents(&disk).len(), 2);
    index.remove_below(PhysicalOffset(9999)).unwrap();
    assert_eq!(contents(&disk).len(), 1);
    assert_eq!(query(&index, "k").len(), 9);
    assert_eq!(contents(&disk.crash(1)).len(), 1);
}

#[test]
fn what_the_log_lost_is_forgotten() {
    for (end, files) in [(300, 3), (215, 3), (180, 2), (175, 2), (0, 0)] {
        let disk = disk();
        let index = open(&disk, true);
        for n in 0..27 {
            put(&index, &format!("k{}", n % 4), n * 10, 1_000);
        }
        index.sync().unwrap();
        let disk = disk.crash(1);
        let index = open(&disk, false);
        index.truncate(PhysicalOffset(end)).unwrap();
        let left: Vec<u64> = (0..27)
            .rev()
            .filter(|n| n % 4 == 2 && n * 10 < end)
            .map(|n| n * 10)
            .collect();
        assert_eq!(query(&index, "k2"), left, "cut at {end}");
        let disk = disk.crash(2);
        assert_eq!(contents(&disk).len(), files, "cut at {end}");
        let index = open(&disk, true);
        put(&index, "k2", end, 2_000);
        let mut found = left;
        found.insert(0, end);
        assert_eq!(query(&index, "k2"), found);
    }
}

#[test]
fn slots_beyond_the_count_are_invalid() {
    let disk = disk();
    let index = open(&disk, true);
    put(&index, "a", 10, 1_000);
    index.sync().unwrap();
    let name = disk.list(Path::new(FOLDER)).unwrap().remove(0).name;
    let path = Path::new(FOLDER).join(name);
    let file = disk.open(&path).unwrap();
    for slot in 0..SLOTS {
        file.write_at(&2_u32.to_be_bytes(), 40 + 4 * u64::from(slot))
            .unwrap();
    }
    let index = open(&disk, true);
    assert_eq!(query(&index, "a"), Vec::<u64>::new());
    put(&index, "b", 20, 1_000);
    assert_eq!(
        query(&index, "a"),
        Vec::<u64>::new(),
        "not by b's entry either"
    );
    assert_eq!(query(&index, "b"), [20]);
    let rebuilt = open(&disk, false);
    assert_eq!(query(&rebuilt, "a"), [10]);
}

#[test]
fn chains_that_lead_in_circles_end() {
    let disk = disk();
    let index = open(&disk, true);
    put(&index, "k", 10, 1_000);
    put(&index, "k", 20, 1_000);
    index.sync().unwrap();
    let name = disk.list(Path::new(FOLDER)).unwrap().remove(0).name;
    let file = disk.open(&Path::new(FOLDER).join(name)).unwrap();
    file.write_at(&2_u32.to_be_bytes(), 40 + 4 * u64::from(SLOTS) + 20 + 16)
        .unwrap();
    let index = open(&disk, true);
    assert_eq!(query(&index, "k"), [20, 10]);
    let rebuilt = open(&disk, false);
    assert_eq!(
        rebuilt.end_physical(),
        PhysicalOffset(0),
        "the first entry is damaged"
    );
}

#[test]
fn a_full_disk_and_a_failed_sync_are_reported() {
    let disk = disk();
    let index = open(&disk, true);
    put(&index, "k", 10, 1_000);
    disk.set_capacity(0);
    assert!(index.write_back().is_err());
    assert!(index.sync().is_err());
    assert_eq!(query(&index, "k"), [10]);
    disk.set_capacity(1 << 20);
    index.sync().unwrap();
    put(&index, "k", 20, 1_000);
    disk.fail_sync(1);
    assert!(index.sync().is_err());
    assert!(matches!(index.sync(), Err(IndexError::Poisoned { .. })));
    assert_eq!(query(&index, "k"), [20, 10]);
    assert_eq!(query(&open(&disk.crash(1), false), "k"), [10]);
}

#[test]
fn wrong_sizes_are_refused() {
    let disk = disk();
    put(&open(&disk, true), "k", 10, 1_000);
    let index = open(&disk, true);
    put(&index, "k", 10, 1_000);
    index.sync().unwrap();
    let open =
        |slots, entries| KeyIndex::open(Arc::new(disk.clone()), FOLDER, slots, entries, true);
    assert!(matches!(open(1, 10), Err(IndexError::Sizes { .. })));
    assert!(matches!(open(7, u32::MAX), Err(IndexError::Sizes { .. })));
    let other = open(8, 10).unwrap_err();
    assert!(
        matches!(
            other,
            IndexError::FileLength {
                bytes: 268,
                expected: 272,
                ..
            }
        ),
        "{other}"
    );
}
