//! Why `castmq cluster` stopped.

use std::io;
use std::path::PathBuf;

use castmq_config::LoadError;
use thiserror::Error;

use super::shape::MAX_SLAVES_PER_MASTER;

/// Why a command about a cluster stopped.
#[derive(Debug, Error)]
pub(crate) enum ClusterError {
    #[error("there is no cluster in {}: make one with `castmq cluster up --dir {}`, or name another folder with --dir", folder.display(), folder.display())]
    NotThere { folder: PathBuf },
    #[error("{} has other things in it: name a folder with --dir that is empty or not there yet", folder.display())]
    Foreign { folder: PathBuf },
    #[error("{} does not describe a cluster: {reason}; name the folder of one with --dir", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error(
        "the cluster in {} has {there}, and {asked} was asked for: leave it out to start the one that is there, or make another with --dir", folder.display()
    )]
    OtherShape {
        folder: PathBuf,
        there: String,
        asked: String,
    },
    #[error("the cluster in {} was made with {there}: change the settings of its members in {}/*/castmq.toml, and then `castmq cluster restart --all --dir {}`", folder.display(), folder.display(), folder.display())]
    OtherSettings { folder: PathBuf, there: String },
    #[error(
        "{slaves} slaves are too many for {masters} masters: each may have {MAX_SLAVES_PER_MASTER}, so at most {most}"
    )]
    TooManySlaves { slaves: u8, masters: u8, most: u16 },
    #[error("--set {key}: {reason}")]
    Reserved { key: String, reason: &'static str },
    #[error("settings that do not fit {member}: {source}")]
    Settings { member: String, source: LoadError },
    #[error("no free ports: {0}")]
    Ports(io::Error),
    #[error("{name:?} is no member of the cluster in {}: its members are {members}", folder.display())]
    UnknownMember {
        name: String,
        folder: PathBuf,
        members: String,
    },
    #[error("{} does not run: start it with `castmq cluster restart {name} --dir {}`", name, folder.display())]
    NotRunning { name: String, folder: PathBuf },
    #[error(
        "{count} of {all} members do not run: {names}; start what is missing with `castmq cluster up --dir {}`", folder.display()
    )]
    SomeDown {
        count: usize,
        all: usize,
        names: String,
        folder: PathBuf,
    },
    #[error(
        "port {port} of {member} is taken by {owner}: stop that, since the others know {member} by this port"
    )]
    PortTaken {
        port: u16,
        member: String,
        owner: String,
    },
    #[error("{member} ended when it was started ({status}); the end of {} is\n{}", log.display(), indented(last_lines))]
    Died {
        member: String,
        status: String,
        log: PathBuf,
        last_lines: String,
    },
    #[error("{member} (process {pid}) was not ready within {seconds} s: wait longer with --wait; the end of {} is\n{}", log.display(), indented(last_lines))]
    NotReady {
        member: String,
        pid: u32,
        seconds: u64,
        log: PathBuf,
        last_lines: String,
    },
    #[error(
        "all run, but within {seconds} s {missing}: wait longer with --wait, or look into the logs, {}/*/castmq.log", folder.display()
    )]
    NotRegistered {
        seconds: u64,
        missing: String,
        folder: PathBuf,
    },
    #[error("{names} did not stop within {seconds} s: wait longer with --wait, or end it with `castmq cluster kill {first} --dir {}`", folder.display())]
    StillRunning {
        names: String,
        first: String,
        seconds: u64,
        folder: PathBuf,
    },
}

fn indented(lines: &str) -> String {
    match lines {
        "" => "  (nothing)".to_owned(),
        lines => format!("  {}", lines.replace('\n', "\n  ")),
    }
}
