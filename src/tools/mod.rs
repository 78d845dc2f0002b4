//! The command-line tools: what producers, consumers and operators do, from a shell.
//!
//! - [`mod@produce`]: sends lines as messages. [`mod@consume`]: prints messages as lines. [`mod@progress`]: how far they are.
//! - [`mod@admin`]: topics, groups, brokers, messages and actors of a running cluster. [`mod@connect`]: the way to it.
//! - [`mod@cluster`]: a whole cluster on one machine.
//! - [`mod@store`]: the data folder of a broker that does not run.
//! - [`mod@config`]: settings, shown and checked. [`mod@stop`]: stops servers.
//! - [`mod@print`]: tables and JSON on standard output. [`mod@message`]: messages in both forms. [`mod@time`]: times as people write
//!   them. [`error`]: what is said when a tool fails.
//!
//! Results go to standard output, everything else to standard error.

mod admin;
mod cluster;
mod config;
mod connect;
mod consume;
mod error;
mod message;
mod print;
mod produce;
mod progress;
mod stop;
mod store;
mod time;

use std::io::{self, Write as _};

pub(crate) use admin::AdminFlags;
pub(crate) use cluster::ClusterCommand;
pub(crate) use config::ConfigCommand;
pub(crate) use consume::ConsumeFlags;
pub(crate) use error::ToolError;
pub(crate) use produce::{ProduceFlags, parse_rate};
pub(crate) use stop::StopFlags;
pub(crate) use store::StoreCommand;
pub(crate) use time::{now_ms, parse_length};

fn block_on<T>(tool: impl Future<Output = Result<T, ToolError>>) -> Result<T, ToolError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| ToolError::System {
            action: "start",
            source,
        })?;
    let result = runtime.block_on(tool);
    // A thread that waits for standard input would keep the process.
    runtime.shutdown_background();
    result
}

/// Says something that is no result, if anybody reads it.
fn remark(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Sends lines as messages.
pub(crate) fn produce(flags: &ProduceFlags) -> Result<(), ToolError> {
    block_on(produce::run(flags))
}

/// Prints messages as lines.
pub(crate) fn consume(flags: &ConsumeFlags) -> Result<(), ToolError> {
    block_on(consume::run(flags))
}

/// Asks a cluster.
pub(crate) fn admin(flags: &AdminFlags) -> Result<(), ToolError> {
    admin::run(flags)
}

/// Runs a cluster on this machine.
pub(crate) fn cluster(command: &ClusterCommand) -> Result<(), ToolError> {
    cluster::run(command)
}

/// Looks into a data folder.
pub(crate) fn store(command: &StoreCommand) -> Result<(), ToolError> {
    store::run(command)
}

/// Shows and checks settings.
pub(crate) fn config(command: &ConfigCommand) -> Result<(), ToolError> {
    config::run(command)
}

/// Stops servers.
pub(crate) fn stop(flags: &StopFlags) -> Result<(), ToolError> {
    stop::run(flags)
}
