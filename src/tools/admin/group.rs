//! `castmq admin group`.
//!
//! - `settings`: creating, changing and deleting; `offsets`: where groups go on.

mod offsets;
mod settings;

use std::collections::BTreeMap;

use castmq_client::ErrorCode;
use castmq_client::raw::admin::{GroupDetails, QueueProgress};
use clap::Subcommand;
use serde_json::{Value, json};

use self::offsets::{CloneFlags, ResetFlags, clone, reset};
use self::settings::{CreateFlags, DeleteFlags, create, delete};
use super::brokers::{Broker, Cluster, ask_each};
use crate::tools::ToolError;
use crate::tools::print::{self, Table, left, right};

/// What is done with groups.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum GroupCommand {
    /// List groups with their members and how far behind they are.
    List {
        /// List those that belong to the brokers, too.
        #[arg(long)]
        all: bool,
    },
    /// Show a group's members, and its progress in each queue.
    Show {
        /// The group.
        group: String,
    },
    /// Create a group on all brokers, or on one, or change its settings.
    Create(CreateFlags),
    /// Delete a group that nobody is a member of, with its progress.
    Delete(DeleteFlags),
    /// Set where a group goes on in a topic.
    ResetOffset(ResetFlags),
    /// Let a group go on where another one is.
    CloneOffset(CloneFlags),
}

pub(super) async fn run(
    command: &GroupCommand,
    cluster: &Cluster,
    as_json: bool,
) -> Result<(), ToolError> {
    match command {
        GroupCommand::List { all } => list(*all, cluster, as_json).await,
        GroupCommand::Show { group } => show(group, cluster, as_json).await,
        GroupCommand::Create(flags) => create(flags, cluster, as_json).await,
        GroupCommand::Delete(flags) => delete(flags, cluster, as_json).await,
        GroupCommand::ResetOffset(flags) => reset(flags, cluster, as_json).await,
        GroupCommand::CloneOffset(flags) => clone(flags, cluster, as_json).await,
    }
}

/// Whether brokers have a group for themselves (RocketMQ `MixAll.isSysConsumerGroup` and its tools' groups).
fn is_system(group: &str) -> bool {
    group.starts_with("CID_RMQ_SYS_")
        || matches!(
            group,
            "TOOLS_CONSUMER"
                | "FILTERSRV_CONSUMER"
                | "SELF_TEST_C_GROUP"
                | "CID_ONS-HTTP-PROXY"
                | "CID_ONSAPI_PULL"
                | "CID_ONSAPI_PERMISSION"
                | "CID_ONSAPI_OWNER"
        )
}

/// Messages that a group has not processed in a queue; `None` when it never said how far it is.
fn lag(progress: &QueueProgress) -> Option<u64> {
    let committed = progress.committed?.max(progress.min_offset);
    Some(progress.max_offset.0.saturating_sub(committed.0))
}

/// A group on all brokers.
#[derive(Default)]
struct Summary {
    brokers: Vec<String>,
    members: usize,
    lag: u64,
}

async fn list(all: bool, cluster: &Cluster, as_json: bool) -> Result<(), ToolError> {
    let brokers = cluster.masters(None).await?;
    let answers = ask_each(&brokers, async |broker| {
        let mut groups = Vec::new();
        for name in broker.at.list_groups().await? {
            if all || !is_system(&name) {
                let details = broker.at.show_group(&name).await?;
                groups.push((name, details));
            }
        }
        Ok(groups)
    })
    .await;
    let (found, end) = answers.settle();
    let mut groups: BTreeMap<String, Summary> = BTreeMap::new();
    for (broker, details) in found {
        for (name, details) in details {
            let summary = groups.entry(name).or_default();
            summary.brokers.push(broker.name.clone());
            // A member is one of every broker's.
            summary.members = summary.members.max(details.members.len());
            summary.lag += details.progress.iter().filter_map(lag).sum::<u64>();
        }
    }
    let mut table = Table::new([
        left("GROUP"),
        right("MEMBERS"),
        right("LAG"),
        left("BROKERS"),
    ]);
    let mut listed = Vec::new();
    for (name, summary) in groups {
        listed.push(json!({
            "group": name, "members": summary.members, "lag": summary.lag, "brokers": summary.brokers,
        }));
        table.row([
            name,
            summary.members.to_string(),
            summary.lag.to_string(),
            summary.brokers.join(","),
        ]);
    }
    print::either(as_json, &listed, || table.to_string())?;
    end
}

