//! Where the log goes: standard error, as text or JSON.

use std::io::{self, IsTerminal as _};

use castmq_config::{LogFormat, LogSettings};
use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// The log cannot be set up.
#[derive(Debug, Error)]
#[error(
    "log.filter {filter:?} cannot be read: {source}; it takes a level such as info, or levels of modules such as castmq_storage=debug,info"
)]
pub(crate) struct LoggingError {
    filter: String,
    source: ParseError,
}

/// Sets up the log of the process.
pub(crate) fn start(settings: &LogSettings) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(&settings.filter).map_err(|source| LoggingError {
        filter: settings.filter.clone(),
        source,
    })?;
    // https://no-color.org
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal() && !is_plain)
        .with_writer(io::stderr);
    match settings.format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
