//! Who wrote the log: where each life of each master began to.
//!
//! Two logs are the same below the end of the last entry that both have. A slave whose log goes on beyond that has what its
//! master never had, or has lost.

use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::native::replication::LogEpoch;

use crate::metadata::{Metadata, MetadataError};

const NAMESPACE: &str = "replication";
const EPOCHS: &str = "epochs";
const LEADERSHIP: &str = "leadership";
const IS_SYNC: &str = "follows_sync_master";
const HAD_SLAVES: &str = "had_slaves";
const SHOWN: &str = "shown";

const ENTRY_BYTES: usize = 20;

/// Entries by their starts, which grow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Epochs(Vec<LogEpoch>);

impl Epochs {
    /// From what somebody else says. Entries that do not follow each other are left out.
    pub fn of(entries: impl IntoIterator<Item = LogEpoch>) -> Self {
        let mut epochs = Self::default();
        for entry in entries {
            let follows = epochs
                .0
                .last()
                .is_none_or(|last| last.start < entry.start && last.epoch <= entry.epoch);
            if follows {
                epochs.0.push(entry);
            }
        }
        epochs
    }

    /// Reads what was [saved](Self::save).
    pub fn load(metadata: &Metadata) -> Result<Self, MetadataError> {
        let bytes = metadata.value(NAMESPACE, EPOCHS)?.unwrap_or_default();
        let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
        Ok(Self::of(entries.iter().filter_map(decode)))
    }

    /// Writes it down; to be synced by the caller.
    pub fn save(&self, metadata: &Metadata) -> Result<(), MetadataError> {
        let bytes: Vec<u8> = self.0.iter().flat_map(encode).collect();
        metadata.put_value(NAMESPACE, EPOCHS, &bytes)
    }

    /// The entries.
    pub fn entries(&self) -> &[LogEpoch] {
        &self.0
    }

    /// The last one's epoch; 0 when there is none.
    pub fn last_epoch(&self) -> u32 {
        self.0.last().map_or(0, |last| last.epoch)
    }

    /// A master begins to write at `end`. Entries that nothing was written under go, and so do those before the log's first
    /// byte, but for the one that byte belongs to.
    pub fn begin(&mut self, entry: LogEpoch, log_begin: PhysicalOffset) {
        self.cut(entry.start);
        self.0.retain(|known| known.start < entry.start);
        self.0.push(entry);
        let first = self.0.partition_point(|known| known.start <= log_begin);
        self.0.drain(..first.saturating_sub(1));
    }

    /// The log ends at `end` now.
    pub fn cut(&mut self, end: PhysicalOffset) {
        self.0.retain(|entry| entry.start <= end);
    }

    /// Up to where a log that ends at `end` and was written by these is the same as another one; `None` when they have
    /// nothing in common.
    pub fn common_with(
        &self,
        end: PhysicalOffset,
        other: &Self,
        other_end: PhysicalOffset,
    ) -> Option<PhysicalOffset> {
        let last = self.0.iter().rposition(|entry| other.0.contains(entry))?;
        let entry = self.0.get(last)?;
        let ours = self.end_of(last, end);
        let at = other.0.iter().position(|known| known == entry)?;
        Some(ours.min(other.end_of(at, other_end)))
    }

    fn end_of(&self, index: usize, end: PhysicalOffset) -> PhysicalOffset {
        let next = self.0.get(index + 1);
        next.map_or(end, |next| next.start.min(end))
    }
}

fn encode(entry: &LogEpoch) -> [u8; ENTRY_BYTES] {
    let mut bytes = [0; ENTRY_BYTES];
    bytes[..4].copy_from_slice(&entry.epoch.to_be_bytes());
    bytes[4..12].copy_from_slice(&entry.run.to_be_bytes());
    bytes[12..].copy_from_slice(&entry.start.0.to_be_bytes());
    bytes
}

