//! Finding out from a queue's files where it begins and ends, with a read or two for most queues.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use castmq_protocol::model::{QueueId, TopicName};

use super::error::{ConsumeQueueError, During};
use super::files::{Files, read_exactly};
use super::queue::State;
use super::tail::Tail;
use super::unit::{Stored, UNIT, UNIT_BYTES};
use crate::disk::{DiskFile, Wait};

/// Units looked at together: those of about one page.
const BLOCK_UNITS: u64 = 204;

/// Reads the state of a queue from its files.
///
/// Units end at the first that is none. To find it, positions further and further apart are probed, so zeros between
/// units may be jumped over: only after [`truncate`](super::ConsumeQueues::truncate) the end is certain if the last stop
/// was not clean.
pub(super) fn load(
    files: &Files,
    topic: &TopicName,
    id: QueueId,
) -> Result<State, ConsumeQueueError> {
    let folder = files.queue_folder(topic, id);
    let listed = numbers_in(files, &folder)?;
    let run = whole_run(files, &folder, &listed)?;
    for (index, number) in run.iter().enumerate().rev() {
        let reader = Reader::open(files, folder.join(files.file_name(*number)))?;
        let Some(end) = reader.find_end()? else {
            continue;
        };
        let is_ragged = end.is_ragged || index + 1 < listed.len();
        let mut state = match end.last {
            // Nothing came after the fillers: as good as no queue.
            Stored::Filler if index == 0 => return Ok(State::empty()),
            Stored::Unit(last) => State {
                max_physical: last.end().0,
                is_ragged,
                ..State::empty()
            },
            _ => return Err(reader.damaged(end.units)),
        };
        let per_file = files.units_per_file();
        state.has_start = true;
        state.first_file = number - index as u64;
        state.end_file = number + 1;
        let start = match index {
            0 => reader.find_start(end.units)?,
            _ => Reader::open(files, folder.join(files.file_name(state.first_file)))?
                .find_start(per_file)?,
        };
        state.min = state.first_file * per_file + start.units;
        let max = match start.physical {
            Some(physical) => {
                state.min_physical = physical;
                number * per_file + end.units
            }
            // Nothing that follows a hole behind the fillers can be trusted.
            None if index == 0 => {
                state.max_physical = 0;
                state.is_ragged = true;
                state.min
            }
            None => return Err(reader.damaged(start.units)),
        };
        state.written = max;
        state.synced = max;
        state.tail = Tail::starting_at(max);
        return Ok(state);
    }
    Ok(State::empty())
}

/// Numbers and lengths of a queue's files, in order.
fn numbers_in(files: &Files, folder: &Path) -> Result<Vec<(u64, u64)>, ConsumeQueueError> {
    let entries = files.disk.list(folder).during("list", folder)?;
    let mut numbers = Vec::with_capacity(entries.len());
    for entry in entries {
        if let Some(number) = files.file_number(&entry.name) {
            if entry.is_directory {
                let path = folder.join(&entry.name);
                return Err(ErrorKind::IsADirectory.into()).during("open", &path);
            }
            numbers.push((number, entry.bytes));
        }
    }
    Ok(numbers)
}

/// The files from the first on without a gap. A file without length is one whose making was cut off.
fn whole_run(
    files: &Files,
    folder: &Path,
    listed: &[(u64, u64)],
) -> Result<Vec<u64>, ConsumeQueueError> {
    let mut run: Vec<u64> = Vec::with_capacity(listed.len());
    for (number, bytes) in listed {
        let follows = run.last().is_none_or(|last| last + 1 == *number);
        if *bytes == 0 || !follows {
            break;
        }
        if *bytes != files.file_bytes() {
            return Err(ConsumeQueueError::FileLength {
                path: folder.join(files.file_name(*number)),
                bytes: *bytes,
                expected: files.file_bytes(),
            });
        }
        run.push(*number);
    }
    Ok(run)
}

/// Removes all files of a queue but some, the last first, so that what is left never has a gap.
pub(super) fn remove_files(
    files: &Files,
    queue_number: u64,
    folder: &Path,
    keep: impl Fn(u64) -> bool,
) -> Result<(), ConsumeQueueError> {
    for (number, _) in numbers_in(files, folder)?.into_iter().rev() {
        if !keep(number) {
            let path = folder.join(files.file_name(number));
            files.remove((queue_number, number), &path)?;
            files.sync_directory(folder)?;
        }
    }
    Ok(())
}

