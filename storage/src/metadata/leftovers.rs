//! What is left of a start of sled that was killed, and that sled itself cannot open.
//!
//! sled writes a snapshot of where its pages are under a name of its own and renames it, but takes the unfinished one for
//! the newest when it is there; and it writes its settings in two steps, and does not take the first alone.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::error::{MetadataError, during};

const DATABASE: &str = "db";
const SETTINGS: &str = "conf";

/// What ends the name of a snapshot until it is complete.
const UNFINISHED: &str = ".generating";

/// Removes what was never finished: the database is what it was before that start.
///
/// Nobody else may be opening the database.
pub(super) fn remove(folder: &Path) -> Result<(), MetadataError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        listed => listed.map_err(during("list", folder))?,
    };
    for entry in entries {
        let path = entry.map_err(during("list", folder))?.path();
        if path.to_string_lossy().ends_with(UNFINISHED) {
            remove_file(&path)?;
        }
    }
    // Settings come before everything else: without data, they are all there is.
    let database = folder.join(DATABASE);
    match fs::metadata(&database) {
        Ok(found) if found.len() > 0 => Ok(()),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(during("read", &database)(error)),
        _ => remove_file(&folder.join(SETTINGS)),
    }
}

fn remove_file(path: &Path) -> Result<(), MetadataError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(during("remove", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metadata;
    use super::*;

    #[test]
    fn starts_that_were_killed_leave_nothing_that_prevents_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metadata");
        let settings = path.join(SETTINGS);
        fs::create_dir(&path).unwrap();
        fs::write(&settings, "segment_size: 524288\nuse_compression: false\n").unwrap();
        let metadata = Metadata::open(&path, 1 << 20).unwrap();
        metadata.put_value("n", "k", b"v").unwrap();
        metadata.sync().unwrap();
        drop(metadata);
        // A snapshot is named after how far it goes; this one would go further than any.
        let unfinished = path.join("snap.7FFFFFFFFFFFFFFF.generating");
        for half in [&b""[..], b"half of a snapshot"] {
            fs::write(&unfinished, half).unwrap();
            let metadata = Metadata::open(&path, 1 << 20).unwrap();
            assert_eq!(metadata.value("n", "k").unwrap(), Some(b"v".to_vec()));
            assert!(!unfinished.exists());
        }
        assert!(settings.exists());
    }
}
