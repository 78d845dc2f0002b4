//! `castmq admin message`.

use castmq_client::{Client, ErrorCode, MessageId, ReceivedMessage, SeekTo};
use clap::{Args, Subcommand};

use super::brokers::{Cluster, ask_each};
use super::reading::Reading;
use crate::tools::message::{MessageJson, block, overview};
use crate::tools::print;
use crate::tools::{ToolError, time};

/// The group in whose name topics are read (RocketMQ's tools have it, too). It keeps no progress.
const LISTED_BY: &str = "TOOLS_CONSUMER";

/// What is done with messages.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum MessageCommand {
    /// Show the message that a broker stored under an id, as `consume --json` and `by-key` print it.
    Show {
        /// The id: 32 or 56 hexadecimal digits.
        id: String,
    },
    /// Find messages by key, or by the id that their producer gave them; newest first.
    ByKey(KeyFlags),
    /// List a topic's messages that were stored in a time, oldest first.
    List(ListFlags),
}

/// What is looked for.
#[derive(Debug, Clone, Args)]
pub(super) struct KeyFlags {
    /// The topic.
    topic: String,
    /// The key.
    key: String,
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 32)]
    max: u32,
    /// Stored at this time or later.
    #[arg(long, value_name = "TIME", value_parser = time::parse_time)]
    from: Option<i64>,
    /// Stored at this time or earlier.
    #[arg(long, value_name = "TIME", value_parser = time::parse_time)]
    to: Option<i64>,
}

/// Which time.
#[derive(Debug, Clone, Args)]
pub(super) struct ListFlags {
    /// The topic.
    topic: String,
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 32)]
    max: usize,
    /// Stored at this time or later.
    #[arg(long, value_name = "TIME", value_parser = time::parse_time)]
    from: Option<i64>,
    /// Stored at this time or earlier.
    #[arg(long, value_name = "TIME", value_parser = time::parse_time)]
    to: Option<i64>,
}

pub(super) async fn run(
    command: &MessageCommand,
    client: &Client,
    cluster: &Cluster,
    as_json: bool,
) -> Result<(), ToolError> {
    match command {
        MessageCommand::Show { id } => show(id, cluster, as_json).await,
        MessageCommand::ByKey(flags) => by_key(flags, cluster, as_json).await,
        MessageCommand::List(flags) => list(flags, client, cluster, as_json).await,
    }
}

async fn show(id: &str, cluster: &Cluster, as_json: bool) -> Result<(), ToolError> {
    let parsed: MessageId = id
        .parse()
        .map_err(|_| ToolError::MessageId { id: id.to_owned() })?;
    let message = cluster.admin.message(parsed).await?;
    let value = MessageJson::new(&message)?;
    Ok(print::either(as_json, &value, || block(&value))?)
}

async fn by_key(flags: &KeyFlags, cluster: &Cluster, as_json: bool) -> Result<(), ToolError> {
    let brokers = cluster.masters(None).await?;
    let between = flags.from.unwrap_or(0)..=flags.to.unwrap_or(i64::MAX);
    let answers = ask_each(&brokers, async |broker| {
        let found = broker
            .at
            .messages_by_key(&flags.topic, &flags.key, flags.max, between.clone());
        found.await
    })
    .await;
    let answers = answers.where_there(ErrorCode::TopicNotFound, "topic", &flags.topic)?;
    let (found, end) = answers.settle();
    let mut messages: Vec<(&str, ReceivedMessage)> = Vec::new();
    for (broker, found) in found {
        messages.extend(found.into_iter().map(|message| (&*broker.name, message)));
    }
    messages.sort_by_key(|(_, message)| std::cmp::Reverse(message.store_timestamp_ms()));
    messages.truncate(flags.max as usize);
    let described: Result<Vec<_>, _> = messages
        .iter()
        .map(|(broker, message)| Ok::<_, ToolError>(MessageJson::new(message)?.on(broker)))
        .collect();
    let described = described?;
    print::either(as_json, &described, || overview(&described).to_string())?;
    end
}

async fn list(
    flags: &ListFlags,
    client: &Client,
    cluster: &Cluster,
    as_json: bool,
) -> Result<(), ToolError> {
    let start = flags.from.map_or(SeekTo::Earliest, SeekTo::Time);
    let end_ms = flags.to.unwrap_or(i64::MAX);
    let mut reading = Reading::open(&flags.topic, LISTED_BY, client, cluster).await?;
    let mut found: Vec<ReceivedMessage> = Vec::new();
    // Each queue by itself: as many as are wanted may all lie in one.
    for queue in reading.queues() {
        reading.consumer.assign([queue.clone()]).await?;
        reading.consumer.seek(&queue, start).await?;
        let mut of_queue = Vec::new();
        while of_queue.len() < flags.max {
            let mut next = reading.next().await?;
            let came = next.len();
            next.retain(|message| message.store_timestamp_ms() <= end_ms);
            let is_over = came == 0 || next.len() < came;
            of_queue.append(&mut next);
            if is_over {
                break;
            }
        }
        found.extend(of_queue);
    }
    found.sort_by_key(|message| (message.store_timestamp_ms(), message.id().physical_offset));
    found.truncate(flags.max);
    let described: Result<Vec<_>, _> = found
        .iter()
        .map(|message| Ok::<_, ToolError>(MessageJson::new(message)?.on(message.broker())))
        .collect();
    let described = described?;
    print::either(as_json, &described, || overview(&described).to_string())?;
    Ok(())
}
