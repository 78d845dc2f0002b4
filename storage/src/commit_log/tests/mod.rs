//! The log on a disk in memory: what is appended, rolled, flushed, lost and found.

mod copying;
mod ringed;
mod spares;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset};
use castmq_protocol::record::{Record, RecordView, Step, step};
use proptest::prelude::*;

use super::recovery::{Known, Recovered, Start, open};
use super::*;
use crate::disk::fault::FaultDisk;

const SEGMENT: u64 = 8192;

fn folder() -> PathBuf {
    PathBuf::from("/store/commitlog")
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

fn reopen(disk: &FaultDisk, known: Known) -> Result<(Arc<CommitLog>, Recovered), LogError> {
    open(Arc::new(disk.clone()), &folder(), SEGMENT, known)
}

fn fresh() -> (FaultDisk, Arc<CommitLog>, LogWriter) {
    let disk = FaultDisk::new();
    let (log, _) = reopen(&disk, known(Some(0))).unwrap();
    let writer = LogWriter::resume(log.clone()).unwrap();
    (disk, log, writer)
}

fn record(physical_offset: PhysicalOffset, body: &[u8]) -> Record<'_> {
    Record {
        topic: "T",
        queue: QueueId(0),
        queue_offset: QueueOffset(0),
        physical_offset,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 1,
        born_host: "127.0.0.1:1".parse().unwrap(),
        store_timestamp_ms: 1000 + body.len() as i64,
        store_host: "127.0.0.1:2".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        body_crc: None,
        properties: b"",
    }
}

fn put(writer: &mut LogWriter, body: &[u8]) -> Result<PhysicalOffset, AppendError> {
    let bytes = record(PhysicalOffset(0), body).encoded_bytes();
    if matches!(writer.reserve(bytes), Err(AppendError::SegmentNotReady)) {
        writer.log().add_segment().unwrap();
    }
    let at = writer.reserve(bytes)?;
    writer.append(&record(at, body));
    writer.publish();
    Ok(at)
}

/// Bodies of all records, as a reader finds them.
fn bodies(log: &CommitLog) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut at = log.begin();
    while at < log.appended() {
        let rest = log.rest_of_segment(at).unwrap();
        match step(rest.as_ref()).unwrap() {
            Step::Record(record) => {
                found.push(record.body().to_vec());
                at = at + record.total_bytes() as u64;
            }
            Step::Blank => {
                at = PhysicalOffset((at.0 / log.segment_bytes() + 1) * log.segment_bytes())
            }
            Step::Unwritten => panic!("unwritten space at {at} below the end"),
        }
    }
    found
}

#[test]
fn records_are_read_where_they_were_appended() {
    let (_disk, log, mut writer) = fresh();
    let first = put(&mut writer, b"one").unwrap();
    let second = put(&mut writer, b"two").unwrap();
    assert_eq!(first, PhysicalOffset(0));
    assert_eq!(second.0, 92 + 3);
    let record = log.record(second).unwrap();
    assert_eq!(RecordView::parse(record.as_ref()).unwrap().body(), b"two");
    assert_eq!(log.store_timestamp_ms(second), Some(1003));
    assert!(log.record(second + 1).is_none());
    assert!(log.record(log.appended()).is_none());
}

#[test]
fn nothing_is_visible_before_it_is_published() {
    let (_disk, log, mut writer) = fresh();
    let at = writer.reserve(100).unwrap();
    assert_eq!(at, PhysicalOffset(0));
    assert!(log.slice(at, 1).is_none());
    assert_eq!(log.appended(), PhysicalOffset(0));
}

#[test]
fn a_full_segment_ends_with_a_filler_and_the_next_goes_on() {
    let (_disk, log, mut writer) = fresh();
    for _ in 0..3 {
        put(&mut writer, &[1; 3000]).unwrap();
    }
    assert_eq!(log.appended().0, SEGMENT + 92 + 3000);
    let rest = log.rest_of_segment(PhysicalOffset(2 * 3092)).unwrap();
    assert!(matches!(step(rest.as_ref()), Ok(Step::Blank)));
    assert_eq!(
        rest.as_ref()[..4],
        ((SEGMENT - 2 * 3092) as i32).to_be_bytes()
    );
    assert_eq!(bodies(&log).len(), 3);
}

