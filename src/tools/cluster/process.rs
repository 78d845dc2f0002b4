//! A member's process: whether it runs, and how it is stopped.

use std::fs;
use std::io::{self, ErrorKind};
use std::thread;
use std::time::{Duration, Instant};

use procfs::process::Process;
use rustix::process::Signal;

use super::folder::{Cluster, failed};
use super::plan::Member;
use crate::pid_file::{self, Server};
use crate::tools::ToolError;

/// Pause between two looks at what a process has come to.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Running,
    /// It has a process that does nothing until it is continued.
    Suspended,
    /// It ended by itself, or was killed.
    Died,
    /// It was stopped, or never started.
    Stopped,
}

impl Condition {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Died => "died",
            Self::Stopped => "stopped",
        }
    }
}

/// A member with what became of its process.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) member: &'a Member,
    pub(super) condition: Condition,
    /// Its process, where it has one.
    pub(super) server: Option<Server>,
    /// Since when it has it.
    pub(super) uptime: Option<Duration>,
}

/// Looks for a member's process.
pub(super) fn find<'a>(cluster: &Cluster, member: &'a Member) -> Result<Found<'a>, ToolError> {
    let path = cluster.pid_file_of(member);
    let (condition, server) = match pid_file::server(&path) {
        Ok(Some(server)) if is_suspended(&server) => (Condition::Suspended, Some(server)),
        Ok(Some(server)) => (Condition::Running, Some(server)),
        // Who stops gracefully takes the file along.
        Ok(None) => (Condition::Died, None),
        Err(error) if error.kind() == ErrorKind::NotFound => (Condition::Stopped, None),
        Err(error) => return Err(failed("tell who holds", &path)(error)),
    };
    // The file is written once, when the process starts.
    let written = fs::metadata(&path).and_then(|file| file.modified());
    let uptime = written.ok().and_then(|since| since.elapsed().ok());
    Ok(Found {
        member,
        condition,
        uptime: uptime.filter(|_| server.is_some()),
        server,
    })
}

/// All of these, in their order.
pub(super) fn find_all<'a>(
    cluster: &Cluster,
    members: &[&'a Member],
) -> Result<Vec<Found<'a>>, ToolError> {
    let found = members.iter().map(|member| find(cluster, member));
    found.collect()
}

/// The names of those that do not run.
pub(super) fn down(found: &[Found<'_>]) -> Vec<String> {
    let down = found
        .iter()
        .filter(|found| found.condition != Condition::Running);
    down.map(|found| found.member.name.clone()).collect()
}

/// Whether a process was suspended by a signal. One that has gone is not.
fn is_suspended(server: &Server) -> bool {
    let stat = Process::new(server.pid()).and_then(|process| process.stat());
    stat.is_ok_and(|stat| stat.state == 'T')
}

/// Waits until a process that was sent SIGSTOP stands still.
pub(super) fn until_suspended(server: &Server, at_most: Duration) -> bool {
    let deadline = Instant::now() + at_most;
    while !is_suspended(server) {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(LOOK_AGAIN);
    }
    true
}

/// Asks a process to stop, also one that is suspended.
pub(super) fn terminate(server: &Server) -> io::Result<()> {
    server.terminate()?;
    server.signal(Signal::CONT)
}
