//! Data folders that are damaged, foreign or in the way: each is opened or refused for a reason that names it.

// A failed step fails the test, in helpers too.
#![allow(clippy::expect_used, clippy::panic)]

mod support;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset};
use castmq_protocol::record::Record;
use castmq_storage::commit_log::LogWriter;
use castmq_storage::disk::os::OsDisk;
use castmq_storage::store::{OpenReport, Store, StoreError, StoreOptions, index_keys};
use tempfile::TempDir;

const SEGMENT_BYTES: u64 = 8192;
const QUEUE_FILE_BYTES: u64 = 200;
const MESSAGES: u64 = 25;

/// A folder in which a store was used and closed.
struct Folder {
    place: TempDir,
}

fn options(root: &Path) -> StoreOptions {
    StoreOptions {
        takes_lock: true,
        segment_bytes: SEGMENT_BYTES,
        consume_queue_file_bytes: QUEUE_FILE_BYTES,
        has_index: true,
        ..support::options(root, root.join("metadata"))
    }
}

fn open(root: &Path) -> Result<(Store, OpenReport), StoreError> {
    Store::open(Arc::new(OsDisk), options(root))
}

/// Appends messages of 1 KiB to one queue.
fn send(store: &Store, offsets: std::ops::Range<u64>) {
    let mut writer = LogWriter::resume(store.log.clone()).expect("nobody else writes");
    let body = [7; 900];
    for offset in offsets {
        let record = |physical_offset| Record {
            physical_offset,
            store_timestamp_ms: 1_700_000_000_000 + offset as i64,
            properties: b"KEYS\x01k\x02",
            ..support::message("T", QueueId(0), offset, &body)
        };
        let bytes = record(PhysicalOffset::ZERO).encoded_bytes();
        let place = writer.reserve(bytes).or_else(|_| {
            store.log.add_segment().expect("there is room");
            writer.reserve(bytes)
        });
        writer.append(&record(place.expect("there is room")));
        writer.publish();
    }
}

impl Folder {
    fn new() -> Self {
        let folder = Self {
            place: tempfile::tempdir().expect("there is a place"),
        };
        let (store, _) = open(&folder.root()).expect("a new folder opens");
        send(&store, 0..MESSAGES);
        let end = store.log.appended();
        let index = store.index.as_ref().expect("there is one");
        index_keys(&store.log, index, PhysicalOffset::ZERO..end).expect("keys can be entered");
        store.close(PhysicalOffset::ZERO).expect("it closes");
        folder
    }

    /// One whose broker was killed.
    fn crashed() -> Self {
        let folder = Self::new();
        fs::write(folder.path("abort"), "4711\ncastmq another boot\n").expect("it is writable");
        folder
    }

    fn root(&self) -> PathBuf {
        self.place.path().join("store")
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root().join(below)
    }

    fn segment(&self, number: u64) -> PathBuf {
        self.path(&format!("commitlog/{:020}", number * SEGMENT_BYTES))
    }

    fn queue_file(&self, number: u64) -> PathBuf {
        self.path(&format!(
            "consumequeue/T/0/{:020}",
            number * QUEUE_FILE_BYTES
        ))
    }

    fn index_file(&self) -> PathBuf {
        let mut entries = fs::read_dir(self.path("index")).expect("there is an index");
        entries
            .next()
            .expect("with a file")
            .expect("to be read")
            .path()
    }

    /// Checks that it is refused with a text that has all these parts, twice, since refusing changes nothing.
    fn refuses(&self, parts: &[&str]) {
        for _ in 0..2 {
            let text = match open(&self.root()) {
                Ok((_, report)) => panic!("it opens, where it should say {parts:?}: {report:?}"),
                Err(error) => error.to_string(),
            };
            for part in parts {
                assert!(text.contains(part), "{part:?} is not in: {text}");
            }
        }
    }

