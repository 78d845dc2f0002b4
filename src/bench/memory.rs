//! Makes the machine's free memory warm before a measurement.
//!
//! A virtual machine that gave free memory back to its host pays for the first touch of each page of it: several
//! microseconds on average, and milliseconds in which the processor does nothing else when the host hands it out in larger
//! pieces. A machine in use has no such memory, since its page cache fills all there is. Log pages are first touched by the
//! thousands, so that without this a measurement shows the host and not the broker.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use memmap2::{Advice, MmapMut};
use procfs::{Current, Meminfo};

/// Filled beyond what is free, in bytes: so that the kernel begins to take back the oldest of it, and what it keeps in
/// reserve is warm, too.
const BEYOND_BYTES: u64 = 1024 * 1024 * 1024;

/// Read at once, in bytes.
const STEP_BYTES: usize = 2 * 1024 * 1024;

/// Touched again and again under a small load, in bytes: what it needs until the next time.
const KEPT_BYTES: usize = 256 * 1024 * 1024;

/// How often.
const KEPT_EVERY: Duration = Duration::from_millis(500);

const PAGE_BYTES: usize = 4096;

/// Memory that is warm for a while.
pub(crate) enum WarmMemory {
    /// Page cache that fills what was free. It can be taken away at any time, for better use.
    Filled { _cached: File },
    /// A part of the free memory that is touched twice a second.
    Kept { _until: Arc<()> },
}

impl WarmMemory {
    /// For a load that takes gigabytes: reads holes of a file without blocks until memory is full of them.
    pub(crate) fn fill() -> io::Result<Self> {
        let file = tempfile::tempfile_in(".")?;
        let bytes = free_bytes() + BEYOND_BYTES;
        file.set_len(bytes)?;
        let mut buffer = vec![0; STEP_BYTES];
        let mut at = 0;
        while at < bytes {
            at += file.read_at(&mut buffer, at)?.max(1) as u64;
        }
        Ok(Self::Filled { _cached: file })
    }

    /// For a load that takes megabytes a second: what the kernel frees last, it gives out first.
    pub(crate) fn keep() -> io::Result<Self> {
        let until = Arc::new(());
        let of_thread = Arc::downgrade(&until);
        touch()?;
        thread::Builder::new()
            .name("warm-memory".to_owned())
            .spawn(move || keep_while(&of_thread))?;
        Ok(Self::Kept { _until: until })
    }
}

fn keep_while(wanted: &Weak<()>) {
    while wanted.strong_count() > 0 {
        // Cold memory spoils figures, and nothing else.
        let _ = touch();
        thread::sleep(KEPT_EVERY);
    }
}

fn touch() -> io::Result<()> {
    let mut memory = MmapMut::map_anon(KEPT_BYTES)?;
    // Fewer and larger pages where the system has them; touching works with all.
    let _ = memory.advise(Advice::HugePage);
    memory
        .iter_mut()
        .step_by(PAGE_BYTES)
        .for_each(|byte| *byte = 1);
    Ok(())
}

/// Memory that is used for nothing; 0 when it is not known.
fn free_bytes() -> u64 {
    Meminfo::current().map_or(0, |memory| memory.mem_free)
}
