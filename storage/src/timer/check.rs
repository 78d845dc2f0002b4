//! `timercheck`: how far the timer had come, in RocketMQ's file and in fields of our own behind RocketMQ's.
//!
//! RocketMQ reads and writes the first 56 of 4096 bytes. They are written only once everything they speak of is durable.
//! Our own fields, in a sector of their own from byte 1024 on, tell how much further the timer was when its process
//! ended; they count only while the machine has been on since, and while the 56 bytes are those they were written after.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{During, TimerError};
use super::unit::i64_at;
use crate::disk::{Disk, DiskFile, Wait};

/// Size of the file in bytes (RocketMQ `TimerCheckpoint`: a page).
const FILE_BYTES: usize = 4096;
/// What RocketMQ writes.
const HEAD_BYTES: usize = 56;
const OWN_AT: u64 = 1024;
const MAGIC: [u8; 8] = *b"CMQTIMR1";
/// Room for the name of a boot.
const BOOT_BYTES: usize = 64;
const OWN_BYTES: usize = MAGIC.len() + HEAD_BYTES + 24 + BOOT_BYTES + 4;

/// RocketMQ's fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Slots before this time are out, in milliseconds since the epoch.
    pub(super) read_ms: i64,
    /// Up to here log and wheel are durable.
    pub(super) log_flushed: i64,
    /// The first message of the timer topic that is not in the log.
    pub(super) queue_offset: i64,
    /// The same of the master, for brokers that follow one.
    pub(super) master_queue_offset: i64,
    /// Version of the data: the controller's state.
    pub(super) state_version: i64,
    /// Version of the data: when it changed, in milliseconds since the epoch.
    pub(super) changed_ms: i64,
    /// Version of the data: how often it changed.
    pub(super) counter: i64,
}

impl Head {
    fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let fields = [
            self.read_ms,
            self.log_flushed,
            self.queue_offset,
            self.master_queue_offset,
            self.state_version,
            self.changed_ms,
            self.counter,
        ];
        let mut bytes = [0; HEAD_BYTES];
        for (place, field) in bytes.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        Self {
            read_ms: i64_at(bytes, 0),
            log_flushed: i64_at(bytes, 8),
            queue_offset: i64_at(bytes, 16),
            master_queue_offset: i64_at(bytes, 24),
            state_version: i64_at(bytes, 32),
            changed_ms: i64_at(bytes, 40),
            counter: i64_at(bytes, 48),
        }
    }
}

/// How far the timer was when its process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) read_ms: i64,
    pub(super) queue_offset: i64,
    /// Up to here units were in the log.
    pub(super) log_end: i64,
}

/// The file.
#[derive(Debug)]
pub(super) struct Check {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// The machine's, if it can tell.
    boot: Option<[u8; BOOT_BYTES]>,
    /// What is in the file.
    pub(super) head: Head,
}

impl Check {
    /// Opens the file, which is made when it is missing, and reads what it says.
    pub(super) fn open(disk: &dyn Disk, path: &Path) -> Result<(Self, Option<Own>), TimerError> {
        let mut opened = disk.open(path);
        if let Ok(file) = &opened
            && file.bytes().during("measure", path)? == 0
        {
            // A crash left it between its making and its first sync.
            disk.remove(path).during("remove", path)?;
            opened = Err(ErrorKind::NotFound.into());
        }
        let file = match opened {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let file = disk.create(path, FILE_BYTES as u64);
                file.during("create", path)?
            }
            opened => opened.during("open", path)?,
        };
        let length = file.bytes().during("measure", path)?;
        if length != FILE_BYTES as u64 {
            return Err(TimerError::FileLength {
                path: path.to_owned(),
                bytes: length,
                expected: FILE_BYTES as u64,
            });
        }
        let mut bytes = [0; FILE_BYTES];
        let read = file.read_at(&mut bytes, 0, Wait::ForDisk);
        read.during("read", path)?;
        let check = Self {
            path: path.to_owned(),
            file,
            boot: disk.boot().and_then(|boot| padded(boot.as_bytes())),
            head: Head::from_bytes(&bytes),
        };
        let own = check.decode(bytes.get(OWN_AT as usize..).unwrap_or_default());
        Ok((check, own))
    }

    /// Writes RocketMQ's fields and makes them durable.
    pub(super) fn save(&mut self, head: Head) -> Result<(), TimerError> {
        let written = self.file.write_at(&head.to_bytes(), 0);
        written.during("write", &self.path)?;
        self.file.sync().during("sync", &self.path)?;
        self.head = head;
        Ok(())
    }

    /// Writes our own fields, which a power cut may take back.
    pub(super) fn note(&self, own: Own) -> Result<(), TimerError> {
        let Some(bytes) = self.encode(own) else {
            return Ok(());
        };
        let written = self.file.write_at(&bytes, OWN_AT);
        written.during("write", &self.path)
    }

    fn encode(&self, own: Own) -> Option<[u8; OWN_BYTES]> {
        let fields: [&[u8]; 6] = [
            &MAGIC,
            &self.head.to_bytes(),
            &own.read_ms.to_be_bytes(),
            &own.queue_offset.to_be_bytes(),
            &own.log_end.to_be_bytes(),
            &self.boot?,
        ];
        let mut bytes = [0; OWN_BYTES];
        let (body, sum) = bytes.split_at_mut(OWN_BYTES - 4);
        body.copy_from_slice(&fields.concat());
        sum.copy_from_slice(&crc32fast::hash(body).to_be_bytes());
        Some(bytes)
    }

    fn decode(&self, bytes: &[u8]) -> Option<Own> {
        let bytes: &[u8; OWN_BYTES] = bytes.first_chunk()?;
        let at = MAGIC.len() + HEAD_BYTES;
        let own = Own {
            read_ms: i64_at(bytes, at),
            queue_offset: i64_at(bytes, at + 8),
            log_end: i64_at(bytes, at + 16),
        };
        // The rest must be what we would write.
        (self.encode(own)? == *bytes).then_some(own)
    }
}

