use std::path::PathBuf;

use super::*;
use crate::disk::Wait;

fn path(text: &str) -> PathBuf {
    PathBuf::from(text)
}

/// A disk with a durable directory `/d`.
fn disk() -> FaultDisk {
    let disk = FaultDisk::new();
    disk.create_directory(&path("/d")).unwrap();
    disk.sync_directory(&path("/")).unwrap();
    disk
}

/// A durable file `/d/f` of `bytes` zeros.
fn durable_file(disk: &FaultDisk, bytes: u64) -> Arc<dyn DiskFile> {
    let file = disk.create(&path("/d/f"), bytes).unwrap();
    file.sync().unwrap();
    disk.sync_directory(&path("/d")).unwrap();
    file
}

fn content(disk: &FaultDisk, name: &str) -> Vec<u8> {
    let file = disk.open(&path(name)).unwrap();
    let mut bytes = vec![0; file.bytes().unwrap() as usize];
    file.read_at(&mut bytes, 0, Wait::ForDisk).unwrap();
    bytes
}

fn append(segment: &Arc<dyn Segment>, bytes: &[u8]) {
    let mut writer = segment.clone().writer().unwrap();
    writer.unpublished()[..bytes.len()].copy_from_slice(bytes);
    writer.publish(bytes.len());
}

#[test]
fn synced_bytes_survive_every_power_cut() {
    let disk = disk();
    let file = durable_file(&disk, 10_000);
    file.write_at(&[1; 10_000], 0).unwrap();
    file.sync().unwrap();
    file.write_at(&[2; 100], 5_000).unwrap();
    for seed in 0..50 {
        let left = content(&disk.crash(seed), "/d/f");
        assert_eq!(left.len(), 10_000);
        assert!(left[..4096].iter().all(|byte| *byte == 1));
        assert!(left.iter().all(|byte| matches!(byte, 1 | 2)));
    }
}

#[test]
fn unsynced_bytes_are_lost_kept_and_torn_at_sectors() {
    let disk = disk();
    let file = durable_file(&disk, 4096);
    file.write_at(&[7; 4096], 0).unwrap();
    let left: Vec<Vec<u8>> = (0..50)
        .map(|seed| content(&disk.crash(seed), "/d/f"))
        .collect();
    let sevens = |bytes: &Vec<u8>| bytes.iter().filter(|byte| **byte == 7).count();
    assert!(left.iter().any(|bytes| sevens(bytes) == 0));
    assert!(left.iter().any(|bytes| sevens(bytes) == 4096));
    assert!(left.iter().any(|bytes| !matches!(sevens(bytes), 0 | 4096)));
    assert!(left.iter().all(|bytes| sevens(bytes) % 512 == 0));
    assert_eq!(
        content(&disk.crash(3), "/d/f"),
        left[3],
        "a seed says it all"
    );
    assert_eq!(sevens(&content(&disk.kill(), "/d/f")), 4096);
}

#[test]
fn an_end_of_the_process_makes_nothing_durable() {
    let disk = disk();
    durable_file(&disk, 4096).write_at(&[7; 4096], 0).unwrap();
    let reopened = disk.kill();
    assert!((0..50).any(|seed| content(&reopened.crash(seed), "/d/f") == [0; 4096]));
}

#[test]
fn names_are_durable_once_their_directory_is_synced() {
    let disk = disk();
    let exists = |disk: &FaultDisk, name| disk.open(&path(name)).is_ok();
    disk.create(&path("/d/new"), 0).unwrap();
    assert!((0..50).any(|seed| !exists(&disk.crash(seed), "/d/new")));
    assert!((0..50).any(|seed| exists(&disk.crash(seed), "/d/new")));
    disk.sync_directory(&path("/d")).unwrap();
    assert!((0..50).all(|seed| exists(&disk.crash(seed), "/d/new")));
    disk.remove(&path("/d/new")).unwrap();
    assert!((0..50).any(|seed| exists(&disk.crash(seed), "/d/new")));
    disk.sync_directory(&path("/d")).unwrap();
    assert!((0..50).all(|seed| !exists(&disk.crash(seed), "/d/new")));
}

#[test]
fn a_synced_directory_below_a_lost_one_is_lost() {
    let disk = disk();
    disk.create_directory(&path("/d/e/f")).unwrap();
    disk.create(&path("/d/e/f/g"), 1).unwrap();
    disk.sync_directory(&path("/d/e/f")).unwrap();
    disk.sync_directory(&path("/d/e")).unwrap();
    let names = |seed| disk.crash(seed).list(&path("/d/e/f")).unwrap().len();
    assert!((0..50).any(|seed| names(seed) == 0));
    disk.sync_directory(&path("/d")).unwrap();
    assert!((0..50).all(|seed| names(seed) == 1));
}

