//! Where units lie in the timer log: positions count the bytes of all files, whose size is fixed.

use std::path::{Path, PathBuf};

use super::unit::{FILLER_BYTES, UNIT_BYTES};

const UNIT: u64 = UNIT_BYTES as u64;

/// The arithmetic of positions in the timer log.
///
/// A file holds as many units as leave room for the filler, which stands behind the last of them and not at the end of
/// the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) file_bytes: u64,
}

impl Places {
    /// The least size of a file, for one unit.
    pub(super) const MIN_FILE_BYTES: u64 = UNIT + FILLER_BYTES as u64;

    /// Where the filler stands in each file.
    pub(super) fn filler_within(self) -> u64 {
        (self.file_bytes - FILLER_BYTES as u64) / UNIT * UNIT
    }

    /// Where the file with this position starts.
    pub(super) fn file_start(self, at: u64) -> u64 {
        at / self.file_bytes * self.file_bytes
    }

    pub(super) fn within(self, at: u64) -> u64 {
        at % self.file_bytes
    }

    /// Whether a unit can start here.
    pub(super) fn is_unit(self, at: u64) -> bool {
        let within = self.within(at);
        within < self.filler_within() && within.is_multiple_of(UNIT)
    }

    /// Whether the log can end here: where a unit can start, or before a filler.
    pub(super) fn is_end(self, at: u64) -> bool {
        self.is_unit(at) || self.within(at) == self.filler_within()
    }

    /// Where the unit before this position starts, which is a unit's start or an end.
    pub(super) fn before(self, at: u64) -> Option<u64> {
        if self.within(at) > 0 {
            return Some(at - UNIT);
        }
        let file = at.checked_sub(self.file_bytes)?;
        Some(file + self.filler_within() - UNIT)
    }

    /// RocketMQ names a file by the position of its first byte, with 20 digits.
    pub(super) fn path(self, folder: &Path, start: u64) -> PathBuf {
        folder.join(format!("{start:020}"))
    }

    /// Where the file with this name starts; `None` when it is none of the log's.
    pub(super) fn start_of(self, name: &str) -> Option<u64> {
        if name.len() != 20 || !name.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let start: u64 = name.parse().ok()?;
        let is_ours = start.is_multiple_of(self.file_bytes) && start < i64::MAX as u64 / 2;
        is_ours.then_some(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_rocketmqs_size_ends_where_rocketmq_ends_it() {
        let places = Places {
            file_bytes: 104_857_600,
        };
        // `getOffsetForLastUnit` with 100 MiB.
        assert_eq!(places.before(104_857_600), Some(104_857_532));
        assert_eq!(places.filler_within(), 104_857_584);
        assert!(places.is_unit(104_857_600));
        assert!(!places.is_unit(places.filler_within()));
        assert!(places.is_end(places.filler_within()));
        assert_eq!(places.before(0), None);
    }

    #[test]
    fn a_unit_that_leaves_less_than_a_filler_goes_to_the_next_file() {
        for (file_bytes, units) in [(68, 1), (119, 1), (120, 2), (171, 2), (172, 3)] {
            let places = Places { file_bytes };
            assert_eq!(places.filler_within(), units * 52, "{file_bytes}");
        }
    }

    #[test]
    fn names_have_20_digits_and_whole_files() {
        let places = Places { file_bytes: 120 };
        assert_eq!(
            places.path(Path::new("/t"), 240),
            Path::new("/t/00000000000000000240")
        );
        assert_eq!(places.start_of("00000000000000000240"), Some(240));
        for other in [
            "00000000000000000241",
            "240",
            "18446744073709551600",
            "+0000000000000000120",
        ] {
            assert_eq!(places.start_of(other), None, "{other}");
        }
    }
}
