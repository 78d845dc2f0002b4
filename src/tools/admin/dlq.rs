//! `castmq admin dlq`: messages that groups gave up on.
//!
//! They stay in the group's dead-letter topic until retention takes them. Which of them were sent again or dismissed is
//! remembered as the progress of a group of its own.

use std::collections::BTreeMap;

use castmq_client::model::{DEAD_LETTER_PREFIX, keys};
use castmq_client::{Client, ErrorCode, Message, ReceivedMessage, SeekTo};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::brokers::{Cluster, ask_each};
use super::reading::Reading;
use crate::tools::ToolError;
use crate::tools::message::{MessageJson, overview};
use crate::tools::print::{self, Table, left, right};

/// The group whose progress says what is settled.
const SETTLED_BY: &str = "CASTMQ_DEAD_LETTERS";

/// Messages sent again at once.
const BATCH: usize = 256;

/// What is done with dead letters.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum DlqCommand {
    /// List groups that have dead letters, and how many of them are open: neither sent again nor dismissed.
    List,
    /// Show a group's open dead letters.
    Show(LetterFlags),
    /// Send a group's open dead letters again, to the topics they come from, and count them as settled.
    Resend(LetterFlags),
    /// Dismiss a group's open dead letters: they stay in their topic, but are no longer open.
    Purge {
        /// The group.
        group: String,
    },
}

/// Which dead letters.
#[derive(Debug, Clone, Args)]
pub(super) struct LetterFlags {
    /// The group.
    group: String,
    /// At most this many, the oldest of each queue first.
    #[arg(long, value_name = "N")]
    max: Option<usize>,
}

pub(super) async fn run(
    command: &DlqCommand,
    client: &Client,
    cluster: &Cluster,
    as_json: bool,
) -> Result<(), ToolError> {
    match command {
        DlqCommand::List => list(cluster, as_json).await,
        DlqCommand::Show(flags) => show(flags, client, cluster, as_json).await,
        DlqCommand::Resend(flags) => resend(flags, client, cluster, as_json).await,
        DlqCommand::Purge { group } => purge(group, client, cluster, as_json).await,
    }
}

async fn list(cluster: &Cluster, as_json: bool) -> Result<(), ToolError> {
    let brokers = cluster.masters(None).await?;
    let answers = ask_each(&brokers, async |broker| {
        let settled = match broker.at.show_group(SETTLED_BY).await {
            Ok(details) => details.progress,
            Err(error) if error.code() == Some(ErrorCode::GroupNotFound) => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut letters = Vec::new();
        for topic in broker.at.list_topics().await? {
            let Some(group) = topic.strip_prefix(DEAD_LETTER_PREFIX) else {
                continue;
            };
            for queue in broker.at.show_topic(&topic).await?.queues {
                let of_queue = settled
                    .iter()
                    .find(|one| one.queue.topic == topic && one.queue.queue == queue.queue);
                let done = of_queue.and_then(|one| one.committed).unwrap_or_default();
                let all = queue.max_offset.0 - queue.min_offset.0;
                let open = queue
                    .max_offset
                    .0
                    .saturating_sub(done.max(queue.min_offset).0);
                letters.push((group.to_owned(), all, open));
            }
        }
        Ok(letters)
    })
    .await;
    let (found, end) = answers.settle();
    let mut groups: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (group, all, open) in found.into_iter().flat_map(|(_, letters)| letters) {
        let sums = groups.entry(group).or_default();
        *sums = (sums.0 + all, sums.1 + open);
    }
    let value: Vec<Value> = groups
        .iter()
        .map(|(group, (all, open))| json!({ "group": group, "messages": all, "open": open }))
        .collect();
    print::either(as_json, &value, || {
        let mut table = Table::new([left("group"), right("messages"), right("open")]);
        for (group, (all, open)) in &groups {
            table.row([group.clone(), all.to_string(), open.to_string()]);
        }
        table.to_string()
    })?;
    end
}

/// A group's open dead letters, to be read.
async fn letters_of(group: &str, client: &Client, cluster: &Cluster) -> Result<Reading, ToolError> {
    let topic = format!("{DEAD_LETTER_PREFIX}{group}");
    Reading::open(&topic, SETTLED_BY, client, cluster).await
}

async fn show(
    flags: &LetterFlags,
    client: &Client,
    cluster: &Cluster,
    as_json: bool,
) -> Result<(), ToolError> {
    let mut letters = letters_of(&flags.group, client, cluster).await?;
    let most = flags.max.unwrap_or(usize::MAX);
    let mut found: Vec<ReceivedMessage> = Vec::new();
    while found.len() < most {
        let next = letters.next().await?;
        if next.is_empty() {
            break;
        }
        found.extend(next);
    }
    found.truncate(most);
    let described: Result<Vec<_>, _> = found.iter().map(MessageJson::new).collect();
    let described = described?;
    Ok(print::either(as_json, &described, || {
        overview(&described).to_string()
    })?)
}

/// The message as it was sent first.
fn anew(letter: &ReceivedMessage) -> Result<Message, ToolError> {
    let mut message = Message::builder(letter.topic(), letter.body_bytes()?).flag(letter.flag());
    for (name, value) in letter.properties() {
        // What brokers said of it tells of the way to the dead letters, and it begins anew.
        if !keys::OF_BROKERS.contains(&name) {
            message = message.property(name, value);
        }
    }
    Ok(message.build()?)
}

async fn resend(
    flags: &LetterFlags,
    client: &Client,
    cluster: &Cluster,
    as_json: bool,
) -> Result<(), ToolError> {
    let mut letters = letters_of(&flags.group, client, cluster).await?;
    let producer = client.producer().build();
    let most = flags.max.unwrap_or(usize::MAX);
    let mut sent = 0;
    while sent < most {
        let mut next = letters.next().await?;
        if next.is_empty() {
            break;
        }
        let surplus = next.split_off(next.len().min(most - sent));
        for batch in next.chunks(BATCH) {
            let messages: Result<Vec<_>, _> = batch.iter().map(anew).collect();
            for receipt in producer.send_all(messages?).await {
                receipt?;
            }
        }
        sent += next.len();
        // What was read and not sent stays open.
        for letter in surplus.iter().rev() {
            let back = SeekTo::Offset(letter.offset());
            letters.consumer.seek(&letter.queue(), back).await?;
        }
        letters.consumer.commit().await?;
    }
    producer.close().await;
    let value = json!({ "group": flags.group, "sent": sent });
    Ok(print::either(as_json, &value, || {
        format!(
            "{} of group {} sent again\n",
            print::counted(sent as u64, "dead letter"),
            flags.group
        )
    })?)
}

async fn purge(
    group: &str,
    client: &Client,
    cluster: &Cluster,
    as_json: bool,
) -> Result<(), ToolError> {
    let mut letters = letters_of(group, client, cluster).await?;
    let mut dismissed = 0;
    for (queue, end) in letters.ends.clone() {
        let at = letters.consumer.position(&queue).unwrap_or_default();
        dismissed += end.0.saturating_sub(at.0);
        letters.consumer.seek(&queue, SeekTo::Offset(end)).await?;
    }
    letters.consumer.commit().await?;
    let value = json!({ "group": group, "dismissed": dismissed });
    Ok(print::either(as_json, &value, || {
        format!(
            "{} of group {group} dismissed\n",
            print::counted(dismissed, "dead letter")
        )
    })?)
}
