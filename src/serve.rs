//! Runs name server and broker until a signal comes.

use std::io::{self, Write as _};
use std::time::Instant;

use castmq_actors::supervision::capture_panics;
use castmq_actors::{Node, NodeError, Parts};
use castmq_config::{LoadError, Settings};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

use crate::command_line::ServeFlags;
use crate::logging::{self, LoggingError};
use crate::settings;

/// Why a process could not run, or ended.
#[derive(Debug, Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Settings(#[from] LoadError),
    #[error(transparent)]
    Logging(#[from] LoggingError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(parts: Parts, flags: &ServeFlags) -> Result<(), ServeError> {
    let started = Instant::now();
    let loaded = settings::load(parts, flags)?;
    logging::start(&loaded.settings.log)?;
    capture_panics();
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    actix_rt::System::new().block_on(serve(parts, loaded.settings, started))
}

async fn serve(parts: Parts, settings: Settings, started: Instant) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let node = Node::start(&settings, parts).await?;
    announce(&node, &settings, started)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        failure = node.failed() => return Err(NodeError::Failed(failure).into()),
    }
    tracing::info!("stopping");
    let late = node.stop().await?;
    if !late.is_empty() {
        tracing::warn!(actors = late.join(", "), "some actors did not stop in time");
    }
    Ok(())
}

/// Prints the one line that says that all is up.
fn announce(node: &Node, settings: &Settings, started: Instant) -> io::Result<()> {
    let mut parts = Vec::new();
    if let Some(address) = node.name_server_address() {
        parts.push(format!("name server {address}"));
    }
    if let Some(address) = node.broker_address() {
        parts.push(format!("broker {address}"));
        let folder = settings.store.data_dir.display();
        parts.push(format!("data {folder}"));
    }
    let millis = started.elapsed().as_secs_f64() * 1000.0;
    let mut out = io::stdout().lock();
    writeln!(out, "castmq ready: {} ({millis:.0} ms)", parts.join(", "))?;
    out.flush()
}
