//! The process under load.

use std::io;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::BenchError;

/// A server on this machine. One that was started for a measurement ends with it, and its data folder goes.
pub(crate) struct Peer {
    pub(crate) address: String,
    process: Option<(Child, TempDir)>,
}

impl Peer {
    /// One that runs already.
    pub(crate) fn running(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            process: None,
        }
    }

    /// A broker of its own, on an empty data folder in the current directory's file system.
    pub(crate) async fn broker(sync_flush: bool) -> Result<Self, BenchError> {
        let folder = TempDir::with_prefix_in("castmq-bench-", ".")?;
        let mut command = this_binary()?;
        command
            .arg("--data")
            .arg(folder.path())
            .args(["--listen", "127.0.0.1:0", "--namesrv-listen", "127.0.0.1:0"])
            .env("CASTMQ_LOG__FILTER", "warn");
        if sync_flush {
            command.env("CASTMQ_STORE__FLUSH", "sync");
        }
        start(command, folder, "the broker").await
    }

    /// An echo server.
    pub(crate) async fn echo() -> Result<Self, BenchError> {
        let folder = TempDir::with_prefix_in("castmq-bench-", ".")?;
        let mut command = this_binary()?;
        command.args(["bench", "echo-server"]);
        start(command, folder, "the echo server").await
    }

    /// Processor time of the process, in nanoseconds; 0 when it was not started here.
    pub(crate) fn cpu_ns(&self) -> u64 {
        let Some(pid) = self.pid() else {
            return 0;
        };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Fields behind the command's name, which may contain anything: 12 and 13 are user and system time in ticks.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        ticks * 1_000_000_000 / TICKS_A_SECOND
    }

    /// Resident memory without pages of mapped files, and those pages, in MiB.
    pub(crate) fn rss_mib(&self) -> (f64, f64) {
        let Some(pid) = self.pid() else {
            return (0.0, 0.0);
        };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
            kib.unwrap_or(0.0) / 1024.0
        };
        (mib("RssAnon:"), mib("RssFile:") + mib("RssShmem:"))
    }

    fn pid(&self) -> Option<u32> {
        self.process.as_ref()?.0.id()
    }
}

/// Linux reports processor time to user space in hundredths of a second.
const TICKS_A_SECOND: u64 = 100;

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
    what: &'static str,
) -> Result<Peer, BenchError> {
    let mut child = command.spawn()?;
    let stdout = child.stdout.take().ok_or(BenchError::NotReady(what))?;
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await? {
        let address = line
            .split_once("broker ")
            .and_then(|(_, rest)| rest.split([',', ' ']).next());
        if let Some(address) = address.filter(|_| line.contains("ready")) {
            return Ok(Peer {
                address: address.to_owned(),
                process: Some((child, folder)),
            });
        }
    }
    Err(BenchError::NotReady(what))
}
