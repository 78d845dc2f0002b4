//! The checkpoint: how far everything was durable, in RocketMQ's file and in fields of our own behind RocketMQ's.
//!
//! RocketMQ reads and writes the first 40 of 4096 bytes. Ours stand twice, in sectors of their own from byte 1024 on, each
//! with a check sum and a copy of the 40 bytes that belong to it. They count only while the 40 bytes are that copy: when
//! RocketMQ has written its part since, ours say nothing about the log any more, and recovery takes RocketMQ's rule.
//!
//! A new state is written to the place of the older one, made durable, and then the 40 bytes are: whatever a power cut
//! leaves, one of the two belongs to them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use castmq_protocol::model::PhysicalOffset;
use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, Wait};
use crate::index::Covered;

/// Size of the file, in bytes (RocketMQ `StoreCheckpoint`).
const FILE_BYTES: usize = 4096;

/// What RocketMQ writes: three store times, and two positions that only its replication uses.
const HEAD_BYTES: usize = 40;

/// Where the two places for our own fields are: no sector holds parts of both.
const PLACES: [usize; 2] = [1024, 1536];

const MAGIC: [u8; 8] = *b"CMQCKPT2";

/// How much later than a checkpoint's time records may have been lost, in milliseconds (RocketMQ).
const SAFETY_MS: i64 = 3000;

/// What the checkpoint says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckpointState {
    /// Store time up to which the log was durable, in milliseconds since the epoch.
    pub log_timestamp_ms: i64,
    /// Store time up to which consume queues were durable, in milliseconds since the epoch.
    pub queues_timestamp_ms: i64,
    /// Store time up to which the index was durable, in milliseconds since the epoch.
    pub index_timestamp_ms: i64,
    /// Our own fields.
    pub own: Option<OwnState>,
}

/// What only CastMQ writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnState {
    /// The log was durable up to here.
    pub durable: PhysicalOffset,
    /// A record's start, or the log's end: log and consume queues were durable up to here.
    pub recovery_point: PhysicalOffset,
    /// After a clean stop: what the consume queues were, see
    /// [`fingerprint`](crate::consume_queue::ConsumeQueues::fingerprint).
    pub queues: Option<u64>,
    /// How far the index was durable.
    pub index: Covered,
}

impl CheckpointState {
    /// Whether nobody ever wrote one.
    pub fn is_missing(&self) -> bool {
        *self == Self::default()
    }

    /// Store time up to which nothing was lost, as RocketMQ reckons, in milliseconds since the epoch.
    pub fn safe_timestamp_ms(&self) -> i64 {
        let least = self.log_timestamp_ms.min(self.queues_timestamp_ms);
        (least - SAFETY_MS).max(0)
    }
}

/// What RocketMQ's part of the file holds.
type Head = [u8; HEAD_BYTES];

/// Our own fields with what belongs to them.
#[derive(Debug, Clone, Copy)]
struct Own {
    /// Counts the states: the greater one is the newer.
    number: u64,
    head: Head,
    state: OwnState,
}

/// The checkpoint file.
#[derive(Debug)]
pub struct Checkpoint {
    file: Arc<dyn DiskFile>,
    /// What was written last, RocketMQ's part and the number of our own.
    last: Mutex<(Head, u64)>,
}

impl Checkpoint {
    /// Opens the file, which is made when it is missing, and reads what it says.
    pub fn open(disk: &dyn Disk, path: &Path) -> io::Result<(Self, CheckpointState)> {
        let file = match disk.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                disk.create(path, FILE_BYTES as u64)?
            }
            opened => opened?,
        };
        let mut bytes = [0; FILE_BYTES];
        file.read_at(&mut bytes, 0, Wait::ForDisk)?;
        let head: Head = *bytes.first_chunk().unwrap_or(&[0; HEAD_BYTES]);
        let found = PLACES.map(|at| Own::decode(bytes.get(at..).unwrap_or_default()));
        let newest = |found: &[Option<Own>]| found.iter().flatten().map(|own| own.number).max();
        let number = newest(&found).unwrap_or(0);
        let fitting = found.into_iter().flatten().filter(|own| own.head == head);
        let own = fitting.max_by_key(|own| own.number);
        let state = CheckpointState {
            own: own.map(|own| own.state),
            ..times(&head)
        };
        // The next state takes the place of one that does not count, if there is one.
        let last = Mutex::new((head, own.map_or(number, |own| own.number)));
        Ok((Self { file, last }, state))
    }

    /// Writes everything, and makes it durable. Blocks.
    pub fn save(&self, state: &CheckpointState) -> io::Result<()> {
        let mut last = self.last.lock();
        let (mut head, number) = *last;
        let times = [
            state.log_timestamp_ms,
            state.queues_timestamp_ms,
            state.index_timestamp_ms,
        ];
        for (field, time) in head.chunks_exact_mut(8).zip(times) {
            field.copy_from_slice(&time.to_be_bytes());
        }
        if let Some(state) = state.own {
            let own = Own {
                number: number + 1,
                head,
                state,
            };
            own.write(&*self.file)?;
            self.file.sync()?;
        }
        self.file.write_at(&head, 0)?;
        *last = (head, number + 1);
        self.file.sync()
    }

    /// Writes our own fields into memory that outlives the process; a power cut may take them back. Only after a
    /// [`save`](Self::save), whose state they change.
    pub fn note(&self, state: OwnState) -> io::Result<()> {
        let (head, number) = *self.last.lock();
        let own = Own {
            number,
            head,
            state,
        };
        own.write(&*self.file)
    }
}

