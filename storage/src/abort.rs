//! The file whose presence says that the last stop was not clean (RocketMQ's `abort`).

use std::io;
use std::path::Path;

use crate::disk::Disk;

/// Whether a store was left without a clean stop.
pub fn is_present(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    match disk.open(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Says that the store is in use by process `pid`, durably: before anything else is written.
pub fn create(disk: &dyn Disk, path: &Path, pid: u32) -> io::Result<()> {
    // Under another name at first: between removing the old file and making the new one a power cut would leave none,
    // and what it damaged would pass for a clean stop.
    let new = path.with_extension("new");
    match disk.remove(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&new, 0)?;
    file.write_at(pid.to_string().as_bytes(), 0)?;
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
            create(&disk, path, 4711).unwrap();
            disk.cut_power_after(seed % 7);
            let _ = create(&disk, path, 4712);
            let disk = disk.crash(seed);
            assert!(is_present(&disk, path).unwrap());
            create(&disk, path, 4713).unwrap();
        }
    }

    #[test]
    fn it_survives_a_power_cut_and_so_does_its_removal() {
        let path = Path::new("/store/abort");
        let disk = FaultDisk::new();
        disk.create_directory_durably(Path::new("/store")).unwrap();
        create(&disk, path, 4711).unwrap();
        create(&disk, path, 4712).unwrap();
        let disk = disk.crash(1);
        assert!(is_present(&disk, path).unwrap());
        remove(&disk, path).unwrap();
        assert!(!is_present(&disk.crash(2), path).unwrap());
    }
}
