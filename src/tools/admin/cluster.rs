//! `castmq admin cluster`.

use castmq_client::Error;
use castmq_client::raw::admin::BrokerDetails;
use clap::Subcommand;
use serde_json::{Value, json};

use super::brokers::{Broker, Cluster};
use crate::tools::ToolError;
use crate::tools::print::{self, Table, left, right};
use crate::tools::time;

/// What is done with brokers.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum ClusterCommand {
    /// List brokers with their load and health.
    List,
}

pub(super) async fn run(
    command: &ClusterCommand,
    cluster: &Cluster,
    as_json: bool,
) -> Result<(), ToolError> {
    match command {
        ClusterCommand::List => list(cluster, as_json).await,
    }
}

/// A broker that does not answer is what the list is for, and not a failure of the tool.
async fn list(cluster: &Cluster, as_json: bool) -> Result<(), ToolError> {
    let brokers = cluster.brokers().await?;
    let mut listed = Vec::new();
    for broker in &brokers {
        listed.push((broker, broker.at.show_broker().await));
    }
    let described: Vec<_> = listed.iter().map(describe).collect();
    print::either(as_json, &described, || table(&listed).to_string())?;
    Ok(())
}

type Listed<'a> = (&'a Broker, Result<BrokerDetails, Error>);

fn describe((broker, details): &Listed<'_>) -> Value {
    json!({
        "cluster": broker.cluster,
        "broker": broker.name,
        "broker_id": broker.id,
        "address": broker.at.address(),
        "details": details.as_ref().ok(),
        "error": details.as_ref().err().map(ToString::to_string),
    })
}

fn table(listed: &[Listed<'_>]) -> Table {
    let mut table = Table::new([
        left("CLUSTER"),
        left("BROKER"),
        right("ID"),
        left("ADDRESS"),
        left("ROLE"),
        right("EPOCH"),
        left("SLAVES"),
        left("BEHIND"),
        left("UPTIME"),
        right("STORED"),
        right("IN/S"),
        right("OUT/S"),
        right("LOG MIB"),
        right("DISK"),
        right("RSS MIB"),
        right("CONNECTIONS"),
        right("TOPICS"),
        right("GROUPS"),
        left("HEALTH"),
    ]);
    for (broker, details) in listed {
        let cells = match details {
            Ok(details) => {
                let copying = copying(broker, details, listed);
                copying.into_iter().chain(figures(details)).collect()
            }
            Err(error) => unknown(error),
        };
        let names = [
            broker.cluster.clone(),
            broker.name.clone(),
            broker.id.to_string(),
            broker.at.address().to_owned(),
        ];
        table.row(names.into_iter().chain(cells));
    }
    table
}

fn figures(details: &BrokerDetails) -> [String; 11] {
    let mib = |bytes: u64| (bytes >> 20).to_string();
    [
        time::show_duration(details.uptime_ms),
        details.messages_in.to_string(),
        format!("{:.0}", details.messages_in_per_second),
        format!("{:.0}", details.messages_out_per_second),
        mib(details.log_appended.0.saturating_sub(details.log_begin.0)),
        format!("{:.0}%", details.disk_used_ratio * 100.0),
        mib(details.rss_bytes),
        details.connections.to_string(),
        details.topics.to_string(),
        details.groups.to_string(),
        details.health.clone(),
    ]
}

/// How a broker stands to the others of its set: role, epoch, slaves that keep up of those that there are, and how far it is
/// behind if it is one.
fn copying(broker: &Broker, details: &BrokerDetails, listed: &[Listed<'_>]) -> [String; 4] {
    let of_set = &details.replication;
    let in_step = of_set.slaves.iter().filter(|slave| slave.is_in_step);
    let slaves = match broker.id {
        0 => format!("{}/{} in step", in_step.count(), of_set.slaves.len()),
        _ => "-".to_owned(),
    };
    [
        of_set.role.clone(),
        of_set.epoch.to_string(),
        slaves,
        behind(broker, listed),
    ]
}

/// By the word of its master.
fn behind(broker: &Broker, listed: &[Listed<'_>]) -> String {
    let mut masters = listed.iter();
    let master = masters.find(|(other, _)| other.name == broker.name && other.id == 0);
    let master = master.and_then(|(_, details)| details.as_ref().ok());
    let as_slave = master.and_then(|master| {
        let mut slaves = master.replication.slaves.iter();
        let slave = slaves.find(|slave| slave.broker_id == broker.id)?;
        Some((
            master.log_appended.0.saturating_sub(slave.acknowledged.0),
            slave.lag_ms,
        ))
    });
    match as_slave {
        _ if broker.id == 0 => "-".to_owned(),
        Some((bytes, lag_ms)) => format!("{bytes} B, {:.1} s", lag_ms as f64 / 1000.0),
        None => "follows nobody".to_owned(),
    }
}

fn unknown(error: &Error) -> Vec<String> {
    let mut cells = vec!["-".to_owned(); 15];
    if let Some(health) = cells.last_mut() {
        *health = error.to_string();
    }
    cells
}
