//! The checkpoint: how far everything was durable, in RocketMQ's file and in fields of our own behind RocketMQ's.
//!
//! RocketMQ reads and writes the first 40 of 4096 bytes. Ours begin at byte 1024 and carry their own check sum: when they
//! are missing or damaged they are simply not there, and recovery takes RocketMQ's rule instead.

use std::io;
use std::path::Path;
use std::sync::Arc;

use castmq_protocol::model::PhysicalOffset;

use crate::disk::{Disk, DiskFile, Wait};

/// Size of the file, in bytes (RocketMQ `StoreCheckpoint`).
const FILE_BYTES: usize = 4096;

/// Where our own fields begin.
const OWN_AT: usize = 1024;

const OWN_MAGIC: [u8; 8] = *b"CMQCKPT1";
const OWN_BYTES: usize = 28;

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
}

impl CheckpointState {
    /// Store time up to which nothing was lost, as RocketMQ reckons, in milliseconds since the epoch.
    pub fn safe_timestamp_ms(&self) -> i64 {
        let least = self.log_timestamp_ms.min(self.queues_timestamp_ms);
        (least - SAFETY_MS).max(0)
    }
}

/// The checkpoint file.
#[derive(Debug)]
pub struct Checkpoint {
    file: Arc<dyn DiskFile>,
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
        Ok((Self { file }, decode(&bytes)))
    }

    /// Writes everything, and makes it durable. Blocks.
    pub fn save(&self, state: &CheckpointState) -> io::Result<()> {
        let mut head = [0; 24];
        let times = [
            state.log_timestamp_ms,
            state.queues_timestamp_ms,
            state.index_timestamp_ms,
        ];
        for (field, time) in head.chunks_exact_mut(8).zip(times) {
            field.copy_from_slice(&time.to_be_bytes());
        }
        self.file.write_at(&head, 0)?;
        if let Some(own) = state.own {
            self.note(own)?;
        }
        self.file.sync()
    }

    /// Writes our own fields into memory that outlives the process; a power cut may take them back.
    pub fn note(&self, own: OwnState) -> io::Result<()> {
        self.file.write_at(&encode_own(own), OWN_AT as u64)
    }
}

fn encode_own(own: OwnState) -> [u8; OWN_BYTES] {
    let mut bytes = [0; OWN_BYTES];
    let (fields, sum) = bytes.split_at_mut(OWN_BYTES - 4);
    fields[..8].copy_from_slice(&OWN_MAGIC);
    fields[8..16].copy_from_slice(&own.durable.0.to_be_bytes());
    fields[16..].copy_from_slice(&own.recovery_point.0.to_be_bytes());
    sum.copy_from_slice(&crc32fast::hash(fields).to_be_bytes());
    bytes
}

fn decode(bytes: &[u8; FILE_BYTES]) -> CheckpointState {
    let time = |index: usize| {
        let field = bytes.get(index * 8..).and_then(|rest| rest.first_chunk());
        field.map_or(0, |field| i64::from_be_bytes(*field))
    };
    CheckpointState {
        log_timestamp_ms: time(0),
        queues_timestamp_ms: time(1),
        index_timestamp_ms: time(2),
        own: decode_own(bytes.get(OWN_AT..).unwrap_or_default()),
    }
}

fn decode_own(bytes: &[u8]) -> Option<OwnState> {
    let bytes: &[u8; OWN_BYTES] = bytes.first_chunk()?;
    let (fields, sum) = bytes.split_last_chunk::<4>()?;
    let (magic, offsets) = fields.split_first_chunk::<8>()?;
    if *magic != OWN_MAGIC || crc32fast::hash(fields).to_be_bytes() != *sum {
        return None;
    }
    let (durable, recovery_point) = offsets.split_first_chunk::<8>()?;
    Some(OwnState {
        durable: PhysicalOffset(u64::from_be_bytes(*durable)),
        recovery_point: PhysicalOffset(u64::from_be_bytes(*recovery_point.first_chunk()?)),
    })
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
        disk.flip_bit(path(), OWN_AT as u64 + 9, 3).unwrap();
        let (_, state) = Checkpoint::open(&disk, path()).unwrap();
        assert_eq!(state.own, None);
        assert_eq!(state.log_timestamp_ms, STATE.log_timestamp_ms);
    }

    #[test]
    fn the_safe_time_is_three_seconds_before_the_earlier_one() {
        assert_eq!(STATE.safe_timestamp_ms(), 1_699_999_997_001);
        assert_eq!(CheckpointState::default().safe_timestamp_ms(), 0);
    }
}
