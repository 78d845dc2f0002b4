//! `castmq admin topic`.

use std::collections::BTreeMap;
use std::time::Duration;

use castmq_client::model::{
    PRIORITY_TYPE, TTL_ATTRIBUTE, TYPE_ATTRIBUTE, TopicConfig, permission, system_topics,
    topic_attributes,
};
use castmq_client::raw::admin::TopicDetails;
use castmq_client::{Error, ErrorCode};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::brokers::{Broker, Cluster, ask_each, report};
use crate::tools::print::{self, Table, left, right};
use crate::tools::{ToolError, time};

/// What is done with topics.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum TopicCommand {
    /// Create a topic on all brokers, or on one.
    Create(CreateFlags),
    /// List topics.
    List {
        /// List those that belong to the brokers, too.
        #[arg(long)]
        all: bool,
    },
    /// Show a topic's settings and queues.
    Show {
        /// The topic.
        topic: String,
    },
    /// Change one thing about a topic, and leave the rest as it is.
    Set(SetFlags),
    /// Delete a topic with its queues, and with the groups' progress in it.
    Delete {
        /// The topic.
        topic: String,
        /// Only on this broker.
        #[arg(long, value_name = "NAME")]
        broker: Option<String>,
    },
}

/// What a topic shall be.
#[derive(Debug, Clone, Args)]
pub(super) struct CreateFlags {
    /// The topic.
    topic: String,
    /// Queues on each broker (RocketMQ's mqadmin makes as many).
    #[arg(long, value_name = "N", default_value_t = 8)]
    queues: u32,
    /// Queues that consumers read, when they are to be others than those that producers write.
    #[arg(long, value_name = "N")]
    read_queues: Option<u32>,
    /// What may be done with it.
    #[arg(long, value_enum, default_value_t = Permission::ReadWrite)]
    permission: Permission,
    /// Producers must keep each queue on its broker.
    #[arg(long)]
    order: bool,
    /// Whether clients trace its messages, for `castmq admin trace`.
    #[arg(long, value_enum)]
    trace: Option<Switch>,
    /// Each queue takes messages of one priority, or of a few, and consumers get those of higher queues first.
    #[arg(long)]
    by_priority: bool,
    /// Messages expire this long after they were stored: nobody gets them any more.
    #[arg(long, value_name = "TIME", value_parser = time::parse_length)]
    ttl: Option<Duration>,
    /// Change it when it is there already; what is not said is as for a new one.
    #[arg(long)]
    update: bool,
    /// Only on this broker.
    #[arg(long, value_name = "NAME")]
    broker: Option<String>,
}

