//! Memory that processes take, and what this one keeps of it without use.

#![allow(unsafe_code)]

use std::io;
use std::thread;
use std::time::Duration;

use procfs::process::Process;

/// Longest block that is kept to be used again, and most that is kept unused at the end of a heap.
#[cfg(target_env = "gnu")]
const KEPT_BYTES: libc::c_int = 1 << 20;

/// How much more there is before what is unused of it is looked for.
const GROWN_BYTES: u64 = 16 << 20;

/// Time between looks at how much there is.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Resident memory of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resident {
    /// All but pages of files.
    pub(crate) own_bytes: u64,
    /// Pages of files, which the page cache has anyway.
    pub(crate) mapped_bytes: u64,
}

impl Resident {
    /// Of this process.
    fn now() -> Option<Self> {
        Self::of(&Process::myself().ok()?)
    }

    /// Of any process; `None` where that is not told.
    pub(crate) fn of(process: &Process) -> Option<Self> {
        let status = process.status().ok()?;
        Some(Self {
            own_bytes: status.rssanon? * 1024,
            mapped_bytes: (status.rssfile? + status.rssshmem?) * 1024,
        })
    }
}

/// Keeps little of what is freed. glibc keeps up to 64 MiB at the end of each of its heaps otherwise, the more the longer
/// the blocks were. It has to be called before there are other threads.
pub(crate) fn keep_little() {
    #[cfg(target_env = "gnu")]
    for parameter in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: it sets a number, and no other thread allocates yet.
        let taken = unsafe { libc::mallopt(parameter, KEPT_BYTES) };
        debug_assert_eq!(taken, 1, "glibc takes any number here");
    }
}

/// Looks from now on, in a thread of its own, whether there is more memory than there was, and gives back what is unused of
/// it. By itself glibc gives back the end of a heap only: one small block that lives on keeps all that was freed before it.
pub(crate) fn give_back() -> io::Result<()> {
    let looking = thread::Builder::new().name("memory".to_owned());
    looking.spawn(|| {
        let mut least = u64::MAX;
        while let Some(resident) = Resident::now() {
            least = look(least, resident.own_bytes);
            thread::sleep(LOOK_EVERY);
        }
    })?;
    Ok(())
}

/// Gives back what is unused if there is much more than there was at `least`, and says what the least is now.
fn look(least: u64, own_bytes: u64) -> u64 {
    if own_bytes <= least.saturating_add(GROWN_BYTES) {
        return least.min(own_bytes);
    }
    trim();
    Resident::now().map_or(own_bytes, |resident| resident.own_bytes)
}

fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointers, and takes the locks of the heaps as it needs them.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
#[cfg(target_env = "gnu")]
mod tests {
    use super::*;

    const BLOCKS: usize = 64 * 1024;

    #[test]
    fn what_is_freed_before_a_block_that_lives_on_is_given_back() {
        let own_bytes = || Resident::now().expect("a process").own_bytes;
        let before = own_bytes();
        let freed: Vec<_> = (0..BLOCKS).map(|_| vec![1u8; 1024]).collect();
        let lives_on = vec![1u8; 1024];
        drop(freed);
        let kept = own_bytes();
        assert!(kept > before + 3 * GROWN_BYTES, "{before} {kept}");
        let least = look(before, kept);
        assert!(own_bytes() < before + GROWN_BYTES / 2, "{before} {kept}");
        assert!(least < before + GROWN_BYTES / 2, "{before} {least}");
        assert_eq!(look(least, least + GROWN_BYTES), least);
        drop(lives_on);
    }
}