#[test]
fn a_record_always_leaves_room_for_the_filler() {
    let (_disk, log, mut writer) = fresh();
    let longest = (SEGMENT - 8 - 92) as usize;
    put(&mut writer, &vec![1; longest]).unwrap();
    assert_eq!(log.appended().0, SEGMENT - 8);
    put(&mut writer, &vec![2; longest]).unwrap();
    assert!(matches!(
        put(&mut writer, &vec![1; longest + 1]),
        Err(AppendError::TooLong { limit, .. }) if limit == SEGMENT - 8
    ));
}

#[test]
fn without_a_next_segment_the_writer_says_so_and_changes_nothing() {
    let (_disk, log, mut writer) = fresh();
    put(&mut writer, &[1; 7000]).unwrap();
    assert!(!log.has_next_segment());
    let before = log.appended();
    assert_eq!(writer.reserve(2000), Err(AppendError::SegmentNotReady));
    assert_eq!(log.appended(), before);
    log.add_segment().unwrap();
    assert!(log.has_next_segment());
    assert_eq!(writer.reserve(2000), Ok(PhysicalOffset(SEGMENT)));
    assert!(!log.has_next_segment());
}

#[test]
fn a_writer_that_takes_over_clears_what_was_left_half_written() {
    let (disk, log, mut writer) = fresh();
    put(&mut writer, b"kept").unwrap();
    let end = log.appended();
    // Two records are written, and the writer dies before it publishes them.
    for body in [b"lost", b"gone"] {
        let at = writer.reserve(96).unwrap();
        writer.append(&record(at, body));
    }
    drop(writer);
    let mut writer = LogWriter::resume(log.clone()).unwrap();
    assert_eq!(writer.position(), end);
    put(&mut writer, b"next").unwrap();
    assert_eq!(bodies(&log), [b"kept", b"next"]);
    // Behind `next` lay `gone`, whole and in its place.
    let (log, _) = reopen(&disk.kill(), known(Some(0))).unwrap();
    assert_eq!(bodies(&log), [b"kept", b"next"]);
}

#[test]
fn there_is_one_writer() {
    let (_disk, log, writer) = fresh();
    assert_eq!(
        LogWriter::resume(log.clone()).unwrap_err(),
        AppendError::WriterTaken
    );
    drop(writer);
    assert!(LogWriter::resume(log).is_ok());
}

#[test]
fn after_a_clean_stop_nothing_is_walked() {
    let (disk, log, mut writer) = fresh();
    for _ in 0..5 {
        put(&mut writer, &[7; 1000]).unwrap();
    }
    let end = log.sync(log.appended()).unwrap();
    let known = Known {
        clean: true,
        start: Start::At(end),
        ..known(Some(end.0))
    };
    let (log, recovered) = reopen(&disk.kill(), known).unwrap();
    assert_eq!((recovered.records, recovered.end), (0, end));
    assert_eq!(bodies(&log).len(), 5);
}

#[test]
fn a_walk_can_begin_where_rocketmq_would() {
    let (disk, log, mut writer) = fresh();
    for size in [3000, 3001, 3002, 3003, 3004] {
        put(&mut writer, &vec![7; size]).unwrap();
    }
    drop((writer, log));
    let at = |timestamp| {
        let known = Known {
            start: Start::StoredBefore(timestamp),
            ..known(Some(0))
        };
        reopen(&disk.kill(), known).unwrap().1.start
    };
    assert_eq!(at(4001), PhysicalOffset(0));
    assert_eq!(at(4002), PhysicalOffset(SEGMENT));
    assert_eq!(at(9999), PhysicalOffset(2 * SEGMENT));
    assert_eq!(at(5), PhysicalOffset(0));
}

#[test]
fn a_torn_last_record_is_cut() {
    let (disk, _log, mut writer) = fresh();
    put(&mut writer, b"whole").unwrap();
    let torn = put(&mut writer, b"torn!").unwrap();
    let disk = disk.kill();
    let file = folder().join(segment_file_name(0));
    disk.flip_bit(&file, torn.0 + 90, 0).unwrap();
    let (log, recovered) = reopen(&disk, known(Some(torn.0))).unwrap();
    assert_eq!(recovered.end, torn);
    assert_eq!(recovered.cut, None);
    assert_eq!(bodies(&log), [b"whole"]);
    // What was cut is gone for good: it cannot come back behind a shorter record.
    let mut writer = LogWriter::resume(log.clone()).unwrap();
    put(&mut writer, b"").unwrap();
    drop((writer, log));
    let (log, _) = reopen(&disk.kill(), known(Some(torn.0))).unwrap();
    assert_eq!(bodies(&log), [&b"whole"[..], b""]);
}

