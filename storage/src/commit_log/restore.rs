//! Putting into the log's files what a process that was killed left in its ring.
//!
//! Only what is sealed is taken, and only bytes that a file does not have: where it has others, somebody wrote the log
//! meanwhile who knows nothing of rings.

use std::io;
use std::path::Path;
use std::sync::Arc;

use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::record::{RecordView, Step, step};

use super::sealer::seal_of;
use super::segment_file_name;
use crate::disk::ring::{Left, LeftSlot, Seal};
use crate::disk::{Disk, DiskFile, Wait};

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    /// There was none.
    NoRing,
    /// The files have all that the ring had: so many bytes of it are new to them.
    All {
        /// The bytes.
        bytes: u64,
    },
    /// The log was written by somebody else meanwhile. Nothing of the ring was used.
    Overtaken {
        /// Where the log has something else.
        position: u64,
    },
}

/// Puts what the ring at `ring` holds beyond the files of the log in `log` into these, and makes it durable.
pub fn restore(disk: &dyn Disk, ring: &Path, log: &Path) -> io::Result<Restored> {
    let file = match disk.open(ring) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Restored::NoRing),
        Err(error) => return Err(error),
    };
    let Some(left) = Left::read(file)? else {
        return Ok(Restored::All { bytes: 0 });
    };
    let files = Files::list(disk, log)?;
    let mut missing = Vec::new();
    for (index, slot) in left.slots().iter().enumerate() {
        let image = left.image(slot)?;
        let Some(end) = proven_end(&left, index, &image, &files)? else {
            break;
        };
        let chunk_end = slot.position + left.chunk_bytes() as u64;
        let proven = &image[..(end.min(chunk_end) - slot.position) as usize];
        match files.compare(slot.position, proven)? {
            Difference::None => {}
            Difference::Missing => missing.push((slot, proven.len())),
            Difference::Other => {
                let position = slot.position;
                return Ok(Restored::Overtaken { position });
            }
        }
        if end < chunk_end {
            break;
        }
    }
    let mut written = Vec::new();
    for (slot, length) in &missing {
        let image = left.image(slot)?;
        written.push(files.write(slot.position, &image[..*length])?);
    }
    // Those of one segment follow each other.
    written.dedup_by_key(|(base, _)| *base);
    for (_, file) in written {
        file.sync()?;
    }
    let bytes = missing.iter().map(|(_, length)| *length as u64).sum();
    Ok(Restored::All { bytes })
}

/// How far the bytes of a slot are those that were published; `None` when nothing proves that of any.
fn proven_end(
    left: &Left,
    index: usize,
    image: &[u8],
    files: &Files<'_>,
) -> io::Result<Option<u64>> {
    let slot = left.slots()[index];
    for seal in slot.seals {
        if seal.end <= slot.position || seal.begin < slot.position || seal.begin > seal.end {
            continue;
        }
        let Some(bytes) = bytes_until(seal.end, left, index, image, files)? else {
            continue;
        };
        if is_proven(&bytes, slot, &seal) {
            return Ok(Some(seal.end));
        }
    }
    Ok(None)
}

/// The bytes from the start of a chunk to `end`, which may lie in later chunks.
fn bytes_until(
    end: u64,
    left: &Left,
    index: usize,
    image: &[u8],
    files: &Files<'_>,
) -> io::Result<Option<Vec<u8>>> {
    let start = left.slots()[index].position;
    let length = end - start;
    if length > files.longest() {
        return Ok(None);
    }
    let mut bytes = image[..image.len().min(length as usize)].to_vec();
    let mut later = left.slots()[index + 1..].iter();
    while (bytes.len() as u64) < length {
        let at = start + bytes.len() as u64;
        let wanted = (length as usize - bytes.len()).min(left.chunk_bytes());
        match later.find(|slot| slot.position >= at) {
            Some(slot) if slot.position == at => {
                bytes.extend_from_slice(&left.image(slot)?[..wanted]);
            }
            _ => match files.read(at, wanted)? {
                Some(part) => bytes.extend(part),
                None => return Ok(None),
            },
        }
    }
    Ok(Some(bytes))
}