    /// Checks that it opens with `messages` messages, and takes more.
    fn opens_with(&self, messages: u64) -> OpenReport {
        let (store, report) = open(&self.root()).unwrap_or_else(|error| panic!("{error}"));
        let queue = store
            .queues
            .find("T", QueueId(0))
            .expect("the queue is there");
        assert_eq!(queue.min_offset(), QueueOffset(0));
        assert_eq!(queue.max_offset(), QueueOffset(messages));
        send(&store, messages..messages + 1);
        store.close(store.log.begin()).expect("it closes");
        drop(store);
        let (store, _) = open(&self.root()).expect("it opens again");
        assert_eq!(
            store.queues.next_offset(queue.topic(), queue.id()),
            QueueOffset(messages + 1)
        );
        report
    }
}

fn set_length(path: &Path, bytes: u64) {
    let file = File::options().write(true).open(path).expect("it is there");
    file.set_len(bytes).expect("it is writable");
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(path).expect("it is there");
    file.write_all_at(bytes, at).expect("it is writable");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("it is text")
}

fn replace_with_directory(path: &Path) {
    fs::remove_file(path).expect("it is there");
    fs::create_dir(path).expect("it is gone");
}

#[test]
fn a_folder_that_nobody_touched_opens() {
    assert!(Folder::new().opens_with(MESSAGES).was_clean);
    assert!(!Folder::crashed().opens_with(MESSAGES).was_clean);
}