/// Where the units of a file end.
struct End {
    units: u64,
    last: Stored,
    /// Whether something that looks like a unit follows.
    is_ragged: bool,
}

/// Where the units of a file start.
struct Start {
    /// Fillers before them.
    units: u64,
    /// Start of the first record; `None` when there is something else.
    physical: Option<u64>,
}

/// One file, looked at once.
struct Reader<'a> {
    files: &'a Files,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
}

impl<'a> Reader<'a> {
    fn open(files: &'a Files, path: PathBuf) -> Result<Self, ConsumeQueueError> {
        let file = files.disk.open(&path).during("open", &path)?;
        Ok(Self { files, file, path })
    }

    fn damaged(&self, unit: u64) -> ConsumeQueueError {
        ConsumeQueueError::Damaged {
            path: self.path.clone(),
            at: unit * UNIT,
        }
    }

    fn bytes(&self, from: u64, buffer: &mut [u8]) -> Result<(), ConsumeQueueError> {
        let path = || self.path.clone();
        read_exactly(&*self.file, path, buffer, from * UNIT, Wait::ForDisk)
    }

    fn unit(&self, at: u64) -> Result<Stored, ConsumeQueueError> {
        let mut bytes = [0; UNIT_BYTES];
        self.bytes(at, &mut bytes)?;
        Ok(Stored::from_bytes(&bytes))
    }

    /// `None` when the file holds nothing.
    fn find_end(&self) -> Result<Option<End>, ConsumeQueueError> {
        let per_file = self.files.units_per_file();
        let block = BLOCK_UNITS.min(per_file);
        let head = self.end_in_block(0, block)?;
        let fills_block = head.as_ref().is_some_and(|end| end.units == block);
        if !fills_block || block == per_file {
            return Ok(head);
        }
        let mut to = per_file;
        loop {
            let end = self.first_nothing(block, to)?;
            let from = end - block;
            let found = self.end_in_block(from, (end + 1).min(per_file) - from)?;
            if found.is_some() {
                return Ok(found);
            }
            // Probing jumped over zeros that a power cut left: the end is before them.
            to = from;
        }
    }

    /// A unit that is none and follows one, at `from` or behind; `to` when there is none. `from - 1` is a unit.
    fn first_nothing(&self, from: u64, to: u64) -> Result<u64, ConsumeQueueError> {
        let (mut low, mut high, mut step) = (from, to, from);
        while low + step <= to {
            if self.unit(low + step - 1)? == Stored::Nothing {
                high = low + step - 1;
                break;
            }
            low += step;
            step *= 2;
        }
        while low < high {
            let middle = low + (high - low) / 2;
            match self.unit(middle)? {
                Stored::Nothing => high = middle,
                Stored::Unit(_) | Stored::Filler => low = middle + 1,
            }
        }
        Ok(low)
    }

    /// The end of the units that are in order among these; `None` when the first is none.
    fn end_in_block(&self, from: u64, units: u64) -> Result<Option<End>, ConsumeQueueError> {
        let mut buffer = [0; (BLOCK_UNITS as usize + 1) * UNIT_BYTES];
        let bytes = buffer
            .get_mut(..units as usize * UNIT_BYTES)
            .ok_or(ErrorKind::InvalidInput.into())
            .during("read", &self.path)?;
        self.bytes(from, bytes)?;
        let mut stored = Stored::all(bytes);
        let Some(mut last) = stored.next().filter(|first| *first != Stored::Nothing) else {
            return Ok(None);
        };
        let mut end = from + 1;
        let mut is_ragged = false;
        for next in stored {
            if !last.can_precede(next) {
                is_ragged = next != Stored::Nothing;
                break;
            }
            last = next;
            end += 1;
        }
        Ok(Some(End {
            units: end,
            last,
            is_ragged,
        }))
    }

    /// What comes behind the fillers, of which there are fewer than `units`.
    fn find_start(&self, units: u64) -> Result<Start, ConsumeQueueError> {
        let (mut low, mut high) = (0, units);
        let mut first = self.unit(0)?;
        if first != Stored::Filler {
            high = 0;
        }
        while low < high {
            let middle = low + (high - low) / 2;
            match self.unit(middle)? {
                Stored::Filler => low = middle + 1,
                behind => {
                    first = behind;
                    high = middle;
                }
            }
        }
        let physical = match first {
            Stored::Unit(unit) => Some(unit.physical.0),
            Stored::Filler | Stored::Nothing => None,
        };
        Ok(Start {
            units: low,
            physical,
        })
    }
}