#[test]
fn a_rename_is_lost_or_kept_as_a_whole() {
    let disk = disk();
    durable_file(&disk, 0).write_at(b"old", 0).unwrap();
    disk.open(&path("/d/f")).unwrap().sync().unwrap();
    let new = disk.create(&path("/d/new"), 0).unwrap();
    new.write_at(b"new", 0).unwrap();
    new.sync().unwrap();
    disk.sync_directory(&path("/d")).unwrap();
    disk.rename(&path("/d/new"), &path("/d/f")).unwrap();
    let left: Vec<_> = (0..50)
        .map(|seed| {
            let left = disk.crash(seed);
            let names = left.list(&path("/d")).unwrap().len();
            (content(&left, "/d/f"), names)
        })
        .collect();
    assert!(left.contains(&(b"old".to_vec(), 2)));
    assert!(left.contains(&(b"new".to_vec(), 1)));
    assert!(
        left.iter()
            .all(|(bytes, names)| (bytes == b"old") == (*names == 2))
    );
}

#[test]
fn the_length_of_a_new_file_is_durable_after_a_sync() {
    let disk = disk();
    let file = disk.create(&path("/d/f"), 5_000).unwrap();
    disk.sync_directory(&path("/d")).unwrap();
    let lengths: Vec<_> = (0..50)
        .map(|seed| content(&disk.crash(seed), "/d/f").len())
        .collect();
    assert!(lengths.contains(&0) && lengths.contains(&5_000));
    file.sync().unwrap();
    assert!((0..50).all(|seed| content(&disk.crash(seed), "/d/f").len() == 5_000));
}

#[test]
fn after_a_failed_sync_the_next_one_lies() {
    let disk = disk();
    let file = durable_file(&disk, 8192);
    file.write_at(&[7; 4096], 0).unwrap();
    disk.fail_sync(2);
    disk.sync_directory(&path("/d")).unwrap();
    assert!(file.sync().is_err());
    file.write_at(&[8; 4096], 4096).unwrap();
    file.sync().unwrap();
    for seed in 0..20 {
        let left = content(&disk.crash(seed), "/d/f");
        assert_eq!(left[..4096], [0; 4096], "never written again");
        assert_eq!(left[4096..], [8; 4096]);
    }
    assert_eq!(content(&disk, "/d/f")[..4096], [7; 4096], "still in memory");
    file.write_at(&[9; 4096], 0).unwrap();
    file.sync().unwrap();
    assert_eq!(
        content(&disk.crash(0), "/d/f")[..4096],
        [9; 4096],
        "dirtied again"
    );
}

#[test]
fn segments_obey_the_same_rules() {
    let disk = disk();
    let segment: Arc<dyn Segment> = disk.create_segment(&path("/d/s"), 16_384).unwrap().into();
    disk.sync_directory(&path("/d")).unwrap();
    append(&segment, &[1; 4096]);
    segment.sync(0..4096).unwrap();
    append(&segment, &[2; 4096]);
    disk.fail_sync(1);
    assert!(segment.sync(4096..8192).is_err());
    segment.sync(0..8192).unwrap();
    append(&segment, &[3; 4096]);
    let left: Vec<_> = (0..50)
        .map(|seed| content(&disk.crash(seed), "/d/s"))
        .collect();
    assert!(left.iter().all(|bytes| bytes.len() == 16_384));
    assert!(left.iter().all(|bytes| bytes[..4096] == [1; 4096]));
    assert!(left.iter().all(|bytes| bytes[4096..8192] == [0; 4096]));
    assert!(left.iter().any(|bytes| bytes[8192..12_288] == [3; 4096]));
    assert!(left.iter().any(|bytes| bytes[8192..12_288] == [0; 4096]));
    assert_eq!(content(&disk.kill(), "/d/s")[4096..8192], [2; 4096]);
}

#[test]
fn a_reopened_segment_is_readable_whole_and_can_be_truncated_and_written_again() {
    let disk = disk();
    let segment: Arc<dyn Segment> = disk.create_segment(&path("/d/s"), 8192).unwrap().into();
    append(&segment, &[1; 5000]);
    drop(segment);
    let mut again = disk.open_segment(&path("/d/s")).unwrap();
    assert_eq!(again.published(), 8192);
    assert_eq!(again.data_end().unwrap(), 8192);
    again.truncate(10).unwrap();
    assert_eq!(again.data_end().unwrap(), 4096);
    let again: Arc<dyn Segment> = again.into();
    append(&again, b"xyz");
    assert!(again.clone().writer().is_some(), "the first was dropped");
    assert_eq!(again.read(8..13), Some(&b"\x01\x01xyz"[..]));
    drop(again);
    let bytes = content(&disk, "/d/s");
    assert_eq!(&bytes[8..15], b"\x01\x01xyz\0\0");
    assert!(bytes[13..].iter().all(|byte| *byte == 0));
    assert_eq!(&content(&disk.kill(), "/d/s"), &bytes);
}

#[test]
fn a_segment_in_use_cannot_be_truncated() {
    let disk = disk();
    let mut first = disk.create_segment(&path("/d/s"), 4096).unwrap();
    let second = disk.open_segment(&path("/d/s")).unwrap();
    assert!(first.truncate(0).is_err());
    drop(second);
    first.truncate(0).unwrap();
}

