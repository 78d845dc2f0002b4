//! The command-line tools: what producers, consumers and operators do, from a shell.
//!
//! - [`produce`]: sends lines as messages.
//! - [`consume`]: prints messages as lines.

mod consume;
mod produce;

use std::io;
use std::path::PathBuf;

use castmq_client::{Client, Error};
use clap::Args;
use thiserror::Error as ThisError;

pub(crate) use consume::ConsumeFlags;
pub(crate) use produce::ProduceFlags;

/// Where name servers are.
#[derive(Debug, Clone, Args)]
pub(crate) struct Connect {
    /// Name servers, separated by `;` or `,`.
    #[arg(short = 'n', long = "namesrv", value_name = "ADDRESSES", default_value = castmq_client::DEFAULT_NAME_SERVER, env = "NAMESRV_ADDR")]
    name_servers: String,
}

impl Connect {
    async fn client(&self) -> Result<Client, Error> {
        let addresses = self.name_servers.split([';', ',']).map(str::trim);
        let addresses = addresses.filter(|address| !address.is_empty());
        Client::builder().name_servers(addresses).build().await
    }
}

/// Why a tool stopped.
#[derive(Debug, ThisError)]
pub(crate) enum ToolError {
    #[error(transparent)]
    Client(#[from] Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("cannot read {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{failed} of {sent} messages were not stored; the first: {first}")]
    NotStored {
        failed: usize,
        sent: usize,
        first: Error,
    },
}

fn block_on<T>(tool: impl Future<Output = Result<T, ToolError>>) -> Result<T, ToolError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(tool)
}

/// Sends lines as messages.
pub(crate) fn produce(flags: &ProduceFlags) -> Result<(), ToolError> {
    block_on(produce::run(flags))
}

/// Prints messages as lines.
pub(crate) fn consume(flags: &ConsumeFlags) -> Result<(), ToolError> {
    block_on(consume::run(flags))
}