async fn show(group: &str, cluster: &Cluster, as_json: bool) -> Result<(), ToolError> {
    let brokers = cluster.masters(None).await?;
    let answers = ask_each(&brokers, async |broker| broker.at.show_group(group).await).await;
    let answers = answers.where_there(ErrorCode::GroupNotFound, "group", group)?;
    let (found, end) = answers.settle();
    let described: Vec<_> = found.iter().map(describe).collect();
    print::either(as_json, &described, || {
        format!("{}\n{}", members(&found), progress(&found))
    })?;
    end
}

fn describe((broker, details): &(&Broker, GroupDetails)) -> Value {
    let queue = |progress: &QueueProgress| {
        json!({
            "topic": progress.queue.topic,
            "queue": progress.queue.queue,
            "committed": progress.committed,
            "min_offset": progress.min_offset,
            "max_offset": progress.max_offset,
            "lag": lag(progress),
            "owner": progress.owner,
        })
    };
    json!({
        "broker": broker.name,
        "config": details.config,
        "mode": details.mode,
        "members": details.members,
        "progress": details.progress.iter().map(queue).collect::<Vec<_>>(),
    })
}

fn members(found: &[(&Broker, GroupDetails)]) -> Table {
    let mut table = Table::new([
        left("MEMBER"),
        left("ADDRESS"),
        left("BROKER"),
        left("QUEUES"),
    ]);
    for (broker, details) in found {
        for member in &details.members {
            let mut by_topic: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for queue in &member.queues {
                let queues = by_topic.entry(&queue.topic).or_default();
                queues.push(queue.queue.to_string());
            }
            let queues = by_topic.iter();
            let queues: Vec<_> = queues
                .map(|(topic, queues)| format!("{topic}/{}", queues.join(",")))
                .collect();
            table.row([
                member.client_id.clone(),
                member.address.clone(),
                broker.name.clone(),
                queues.join(" "),
            ]);
        }
    }
    table
}

fn progress(found: &[(&Broker, GroupDetails)]) -> Table {
    let mut table = Table::new([
        left("TOPIC"),
        left("BROKER"),
        right("QUEUE"),
        right("COMMITTED"),
        right("END"),
        right("LAG"),
        left("OWNER"),
    ]);
    let shown = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
    for (broker, details) in found {
        for progress in &details.progress {
            table.row([
                progress.queue.topic.clone(),
                broker.name.clone(),
                progress.queue.queue.to_string(),
                shown(progress.committed.map(|offset| offset.0)),
                progress.max_offset.to_string(),
                shown(lag(progress)),
                progress.owner.clone().unwrap_or_else(|| "-".to_owned()),
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use castmq_client::model::{QueueId, QueueOffset};
    use castmq_client::raw::request::TopicQueue;

    fn progress(committed: Option<u64>, min: u64, max: u64) -> QueueProgress {
        QueueProgress {
            queue: TopicQueue {
                topic: "orders".into(),
                queue: QueueId(0),
            },
            committed: committed.map(QueueOffset),
            min_offset: QueueOffset(min),
            max_offset: QueueOffset(max),
            owner: None,
        }
    }

    #[test]
    fn what_retention_took_is_not_lag() {
        assert_eq!(lag(&progress(Some(3), 0, 10)), Some(7));
        assert_eq!(lag(&progress(Some(3), 8, 10)), Some(2));
        assert_eq!(lag(&progress(None, 0, 10)), None);
    }
}
