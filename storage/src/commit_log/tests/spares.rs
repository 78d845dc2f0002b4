//! Files of removed segments come back as new ones.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::commit_log::spares::Spares;
use crate::disk::os::OsDisk;

const BYTES: u64 = 1 << 20;

fn log_in(disk: &Arc<dyn Disk>, folder: &Path, most: usize) -> (Arc<CommitLog>, LogWriter) {
    let (log, _) = open(disk.clone(), folder, BYTES, known(None)).unwrap();
    log.use_spares(Spares::open(disk.clone(), folder, BYTES, most));
    let writer = LogWriter::resume(log.clone()).unwrap();
    (log, writer)
}

/// Fills segments until there are `segments`.
fn fill(log: &CommitLog, writer: &mut LogWriter, segments: usize) {
    while log.segments().unwrap().len() < segments {
        put(writer, &[7; 100_000]).unwrap();
    }
}

/// Has retention take the oldest segment.
fn remove_oldest(log: &CommitLog) {
    log.sync(log.appended()).unwrap();
    assert!(log.retire(log.begin()));
    assert_eq!(log.remove_retired(false).unwrap(), 0);
}

fn spare_names(disk: &dyn Disk, folder: &Path) -> Vec<String> {
    let spare = folder.with_file_name("commitlog.spare");
    let entries = disk.list(&spare).unwrap();
    entries.into_iter().map(|entry| entry.name).collect()
}

fn spares(log: &CommitLog) -> &Spares {
    log.spares().unwrap()
}

#[test]
fn a_removed_segment_comes_back_as_zeros_in_the_same_blocks() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("commitlog");
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let (log, mut writer) = log_in(&disk, &folder, 4);
    fill(&log, &mut writer, 3);
    let file = |name: &Path| std::fs::metadata(name).unwrap();
    let old = file(&folder.join(segment_file_name(0)));
    remove_oldest(&log);
    assert_eq!(spare_names(&*disk, &folder), [segment_file_name(0)]);
    assert_eq!((spares(&log).count(), spares(&log).bytes()), (1, BYTES));
    let added = log.add_segment().unwrap();
    assert_eq!(added.segment.data_end().unwrap(), 0);
    let path = folder.join(segment_file_name(added.base.0));
    if spares(&log).is_of_use.load(Ordering::Relaxed) {
        assert_eq!(file(&path).ino(), old.ino());
        assert!(file(&path).blocks() >= BYTES / 512);
    }
    assert_eq!(std::fs::read(&path).unwrap(), vec![0; BYTES as usize]);
    assert_eq!((spares(&log).count(), added.segment.published()), (0, 0));
    assert!(spare_names(&*disk, &folder).is_empty());
    fill(&log, &mut writer, 4);
    let (before, begin) = (bodies(&log), log.begin());
    drop((added, writer, log));
    let (log, _) = open(disk, &folder, BYTES, known(None)).unwrap();
    assert_eq!((bodies(&log), log.begin()), (before, begin));
}

#[test]
fn what_is_still_read_is_not_used_again() {
    let disk: Arc<dyn Disk> = Arc::new(FaultDisk::new());
    let (log, mut writer) = log_in(&disk, &folder(), 4);
    fill(&log, &mut writer, 2);
    log.sync(log.appended()).unwrap();
    let view = log.slice(PhysicalOffset(0), 1000).unwrap();
    let before = view.as_ref().to_vec();
    assert!(log.retire(PhysicalOffset(0)));
    assert_eq!(log.remove_retired(true).unwrap(), 0);
    log.add_segment().unwrap();
    assert_eq!(view.as_ref(), before);
    assert_eq!(spares(&log).count(), 0);
}

#[test]
fn what_has_another_name_stays_as_it_is_under_that() {
    let place = tempfile::tempdir().unwrap();
    let (folder, backup) = (place.path().join("commitlog"), place.path().join("backup"));
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let (log, mut writer) = log_in(&disk, &folder, 4);
    fill(&log, &mut writer, 3);
    log.sync(log.appended()).unwrap();
    std::fs::hard_link(folder.join(segment_file_name(0)), &backup).unwrap();
    let before = std::fs::read(&backup).unwrap();
    remove_oldest(&log);
    let added = log.add_segment().unwrap();
    assert_eq!(added.segment.data_end().unwrap(), 0);
    assert!(std::fs::read(&backup).unwrap() == before);
    assert!(spare_names(&*disk, &folder).is_empty());
}

#[test]
fn what_is_in_the_way_of_a_segment_stays() {
    let place = tempfile::tempdir().unwrap();
    let disks: [(Arc<dyn Disk>, PathBuf); 2] = [
        (Arc::new(OsDisk), place.path().join("commitlog")),
        (Arc::new(FaultDisk::new()), folder()),
    ];
    for (disk, folder) in disks {
        let (log, mut writer) = log_in(&disk, &folder, 4);
        fill(&log, &mut writer, 3);
        remove_oldest(&log);
        let other = folder.join(segment_file_name(3 * BYTES));
        disk.create(&other, 5).unwrap();
        assert!(log.add_segment().is_err());
        assert_eq!(disk.open(&other).unwrap().bytes().unwrap(), 5);
    }
}

#[test]
fn no_more_are_kept_than_wanted() {
    let disk: Arc<dyn Disk> = Arc::new(FaultDisk::new());
    let (log, mut writer) = log_in(&disk, &folder(), 2);
    fill(&log, &mut writer, 6);
    for kept in [1, 2, 2, 2] {
        remove_oldest(&log);
        assert_eq!(spares(&log).count(), kept);
    }
    assert!(!spares(&log).keep(2));
    assert!(spares(&log).keep(1));
    assert_eq!(spare_names(&*disk, &folder()).len(), 1);
    let again = Spares::open(disk.clone(), &folder(), BYTES, 2);
    assert_eq!(again.count(), 1);
    assert_eq!(Spares::open(disk.clone(), &folder(), BYTES, 0).count(), 0);
    assert!(spare_names(&*disk, &folder()).is_empty());
}

#[test]
fn what_is_no_segment_is_not_used() {
    let disk: Arc<dyn Disk> = Arc::new(FaultDisk::new());
    let spare = folder().with_file_name("commitlog.spare");
    disk.create_directory(&spare).unwrap();
    disk.create(&spare.join("short"), BYTES - 1).unwrap();
    disk.create_directory(&spare.join("folder")).unwrap();
    let (log, mut writer) = log_in(&disk, &folder(), 4);
    assert_eq!(spares(&log).count(), 0);
    fill(&log, &mut writer, 2);
    assert!(bodies(&log).iter().all(|body| *body == [7; 100_000]));
    assert_eq!(spare_names(&*disk, &folder()), ["folder"]);
}

#[test]
fn a_spare_that_cannot_be_cleared_is_not_used() {
    let world = FaultDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(world.clone());
    let (log, mut writer) = log_in(&disk, &folder(), 4);
    fill(&log, &mut writer, 3);
    remove_oldest(&log);
    world.fail_sync(1);
    let added = log.add_segment().unwrap();
    assert_eq!(added.segment.data_end().unwrap(), 0);
    assert!(spare_names(&*disk, &folder()).is_empty());
    fill(&log, &mut writer, 3);
}
