//! `castmq admin`: what operators ask of a cluster.
//!
//! - [`brokers`]: the brokers of a cluster, asked one by one; [`reading`]: a topic on all of them.
//! - [`topic`], [`group`], [`cluster`], [`broker`], [`dlq`], [`message`], [`trace`], [`actors`]: one command each.

mod actors;
mod broker;
mod brokers;
mod cluster;
mod dlq;
mod group;
mod message;
mod reading;
mod topic;
mod trace;

use clap::{Args, Subcommand};

use super::connect::Connect;
use super::{ToolError, block_on};
use actors::ActorsFlags;
use broker::BrokerCommand;
use brokers::Cluster;
use cluster::ClusterCommand;
use dlq::DlqCommand;
use group::GroupCommand;
use message::MessageCommand;
use topic::TopicCommand;
use trace::TraceFlags;

/// What is asked, of whom, and how the answer is printed.
#[derive(Debug, Clone, Args)]
pub(crate) struct AdminFlags {
    #[command(flatten)]
    connect: Connect,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: AdminCommand,
}

/// What is asked.
#[derive(Debug, Clone, Subcommand)]
enum AdminCommand {
    /// Topics.
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Consumer groups.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Brokers.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// One broker.
    #[command(subcommand)]
    Broker(BrokerCommand),
    /// Dead letters: messages that groups gave up on.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Single messages.
    #[command(subcommand)]
    Message(MessageCommand),
    /// The way of one message, as clients traced it: sent, given to consumers, processed.
    Trace(TraceFlags),
    /// The live tree of actors of each broker: what each does, how much waits for it, how often it failed and why.
    Actors(ActorsFlags),
}

pub(super) fn run(flags: &AdminFlags) -> Result<(), ToolError> {
    block_on(async {
        let client = flags.connect.client().await?;
        let cluster = Cluster::new(client.admin(), flags.connect.addresses());
        match &flags.command {
            AdminCommand::Topic(command) => topic::run(command, &cluster, flags.json).await,
            AdminCommand::Group(command) => group::run(command, &cluster, flags.json).await,
            AdminCommand::Cluster(command) => cluster::run(command, &cluster, flags.json).await,
            AdminCommand::Broker(command) => broker::run(command, &cluster, flags.json).await,
            AdminCommand::Dlq(command) => dlq::run(command, &client, &cluster, flags.json).await,
            AdminCommand::Message(command) => {
                message::run(command, &client, &cluster, flags.json).await
            }
            AdminCommand::Trace(flags_) => trace::run(flags_, &cluster, flags.json).await,
            AdminCommand::Actors(flags_) => actors::run(flags_, &cluster, flags.json).await,
        }
    })
}
