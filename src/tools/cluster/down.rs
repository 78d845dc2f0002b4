//! `castmq cluster down`.

use std::time::Duration;

use clap::Args;

use super::Place;
use super::folder::Cluster;
use super::running::{self, WAIT_S};
use crate::tools::{ToolError, print, remark};

/// Whom, and what is left of the cluster.
#[derive(Debug, Clone, Args)]
pub(crate) struct DownFlags {
    #[command(flatten)]
    place: Place,
    /// Only these members.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Remove the folder with settings, data and logs, too.
    #[arg(long, conflicts_with = "names")]
    delete: bool,
    /// How many seconds to wait until they have stopped.
    #[arg(long, value_name = "SECONDS", default_value_t = WAIT_S)]
    wait: u64,
}

pub(super) fn run(flags: &DownFlags) -> Result<(), ToolError> {
    let cluster = Cluster::open(&flags.place.dir)?;
    let members = match flags.names.as_slice() {
        [] => cluster.all(),
        names => cluster.members(names)?,
    };
    let _turn = cluster.take_turn()?;
    let stopped = running::stop(&cluster, &members, Duration::from_secs(flags.wait))?;
    let folder = cluster.folder.display();
    if stopped == 0 {
        print::text(format!("nothing ran in {folder}"))?;
    }
    if !flags.delete {
        return Ok(());
    }
    if cluster.delete()? {
        print::text(format!("removed {folder}"))?;
    } else {
        remark(&format!(
            "castmq: {folder} has other things in it than the cluster's, which are left there"
        ));
    }
    Ok(())
}
