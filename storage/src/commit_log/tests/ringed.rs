//! The log's newest bytes in a ring: on files, whose state at any moment is what a killed process leaves behind.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::commit_log::restore::{Restored, restore};
use crate::disk::os::OsDisk;
use crate::disk::ring::Ring;

const CHUNK: usize = 8192;
const PAGE: usize = 4096;
/// Of five chunks, and a bit that no slot fits.
const RINGED_SEGMENT: u64 = 5 * CHUNK as u64 + PAGE as u64;
const SLOTS: usize = 4;

/// A log with a ring in a folder.
struct Ringed {
    folder: TempDir,
    log: Arc<CommitLog>,
    ring: Arc<Ring>,
    writer: Option<LogWriter>,
    /// What was published.
    messages: Vec<Message>,
}

/// Body and properties.
type Message = (Vec<u8>, Vec<u8>);

fn open_in(folder: &Path) -> (Arc<CommitLog>, Recovered) {
    let log = folder.join("commitlog");
    let disk = Arc::new(OsDisk);
    disk.create_directory(&log).unwrap();
    open(disk, &log, RINGED_SEGMENT, known(Some(0))).unwrap()
}

impl Ringed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (log, _) = open_in(folder.path());
        let path = folder.path().join("ring");
        let ring = Ring::create(&path, (SLOTS * CHUNK) as u64, CHUNK).unwrap();
        let ring = Arc::new(ring);
        log.use_ring(ring.clone());
        let writer = LogWriter::resume(log.clone()).unwrap();
        Self {
            folder,
            log,
            ring,
            writer: Some(writer),
            messages: Vec::new(),
        }
    }

    fn writer(&mut self) -> &mut LogWriter {
        let log = &self.log;
        self.writer
            .get_or_insert_with(|| LogWriter::resume(log.clone()).unwrap())
    }

    /// Appends a message of which the number and the lengths are known.
    fn put(&mut self, body_bytes: usize, property_bytes: usize) {
        let number = self.messages.len();
        let fill = |bytes, salt: usize| -> Vec<u8> {
            let byte = |at: usize| (number * 31 + at * 7 + salt) as u8 % 64 + 32;
            (0..bytes).map(byte).collect()
        };
        let mut properties = b"key\x01".to_vec();
        properties.extend(fill(property_bytes, 5));
        properties.push(2);
        let message = (fill(body_bytes, 3), properties);
        let at_nowhere = Record {
            properties: &message.1,
            ..record(PhysicalOffset(0), &message.0)
        };
        let bytes = at_nowhere.encoded_bytes();
        let at = loop {
            match self.writer().reserve(bytes) {
                Ok(at) => break at,
                Err(AppendError::SegmentNotReady) => self.make_ready(),
                Err(error) => panic!("{error}"),
            }
        };
        let placed = Record {
            physical_offset: at,
            ..at_nowhere
        };
        self.writer().append(&placed);
        self.writer().publish();
        self.messages.push(message);
    }

    fn make_ready(&self) {
        if !self.log.has_next_segment() {
            self.log.add_segment().unwrap();
        }
        self.prepare(CHUNK);
    }

    fn prepare(&self, bytes: usize) {
        self.log.prepare(self.log.appended(), bytes as u64).unwrap();
    }

    /// The folder as a process that is killed now leaves it.
    fn kill(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        fs::create_dir(copy.path().join("commitlog")).unwrap();
        for entry in fs::read_dir(self.folder.path().join("commitlog")).unwrap() {
            let entry = entry.unwrap();
            let to = copy.path().join("commitlog").join(entry.file_name());
            fs::copy(entry.path(), to).unwrap();
        }
        fs::copy(self.folder.path().join("ring"), copy.path().join("ring")).unwrap();
        copy
    }
}

/// What a start finds in a folder that was left behind.
fn found_in(folder: &Path) -> (Restored, Vec<Message>) {
    let restored = restore(&OsDisk, &folder.join("ring"), &folder.join("commitlog")).unwrap();
    let (log, _) = open_in(folder);
    (restored, messages(&log))
}

fn messages(log: &CommitLog) -> Vec<Message> {
    let (mut at, mut found) = (log.begin(), Vec::new());
    while at < log.appended() {
        let rest = log.rest_of_segment(at).unwrap();
        match step(rest.as_ref()).unwrap() {
            Step::Record(record) => {
                found.push((record.body().to_vec(), record.properties().to_vec()));
                at = at + record.total_bytes() as u64;
            }
            Step::Blank => at = PhysicalOffset((at.0 / RINGED_SEGMENT + 1) * RINGED_SEGMENT),
            Step::Unwritten => panic!("unwritten space at {at} below the end"),
        }
    }
    found
}