fn is_proven(bytes: &[u8], slot: LeftSlot, seal: &Seal) -> bool {
    if seal_of(bytes, slot.position, seal.begin) != Some(*seal) {
        return false;
    }
    // What the seal leaves out: places and bodies.
    let mut at = seal.begin;
    let records = &bytes[(seal.begin - slot.position) as usize..];
    let is_sound = |record: &RecordView<'_>, at| {
        record.verify_place(PhysicalOffset(at)).is_ok() && record.verify_body().is_ok()
    };
    while let Some(rest) = records.get((at - seal.begin) as usize..)
        && !rest.is_empty()
    {
        match step(rest) {
            Ok(Step::Record(record)) if is_sound(&record, at) => at += record.total_bytes() as u64,
            // The filler, the rest of which may be anything.
            Ok(Step::Blank) => return true,
            _ => return false,
        }
    }
    true
}

#[derive(Debug, PartialEq, Eq)]
enum Difference {
    None,
    /// The file has zeros.
    Missing,
    Other,
}

/// The segments as they lie in their files.
struct Files<'a> {
    disk: &'a dyn Disk,
    log: &'a Path,
    /// Where they begin, and how long they are.
    segments: Vec<(u64, u64)>,
}

impl<'a> Files<'a> {
    fn list(disk: &'a dyn Disk, log: &'a Path) -> io::Result<Self> {
        let entries = disk.list(log)?.into_iter();
        let segments = entries.filter_map(|entry| {
            let base = entry.name.parse().ok()?;
            (entry.name == segment_file_name(base)).then_some((base, entry.bytes))
        });
        Ok(Self {
            disk,
            log,
            segments: segments.collect(),
        })
    }

    fn longest(&self) -> u64 {
        let lengths = self.segments.iter().map(|(_, bytes)| *bytes);
        lengths.max().unwrap_or_default()
    }

    /// Whether a position lies before the first segment: retention took what was there.
    fn is_gone(&self, position: u64) -> bool {
        self.segments
            .first()
            .is_some_and(|(base, _)| position < *base)
    }

    /// The segment of a position, and the place in it.
    fn open(&self, position: u64) -> io::Result<Option<(Arc<dyn DiskFile>, u64)>> {
        let mut segments = self.segments.iter();
        let of_position = |(base, bytes): &&(u64, u64)| (*base..base + bytes).contains(&position);
        let Some((base, _)) = segments.find(of_position) else {
            return Ok(None);
        };
        let file = self.disk.open(&self.log.join(segment_file_name(*base)))?;
        Ok(Some((file, position - base)))
    }

    /// `None` when the file does not have that many.
    fn read(&self, position: u64, bytes: usize) -> io::Result<Option<Vec<u8>>> {
        let Some((file, within)) = self.open(position)? else {
            return Ok(None);
        };
        let mut buffer = vec![0; bytes];
        let read = file.read_at(&mut buffer, within, Wait::ForDisk)?;
        Ok((read == bytes).then_some(buffer))
    }

    fn compare(&self, position: u64, proven: &[u8]) -> io::Result<Difference> {
        if self.is_gone(position) {
            return Ok(Difference::None);
        }
        let Some(there) = self.read(position, proven.len())? else {
            return Ok(Difference::Other);
        };
        if there == proven {
            return Ok(Difference::None);
        }
        let mut pairs = there.iter().zip(proven);
        Ok(
            match pairs.all(|(there, proven)| *there == 0 || there == proven) {
                true => Difference::Missing,
                false => Difference::Other,
            },
        )
    }

    /// Returns what is to be synced: a segment, by where it begins.
    fn write(&self, position: u64, proven: &[u8]) -> io::Result<(u64, Arc<dyn DiskFile>)> {
        let Some((file, within)) = self.open(position)? else {
            return Err(io::ErrorKind::NotFound.into());
        };
        file.write_at(proven, within)?;
        Ok((position - within, file))
    }
}
