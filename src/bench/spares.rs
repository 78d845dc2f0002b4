//! Spare segments for a broker that is to be measured as one that has run for long.
//!
//! A broker whose log is as long as retention lets it be writes new segments into the files of removed ones. One on an empty
//! folder has none, and writes blocks that the disk has to find first where it is one of a virtual machine: see
//! docs/benchmarks.md.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use castmq_config::StoreSettings;
use memmap2::MmapMut;
use rustix::fs::OFlags;

use super::BenchError;

/// The folder of spare segments in a data folder.
const FOLDER: &str = "commitlog.spare";

/// Of the spare segments two are part of the log again at once: the one that is written, and the next.
const IN_USE: usize = 2;

/// How old segments are made for retention to take them: older than the least it can be told to keep.
const AGE: Duration = Duration::from_secs(2 * 60 * 60);

/// How long retention may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Written at once, in bytes.
const STEP_BYTES: usize = 4 * 1024 * 1024;

/// What is written: a disk may take zeros for nothing.
const FILLER: u8 = 0xA5;

/// Writes so many into the data folder of a broker that was not started yet.
pub(crate) fn make(data: &Path, count: usize) -> io::Result<()> {
    let folder = data.join(FOLDER);
    fs::create_dir(&folder)?;
    let bytes = StoreSettings::default().commit_log_segment_bytes;
    // Of its own pages, which writing past the page cache needs: memory is to be as it was.
    let mut step = MmapMut::map_anon(STEP_BYTES)?;
    step.fill(FILLER);
    for number in 0..count {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .custom_flags(OFlags::DIRECT.bits().cast_signed())
            .open(folder.join(number.to_string()))?;
        for _ in 0..bytes / STEP_BYTES as u64 {
            file.write_all(&step)?;
        }
        file.sync_all()?;
    }
    Ok(())
}

/// Settings of a broker that takes old segments out of its log at any time, and keeps so many of them.
pub(crate) fn settings(count: usize) -> [(&'static str, String); 4] {
    let every_hour: Vec<_> = (0..24).map(|hour: u32| hour.to_string()).collect();
    [
        ("CASTMQ_STORE__SPARE_SEGMENTS", count.to_string()),
        ("CASTMQ_RETENTION__KEEP_HOURS", "1".to_owned()),
        ("CASTMQ_RETENTION__DELETE_HOURS", every_hour.join(",")),
        ("CASTMQ_RETENTION__CHECK_INTERVAL_MS", "200".to_owned()),
    ]
}

/// Makes what a broker has written old, and waits until `count` segments are spare again, but for those in use.
pub(crate) async fn wait_for(data: &Path, count: usize) -> Result<(), BenchError> {
    let wanted = count.saturating_sub(IN_USE);
    let began = Instant::now();
    loop {
        let made = fs::read_dir(data.join(FOLDER))?.count();
        if made >= wanted {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(BenchError::NoSpares { made, wanted });
        }
        age(&data.join("commitlog"))?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn age(log: &Path) -> io::Result<()> {
    for entry in fs::read_dir(log)? {
        let opened = OpenOptions::new().write(true).open(entry?.path());
        match opened {
            Ok(file) => file.set_modified(SystemTime::now() - AGE)?,
            // Taken meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