/// What happens to a log.
#[derive(Debug, Clone)]
enum Event {
    Put {
        body: usize,
        properties: usize,
    },
    Prepare {
        bytes: usize,
    },
    WriteOut,
    Sync,
    /// The writer fails and another takes over.
    Resume,
    Kill,
    CutPower {
        seed: u64,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let put =
        |body, most| (body, 0..most).prop_map(|(body, properties)| Event::Put { body, properties });
    prop_oneof![
        12 => put(0..900_usize, 200_usize),
        2 => put(900..20_000_usize, 2_000),
        4 => (0..4 * CHUNK).prop_map(|bytes| Event::Prepare { bytes }),
        3 => Just(Event::WriteOut),
        2 => Just(Event::Sync),
        1 => Just(Event::Resume),
        2 => Just(Event::Kill),
        2 => any::<u64>().prop_map(|seed| Event::CutPower { seed }),
    ]
}

/// Every page as it is or as it was.
fn tear(now: &Path, before: &Path, dice: &mut fastrand::Rng) {
    let mut bytes = fs::read(now).unwrap();
    let old = fs::read(before).unwrap_or_default();
    for (page, chunk) in bytes.chunks_mut(PAGE).enumerate() {
        if dice.bool() {
            let old = old.get(page * PAGE..).unwrap_or_default();
            let kept = old.len().min(chunk.len());
            chunk[..kept].copy_from_slice(&old[..kept]);
            chunk[kept..].fill(0);
        }
    }
    fs::write(now, bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_kill_loses_nothing_and_a_power_cut_nothing_that_was_synced(
        events in prop::collection::vec(event(), 1..80),
    ) {
        let mut ringed = Ringed::new();
        let mut synced = (0, ringed.kill());
        for event in events {
            match event {
                Event::Put { body, properties } => ringed.put(body, properties),
                Event::Prepare { bytes } => ringed.prepare(bytes),
                Event::WriteOut => _ = ringed.log.write_out().unwrap(),
                Event::Sync => {
                    ringed.log.sync(ringed.log.appended()).unwrap();
                    synced = (ringed.messages.len(), ringed.kill());
                }
                Event::Resume => drop(ringed.writer.take()),
                Event::Kill => {
                    let left = ringed.kill();
                    let (restored, found) = found_in(left.path());
                    let is_all = matches!(restored, Restored::All { .. });
                    prop_assert!(is_all, "{restored:?}");
                    prop_assert_eq!(&found, &ringed.messages);
                    // A start that was killed after that finds the ring once more, and nothing new in it.
                    let (restored, found) = found_in(left.path());
                    prop_assert_eq!(restored, Restored::All { bytes: 0 });
                    prop_assert_eq!(&found, &ringed.messages);
                }
                Event::CutPower { seed } => {
                    let mut dice = fastrand::Rng::with_seed(seed);
                    let left = ringed.kill();
                    let before = synced.1.path();
                    for entry in fs::read_dir(left.path().join("commitlog")).unwrap() {
                        let entry = entry.unwrap();
                        let old = before.join("commitlog").join(entry.file_name());
                        tear(&entry.path(), &old, &mut dice);
                    }
                    tear(&left.path().join("ring"), &before.join("ring"), &mut dice);
                    let (_, found) = found_in(left.path());
                    prop_assert!(found.len() >= synced.0, "{} of {}", found.len(), synced.0);
                    prop_assert_eq!(&found[..], &ringed.messages[..found.len()]);
                }
            }
            prop_assert_eq!(&messages(&ringed.log), &ringed.messages);
        }
    }
}

#[test]
fn what_another_broker_wrote_meanwhile_stays() {
    let mut ringed = Ringed::new();
    ringed.prepare(3 * CHUNK);
    for _ in 0..40 {
        ringed.put(500, 50);
    }
    let left = ringed.kill();
    let path = left.path().join("commitlog").join(segment_file_name(0));
    let mut log = fs::read(&path).unwrap();
    log[CHUNK + 10] = 7;
    fs::write(&path, &log).unwrap();
    let ring = left.path().join("ring");
    let restored = restore(&OsDisk, &ring, &left.path().join("commitlog")).unwrap();
    assert_eq!(
        restored,
        Restored::Overtaken {
            position: CHUNK as u64
        }
    );
    assert_eq!(fs::read(&path).unwrap(), log);
}

#[test]
fn a_slot_goes_round_when_its_chunk_is_in_the_file() {
    let mut ringed = Ringed::new();
    let in_file = |ringed: &Ringed| {
        let path = ringed
            .folder
            .path()
            .join("commitlog")
            .join(segment_file_name(0));
        fs::read(path).unwrap()
    };
    ringed.prepare(2 * CHUNK);
    for _ in 0..20 {
        ringed.put(500, 50);
    }
    assert!(in_file(&ringed).iter().all(|byte| *byte == 0));
    ringed.log.write_out().unwrap();
    let written = in_file(&ringed);
    assert!(written[..CHUNK].iter().filter(|byte| **byte != 0).count() > CHUNK / 2);
    assert!(written[CHUNK..].iter().all(|byte| *byte == 0));
    while ringed.log.appended().0 < 4 * RINGED_SEGMENT {
        ringed.put(500, 50);
        ringed.prepare(2 * CHUNK);
        ringed.log.write_out().unwrap();
    }
    let ring = fs::metadata(ringed.folder.path().join("ring")).unwrap();
    assert!(ring.len() <= 64 * 1024 + (SLOTS * CHUNK) as u64);
    assert_eq!(messages(&ringed.log), ringed.messages);
}

#[test]
fn heads_and_seals_that_are_bent_prove_nothing() {
    let mut ringed = Ringed::new();
    ringed.prepare(3 * CHUNK);
    for _ in 0..30 {
        ringed.put(500, 50);
    }
    let mut dice = fastrand::Rng::with_seed(1);
    for _ in 0..300 {
        let left = ringed.kill();
        let ring = left.path().join("ring");
        let mut bytes = fs::read(&ring).unwrap();
        match dice.u8(0..4) {
            0 => bytes.truncate(dice.usize(0..bytes.len())),
            1 => bytes[dice.usize(0..400)] = dice.u8(..),
            2 => bytes[dice.usize(0..8 * 40) / 8 * 8..][..8].fill(dice.u8(..)),
            _ => {
                let at = dice.usize(64 * 1024..bytes.len());
                bytes[at] ^= 1 << dice.u8(0..8);
            }
        }
        fs::write(&ring, bytes).unwrap();
        let (_, found) = found_in(left.path());
        assert_eq!(found[..], ringed.messages[..found.len()]);
    }
    drop(ringed.ring);
}