const OWN_BYTES: usize = MAGIC.len() + 8 + HEAD_BYTES + 40 + 4;

/// Tells a fingerprint from none.
const HAS_FINGERPRINT: u64 = 1 << 63;

impl Own {
    /// Consecutive numbers have different places.
    fn write(&self, file: &dyn DiskFile) -> io::Result<()> {
        let place = PLACES[(self.number % 2) as usize];
        file.write_at(&self.encode(), place as u64)
    }

    fn encode(&self) -> [u8; OWN_BYTES] {
        let queues = self
            .state
            .queues
            .map_or(0, |queues| queues | HAS_FINGERPRINT);
        let fields: [&[u8]; 8] = [
            &MAGIC,
            &self.number.to_be_bytes(),
            &self.head,
            &self.state.durable.0.to_be_bytes(),
            &self.state.recovery_point.0.to_be_bytes(),
            &queues.to_be_bytes(),
            &self.state.index.entered.0.to_be_bytes(),
            &self.state.index.last.0.to_be_bytes(),
        ];
        let mut bytes = [0; OWN_BYTES];
        let (body, sum) = bytes.split_at_mut(OWN_BYTES - 4);
        body.copy_from_slice(&fields.concat());
        sum.copy_from_slice(&crc32fast::hash(body).to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; OWN_BYTES] = bytes.first_chunk()?;
        let (fields, sum) = bytes.split_last_chunk::<4>()?;
        let rest = fields.strip_prefix(&MAGIC)?;
        if crc32fast::hash(fields).to_be_bytes() != *sum {
            return None;
        }
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (head, rest) = rest.split_first_chunk::<HEAD_BYTES>()?;
        let (durable, rest) = rest.split_first_chunk::<8>()?;
        let (recovery_point, rest) = rest.split_first_chunk::<8>()?;
        let (queues, rest) = rest.split_first_chunk::<8>()?;
        let queues = u64::from_be_bytes(*queues);
        let (entered, rest) = rest.split_first_chunk::<8>()?;
        let last = rest.first_chunk()?;
        Some(Self {
            number: u64::from_be_bytes(*number),
            head: *head,
            state: OwnState {
                durable: PhysicalOffset(u64::from_be_bytes(*durable)),
                recovery_point: PhysicalOffset(u64::from_be_bytes(*recovery_point)),
                queues: (queues & HAS_FINGERPRINT != 0).then_some(queues & !HAS_FINGERPRINT),
                index: Covered {
                    entered: PhysicalOffset(u64::from_be_bytes(*entered)),
                    last: PhysicalOffset(u64::from_be_bytes(*last)),
                },
            },
        })
    }
}

