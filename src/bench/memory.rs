//! Makes the machine's free memory warm before a measurement.
//!
//! A virtual machine that gave free memory back to its host pays for the first touch of each page of it: several
//! microseconds on average, and milliseconds in which the processor does nothing else when the host hands it out in larger
//! pieces. A machine in use has no such memory, since its page cache fills all there is. A load that takes gigabytes touches
//! pages by the thousands, so that without this its measurement shows the host and not the broker.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use procfs::{Current, Meminfo};

/// Filled beyond what is free, in bytes: so that the kernel begins to take back the oldest of it, and what it keeps in
/// reserve is warm, too.
const BEYOND_BYTES: u64 = 1024 * 1024 * 1024;

/// Read at once, in bytes.
const STEP_BYTES: usize = 2 * 1024 * 1024;

/// Page cache that fills what was free. It can be taken away at any time, for better use.
pub(crate) struct WarmMemory {
    _cached: File,
}

impl WarmMemory {
    /// Reads holes of a file without blocks until memory is full of them.
    pub(crate) fn fill() -> io::Result<Self> {
        let file = tempfile::tempfile_in(".")?;
        let bytes = free_bytes() + BEYOND_BYTES;
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
    Meminfo::current().map_or(0, |memory| memory.mem_free)
}
