//! Where groups go on.

use castmq_client::model::{QueueId, QueueOffset};
use castmq_client::raw::admin::ResetTo;
use castmq_client::raw::request::TopicQueue;
use castmq_client::{ErrorCode, StartFrom};
use clap::Args;
use serde_json::json;

use super::super::brokers::{Broker, Cluster, ask_each};
use crate::tools::print::{self, Table, left, right};
use crate::tools::{ToolError, time};

/// Where to.
#[derive(Debug, Clone, Args)]
pub(in super::super) struct ResetFlags {
    /// The group.
    group: String,
    /// The topic.
    topic: String,
    /// earliest, latest, or the first message stored at a time: milliseconds since the epoch, 2026-01-31T12:00:00Z,
    /// a local time like "2026-01-31 12:00", or how long ago like 15m.
    #[arg(long, value_parser = time::parse_start, required_unless_present = "offset", conflicts_with = "offset")]
    to: Option<StartFrom>,
    /// An offset; one that a queue does not have stands for the nearest that it has.
    #[arg(long, value_name = "N")]
    offset: Option<u64>,
    /// Only in this queue.
    #[arg(long, value_name = "N")]
    queue: Option<u32>,
    /// Only on this broker.
    #[arg(long, value_name = "NAME")]
    broker: Option<String>,
}

/// Which group, and which other one.
#[derive(Debug, Clone, Args)]
pub(in super::super) struct CloneFlags {
    /// The group whose progress is set.
    group: String,
    /// The group whose progress is taken.
    #[arg(long, value_name = "GROUP")]
    from: String,
    /// Only in this topic.
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// Only on this broker.
    #[arg(long, value_name = "NAME")]
    broker: Option<String>,
}

pub(super) async fn reset(
    flags: &ResetFlags,
    cluster: &Cluster,
    as_json: bool,
) -> Result<(), ToolError> {
    let to = match (flags.to, flags.offset) {
        (Some(start), _) => ResetTo::Start(start),
        (None, offset) => ResetTo::Offset(QueueOffset(offset.unwrap_or_default())),
    };
    let (group, topic) = (flags.group.as_str(), flags.topic.as_str());
    let queue = flags.queue.map(QueueId);
    let brokers = cluster.masters(flags.broker.as_deref()).await?;
    let answers = ask_each(&brokers, async |broker| {
        broker.at.reset_offsets(group, topic, queue, to).await
    })
    .await;
    let answers = answers
        .where_there(ErrorCode::GroupNotFound, "group", group)?
        .where_there(ErrorCode::TopicNotFound, "topic", topic)?;
    let (set, end) = answers.settle();
    show(set, as_json)?;
    end
}

pub(super) async fn clone(
    flags: &CloneFlags,
    cluster: &Cluster,
    as_json: bool,
) -> Result<(), ToolError> {
    let (group, topic) = (flags.group.as_str(), flags.topic.as_deref());
    let brokers = cluster.masters(flags.broker.as_deref()).await?;
    let answers = ask_each(&brokers, async |broker| {
        broker.at.clone_offsets(group, &flags.from, topic).await
    })
    .await;
    let (set, end) = answers.settle();
    show(set, as_json)?;
    end
}

/// Offsets as they are now.
fn show(
    set: Vec<(&Broker, Vec<(TopicQueue, QueueOffset)>)>,
    as_json: bool,
) -> Result<(), ToolError> {
    let mut table = Table::new([
        left("TOPIC"),
        left("BROKER"),
        right("QUEUE"),
        right("OFFSET"),
    ]);
    let mut listed = Vec::new();
    for (broker, offsets) in set {
        for (queue, offset) in offsets {
            listed.push(json!({
                "topic": queue.topic, "broker": broker.name, "queue": queue.queue, "offset": offset,
            }));
            table.row([
                queue.topic,
                broker.name.clone(),
                queue.queue.to_string(),
                offset.to_string(),
            ]);
        }
    }
    print::either(as_json, &listed, || table.to_string())?;
    Ok(())
}