#[test]
fn the_disk_fills_up_and_empties_again() {
    let disk = disk();
    disk.set_capacity(16_384);
    let full = |result: io::Result<()>| result.unwrap_err().kind() == ErrorKind::StorageFull;
    let segment = disk.create_segment(&path("/d/s"), 8192).unwrap();
    let file = disk.create(&path("/d/f"), 1 << 20).unwrap();
    file.write_at(&[1; 10], 500_000).unwrap();
    file.write_at(&[1; 10], 500_100).unwrap();
    assert_eq!(disk.used_bytes(), 12_288);
    assert!(full(file.write_at(&[2; 8192], 0)));
    assert_eq!(
        content(&disk, "/d/f")[4095..4097],
        [2, 0],
        "what fits is written"
    );
    assert!(full(disk.create_segment(&path("/d/t"), 1).map(|_| ())));
    assert!(disk.open(&path("/d/t")).is_err());
    assert_eq!(disk.space(&path("/d")).unwrap().available_bytes, 0);
    drop(segment);
    disk.remove(&path("/d/s")).unwrap();
    assert_eq!(disk.used_bytes(), 8192);
    file.write_at(&[2; 8192], 0).unwrap();
    assert_eq!(disk.kill().used_bytes(), disk.used_bytes());
    disk.remove(&path("/d/f")).unwrap();
    file.write_at(&[3; 8192], 100_000).unwrap();
    assert_eq!(disk.used_bytes(), 0, "what has no name takes no room");
}

#[test]
fn bits_flip_reads_fail_and_cold_bytes_are_not_waited_for() {
    let disk = disk();
    let file = durable_file(&disk, 0);
    file.write_at(&[0b100; 10], 0).unwrap();
    disk.flip_bit(&path("/d/f"), 5, 0).unwrap();
    assert_eq!(content(&disk, "/d/f")[4..7], [4, 5, 4]);
    disk.fail_reads(&path("/d"));
    assert!(file.read_at(&mut [0], 0, Wait::ForDisk).is_err());
    disk.heal_reads();
    disk.set_cold(true);
    let cold = file.read_at(&mut [0], 0, Wait::Never).unwrap_err();
    assert_eq!(cold.kind(), ErrorKind::WouldBlock);
    assert!(file.read_at(&mut [0], 0, Wait::ForDisk).is_ok());
    let segment = disk.create_segment(&path("/d/s"), 10).unwrap();
    assert_eq!(
        disk.flip_bit(&path("/d/s"), 0, 0).unwrap_err().kind(),
        ErrorKind::ResourceBusy
    );
    assert!(!segment.is_resident(0..1));
    segment.load(0..1).unwrap();
    assert!(segment.is_resident(0..1));
}

#[test]
fn data_is_told_from_holes() {
    let file = durable_file(&disk(), 20_000);
    assert_eq!(file.next_data(0).unwrap(), None);
    file.write_at(&[1; 4097], 4096).unwrap();
    file.write_at(&[1], 19_000).unwrap();
    assert_eq!(file.next_data(0).unwrap(), Some(4096..12_288));
    assert_eq!(file.next_data(5000).unwrap(), Some(5000..12_288));
    assert_eq!(file.next_data(12_288).unwrap(), Some(16_384..20_000));
    assert_eq!(file.next_data(20_000).unwrap(), None);
}

#[test]
fn nothing_changes_after_the_power_is_off() {
    let disk = disk();
    let file = durable_file(&disk, 4096);
    disk.cut_power_after(1);
    file.write_at(&[1; 4096], 0).unwrap();
    assert!(file.sync().is_err());
    assert!(file.write_at(&[2; 4096], 0).is_err());
    assert!(disk.create(&path("/d/g"), 0).is_err());
    assert!(disk.remove(&path("/d/f")).is_err());
    assert!(disk.list(&path("/d")).is_err());
    let left: Vec<_> = (0..50)
        .map(|seed| content(&disk.crash(seed), "/d/f"))
        .collect();
    assert!(left.contains(&vec![1; 4096]) && left.contains(&vec![0; 4096]));
}

#[test]
fn names_follow_the_rules_of_directories() {
    let disk = disk();
    let kind = |result: io::Result<()>| result.unwrap_err().kind();
    let create = |name| disk.create(&path(name), 0).map(|_| ());
    assert_eq!(kind(create("/none/f")), ErrorKind::NotFound);
    create("/d/f").unwrap();
    assert_eq!(kind(create("/d/f")), ErrorKind::AlreadyExists);
    assert_eq!(
        kind(disk.remove_directory(&path("/d"))),
        ErrorKind::DirectoryNotEmpty
    );
    assert_eq!(disk.list(&path("/none")).unwrap(), vec![]);
    assert_eq!(
        kind(disk.sync_directory(&path("/none"))),
        ErrorKind::NotFound
    );
    disk.remove(&path("/d/f")).unwrap();
    disk.remove_directory(&path("/d")).unwrap();
    assert_eq!(kind(create("/d/f")), ErrorKind::NotFound);
}