#[test]
fn a_folder_in_use_names_itself_and_its_user() {
    let folder = Folder::new();
    let (store, _) = open(&folder.root()).expect("it opens");
    let pid = std::process::id().to_string();
    folder.refuses(&[
        text(&folder.root()),
        "in use by process",
        &pid,
        "another folder",
    ]);
    drop(store);
    folder.opens_with(MESSAGES);
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let folder = Folder::new();
    let allow = |mode| {
        fs::set_permissions(folder.root(), fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    allow(0o555);
    // Whoever may do everything is not kept out by permissions.
    if File::create(folder.path("probe")).is_err() {
        folder.refuses(&[text(&folder.root())]);
    }
    allow(0o755);
}

#[test]
fn a_file_where_the_folder_should_be_is_refused() {
    let place = tempfile::tempdir().expect("there is a place");
    let root = place.path().join("store");
    fs::write(&root, "").expect("it is writable");
    let refused = open(&root).expect_err("it is no folder").to_string();
    assert!(refused.contains(text(&root)), "{refused}");
}

#[test]
fn what_is_no_segment_is_not_taken_for_one() {
    let folder = Folder::new();
    fs::write(folder.path("commitlog/notes.txt"), "x").expect("it is writable");
    folder.refuses(&["notes.txt"]);
    fs::remove_file(folder.path("commitlog/notes.txt")).expect("it is there");
    fs::create_dir(folder.segment(9)).expect("nothing is there");
    folder.refuses(&[text(&folder.segment(9))]);
}

#[test]
fn a_log_of_a_foreign_format_is_not_wiped() {
    let place = tempfile::tempdir().expect("there is a place");
    let root = place.path().join("store");
    fs::create_dir_all(root.join("commitlog")).expect("nothing is there");
    let path = root.join(format!("commitlog/{:020}", 0));
    let content: Vec<u8> = (0..SEGMENT_BYTES).map(|n| (n * 31) as u8).collect();
    fs::write(&path, &content).expect("it is writable");
    for _ in 0..2 {
        let refused = open(&root).expect_err("that is no log").to_string();
        assert!(refused.contains(text(&path)), "{refused}");
        assert!(refused.contains("store repair"), "{refused}");
    }
    assert_eq!(fs::read(&path).expect("it is there"), content);
}

#[test]
fn segments_of_another_size_and_gaps_are_named() {
    let folder = Folder::new();
    set_length(&folder.segment(1), SEGMENT_BYTES - 1);
    folder.refuses(&[text(&folder.segment(1)), "8191", "8192"]);
    set_length(&folder.segment(1), SEGMENT_BYTES + 1);
    folder.refuses(&[text(&folder.segment(1)), "8193", "8192"]);
    set_length(&folder.segment(1), 0);
    folder.refuses(&[text(&folder.segment(1)), "0 bytes", "8192"]);
    fs::remove_file(folder.segment(1)).expect("it is there");
    folder.refuses(&[text(&folder.segment(1))]);
}

#[test]
fn a_last_segment_without_length_is_removed() {
    let folder = Folder::crashed();
    let next = (0..).find(|number| !folder.segment(*number).exists());
    File::create(folder.segment(next.expect("there is an end"))).expect("it is writable");
    folder.opens_with(MESSAGES);
}

#[test]
fn flipped_bits_in_durable_records_are_reported() {
    for folder in [Folder::crashed(), Folder::new()] {
        // The checkpoint of a start that was killed at once: all of the log has to be walked.
        fs::remove_file(folder.path("checkpoint")).expect("it is there");
        overwrite(&folder.segment(1), 500, &[0xAA]);
        let repair = "store repair --yes";
        folder.refuses(&[
            text(&folder.segment(1)),
            "check sum",
            "valid records go on",
            repair,
        ]);
    }
}

#[test]
fn garbage_behind_the_last_record_is_cut() {
    let folder = Folder::crashed();
    let (store, _) = open(&folder.root()).expect("it opens");
    let end = store.log.appended().0;
    drop(store);
    fs::write(folder.path("abort"), "4711\ncastmq another boot\n").expect("it is writable");
    let last = folder.segment(end / SEGMENT_BYTES);
    overwrite(&last, end % SEGMENT_BYTES, &[0xAB; 300]);
    let report = folder.opens_with(MESSAGES);
    assert_eq!(report.log.end.0, end);
}

#[test]
fn consume_queue_files_of_another_length_are_named() {
    let folder = Folder::new();
    set_length(&folder.queue_file(1), QUEUE_FILE_BYTES - 5);
    folder.refuses(&[text(&folder.queue_file(1)), "195", "200", "rebuilt"]);
    set_length(&folder.queue_file(1), QUEUE_FILE_BYTES * 9);
    folder.refuses(&[text(&folder.queue_file(1)), "1800", "200"]);
}

#[test]
fn a_consume_queue_that_is_not_as_it_was_left_is_rebuilt() {
    let damage: [fn(&Folder); 4] = [
        |folder| overwrite(&folder.queue_file(2), 0, &[0x5A; 200]),
        |folder| overwrite(&folder.queue_file(2), 0, &[0; 200]),
        |folder| fs::remove_file(folder.queue_file(2)).expect("it is there"),
        |folder| fs::remove_dir_all(folder.path("consumequeue/T/0")).expect("it is there"),
    ];
    for damage in damage {
        let folder = Folder::new();
        damage(&folder);
        assert!(folder.opens_with(MESSAGES).dispatched > 0);
    }
}

#[test]
fn a_queue_is_rebuilt_as_errors_advise() {
    for folder in [Folder::new(), Folder::crashed()] {
        set_length(&folder.queue_file(1), QUEUE_FILE_BYTES - 5);
        let advice = "remove the queue's folder and the store's file checkpoint";
        folder.refuses(&[advice]);
        fs::remove_dir_all(folder.path("consumequeue/T/0")).expect("it is there");
        fs::remove_file(folder.path("checkpoint")).expect("it is there");
        folder.opens_with(MESSAGES);
    }
}

#[test]
fn a_directory_where_a_consume_queue_file_should_be_is_named() {
    let folder = Folder::new();
    replace_with_directory(&folder.queue_file(1));
    folder.refuses(&[text(&folder.queue_file(1))]);
}

#[test]
fn consume_queues_and_index_that_are_missing_are_rebuilt() {
    for folder in [Folder::new(), Folder::crashed()] {
        fs::remove_dir_all(folder.path("consumequeue")).expect("it is there");
        fs::remove_dir_all(folder.path("index")).expect("it is there");
        folder.opens_with(MESSAGES);
    }
}

#[test]
fn damaged_index_files_are_named() {
    let folder = Folder::new();
    let path = folder.index_file();
    let length = fs::metadata(&path).expect("it is there").len();
    set_length(&path, length - 1);
    folder.refuses(&[text(&path), &length.to_string()]);
    set_length(&path, length + 1);
    folder.refuses(&[text(&path), &length.to_string()]);
    set_length(&path, length);
    overwrite(&path, 0, &[0xFF; 40]);
    folder.refuses(&[text(&path), "remove the file"]);
    // What was cut off at its making holds nothing.
    set_length(&path, 0);
    folder.opens_with(MESSAGES);
}

#[test]
fn a_checkpoint_of_any_content_is_survived() {
    let damage: [fn(&Path); 4] = [
        |path| overwrite(path, 0, &[0x77; 4096]),
        |path| set_length(path, 10),
        |path| set_length(path, 100_000),
        |path| fs::remove_file(path).expect("it is there"),
    ];
    for damage in damage {
        for folder in [Folder::new(), Folder::crashed()] {
            damage(&folder.path("checkpoint"));
            folder.opens_with(MESSAGES);
        }
    }
}

#[test]
fn what_another_broker_did_since_is_found() {
    let leave: [fn(&Folder); 2] = [
        // It stopped in a crash before it wrote its part of the checkpoint.
        |folder| fs::write(folder.path("abort"), "4711").expect("it is writable"),
        // It wrote its part, and left the file that was there from before.
        |folder| overwrite(&folder.path("checkpoint"), 8, &1_u64.to_be_bytes()),
    ];
    for leave in leave {
        let folder = Folder::new();
        let checkpoint = fs::read(folder.path("checkpoint")).expect("it is there");
        let (store, _) = open(&folder.root()).expect("it opens");
        send(&store, MESSAGES..MESSAGES + 5);
        drop(store);
        fs::write(folder.path("checkpoint"), &checkpoint).expect("it is writable");
        leave(&folder);
        // By our own fields this lies where everything is durable.
        overwrite(&folder.queue_file(2), 0, &[0; 200]);
        folder.opens_with(MESSAGES + 5);
    }
}

#[test]
fn directories_where_files_should_be_are_named() {
    let folder = Folder::new();
    replace_with_directory(&folder.path("checkpoint"));
    folder.refuses(&[text(&folder.path("checkpoint"))]);
    let folder = Folder::new();
    replace_with_directory(&folder.path("lock"));
    folder.refuses(&[text(&folder.root())]);
    let folder = Folder::new();
    fs::create_dir(folder.path("abort")).expect("nothing is there");
    folder.refuses(&[text(&folder.path("abort"))]);
    let folder = Folder::new();
    fs::remove_dir_all(folder.path("metadata")).expect("it is there");
    fs::write(folder.path("metadata"), "").expect("it is gone");
    folder.refuses(&[text(&folder.path("metadata"))]);
}

#[test]
fn damaged_metadata_is_refused() {
    let folder = Folder::new();
    overwrite(&folder.path("metadata/conf"), 0, &[0xFF; 20]);
    folder.refuses(&[text(&folder.path("metadata"))]);
}

#[test]
fn metadata_of_a_later_release_is_refused() {
    let folder = Folder::new();
    let sled = sled::open(folder.path("metadata")).expect("nobody uses it");
    sled.insert("schema_version", &99_u32.to_be_bytes())
        .expect("it is writable");
    drop(sled);
    folder.refuses(&[text(&folder.path("metadata")), "version 99", "newer"]);
}

#[test]
fn folders_and_files_may_be_links() {
    let folder = Folder::new();
    let elsewhere = folder.place.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("nothing is there");
    for below in ["commitlog", "consumequeue", "index"] {
        fs::rename(folder.path(below), elsewhere.join(below)).expect("it is there");
        symlink(elsewhere.join(below), folder.path(below)).expect("it is gone");
    }
    let segment = elsewhere.join("a segment");
    fs::rename(folder.segment(0), &segment).expect("it is there");
    symlink(&segment, folder.segment(0)).expect("it is gone");
    folder.opens_with(MESSAGES);
    fs::remove_file(&segment).expect("it is there");
    folder.refuses(&[text(&folder.segment(0))]);
}
