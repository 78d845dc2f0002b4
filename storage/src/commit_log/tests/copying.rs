//! A log that is another's: however its bytes are cut, what readers see of the copy is whole.

use super::*;

/// A log of several segments, and all its bytes.
fn original() -> (Arc<CommitLog>, Vec<u8>) {
    let (_, log, mut writer) = fresh();
    for length in [10, 3000, 3000, 3000, 5000, 1, 2, 8000, 40] {
        put(&mut writer, &vec![b'x'; length]).unwrap();
    }
    let bytes = bytes_of(&log, log.begin());
    (log, bytes)
}

fn bytes_of(log: &CommitLog, from: PhysicalOffset) -> Vec<u8> {
    let (mut at, mut bytes) = (from, Vec::new());
    while at < log.appended() {
        let rest = log.rest_of_segment(at).unwrap();
        bytes.extend_from_slice(rest.as_ref());
        at = at + rest.len() as u64;
    }
    bytes
}

/// Copies all of `bytes`, which belong at the end of the copy, in pieces of these sizes.
fn copy_all(writer: &mut LogWriter, bytes: &[u8], sizes: impl IntoIterator<Item = usize>) {
    let mut sizes = sizes.into_iter();
    let mut rest = bytes;
    while !rest.is_empty() {
        let piece = sizes.next().unwrap_or(rest.len()).clamp(1, rest.len());
        let taken = writer.copy(writer.copied(), &rest[..piece]).unwrap();
        if taken < piece {
            writer.log().add_segment().unwrap();
        }
        rest = &rest[taken..];
    }
}

#[test]
fn bytes_go_where_they_belong_or_nowhere() {
    let (_, bytes) = original();
    let (_, log, mut writer) = fresh();
    copy_all(&mut writer, &bytes[..500], [500]);
    let refused = writer.copy(PhysicalOffset(400), &bytes[400..500]);
    assert!(
        matches!(refused, Err(CopyError::Place { offered, expected }) if offered.0 == 400 && expected.0 == 500),
        "{refused:?}"
    );
    // What is not whole is not there.
    assert!(log.appended().0 < 500);
    let before = log.appended();
    drop(writer);
    let mut writer = LogWriter::resume(log.clone()).unwrap();
    assert_eq!(writer.copied(), before);
    copy_all(&mut writer, &bytes[before.0 as usize..], [77; 10]);
    assert_eq!(bytes_of(&log, log.begin()), bytes);
}

#[test]
fn what_is_no_record_or_is_damaged_is_refused_and_nothing_of_it_is_seen() {
    let (_, bytes) = original();
    for (at, reason) in [
        (7, "no record"),
        (90, "no record"),
        (0, "no record"),
        (35, "no record"),
    ] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        let (_, log, mut writer) = fresh();
        let error = writer
            .copy(PhysicalOffset(0), &damaged[..4000])
            .unwrap_err();
        assert!(error.to_string().contains(reason), "byte {at}: {error}");
        assert_eq!(log.appended(), PhysicalOffset(0), "byte {at}");
    }
    let (_, _, mut writer) = fresh();
    assert!(writer.copy(PhysicalOffset(0), &[0; 100]).is_err());
}

#[test]
fn segments_of_another_size_are_noticed() {
    let (_, bytes) = original();
    let disk = Arc::new(FaultDisk::new());
    let (log, _) = open(disk, &folder(), SEGMENT / 2, known(Some(0))).unwrap();
    let mut writer = LogWriter::resume(log).unwrap();
    let mut result = Ok(0);
    let mut rest = &bytes[..];
    while let (Ok(_), false) = (&result, rest.is_empty()) {
        let at = writer.copied();
        result = writer.copy(at, &rest[..rest.len().min(1000)]);
        if let Ok(taken) = result {
            rest = &rest[taken..];
            if taken < 1000 {
                writer.log().add_segment().unwrap();
            }
        }
    }
    let error = result.unwrap_err().to_string();
    assert!(
        error.contains("segments of one size") || error.contains("no record"),
        "{error}"
    );
}

proptest! {
    #[test]
    fn a_copy_is_the_same_however_its_bytes_are_cut(sizes in prop::collection::vec(1_usize..3000, 1..60)) {
        let (_, bytes) = original();
        let (disk, log, mut writer) = fresh();
        copy_all(&mut writer, &bytes, sizes.into_iter().cycle());
        prop_assert_eq!(bytes_of(&log, log.begin()), bytes);
        // And is found whole.
        log.sync(log.appended()).unwrap();
        let end = log.appended();
        drop((log, writer));
        let (log, _) = reopen(&disk.kill(), known(Some(end.0))).unwrap();
        prop_assert_eq!(log.appended(), end);
    }
}