fn padded(name: &[u8]) -> Option<[u8; BOOT_BYTES]> {
    let mut bytes = [0; BOOT_BYTES];
    bytes.get_mut(..name.len())?.copy_from_slice(name);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::fault::FaultDisk;

    const HEAD: Head = Head {
        read_ms: 1_700_000_000_000,
        log_flushed: 104_857_652,
        queue_offset: 77,
        master_queue_offset: 78,
        state_version: 1,
        changed_ms: 1_700_000_000_123,
        counter: 5,
    };
    const OWN: Own = Own {
        read_ms: 1_700_000_005_000,
        queue_offset: 99,
        log_end: 104_857_704,
    };

    fn path() -> &'static Path {
        Path::new("/timercheck")
    }

    fn open(disk: &FaultDisk) -> (Check, Option<Own>) {
        let opened = Check::open(disk, path()).unwrap();
        disk.sync_directory(Path::new("/")).unwrap();
        opened
    }

    #[test]
    fn the_first_56_bytes_are_rocketmqs() {
        let disk = FaultDisk::new();
        let (mut check, own) = open(&disk);
        assert_eq!((check.head, own), (Head::default(), None));
        check.save(HEAD).unwrap();
        let file = disk.open(path()).unwrap();
        assert_eq!(file.bytes().unwrap(), 4096);
        let mut bytes = [0; 4096];
        file.read_at(&mut bytes, 0, Wait::ForDisk).unwrap();
        let fields = [
            1_700_000_000_000_i64,
            104_857_652,
            77,
            78,
            1,
            1_700_000_000_123,
            5,
        ];
        assert_eq!(bytes[..56], fields.map(i64::to_be_bytes).concat());
        assert!(bytes[56..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_kill_leaves_our_own_fields_and_a_power_cut_does_not() {
        let disk = FaultDisk::new();
        let (mut check, _) = open(&disk);
        check.save(HEAD).unwrap();
        check.note(OWN).unwrap();
        assert_eq!(open(&disk.kill()).1, Some(OWN));
        for seed in 0..20 {
            let (check, own) = open(&disk.crash(seed));
            assert_eq!((check.head, own), (HEAD, None));
        }
    }

    #[test]
    fn our_own_fields_mean_nothing_once_rocketmqs_changed_or_a_bit_flipped() {
        let disk = FaultDisk::new();
        let (mut check, _) = open(&disk);
        check.save(HEAD).unwrap();
        check.note(OWN).unwrap();
        for byte in [0, 55, OWN_AT, OWN_AT + 70, OWN_AT + OWN_BYTES as u64 - 1] {
            disk.flip_bit(path(), byte, 3).unwrap();
            assert_eq!(open(&disk).1, None, "byte {byte}");
            disk.flip_bit(path(), byte, 3).unwrap();
            assert_eq!(open(&disk).1, Some(OWN));
        }
    }
}
