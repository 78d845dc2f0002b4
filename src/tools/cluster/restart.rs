//! `castmq cluster restart`.

use std::time::Duration;

use clap::Args;

use super::Place;
use super::folder::Cluster;
use super::running::{self, WAIT_S};
use crate::tools::ToolError;

/// Whom.
#[derive(Debug, Clone, Args)]
pub(crate) struct RestartFlags {
    #[command(flatten)]
    place: Place,
    /// Members, as `castmq cluster status` shows them.
    #[arg(
        value_name = "NAME",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    names: Vec<String>,
    /// All members.
    #[arg(long)]
    all: bool,
    /// How many seconds to wait until they have stopped, until they are ready, and until brokers are registered.
    #[arg(long, value_name = "SECONDS", default_value_t = WAIT_S)]
    wait: u64,
}

pub(super) fn run(flags: &RestartFlags) -> Result<(), ToolError> {
    let cluster = Cluster::open(&flags.place.dir)?;
    let members = match flags.all {
        true => cluster.all(),
        false => cluster.members(&flags.names)?,
    };
    let wait = Duration::from_secs(flags.wait);
    let _turn = cluster.take_turn()?;
    running::stop(&cluster, &members, wait)?;
    running::start(&cluster, &members, wait)
}
