//! `castmq cluster status`.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use super::Place;
use super::folder::Cluster;
use super::process::{self, Found};
use super::seen::Seen;
use super::shape::Part;
use super::steps::{self, Details, Step};
use crate::tools::print::{self, Table, left, right};
use crate::tools::{ToolError, block_on, time};

/// Whose state, and how it is printed.
#[derive(Debug, Clone, Args)]
pub(crate) struct StatusFlags {
    #[command(flatten)]
    place: Place,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A member as it is shown.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// What it was made as.
    kind: String,
    pid: Option<i32>,
    address: String,
    state: &'static str,
    uptime_ms: Option<u64>,
    /// What a broker is to name servers.
    role: Option<String>,
    /// How often its set's master was changed, as far as it knows; 1 for a set whose master never was.
    epoch: Option<u32>,
    /// How far a slave is behind; `None` when it follows no master.
    step: Option<Step>,
    registered: Option<Registered>,
    /// What a broker says of itself.
    health: Option<String>,
    folder: String,
}

/// How many name servers know a broker, of those that run.
#[derive(Debug, Clone, Copy, Serialize)]
struct Registered {
    with: usize,
    of: usize,
}

pub(super) fn run(flags: &StatusFlags) -> Result<(), ToolError> {
    let cluster = Cluster::open(&flags.place.dir)?;
    let down = print(&cluster, flags.json)?;
    match down.as_slice() {
        [] => Ok(()),
        names => Err(cluster.some_down(names).into()),
    }
}

/// Prints a cluster, and returns the members that do not run.
pub(super) fn print(cluster: &Cluster, as_json: bool) -> Result<Vec<String>, ToolError> {
    let found = process::find_all(cluster, &cluster.all())?;
    let rows = block_on(async {
        let seen = Seen::ask(&found).await;
        let details = seen.all_details(&found).await;
        let slaves = steps::of_slaves(&details);
        let row = |found| row(cluster, found, &seen, &details, &slaves);
        Ok(found.iter().map(row).collect::<Vec<_>>())
    })?;
    print::either(as_json, &rows, || table(&rows).to_string())?;
    Ok(process::down(&found))
}

fn row(
    cluster: &Cluster,
    found: &Found<'_>,
    seen: &Seen,
    details: &Details,
    slaves: &BTreeMap<String, Step>,
) -> Row {
    let member = found.member;
    let address = member.address().to_string();
    let is_broker = matches!(member.part, Part::Broker { .. });
    let details = details.get(&address);
    let standing = details.and_then(|details| details.as_ref().ok());
    Row {
        name: member.name.clone(),
        kind: member.part.to_string(),
        pid: found.server.as_ref().map(|server| server.pid()),
        state: found.condition.as_str(),
        uptime_ms: found
            .uptime
            .map(|uptime| u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX)),
        role: seen.role(&address),
        epoch: standing.map(|details| details.replication.epoch),
        step: slaves.get(&address).copied(),
        registered: is_broker.then(|| Registered {
            with: seen.registrations(&address),
            of: seen.name_servers(),
        }),
        health: details.map(|details| match details {
            Ok(details) => details.health.clone(),
            Err(error) => error.to_string(),
        }),
        folder: cluster.folder_of(member).display().to_string(),
        address,
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new([
        left("NAME"),
        left("KIND"),
        right("PID"),
        left("ADDRESS"),
        left("STATE"),
        left("UPTIME"),
        left("ROLE"),
        right("EPOCH"),
        left("BEHIND"),
        left("REGISTERED"),
        left("HEALTH"),
    ]);
    let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    for row in rows {
        let registered = row
            .registered
            .map(|Registered { with, of }| format!("{with} of {of}"));
        table.row([
            row.name.clone(),
            row.kind.clone(),
            shown(row.pid.map(|pid| pid.to_string())),
            row.address.clone(),
            row.state.to_owned(),
            shown(row.uptime_ms.map(time::show_duration)),
            shown(row.role.clone()),
            shown(row.epoch.map(|epoch| epoch.to_string())),
            shown(row.step.map(Step::shown)),
            shown(registered),
            shown(row.health.clone()),
        ]);
    }
    table
}
