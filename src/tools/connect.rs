//! The way to a cluster.

use castmq_client::{Client, Error};
use clap::Args;

use super::ToolError;

/// Where name servers are.
#[derive(Debug, Clone, Args)]
pub(crate) struct Connect {
    /// Name servers, separated by `;` or `,`.
    #[arg(short = 'n', long = "namesrv", value_name = "ADDRESSES", default_value = castmq_client::DEFAULT_NAME_SERVER, env = "NAMESRV_ADDR", global = true)]
    name_servers: String,
}

impl Connect {
    /// The addresses as they were given.
    pub(super) fn addresses(&self) -> &str {
        &self.name_servers
    }

    pub(super) async fn client(&self) -> Result<Client, ToolError> {
        let addresses = self.name_servers.split([';', ',']).map(str::trim);
        let addresses = addresses.filter(|address| !address.is_empty());
        let built = Client::builder().name_servers(addresses).build().await;
        built.map_err(|error| match error {
            Error::Connect { address, reason } => ToolError::NameServer {
                addresses: match self.name_servers.contains([';', ',']) {
                    true => format!("{} (the last tried: {address})", self.name_servers),
                    false => self.name_servers.clone(),
                },
                reason: reason.to_string(),
            },
            error => error.into(),
        })
    }
}
