//! The file whose presence says that the last stop was not clean (RocketMQ's `abort`).
//!
//! The first line is the number of the process, as RocketMQ has it. The second is CastMQ's own: a file without it was left
//! by somebody else.

use std::io;
use std::path::Path;

use crate::disk::{Disk, Wait};

/// Opens the line that only CastMQ writes.
const OWN_LINE: &str = "castmq ";

/// The file is shorter; what is behind this was not written by CastMQ.
const MAX_BYTES: usize = 256;

/// What a run that did not stop cleanly left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// What the machine was doing then, see [`Disk::boot`]; `None` when it was not CastMQ that ran last.
    pub boot: Option<String>,
}

/// Reads what a run left that did not stop cleanly; `None` when the last stop was clean.
pub fn read(disk: &dyn Disk, path: &Path) -> io::Result<Option<Left>> {
    let file = match disk.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = [0; MAX_BYTES];
    let length = file.read_at(&mut bytes, 0, Wait::ForDisk)?;
    let text = std::str::from_utf8(bytes.get(..length).unwrap_or_default()).unwrap_or_default();
    let own_line = text.lines().nth(1);
    let boot = own_line.and_then(|line| line.strip_prefix(OWN_LINE));
    Ok(Some(Left {
        boot: boot.map(str::to_owned),
    }))
}

/// Says that the store is in use by process `pid`, durably: before anything else is written. `boot` is what the machine
/// was doing when everything in the store was last known to be sound; without it the file is as RocketMQ's.
pub fn create(disk: &dyn Disk, path: &Path, pid: u32, boot: Option<&str>) -> io::Result<()> {
    // Under another name at first: between removing the old file and making the new one a power cut would leave none,
    // and what it damaged would pass for a clean stop.
    let new = path.with_extension("new");
    match disk.remove(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let own_line = boot.map(|boot| format!("\n{OWN_LINE}{boot}\n"));
    let text = format!("{pid}{}", own_line.unwrap_or_default());
    let file = disk.create(&new, 0)?;
    file.write_at(text.as_bytes(), 0)?;
    file.sync()?;
    disk.rename(&new, path)?;
    sync_folder(disk, path)
}

/// Says that the stop was clean, durably: after everything else was written.
pub fn remove(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    disk.remove(path)?;
    sync_folder(disk, path)
}

fn sync_folder(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => disk.sync_directory(folder),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::fault::FaultDisk;

    #[test]
    fn an_unclean_stop_is_remembered_while_the_next_start_is_cut_off() {
        let path = Path::new("/store/abort");
        for seed in 0..20 {
            let disk = FaultDisk::new();
            disk.create_directory_durably(Path::new("/store")).unwrap();
            create(&disk, path, 4711, None).unwrap();
            disk.cut_power_after(seed % 7);
            let _ = create(&disk, path, 4712, Some("b"));
            let disk = disk.crash(seed);
            assert!(read(&disk, path).unwrap().is_some());
            create(&disk, path, 4713, None).unwrap();
        }
    }

    #[test]
    fn it_survives_a_power_cut_and_so_does_its_removal() {
        let path = Path::new("/store/abort");
        let disk = FaultDisk::new();
        disk.create_directory_durably(Path::new("/store")).unwrap();
        create(&disk, path, 4711, None).unwrap();
        create(&disk, path, 4712, Some("b")).unwrap();
        let disk = disk.crash(1);
        assert!(read(&disk, path).unwrap().is_some());
        remove(&disk, path).unwrap();
        assert!(read(&disk.crash(2), path).unwrap().is_none());
    }

    #[test]
    fn what_another_broker_left_is_told_from_our_own() {
        let path = Path::new("/abort");
        let disk = FaultDisk::new();
        assert_eq!(read(&disk, path).unwrap(), None);
        let left = |content: &[u8]| {
            let _ = disk.remove(path);
            disk.create(path, 0).unwrap().write_at(content, 0).unwrap();
            read(&disk, path).unwrap().unwrap().boot
        };
        assert_eq!(left(b""), None);
        assert_eq!(left(b"4711"), None);
        assert_eq!(left(&[0xFF; 999]), None);
        create(&disk, path, 4711, None).unwrap();
        assert_eq!(read(&disk, path).unwrap().unwrap().boot, None);
        create(&disk, path, 4711, Some("a boot")).unwrap();
        assert_eq!(read(&disk, path).unwrap().unwrap().boot.unwrap(), "a boot");
    }
}
