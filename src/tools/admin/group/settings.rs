//! What groups are set to.

use castmq_client::model::{GroupConfig, group_attributes};
use castmq_client::raw::admin::GroupDetails;
use castmq_client::{Error, ErrorCode};
use clap::Args;

use super::super::brokers::{Broker, Cluster, ask_each, report};
use crate::tools::ToolError;

/// What a group shall be. What is not said stays as it is, or is RocketMQ's default.
#[derive(Debug, Clone, Args)]
pub(in super::super) struct CreateFlags {
    /// The group.
    group: String,
    /// Retries after which a message is a dead letter (16).
    #[arg(long, value_name = "N")]
    retry_max: Option<u32>,
    /// How long a message waits before each retry, as in "10s 1m 1h"; the last counts for all further ones. Empty for the
    /// brokers' delay levels.
    #[arg(long, value_name = "TIMES")]
    retry_delays: Option<String>,
    /// Queues of its retry topic, when that is created (1).
    #[arg(long, value_name = "N")]
    retry_queues: Option<u32>,
    /// How members share queues: sticky (the default), average, circle, consistent_hash, config, machine_room.
    #[arg(long, value_name = "NAME")]
    assignment: Option<String>,
    /// Minutes that processing a message may take while another member waits for its queue (15).
    #[arg(long, value_name = "N")]
    consume_timeout_minutes: Option<u32>,
    /// Whether it may consume.
    #[arg(long, value_name = "BOOL")]
    consume: Option<bool>,
    /// Whether its members may broadcast.
    #[arg(long, value_name = "BOOL")]
    broadcast: Option<bool>,
    /// Change it when it is there already.
    #[arg(long)]
    update: bool,
    /// Only on this broker.
    #[arg(long, value_name = "NAME")]
    broker: Option<String>,
}

/// Which group goes.
#[derive(Debug, Clone, Args)]
pub(in super::super) struct DeleteFlags {
    /// The group.
    group: String,
    /// Delete its retry topic and its dead letters, too.
    #[arg(long)]
    with_topics: bool,
    /// Only on this broker.
    #[arg(long, value_name = "NAME")]
    broker: Option<String>,
}

impl CreateFlags {
    fn apply(&self, config: &mut GroupConfig) {
        fn set<T: Copy>(field: &mut T, value: Option<T>) {
            *field = value.unwrap_or(*field);
        }
        set(&mut config.retry_max, self.retry_max);
        set(&mut config.retry_queues, self.retry_queues);
        set(
            &mut config.consume_timeout_minutes,
            self.consume_timeout_minutes,
        );
        set(&mut config.consume_enabled, self.consume);
        set(&mut config.broadcast_enabled, self.broadcast);
        for (name, value) in [
            (group_attributes::RETRY_DELAYS, &self.retry_delays),
            (group_attributes::ASSIGNMENT, &self.assignment),
        ] {
            match value.as_deref() {
                None => {}
                Some("") => drop(config.attributes.remove(name)),
                Some(value) => drop(config.attributes.insert(name.into(), value.into())),
            }
        }
    }
}

pub(super) async fn create(
    flags: &CreateFlags,
    cluster: &Cluster,
    as_json: bool,
) -> Result<(), ToolError> {
    let brokers = cluster.masters(flags.broker.as_deref()).await?;
    let answers = ask_each(&brokers, async |broker| put(flags, broker).await).await;
    let (created, end) = answers.settle();
    let done = if flags.update { "set" } else { "created" };
    report("group", &flags.group, done, &created, as_json)?;
    end
}

async fn put(flags: &CreateFlags, broker: &Broker) -> Result<(), Error> {
    let mut config = match broker.at.show_group(&flags.group).await {
        Ok(GroupDetails { config, .. }) if flags.update => config,
        Ok(_) => {
            let reason = format!(
                "group {} exists already: change it with --update",
                flags.group
            );
            return Err(Error::Setting(reason.into()));
        }
        Err(error) if error.code() == Some(ErrorCode::GroupNotFound) => GroupConfig::default(),
        Err(error) => return Err(error),
    };
    flags.apply(&mut config);
    broker.at.put_group(&flags.group, config).await
}

pub(super) async fn delete(
    flags: &DeleteFlags,
    cluster: &Cluster,
    as_json: bool,
) -> Result<(), ToolError> {
    let group = flags.group.as_str();
    let brokers = cluster.masters(flags.broker.as_deref()).await?;
    let answers = ask_each(&brokers, async |broker| {
        broker.at.delete_group(group, flags.with_topics).await
    })
    .await;
    let answers = answers.where_there(ErrorCode::GroupNotFound, "group", group)?;
    let (deleted, end) = answers.settle();
    report("group", group, "deleted", &deleted, as_json)?;
    end
}
