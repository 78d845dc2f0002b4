//! `castmq admin broker`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::brokers::{Broker, Cluster};
use crate::tools::{ToolError, print};

/// What is done with one broker.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum BrokerCommand {
    /// Make a slave the master of its set.
    ///
    /// What only the master of before has is lost: when it comes back it becomes a slave, and what nobody copied is cut off its
    /// log and kept aside in its data folder.
    Promote(PromoteFlags),
}

/// Which slave.
#[derive(Debug, Clone, Args)]
pub(super) struct PromoteFlags {
    /// Name of the set.
    #[arg(value_name = "BROKER")]
    name: String,
    /// The slave's id [default: the one that has most of the log].
    #[arg(long)]
    id: Option<u64>,
    /// Even while its master lives, or another slave has more of the log.
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(
    command: &BrokerCommand,
    cluster: &Cluster,
    as_json: bool,
) -> Result<(), ToolError> {
    match command {
        BrokerCommand::Promote(flags) => promote(flags, cluster, as_json).await,
    }
}

async fn promote(flags: &PromoteFlags, cluster: &Cluster, as_json: bool) -> Result<(), ToolError> {
    let mut slaves = cluster.brokers().await?;
    slaves.retain(|broker| broker.name == flags.name && broker.id > 0);
    // Of two that have the same, the one with the least number.
    let mut most: Option<(&Broker, u64)> = None;
    for slave in &slaves {
        let Ok(details) = slave.at.show_broker().await else {
            continue;
        };
        let end = details.log_appended.0;
        if most.is_none_or(|(_, known)| known < end) {
            most = Some((slave, end));
        }
    }
    let chosen = match flags.id {
        None => most.map(|(slave, _)| slave),
        Some(id) => slaves.iter().find(|slave| slave.id == id),
    };
    let Some(chosen) = chosen else {
        return Err(ToolError::NoSlave {
            name: flags.name.clone(),
            id: flags.id,
        });
    };
    if let Some((better, _)) = most.filter(|(better, _)| better.id != chosen.id && !flags.force) {
        let end = chosen.at.show_broker().await?.log_appended.0;
        if most.is_some_and(|(_, most)| most > end) {
            return Err(ToolError::BetterSlave {
                id: chosen.id,
                better: better.id,
            });
        }
    }
    let epoch = chosen.at.promote(flags.force).await?;
    let described = json!({
        "broker": chosen.name,
        "promoted": chosen.id,
        "address": chosen.at.address(),
        "epoch": epoch,
    });
    print::either(as_json, &described, || {
        format!(
            "slave {} of {} at {} becomes the master, epoch {epoch}\n",
            chosen.id,
            chosen.name,
            chosen.at.address()
        )
    })?;
    Ok(())
}
