//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bench::Bench;
use crate::tools::{
    AdminFlags, ClusterCommand, ConfigCommand, ConsumeFlags, ProduceFlags, StopFlags, StoreCommand,
};

/// A message broker in the RocketMQ tradition: name server and broker in one process when started without a command.
#[derive(Debug, Parser)]
#[command(name = "castmq", version, args_conflicts_with_subcommands = true)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: ServeFlags,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a broker.
    Broker(ServeFlags),
    /// Run a name server.
    Namesrv(ServeFlags),
    /// Stop the servers of a data folder.
    Stop(StopFlags),
    /// Send lines as messages.
    Produce(ProduceFlags),
    /// Join a group and print its messages as lines.
    Consume(ConsumeFlags),
    /// Look after topics, groups, brokers and messages.
    Admin(AdminFlags),
    /// Run a whole cluster on this machine, to try out what becomes of it.
    Cluster {
        #[command(subcommand)]
        command: ClusterCommand,
    },
    /// Look into the data folder of a broker that does not run.
    Store {
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// Show and check settings.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Measure a broker.
    Bench {
        #[command(subcommand)]
        bench: Bench,
    },
}

/// How to run name server and broker. Flags win over the environment, that over the file, that over the defaults.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServeFlags {
    /// Configuration: a TOML file, or a RocketMQ .properties file.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Data folder [default: ./castmq-data].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Address the broker listens on [default: 127.0.0.1:10911].
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Option<String>,
    /// Address the name server listens on [default: 127.0.0.1:9876].
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) namesrv_listen: Option<String>,
    /// Name servers to register with, separated by `;`.
    #[arg(short = 'n', long = "namesrv", value_name = "ADDRESSES")]
    pub(crate) name_servers: Option<String>,
}