/// What about a topic shall change.
#[derive(Debug, Clone, Args)]
pub(super) struct SetFlags {
    /// The topic.
    topic: String,
    /// Whether clients trace its messages. They hear of it within 30 s.
    #[arg(long, value_enum)]
    trace: Switch,
    /// Only on this broker.
    #[arg(long, value_name = "NAME")]
    broker: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Switch {
    On,
    Off,
}

impl Switch {
    fn add_to(self, config: &mut TopicConfig) {
        let value = match self {
            Self::On => "on",
            Self::Off => "off",
        };
        let name = topic_attributes::TRACE.to_owned();
        config.attributes.insert(name, value.to_owned());
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Permission {
    #[value(name = "rw")]
    ReadWrite,
    #[value(name = "r")]
    Read,
    #[value(name = "w")]
    Write,
}

impl Permission {
    fn bits(self) -> u32 {
        match self {
            Self::ReadWrite => permission::READ | permission::WRITE,
            Self::Read => permission::READ,
            Self::Write => permission::WRITE,
        }
    }
}

/// The bits as letters.
fn letters(bits: u32) -> String {
    let all = [
        (permission::READ, 'r'),
        (permission::WRITE, 'w'),
        (permission::INHERIT, 'x'),
    ];
    let set = all.iter().filter(|(bit, _)| bits & bit != 0);
    set.map(|(_, letter)| letter).collect()
}

pub(super) async fn run(
    command: &TopicCommand,
    cluster: &Cluster,
    as_json: bool,
) -> Result<(), ToolError> {
    match command {
        TopicCommand::Create(flags) => create(flags, cluster, as_json).await,
        TopicCommand::List { all } => list(*all, cluster, as_json).await,
        TopicCommand::Show { topic } => show(topic, cluster, as_json).await,
        TopicCommand::Set(flags) => set(flags, cluster, as_json).await,
        TopicCommand::Delete { topic, broker } => {
            delete(topic, broker.as_deref(), cluster, as_json).await
        }
    }
}

async fn create(flags: &CreateFlags, cluster: &Cluster, as_json: bool) -> Result<(), ToolError> {
    let mut config = TopicConfig {
        read_queues: flags.read_queues.unwrap_or(flags.queues),
        permission: flags.permission.bits(),
        order: flags.order,
        attributes: attributes(flags),
        ..TopicConfig::with_queues(flags.queues)
    };
    if let Some(trace) = flags.trace {
        trace.add_to(&mut config);
    }
    let brokers = cluster.masters(flags.broker.as_deref()).await?;
    let answers = ask_each(&brokers, async |broker| match flags.update {
        true => broker.at.put_topic(&flags.topic, config.clone()).await,
        false => broker.at.create_topic(&flags.topic, config.clone()).await,
    })
    .await;
    let (created, end) = answers.settle();
    let done = if flags.update { "set" } else { "created" };
    report("topic", &flags.topic, done, &created, as_json)?;
    end
}

async fn set(flags: &SetFlags, cluster: &Cluster, as_json: bool) -> Result<(), ToolError> {
    let brokers = cluster.masters(flags.broker.as_deref()).await?;
    let answers = ask_each(&brokers, async |broker| {
        let mut config = broker.at.show_topic(&flags.topic).await?.config;
        flags.trace.add_to(&mut config);
        broker.at.put_topic(&flags.topic, config).await
    })
    .await;
    let answers = answers.where_there(ErrorCode::TopicNotFound, "topic", &flags.topic)?;
    let (set, end) = answers.settle();
    report("topic", &flags.topic, "set", &set, as_json)?;
    end
}

/// Attributes, as brokers keep them.
fn attributes(flags: &CreateFlags) -> BTreeMap<String, String> {
    let ttl = flags
        .ttl
        .map(|ttl| (TTL_ATTRIBUTE, ttl.as_millis().to_string()));
    let by_priority = (TYPE_ATTRIBUTE, PRIORITY_TYPE.to_owned());
    let set = ttl
        .into_iter()
        .chain(flags.by_priority.then_some(by_priority));
    set.map(|(name, value)| (name.to_owned(), value)).collect()
}

async fn delete(
    topic: &str,
    broker: Option<&str>,
    cluster: &Cluster,
    as_json: bool,
) -> Result<(), ToolError> {
    let brokers = cluster.masters(broker).await?;
    let answers = ask_each(&brokers, async |broker| broker.at.delete_topic(topic).await).await;
    let answers = answers.where_there(ErrorCode::TopicNotFound, "topic", topic)?;
    let (deleted, end) = answers.settle();
    report("topic", topic, "deleted", &deleted, as_json)?;
    end
}

async fn list(all: bool, cluster: &Cluster, as_json: bool) -> Result<(), ToolError> {
    let brokers = cluster.brokers().await?;
    let mut table = Table::new([left("TOPIC"), right("QUEUES"), left("BROKERS")]);
    let mut listed = Vec::new();
    for topic in cluster.admin.topics().await? {
        if !all && belongs_to(&topic, &brokers) {
            continue;
        }
        let route = match cluster.admin.route(&topic).await {
            // It was deleted meanwhile.
            Err(Error::TopicNotFound { .. }) => continue,
            route => route?,
        };
        let queues: u32 = route.queues.iter().map(|on| on.write_queues).sum();
        let names: Vec<_> = route.queues.iter().map(|on| &*on.broker).collect();
        table.row([topic.clone(), queues.to_string(), names.join(",")]);
        listed.push(json!({ "topic": topic, "brokers": route.queues }));
    }
    Ok(print::either(as_json, &listed, || table.to_string())?)
}

/// Whether brokers make a topic for themselves (RocketMQ has one for each cluster and each broker, too).
fn belongs_to(topic: &str, brokers: &[Broker]) -> bool {
    let is_own = |broker: &Broker| {
        topic == broker.cluster
            || topic == broker.name
            || topic == system_topics::replies(&broker.cluster)
    };
    system_topics::is_system(topic) || brokers.iter().any(is_own)
}

async fn show(topic: &str, cluster: &Cluster, as_json: bool) -> Result<(), ToolError> {
    let brokers = cluster.masters(None).await?;
    let answers = ask_each(&brokers, async |broker| broker.at.show_topic(topic).await).await;
    let answers = answers.where_there(ErrorCode::TopicNotFound, "topic", topic)?;
    let (found, end) = answers.settle();
    let described: Vec<_> = found.iter().map(describe).collect();
    print::either(as_json, &described, || {
        format!("{}\n{}", settings(&found), queues(&found))
    })?;
    end
}

fn describe((broker, details): &(&Broker, TopicDetails)) -> Value {
    json!({ "broker": broker.name, "config": details.config, "queues": details.queues })
}

fn settings(found: &[(&Broker, TopicDetails)]) -> Table {
    let mut table = Table::new([
        left("BROKER"),
        right("READ QUEUES"),
        right("WRITE QUEUES"),
        left("PERMISSION"),
        left("ORDER"),
        left("ATTRIBUTES"),
        right("MESSAGES"),
    ]);
    for (broker, details) in found {
        let config = &details.config;
        let counts = details.queues.iter();
        let messages: u64 = counts
            .map(|queue| queue.max_offset.0.saturating_sub(queue.min_offset.0))
            .sum();
        table.row([
            broker.name.clone(),
            config.read_queues.to_string(),
            config.write_queues.to_string(),
            letters(config.permission),
            if config.order { "yes" } else { "no" }.to_owned(),
            listed(&config.attributes),
            messages.to_string(),
        ]);
    }
    table
}

/// Attributes, in one cell.
fn listed(attributes: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = attributes
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    match pairs.is_empty() {
        true => "-".to_owned(),
        false => pairs.join(","),
    }
}

fn queues(found: &[(&Broker, TopicDetails)]) -> Table {
    let mut table = Table::new([
        left("BROKER"),
        right("QUEUE"),
        right("FIRST"),
        right("END"),
        right("MESSAGES"),
        left("LAST STORED"),
    ]);
    for (broker, details) in found {
        for queue in &details.queues {
            let messages = queue.max_offset.0.saturating_sub(queue.min_offset.0);
            table.row([
                broker.name.clone(),
                queue.queue.to_string(),
                queue.min_offset.to_string(),
                queue.max_offset.to_string(),
                messages.to_string(),
                time::show(queue.last_store_timestamp_ms),
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_letters() {
        assert_eq!(letters(Permission::ReadWrite.bits()), "rw");
        assert_eq!(letters(7), "rwx");
        assert_eq!(letters(0), "");
    }
}
