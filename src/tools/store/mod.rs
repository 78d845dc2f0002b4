//! `castmq store`: the data folder of a broker that does not run.
//!
//! - [`check`]: says what is damaged. [`repair`]: makes the best of it. [`dump`]: prints what is there.
//! - [`takeover`]: hands it to RocketMQ, and takes it back.

mod check;
mod dump;
mod repair;
mod takeover;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use castmq_actors::{Parts, store_options};
use castmq_storage::disk::Disk;
use castmq_storage::disk::os::OsDisk;
use castmq_storage::store::check::Closed;
use clap::{Args, Subcommand};

use super::ToolError;
use crate::command_line::ServeFlags;
use crate::settings;
use dump::DumpFlags;

/// What is done with a data folder.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum StoreCommand {
    /// Look at every message and every queue, say what is damaged and what to do. Changes nothing.
    Check {
        #[command(flatten)]
        folder: Folder,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a damaged store usable: cut the log where a start would refuse it, build queues anew. Keeps what it takes away.
    Repair {
        #[command(flatten)]
        folder: Folder,
        /// Do it. Without, say what would be done.
        #[arg(long)]
        yes: bool,
    },
    /// Print the messages of the log.
    Dump(DumpFlags),
    /// Write topics, groups and offsets into DIR/config as RocketMQ reads them, so that RocketMQ can be started on the folder. What
    /// is there is kept as .bak.
    ExportConfig(Folder),
    /// Take topics, groups and offsets from DIR/config, where RocketMQ wrote them, in place of those that CastMQ has. A broker
    /// does it by itself when it starts on a folder that only RocketMQ has used, or that was exported.
    ImportConfig(Folder),
}

/// Which folder.
#[derive(Debug, Clone, Args)]
pub(crate) struct Folder {
    /// The broker's data folder.
    #[arg(value_name = "DIR")]
    data: PathBuf,
    /// The broker's configuration, needed when it has parts of the store elsewhere.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Folder {
    /// Keeps brokers out of it.
    fn close(&self) -> Result<Closed, ToolError> {
        let serve = ServeFlags {
            config: self.config.clone(),
            data: Some(self.data.clone()),
            ..ServeFlags::default()
        };
        let loaded = settings::load(Parts::Broker, &serve)?;
        let options = store_options(&loaded.settings);
        Ok(Closed::open(disk(), options)?)
    }

    fn path(&self) -> &Path {
        &self.data
    }
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(OsDisk)
}

pub(super) fn run(command: &StoreCommand) -> Result<(), ToolError> {
    match command {
        StoreCommand::Check { folder, json } => check::run(folder, *json),
        StoreCommand::Repair { folder, yes } => repair::run(folder, *yes),
        StoreCommand::Dump(flags) => dump::run(flags),
        StoreCommand::ExportConfig(folder) => takeover::export(folder),
        StoreCommand::ImportConfig(folder) => takeover::import(folder),
    }
}