/// RocketMQ's fields.
fn times(head: &Head) -> CheckpointState {
    let time = |index: usize| {
        let field = head.get(index * 8..).and_then(|rest| rest.first_chunk());
        field.map_or(0, |field| i64::from_be_bytes(*field))
    };
    CheckpointState {
        log_timestamp_ms: time(0),
        queues_timestamp_ms: time(1),
        index_timestamp_ms: time(2),
        own: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::fault::FaultDisk;

    const STATE: CheckpointState = CheckpointState {
        log_timestamp_ms: 1_700_000_000_001,
        queues_timestamp_ms: 1_700_000_000_002,
        index_timestamp_ms: 3,
        own: Some(OwnState {
            durable: PhysicalOffset(77),
            recovery_point: PhysicalOffset(66),
            queues: Some(5),
            index: Covered {
                entered: PhysicalOffset(55),
                last: PhysicalOffset(44),
            },
        }),
    };

    fn path() -> &'static Path {
        Path::new("/checkpoint")
    }

    #[test]
    fn what_was_saved_is_read_and_survives_a_power_cut() {
        let disk = FaultDisk::new();
        let (checkpoint, empty) = Checkpoint::open(&disk, path()).unwrap();
        assert_eq!(empty, CheckpointState::default());
        disk.sync_directory(Path::new("/")).unwrap();
        checkpoint.save(&STATE).unwrap();
        let disk = disk.crash(7);
        assert_eq!(Checkpoint::open(&disk, path()).unwrap().1, STATE);
    }

    #[test]
    fn the_first_fields_are_rocketmqs() {
        let disk = FaultDisk::new();
        let (checkpoint, _) = Checkpoint::open(&disk, path()).unwrap();
        checkpoint.save(&STATE).unwrap();
        let mut bytes = [0; 40];
        let file = disk.open(path()).unwrap();
        assert_eq!(file.bytes().unwrap(), 4096);
        file.read_at(&mut bytes, 0, Wait::ForDisk).unwrap();
        assert_eq!(bytes[..8], 1_700_000_000_001_i64.to_be_bytes());
        assert_eq!(bytes[8..16], 1_700_000_000_002_i64.to_be_bytes());
        assert_eq!(bytes[24..], [0; 16]);
    }

    #[test]
    fn damaged_fields_of_our_own_are_not_there() {
        let disk = FaultDisk::new();
        let (checkpoint, _) = Checkpoint::open(&disk, path()).unwrap();
        checkpoint.save(&STATE).unwrap();
        disk.flip_bit(path(), PLACES[1] as u64 + 9, 3).unwrap();
        let (_, state) = Checkpoint::open(&disk, path()).unwrap();
        assert_eq!(state.own, None);
        assert_eq!(state.log_timestamp_ms, STATE.log_timestamp_ms);
    }

    #[test]
    fn our_own_fields_mean_nothing_once_another_broker_wrote_its_part() {
        let disk = FaultDisk::new();
        let (checkpoint, _) = Checkpoint::open(&disk, path()).unwrap();
        checkpoint.save(&STATE).unwrap();
        for field in [0, 8, 16, 24, 32] {
            let file = disk.open(path()).unwrap();
            let mut before = [0; 8];
            file.read_at(&mut before, field, Wait::ForDisk).unwrap();
            file.write_at(&1_800_000_000_000_i64.to_be_bytes(), field)
                .unwrap();
            assert_eq!(Checkpoint::open(&disk, path()).unwrap().1.own, None);
            file.write_at(&before, field).unwrap();
            assert_eq!(Checkpoint::open(&disk, path()).unwrap().1, STATE);
        }
        // From the next state on they are trusted again.
        let file = disk.open(path()).unwrap();
        file.write_at(&[7; 40], 0).unwrap();
        let (checkpoint, _) = Checkpoint::open(&disk, path()).unwrap();
        checkpoint.save(&STATE).unwrap();
        assert_eq!(Checkpoint::open(&disk, path()).unwrap().1, STATE);
    }

    #[test]
    fn a_power_cut_at_any_moment_leaves_one_state_whole() {
        let state = |number: u64| CheckpointState {
            log_timestamp_ms: number as i64 / 2,
            own: Some(OwnState {
                durable: PhysicalOffset(number),
                recovery_point: PhysicalOffset(number),
                queues: None,
                index: Covered::default(),
            }),
            ..CheckpointState::default()
        };
        for seed in 0..500 {
            let mut disk = FaultDisk::new();
            disk.create(path(), FILE_BYTES as u64).unwrap();
            disk.sync_directory(Path::new("/")).unwrap();
            let mut saved = 0;
            for life in 0..3 {
                let (checkpoint, _) = Checkpoint::open(&disk, path()).unwrap();
                checkpoint.save(&state(saved + 1)).unwrap();
                saved += 1;
                disk.cut_power_after((seed + life) % 17);
                while checkpoint.save(&state(saved + 1)).is_ok() {
                    saved += 1;
                    let _ = checkpoint.note(state(saved).own.unwrap());
                }
                disk = disk.crash(seed);
                let (_, found) = Checkpoint::open(&disk, path()).unwrap();
                assert!(
                    [state(saved), state(saved + 1)].contains(&found),
                    "{found:?} after {saved}"
                );
                saved = found.own.unwrap().durable.0;
            }
        }
    }

    #[test]
    fn the_safe_time_is_three_seconds_before_the_earlier_one() {
        assert_eq!(STATE.safe_timestamp_ms(), 1_699_999_997_001);
        assert_eq!(CheckpointState::default().safe_timestamp_ms(), 0);
    }
}
