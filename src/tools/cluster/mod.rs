//! `castmq cluster`: a whole cluster on one machine, each server a process of its own.
//!
//! - [`shape`]: who belongs to a cluster of so many masters, slaves and name servers. [`ports`]: free ones;
//!   [`port_owner`]: who has one that is not.
//! - [`plan`]: what a cluster remembers of itself. [`folder`]: where it does. [`config_file`]: a member's settings.
//! - [`process`]: a member's process. [`starting`]: one that is not ready yet. [`seen`]: what name servers and brokers say.
//! - [`up`], [`status`], [`kill`], [`restart`], [`down`]: one command each. [`running`]: what those that start and stop
//!   members share.
//! - [`error`]: what is said when one of them fails.

mod config_file;
mod down;
mod error;
mod folder;
mod kill;
mod plan;
mod port_owner;
mod ports;
mod process;
mod restart;
mod running;
mod seen;
mod shape;
mod starting;
mod status;
mod up;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ToolError;
pub(crate) use error::ClusterError;

/// What is done with a cluster.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Make a cluster and start it, or start what does not run of the one that is there.
    Up(up::UpFlags),
    /// Show each member's process, and what name servers know of it. The exit code is 1 when one does not run.
    Status(status::StatusFlags),
    /// Kill members, or suspend them, to see what the others do.
    Kill(kill::KillFlags),
    /// Stop members gracefully and start them again; those that do not run are started.
    Restart(restart::RestartFlags),
    /// Stop all members gracefully, or some.
    Down(down::DownFlags),
}

/// Where a cluster is.
#[derive(Debug, Clone, Args)]
struct Place {
    /// The cluster's folder, with the settings, the data and the log of each member.
    #[arg(long, value_name = "DIR", default_value = "./castmq-cluster")]
    dir: PathBuf,
}

pub(super) fn run(command: &ClusterCommand) -> Result<(), ToolError> {
    match command {
        ClusterCommand::Up(flags) => up::run(flags),
        ClusterCommand::Status(flags) => status::run(flags),
        ClusterCommand::Kill(flags) => kill::run(flags),
        ClusterCommand::Restart(flags) => restart::run(flags),
        ClusterCommand::Down(flags) => down::run(flags),
    }
}