#[test]
fn a_record_that_lost_properties_with_the_power_is_torn() {
    let properties = [b'p'; 600];
    let put_keyed = |writer: &mut LogWriter| {
        let at = writer.position();
        let keyed = Record {
            properties: &properties,
            ..record(at, b"body")
        };
        writer.reserve(keyed.encoded_bytes()).unwrap();
        writer.append(&keyed);
        writer.publish();
    };
    let (disk, log, mut writer) = fresh();
    put_keyed(&mut writer);
    let whole = log.sync(log.appended()).unwrap();
    put_keyed(&mut writer);
    drop((writer, log));
    let disk = disk.kill();
    let file = folder().join(segment_file_name(0));
    // The second record's last sector never reached the device.
    let last_sector = disk.open(&file).unwrap();
    last_sector.write_at(&[0; 512], 1024).unwrap();
    let (log, _) = reopen(&disk.kill(), known(Some(whole.0))).unwrap();
    assert_eq!(log.appended(), whole);
    // While the power stayed on it cannot be that, but for the end: whoever sends zeros gets them back.
    let known = Known {
        may_be_torn: false,
        ..known(Some(whole.0))
    };
    let (log, _) = reopen(&disk.kill(), known).unwrap();
    assert_eq!(log.appended(), whole);
    last_sector.write_at(b"p", 2 * whole.0 - 1).unwrap();
    let (log, _) = reopen(&disk.kill(), known).unwrap();
    assert_eq!(log.appended(), PhysicalOffset(2 * whole.0));
}

#[test]
fn a_record_that_a_copy_has_in_part_is_not_taken_for_whole() {
    let (_, master, mut writer) = fresh();
    for _ in 0..2 {
        let keyed = Record {
            properties: b"KEYS\x01order-1\x02",
            ..record(writer.position(), b"body")
        };
        writer.reserve(keyed.encoded_bytes()).unwrap();
        writer.append(&keyed);
        writer.publish();
    }
    let bytes = master.rest_of_segment(PhysicalOffset(0)).unwrap();
    let bytes = bytes.as_ref();
    let whole = bytes.len() / 2;
    for (has, is_clean) in (whole..bytes.len()).flat_map(|has| [(has, true), (has, false)]) {
        let (disk, copy, mut writer) = fresh();
        writer.copy(PhysicalOffset(0), &bytes[..has]).unwrap();
        copy.sync(copy.appended()).unwrap();
        drop((writer, copy));
        let known = Known {
            may_be_torn: false,
            clean: is_clean,
            verify_bodies: false,
            ..known(Some(whole as u64))
        };
        let (copy, _) = reopen(&disk.kill(), known).unwrap();
        assert_eq!(copy.appended().0, whole as u64, "{has} of {}", bytes.len());
        let mut writer = LogWriter::resume(copy.clone()).unwrap();
        writer.copy(copy.appended(), &bytes[whole..]).unwrap();
        let copied = copy.rest_of_segment(PhysicalOffset(0)).unwrap();
        assert!(copied.as_ref() == bytes, "{has} of {}", bytes.len());
    }
}

#[test]
fn a_note_of_what_is_durable_may_be_older_than_the_log() {
    let (disk, log, mut writer) = fresh();
    for _ in 0..5 {
        put(&mut writer, &[1; 3000]).unwrap();
    }
    assert!(log.retire(PhysicalOffset(0)));
    log.remove_retired(true).unwrap();
    assert_eq!(log.sync(log.appended()).unwrap(), log.appended());
    drop((writer, log));
    let (log, _) = reopen(&disk.kill(), known(Some(95))).unwrap();
    assert_eq!(log.flushed(), PhysicalOffset(SEGMENT));
    assert_eq!(log.sync(log.appended()).unwrap(), log.appended());
}

#[test]
fn damage_in_durable_bytes_is_refused_and_named() {
    let (disk, log, mut writer) = fresh();
    for body in [b"one", b"two", b"thr"] {
        put(&mut writer, body).unwrap();
    }
    let durable = log.sync(log.appended()).unwrap().0;
    let disk = disk.kill();
    let file = folder().join(segment_file_name(0));
    disk.flip_bit(&file, 95 + 89, 3).unwrap();
    let Err(LogError::Damaged(damage)) = reopen(&disk, known(Some(durable))) else {
        panic!("damage was not refused");
    };
    assert_eq!((damage.position, &damage.path), (95, &file));
    assert_eq!(damage.next_valid, Some(PhysicalOffset(190)));
    let text = damage.to_string();
    for part in [
        "95 of /store/commitlog/00000000000000000000",
        "check sum",
        "store repair --yes",
    ] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    // Refusing changed nothing; repairing cuts and keeps what it cut.
    assert!(matches!(
        reopen(&disk, known(Some(durable))),
        Err(LogError::Damaged(_))
    ));
    let repair = Known {
        repair: true,
        ..known(Some(durable))
    };
    let (log, recovered) = reopen(&disk, repair).unwrap();
    assert_eq!(bodies(&log), [b"one"]);
    let cut = recovered.cut.unwrap();
    assert_eq!(
        (cut.from, cut.kept_in),
        (
            PhysicalOffset(95),
            PathBuf::from("/store/commitlog.cut/00000000000000000095")
        )
    );
    assert!(cut.bytes >= 190);
}

