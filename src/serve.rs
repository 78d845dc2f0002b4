//! Runs name server and broker until a signal comes.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::Instant;

use castmq_actors::supervision::capture_panics;
use castmq_actors::{Node, NodeError, Parts};
use castmq_config::{LoadError, Settings};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

use crate::command_line::ServeFlags;
use crate::logging::{self, LoggingError};
use crate::pid_file::PidFile;
use crate::settings;
use crate::{memory, open_files};

/// Why a process could not run, or ended.
#[derive(Debug, Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Settings(#[from] LoadError),
    #[error(transparent)]
    Logging(#[from] LoggingError),
    #[error(
        "cannot listen on {address}: {source}; stop what uses it (`castmq stop` for a server of this folder), or choose another address with {flag}"
    )]
    Listen {
        address: SocketAddr,
        source: io::Error,
        flag: &'static str,
    },
    #[error(transparent)]
    Node(NodeError),
    #[error("cannot be stopped by signals: {0}")]
    Signals(io::Error),
}

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(parts: Parts, flags: &ServeFlags) -> Result<(), ServeError> {
    let started = Instant::now();
    let loaded = settings::load(parts, flags)?;
    logging::start(&loaded.settings.log)?;
    capture_panics();
    open_files::raise_limit(&loaded.settings);
    if let Err(error) = memory::give_back() {
        tracing::warn!(%error, "memory that was used once may be kept: no thread could be started");
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    actix_rt::System::new().block_on(serve(parts, loaded.settings, started))
}

async fn serve(parts: Parts, settings: Settings, started: Instant) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    let pid_file = pid_file(parts, &settings);
    let node = Node::start(&settings, parts).await;
    let node = node.map_err(|error| explain(error, parts, &settings))?;
    if let Err(reason) = &pid_file {
        tracing::warn!(reason, "`castmq stop` will not find this process");
    }
    if let Err(error) = announce(&node, &settings, started) {
        // Nobody reads it. The broker is there all the same.
        tracing::warn!(%error, "standard output takes nothing");
    }
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    };
    let late = node.run(stop).await.map_err(ServeError::Node)?;
    if !late.is_empty() {
        tracing::warn!(actors = late.join(", "), "some actors did not stop in time");
    }
    Ok(())
}

/// Writes the file by which `castmq stop` finds this process. A server runs without, too: on a file system that is only
/// read, say. Then this is why.
fn pid_file(parts: Parts, settings: &Settings) -> Result<PidFile, String> {
    let name = match parts {
        Parts::Standalone | Parts::Broker => "broker".to_owned(),
        // Several name servers may share a folder, since they keep nothing in it.
        Parts::NameServer => format!("namesrv-{}", settings.name_server.listen.port()),
    };
    let folder = &settings.store.data_dir;
    let shown = folder.display();
    match PidFile::write(folder, &name) {
        Ok(Some(file)) => Ok(file),
        Ok(None) => Err(format!("another {name} runs in {shown}")),
        Err(error) => Err(format!(
            "the pid file cannot be written in {shown}: {error}"
        )),
    }
}

/// Says which flag names an address that is taken.
fn explain(error: NodeError, parts: Parts, settings: &Settings) -> ServeError {
    match error {
        NodeError::Bind { address, source } => ServeError::Listen {
            flag: match parts {
                _ if settings.ha_listen() == Some(address) => "replication.ha_listen_port",
                Parts::Broker => "--listen",
                Parts::Standalone if address == settings.broker.listen => "--listen",
                _ => "--namesrv-listen",
            },
            address,
            source,
        },
        error => ServeError::Node(error),
    }
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
