//! `castmq cluster kill`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use rustix::process::Signal;

use super::folder::Cluster;
use super::plan::Member;
use super::{ClusterError, Place, process};
use crate::pid_file::Server;
use crate::tools::{ToolError, print};

/// How long the system may take to do what nothing can prevent.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Whom, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct KillFlags {
    #[command(flatten)]
    place: Place,
    /// Members, as `castmq cluster status` shows them.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// What they are sent.
    #[arg(long, short, value_enum, default_value_t = Sent::Kill)]
    signal: Sent,
}

/// A signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sent {
    /// Ends it at once, as a crash does.
    Kill,
    /// Asks it to stop, and does not wait; `castmq cluster down NAME` waits.
    Term,
    /// Suspends it: its connections stay open, and nothing answers.
    Stop,
    /// Has it go on after `stop`.
    Cont,
}

pub(super) fn run(flags: &KillFlags) -> Result<(), ToolError> {
    let cluster = Cluster::open(&flags.place.dir)?;
    let mut servers = Vec::new();
    for member in cluster.members(&flags.names)? {
        servers.push((member, server(&cluster, member)?));
    }
    for (member, server) in servers {
        let sent = send(&server, flags.signal);
        sent.map_err(|source| ToolError::System {
            action: "send a signal to a server",
            source,
        })?;
        let done = match flags.signal {
            Sent::Kill => "was killed",
            Sent::Term => "was asked to stop",
            Sent::Stop => "is suspended",
            Sent::Cont => "goes on",
        };
        let (name, pid) = (&member.name, server.pid());
        print::text(format!("{name} (process {pid}) {done}"))?;
    }
    Ok(())
}

fn server(cluster: &Cluster, member: &Member) -> Result<Server, ToolError> {
    let found = process::find(cluster, member)?;
    found.server.ok_or_else(|| {
        ClusterError::NotRunning {
            name: member.name.clone(),
            folder: cluster.folder.clone(),
        }
        .into()
    })
}

/// Sends a signal, and waits until it has done what it does at once.
fn send(server: &Server, signal: Sent) -> std::io::Result<()> {
    server.signal(match signal {
        Sent::Kill => Signal::KILL,
        Sent::Term => Signal::TERM,
        Sent::Stop => Signal::STOP,
        Sent::Cont => Signal::CONT,
    })?;
    let is_done = match signal {
        Sent::Kill => server.wait(AT_ONCE)?,
        Sent::Stop => process::until_suspended(server, AT_ONCE),
        Sent::Term | Sent::Cont => true,
    };
    match is_done {
        true => Ok(()),
        false => Err(std::io::Error::other(format!(
            "process {} waits for the system, for a disk that hangs say",
            server.pid()
        ))),
    }
}