fn decode(bytes: &[u8; ENTRY_BYTES]) -> Option<LogEpoch> {
    let (epoch, rest) = bytes.split_first_chunk::<4>()?;
    let (run, start) = rest.split_first_chunk::<8>()?;
    Some(LogEpoch {
        epoch: u32::from_be_bytes(*epoch),
        run: u64::from_be_bytes(*run),
        start: PhysicalOffset(u64::from_be_bytes(*start.first_chunk()?)),
    })
}

/// Notes whether the master that is followed waits for slaves; to be synced by the caller.
pub fn note_master(metadata: &Metadata, is_sync: bool) -> Result<(), MetadataError> {
    metadata.put_value(NAMESPACE, IS_SYNC, &[u8::from(is_sync)])
}

/// Whether the master that was followed last waited for slaves.
pub fn follows_sync_master(metadata: &Metadata) -> Result<bool, MetadataError> {
    Ok(metadata.value(NAMESPACE, IS_SYNC)?.as_deref() == Some(&[1]))
}

/// Notes that there are others who may become the master. Blocks.
pub fn note_slaves(metadata: &Metadata) -> Result<(), MetadataError> {
    if !had_slaves(metadata)? {
        metadata.put_value(NAMESPACE, HAD_SLAVES, &[1])?;
        metadata.sync()?;
    }
    Ok(())
}

/// Whether there were ever others who could have become the master.
pub fn had_slaves(metadata: &Metadata) -> Result<bool, MetadataError> {
    Ok(metadata.value(NAMESPACE, HAD_SLAVES)?.is_some())
}

/// Behind the last message that consumers were to see, of a broker that shows nothing which too few others have.
pub fn shown(metadata: &Metadata) -> Result<Option<PhysicalOffset>, MetadataError> {
    let bytes = metadata.value(NAMESPACE, SHOWN)?;
    let end = bytes.and_then(|bytes| bytes.try_into().ok());
    Ok(end.map(|bytes| PhysicalOffset(u64::from_be_bytes(bytes))))
}

/// Writes that down; to be flushed by the caller. `None` when there is nothing that consumers do not see.
pub fn note_shown(metadata: &Metadata, end: Option<PhysicalOffset>) -> Result<(), MetadataError> {
    match end {
        Some(end) => metadata.put_value(NAMESPACE, SHOWN, &end.0.to_be_bytes()),
        None => metadata.remove_value(NAMESPACE, SHOWN),
    }
}

/// What a broker has become, whatever its configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leadership {
    /// An operator made it the master.
    Master {
        /// The epoch that began with that.
        epoch: u32,
        /// Whether it waits for slaves.
        is_sync: bool,
    },
    /// Another one was made the master.
    Slave {
        /// The epoch that began with that.
        epoch: u32,
        /// Its number among the slaves.
        id: u64,
    },
}

impl Leadership {
    /// Reads what was [saved](Self::save); `None` when the configuration counts.
    pub fn load(metadata: &Metadata) -> Result<Option<Self>, MetadataError> {
        let bytes = metadata.value(NAMESPACE, LEADERSHIP)?.unwrap_or_default();
        Ok(Self::decode(&bytes))
    }

    /// Makes it survive whatever comes. Blocks.
    pub fn save(self, metadata: &Metadata) -> Result<(), MetadataError> {
        metadata.put_value(NAMESPACE, LEADERSHIP, &self.encode())?;
        metadata.sync()
    }

    /// The epoch that began with it.
    pub fn epoch(self) -> u32 {
        match self {
            Self::Master { epoch, .. } | Self::Slave { epoch, .. } => epoch,
        }
    }

