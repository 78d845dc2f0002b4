//! What a small sync costs the disk. Alone in its process, which is what the kernel counts for.

#![allow(clippy::expect_used, clippy::print_stdout)]

use std::fs;
use std::sync::Arc;

use castmq_storage::disk::os::OsDisk;
use castmq_storage::disk::{Disk, Grain, Segment};

const SEGMENT_BYTES: usize = 128 << 20;

/// Large pieces come after a while of preparing one page after the other.
const BEGIN: usize = SEGMENT_BYTES / 2;

/// Bytes that this process has had written back, or will have; `None` where the kernel does not tell.
fn written() -> Option<u64> {
    let told = fs::read_to_string("/proc/self/io").ok()?;
    let line = told
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "))?;
    line.trim().parse().ok()
}

#[test]
fn a_small_sync_writes_the_pages_that_changed_and_no_more() {
    const RECORD: usize = 1_200;
    const SYNCS: u64 = 1_000;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let path = folder.path().join("segment");
    let created = OsDisk.create_segment(&path, SEGMENT_BYTES as u64);
    let segment: Arc<dyn Segment> = Arc::from(created.expect("a segment"));
    segment
        .prepare(0..SEGMENT_BYTES, Grain::Fine)
        .expect("prepared");
    segment.sync(0..SEGMENT_BYTES).expect("synced");
    let mut writer = segment.clone().writer().expect("a writer");
    let Some(before) = written() else {
        println!("/proc/self/io is not there: nothing is measured");
        return;
    };
    writer.publish(BEGIN);
    let mut end = BEGIN;
    for _ in 0..SYNCS {
        writer.unpublished()[..RECORD].fill(7);
        writer.publish(RECORD);
        segment.sync(end..end + RECORD).expect("synced");
        end += RECORD;
    }
    let per_sync = (written().expect("as before") - before) / SYNCS;
    println!("{per_sync} bytes per sync of {RECORD}");
    assert!(
        per_sync <= 3 * 4096,
        "{per_sync} bytes per sync of {RECORD}"
    );
}