#[test]
fn a_durable_tail_that_is_gone_is_refused_even_with_nothing_behind_it() {
    let (disk, log, mut writer) = fresh();
    put(&mut writer, b"one").unwrap();
    put(&mut writer, b"two").unwrap();
    let durable = log.sync(log.appended()).unwrap().0;
    let disk = disk.kill();
    disk.flip_bit(&folder().join(segment_file_name(0)), 95 + 5, 1)
        .unwrap();
    assert!(matches!(
        reopen(&disk, known(Some(durable))),
        Err(LogError::Damaged(damage)) if damage.next_valid.is_none()
    ));
}

#[test]
fn an_unsynced_tail_with_a_hole_is_cut_and_kept_aside() {
    let (disk, log, mut writer) = fresh();
    put(&mut writer, b"one").unwrap();
    let durable = log.sync(log.appended()).unwrap().0;
    put(&mut writer, b"two").unwrap();
    put(&mut writer, b"thr").unwrap();
    let disk = disk.kill();
    disk.flip_bit(&folder().join(segment_file_name(0)), 95 + 89, 1)
        .unwrap();
    let (log, recovered) = reopen(&disk, known(Some(durable))).unwrap();
    assert_eq!(bodies(&log), [b"one"]);
    let cut = recovered.cut.unwrap();
    assert_eq!(cut.from, PhysicalOffset(95));
    let kept = disk.open(&cut.kept_in).unwrap();
    assert!(kept.bytes().unwrap() >= 190);
    // Without a note of what was durable nobody can say that it was not: refused.
    let (disk, _log, mut writer) = fresh();
    for body in [b"one", b"two", b"thr"] {
        put(&mut writer, body).unwrap();
    }
    let disk = disk.kill();
    disk.flip_bit(&folder().join(segment_file_name(0)), 95 + 89, 1)
        .unwrap();
    assert!(matches!(
        reopen(&disk, known(None)),
        Err(LogError::Damaged(_))
    ));
}

#[test]
fn a_failed_sync_poisons_the_log() {
    let (disk, log, mut writer) = fresh();
    put(&mut writer, b"one").unwrap();
    disk.fail_sync(1);
    assert!(log.sync(log.appended()).is_err());
    assert_eq!(log.flushed(), PhysicalOffset(0));
    assert!(log.failure().unwrap().contains("00000000000000000000"));
    assert!(matches!(
        log.sync(log.appended()),
        Err(LogError::Failed { .. })
    ));
    assert!(matches!(
        put(&mut writer, b"two"),
        Err(AppendError::Failed { .. })
    ));
    assert_eq!(bodies(&log).len(), 1);
}

#[test]
fn files_that_do_not_belong_are_refused_by_name() {
    let disk = FaultDisk::new();
    disk.create_directory(&folder()).unwrap();
    let create = |name: &str, bytes: u64| {
        disk.create(&folder().join(name), bytes).unwrap();
    };
    create("notes.txt", 5);
    assert!(
        matches!(reopen(&disk, known(None)), Err(LogError::Foreign { path }) if path.ends_with("notes.txt"))
    );
    disk.remove(&folder().join("notes.txt")).unwrap();
    create(&segment_file_name(0), SEGMENT + 1);
    let error = reopen(&disk, known(None)).unwrap_err().to_string();
    assert!(
        error.contains("8193 bytes, the configured size is 8192"),
        "{error}"
    );
    disk.remove(&folder().join(segment_file_name(0))).unwrap();
    disk.create_segment(&folder().join(segment_file_name(0)), SEGMENT)
        .unwrap();
    disk.create_segment(&folder().join(segment_file_name(2 * SEGMENT)), SEGMENT)
        .unwrap();
    assert!(
        matches!(reopen(&disk, known(None)), Err(LogError::Gap { path }) if path.ends_with(segment_file_name(SEGMENT)))
    );
}

