//! Where the log goes: standard error, as text or JSON.

use castmq_config::{LogFormat, LogSettings};
use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// The log cannot be set up.
#[derive(Debug, Error)]
#[error("log.filter {filter:?} cannot be read: {source}")]
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
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
