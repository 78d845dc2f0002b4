//! A member that starts.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use castmq_config::VARIABLE_PREFIX;

use super::ClusterError;
use super::folder::{Cluster, failed};
use super::plan::Member;
use super::shape::Part;
use crate::tools::ToolError;

/// What a server prints when it takes connections begins with this.
const READY: &str = "castmq ready: ";

/// Pause between two looks at what a process has come to.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Lines of a log that are shown when a member did not start.
const SHOWN_LINES: usize = 10;

/// A member that was started and may not be ready yet.
#[derive(Debug)]
pub(super) struct Starting<'a> {
    cluster: &'a Cluster,
    pub(super) member: &'a Member,
    child: Child,
    /// Where in its log it begins.
    log_begin: u64,
}

impl<'a> Starting<'a> {
    /// Starts a member that does not run.
    pub(super) fn spawn(cluster: &'a Cluster, member: &'a Member) -> Result<Self, ToolError> {
        let system = |action| move |source| ToolError::System { action, source };
        let binary = std::env::current_exe().map_err(system("find the program of this process"))?;
        let path = cluster.log_of(member);
        let log = File::options().create(true).append(true).open(&path);
        let log = log.map_err(failed("write", &path))?;
        let log_begin = log.metadata().map_err(failed("look at", &path))?.len();
        let both = log.try_clone().map_err(failed("write", &path))?;
        let mut command = Command::new(binary);
        command
            .arg(match member.part {
                Part::NameServer => "namesrv",
                Part::Broker { .. } => "broker",
            })
            .arg("--config")
            .arg(cluster.config_of(member))
            .current_dir(cluster.folder_of(member))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(both)
            // Ctrl-C at the terminal that it was started from is not meant for it.
            .process_group(0);
        for name in settings_in_environment() {
            command.env_remove(name);
        }
        Ok(Self {
            cluster,
            member,
            child: command.spawn().map_err(system("start a server"))?,
            log_begin,
        })
    }

    /// Waits until it takes connections.
    pub(super) fn until_ready(mut self, wait: Duration) -> Result<(), ToolError> {
        let deadline = Instant::now() + wait;
        let log = self.cluster.log_of(self.member);
        let member = || self.member.name.clone();
        loop {
            // Looked at before the log: what it wrote last is there when it has ended.
            let ended = self.child.try_wait().map_err(|source| ToolError::System {
                action: "wait for a server",
                source,
            })?;
            let lines = read_from(&log, self.log_begin).map_err(failed("read", &log))?;
            if let Some(status) = ended {
                return Err(ClusterError::Died {
                    member: member(),
                    status: status.to_string(),
                    last_lines: last_lines(&lines),
                    log,
                }
                .into());
            }
            if lines.lines().any(|line| line.starts_with(READY)) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(ClusterError::NotReady {
                    member: member(),
                    pid: self.child.id(),
                    seconds: wait.as_secs(),
                    last_lines: last_lines(&lines),
                    log,
                }
                .into());
            }
            thread::sleep(LOOK_AGAIN);
        }
    }
}

/// Variables that would win over a member's file, with the same value for all of them, and only for those that are
/// started from this shell.
fn settings_in_environment() -> impl Iterator<Item = OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| {
        let name = name.to_string_lossy();
        let is_setting = name.starts_with(VARIABLE_PREFIX) && name.contains("__");
        is_setting || name == "NAMESRV_ADDR"
    })
}

fn read_from(path: &Path, begin: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let shown = lines.len().saturating_sub(SHOWN_LINES);
    lines.get(shown..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_log_are_shown() {
        let log: String = (0..15).map(|line| format!("line {line}\n")).collect();
        let shown = last_lines(&log);
        assert!(
            shown.starts_with("line 5\n") && shown.ends_with("line 14"),
            "{shown}"
        );
        assert_eq!(last_lines("one\n"), "one");
        assert_eq!(last_lines(""), "");
    }
}