#[test]
fn an_empty_last_file_is_removed_as_rocketmq_does() {
    let disk = FaultDisk::new();
    disk.create_directory(&folder()).unwrap();
    disk.create(&folder().join(segment_file_name(0)), 0)
        .unwrap();
    let (log, _) = reopen(&disk, known(None)).unwrap();
    assert_eq!(log.begin(), PhysicalOffset(0));
}

#[test]
fn retired_segments_stay_until_their_last_reader_goes() {
    let (disk, log, mut writer) = fresh();
    for _ in 0..5 {
        put(&mut writer, &[1; 3000]).unwrap();
    }
    let view = log.slice(PhysicalOffset(10), 100).unwrap();
    assert!(!log.retire(PhysicalOffset(SEGMENT)), "only the oldest goes");
    assert!(log.retire(PhysicalOffset(0)));
    assert_eq!(log.begin(), PhysicalOffset(SEGMENT));
    assert!(log.slice(PhysicalOffset(10), 100).is_none());
    assert_eq!(log.remove_retired(false).unwrap(), 1);
    assert_eq!(view.as_ref().len(), 100);
    drop(view);
    assert_eq!(log.remove_retired(false).unwrap(), 0);
    let names = disk.list(&folder()).unwrap();
    assert!(names.iter().all(|entry| entry.name != segment_file_name(0)));
    assert!(log.retire(PhysicalOffset(SEGMENT)));
    assert!(
        !log.retire(PhysicalOffset(2 * SEGMENT)),
        "the written one stays"
    );
}

#[test]
fn neighboring_views_join() {
    let (_disk, log, mut writer) = fresh();
    put(&mut writer, b"one").unwrap();
    put(&mut writer, b"two").unwrap();
    let mut first = log.slice(PhysicalOffset(0), 95).unwrap();
    first
        .join(log.slice(PhysicalOffset(95), 95).unwrap())
        .unwrap();
    assert_eq!(first.len(), 190);
    assert!(
        first
            .join(log.slice(PhysicalOffset(0), 5).unwrap())
            .is_err()
    );
}

#[derive(Debug, Clone)]
enum Action {
    Put(usize),
    Sync,
    Crash(u64),
    Kill,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        6 => (0_usize..3000).prop_map(Action::Put),
        2 => Just(Action::Sync),
        1 => any::<u64>().prop_map(Action::Crash),
        1 => Just(Action::Kill),
    ];
    prop::collection::vec(action, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// After a power cut the log is a prefix of what was appended that holds all that was synced; after the end of
    /// the process it is all that was appended.
    #[test]
    fn a_recovered_log_is_a_prefix_with_everything_durable(actions in actions()) {
        let (mut disk, mut log, mut writer) = fresh();
        let mut appended: Vec<Vec<u8>> = Vec::new();
        let mut durable = (0, 0);
        for (index, action) in actions.into_iter().enumerate() {
            match action {
                Action::Put(bytes) => {
                    let body = vec![index as u8 | 1; bytes];
                    put(&mut writer, &body).unwrap();
                    appended.push(body);
                }
                Action::Sync => {
                    let end = log.sync(log.appended()).unwrap();
                    durable = (appended.len(), end.0);
                }
                Action::Crash(_) | Action::Kill => {
                    drop((writer, log));
                    disk = match action {
                        Action::Crash(seed) => disk.crash(seed),
                        _ => disk.kill(),
                    };
                    log = reopen(&disk, known(Some(durable.1))).unwrap().0;
                    let found = bodies(&log);
                    prop_assert!(found.len() >= durable.0, "{} of {} durable records", found.len(), durable.0);
                    prop_assert_eq!(&found[..], &appended[..found.len()]);
                    if matches!(action, Action::Kill) {
                        prop_assert_eq!(found.len(), appended.len());
                    }
                    appended = found;
                    let end = log.sync(log.appended()).unwrap();
                    durable = (appended.len(), end.0);
                    writer = LogWriter::resume(log.clone()).unwrap();
                }
            }
        }
        prop_assert_eq!(bodies(&log), appended);
    }
}

#[test]
fn folders_are_made_when_they_are_missing() {
    let disk = FaultDisk::new();
    let deep = Path::new("/a/b/c");
    let (log, recovered) = open(Arc::new(disk.clone()), deep, SEGMENT, known(None)).unwrap();
    assert_eq!(recovered.end, PhysicalOffset(0));
    assert_eq!(log.directory(), deep);
    assert_eq!(disk.list(deep).unwrap().len(), 1);
}
