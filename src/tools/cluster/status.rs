//! `castmq cluster status`.

use clap::Args;
use serde::Serialize;

use super::Place;
use super::folder::Cluster;
use super::process::{self, Condition, Found};
use super::seen::Seen;
use super::shape::Part;
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
        let mut rows = Vec::new();
        for found in &found {
            rows.push(row(cluster, found, &seen).await);
        }
        Ok(rows)
    })?;
    print::either(as_json, &rows, || table(&rows).to_string())?;
    Ok(process::down(&found))
}

async fn row(cluster: &Cluster, found: &Found<'_>, seen: &Seen) -> Row {
    let member = found.member;
    let address = member.address().to_string();
    let is_broker = matches!(member.part, Part::Broker { .. });
    let health = match is_broker && found.condition == Condition::Running {
        true => seen.details(&address).await,
        false => None,
    };
    Row {
        name: member.name.clone(),
        kind: member.part.to_string(),
        pid: found.server.as_ref().map(|server| server.pid()),
        state: found.condition.as_str(),
        uptime_ms: found
            .uptime
            .map(|uptime| u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX)),
        role: seen.role(&address),
        registered: is_broker.then(|| Registered {
            with: seen.registrations(&address),
            of: seen.name_servers(),
        }),
        health: health.map(|details| match details {
            Ok(details) => details.health,
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
            shown(registered),
            shown(row.health.clone()),
        ]);
    }
    table
}
