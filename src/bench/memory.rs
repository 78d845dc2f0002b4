//! Makes the machine's free memory warm before a measurement.
//!
//! A virtual machine that gave free memory back to its host pays several microseconds for the first touch of each page of
//! it; a machine in use has no such memory, since its page cache fills all there is. Log pages are first touched by the
//! thousands, so that without this a measurement shows the host and not the broker.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Left free, in bytes: nobody shall be pressed for memory.
const SPARE_BYTES: u64 = 512 * 1024 * 1024;

/// Read at once, in bytes.
const STEP_BYTES: usize = 2 * 1024 * 1024;

/// Page cache that fills the free memory. It can be taken away at any time, for better use.
pub(crate) struct WarmMemory {
    _cached: File,
}

impl WarmMemory {
    /// Reads holes of a file without blocks until memory is full of them.
    pub(crate) fn fill() -> io::Result<Self> {
        let file = tempfile::tempfile_in(".")?;
        let bytes = free_bytes().saturating_sub(SPARE_BYTES);
        file.set_len(bytes)?;
        let mut buffer = vec![0; STEP_BYTES];
        let mut at = 0;
        while at < bytes {
            at += file.read_at(&mut buffer, at)?.max(1) as u64;
        }
        Ok(Self { _cached: file })
    }
}

/// Memory that is used for nothing; 0 when it is not known.
fn free_bytes() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("MemFree:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