    fn encode(self) -> [u8; 13] {
        let (kind, id) = match self {
            Self::Master { is_sync, .. } => (u8::from(is_sync), 0),
            Self::Slave { id, .. } => (2, id),
        };
        let mut bytes = [0; 13];
        bytes[0] = kind;
        bytes[1..5].copy_from_slice(&self.epoch().to_be_bytes());
        bytes[5..].copy_from_slice(&id.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (epoch, rest) = rest.split_first_chunk::<4>()?;
        let epoch = u32::from_be_bytes(*epoch);
        let id = u64::from_be_bytes(*rest.first_chunk()?);
        match kind {
            0 | 1 => Some(Self::Master {
                epoch,
                is_sync: *kind == 1,
            }),
            2 => Some(Self::Slave { epoch, id }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(epoch: u32, run: u64, start: u64) -> LogEpoch {
        let start = PhysicalOffset(start);
        LogEpoch { epoch, run, start }
    }

    fn epochs(entries: &[(u32, u64, u64)]) -> Epochs {
        Epochs::of(
            entries
                .iter()
                .map(|&(epoch, run, at)| entry(epoch, run, at)),
        )
    }

    fn common(ours: (&Epochs, u64), theirs: (&Epochs, u64)) -> Option<u64> {
        let (ours, end) = ours;
        let (theirs, their_end) = theirs;
        let found = ours.common_with(PhysicalOffset(end), theirs, PhysicalOffset(their_end));
        let mirrored = theirs.common_with(PhysicalOffset(their_end), ours, PhysicalOffset(end));
        assert_eq!(found, mirrored);
        found.map(|place| place.0)
    }

    #[test]
    fn logs_are_the_same_up_to_where_one_of_them_went_its_own_way() {
        let before = epochs(&[(1, 7, 0), (1, 8, 100)]);
        let promoted = epochs(&[(1, 7, 0), (1, 8, 100), (2, 9, 150)]);
        let foreign = epochs(&[(1, 6, 0)]);
        assert_eq!(common((&before, 120), (&before, 170)), Some(120));
        assert_eq!(common((&promoted, 300), (&before, 170)), Some(150));
        assert_eq!(common((&promoted, 300), (&before, 140)), Some(140));
        // A slave that was told of an entry it has nothing of yet.
        assert_eq!(common((&promoted, 300), (&promoted, 120)), Some(120));
        assert_eq!(common((&promoted, 300), (&foreign, 50)), None);
        assert_eq!(common((&promoted, 300), (&Epochs::default(), 0)), None);
    }

    #[test]
    fn entries_under_which_nothing_was_written_go_and_so_do_those_that_retention_took() {
        let mut table = epochs(&[(1, 1, 0), (1, 2, 100), (1, 3, 200)]);
        table.begin(entry(1, 4, 200), PhysicalOffset::ZERO);
        assert_eq!(table, epochs(&[(1, 1, 0), (1, 2, 100), (1, 4, 200)]));
        table.begin(entry(2, 5, 150), PhysicalOffset(120));
        assert_eq!(table, epochs(&[(1, 2, 100), (2, 5, 150)]));
    }

    #[test]
    fn it_is_read_as_it_was_written_and_what_does_not_fit_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let metadata = Metadata::open(folder.path(), 1 << 20).unwrap();
        assert_eq!(Epochs::load(&metadata).unwrap(), Epochs::default());
        let table = epochs(&[(1, 1, 0), (3, 2, 100)]);
        table.save(&metadata).unwrap();
        assert_eq!(Epochs::load(&metadata).unwrap(), table);
        assert_eq!(
            epochs(&[(2, 1, 0), (1, 2, 9), (2, 3, 5)]).entries().len(),
            2
        );
        for leadership in [
            Leadership::Master {
                epoch: 3,
                is_sync: true,
            },
            Leadership::Slave { epoch: 4, id: 9 },
        ] {
            leadership.save(&metadata).unwrap();
            assert_eq!(Leadership::load(&metadata).unwrap(), Some(leadership));
        }
        for end in [Some(PhysicalOffset(1 << 40)), None] {
            note_shown(&metadata, end).unwrap();
            assert_eq!(shown(&metadata).unwrap(), end);
        }
    }
}
