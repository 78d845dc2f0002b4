//! The process under load.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use procfs::process::Process;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::BenchError;
use super::flags::Target;
use super::memory::WarmMemory;
use super::spares;
use crate::memory::Resident;

/// A server on this machine. One that was started for a measurement ends with it, and its data folder goes.
pub(crate) struct Peer {
    pub(crate) address: String,
    pub(crate) name_server: Option<String>,
    started: Option<Started>,
    /// How many a round begins with.
    spare_segments: usize,
}

/// How much memory the load will take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Amount {
    Megabytes,
    Gigabytes,
}

struct Started {
    process: Child,
    folder: TempDir,
    _memory: Option<WarmMemory>,
}

impl Peer {
    /// The broker that is to be measured.
    pub(crate) async fn of(target: &Target, amount: Amount) -> Result<Self, BenchError> {
        if !target.embedded {
            return Ok(Self {
                address: target.broker.clone(),
                name_server: None,
                started: None,
                spare_segments: 0,
            });
        }
        let fills = amount == Amount::Gigabytes && !target.cold_memory;
        let memory = fills.then(WarmMemory::fill).transpose()?;
        let folder = TempDir::with_prefix_in("castmq-bench-", ".")?;
        let mut command = this_binary()?;
        command
            .arg("--data")
            .arg(folder.path())
            .args(["--listen", "127.0.0.1:0", "--namesrv-listen", "127.0.0.1:0"])
            .env("CASTMQ_LOG__FILTER", "warn");
        if target.spare_segments > 0 {
            let count = target.spare_segments;
            spares::make(folder.path(), count)?;
            command.envs(spares::settings(count));
        }
        if target.sync_flush {
            command.env("CASTMQ_STORE__FLUSH", "sync");
        }
        let mut peer = start(command, folder, memory, "the broker").await?;
        peer.spare_segments = target.spare_segments;
        Ok(peer)
    }

    /// An echo server.
    pub(crate) async fn echo() -> Result<Self, BenchError> {
        let folder = TempDir::with_prefix_in("castmq-bench-", ".")?;
        let mut command = this_binary()?;
        command.args(["bench", "echo"]);
        start(command, folder, None, "the echo server").await
    }

    /// Processor time of the process, in nanoseconds; `None` when it was not started here.
    pub(crate) fn cpu_ns(&self) -> Option<u64> {
        let stat = self.process()?.stat().ok()?;
        Some((stat.utime + stat.stime) * 1_000_000_000 / procfs::ticks_per_second())
    }

    /// Resident memory without pages of mapped files, and those pages, in MiB.
    pub(crate) fn rss_mib(&self) -> Option<(f64, f64)> {
        let resident = Resident::of(&self.process()?)?;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        Some((mib(resident.own_bytes), mib(resident.mapped_bytes)))
    }

    /// Its data folder, when it was started here.
    pub(crate) fn folder(&self) -> Option<&Path> {
        Some(self.started.as_ref()?.folder.path())
    }

    /// Has retention make spare segments of what was sent so far, if it is to.
    pub(crate) async fn spare_sent(&self) -> Result<(), BenchError> {
        match (self.folder(), self.spare_segments) {
            (Some(folder), count @ 1..) => spares::wait_for(folder, count).await,
            _ => Ok(()),
        }
    }

    /// Forgets what memory holds of the broker's log, so that it has to be read from the disk again.
    pub(crate) fn chill_log(&self) -> Result<(), BenchError> {
        let folder = self.folder().ok_or(BenchError::NeedsEmbedded)?;
        for segment in files(&folder.join("commitlog"))? {
            let file = std::fs::File::open(&segment)?;
            file.sync_data()?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)
                .map_err(io::Error::from)?;
        }
        Ok(())
    }

    fn process(&self) -> Option<Process> {
        let pid = self.started.as_ref()?.process.id()?;
        Process::new(i32::try_from(pid).ok()?).ok()
    }
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect()
}

fn this_binary() -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    Ok(command)
}

async fn start(
    mut command: Command,
    folder: TempDir,
    memory: Option<WarmMemory>,
    what: &'static str,
) -> Result<Peer, BenchError> {
    let mut process = command.spawn()?;
    let stdout = process.stdout.take().ok_or(BenchError::NotReady(what))?;
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await? {
        let after = |name: &str| {
            let (_, rest) = line.split_once(name)?;
            rest.split([',', ' ']).next().map(str::to_owned)
        };
        if let Some(address) = after("broker ").filter(|_| line.contains("ready")) {
            return Ok(Peer {
                address,
                name_server: after("name server "),
                started: Some(Started {
                    process,
                    folder,
                    _memory: memory,
                }),
                spare_segments: 0,
            });
        }
    }
    Err(BenchError::NotReady(what))
}
