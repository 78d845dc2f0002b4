//! `castmq bench`: what a broker does with a load.
//!
//! - [`peer`]: the process under load: a broker, an echo server, or one that runs already.
//! - [`produce`]: acknowledged sends.
//! - [`echo`]: a server that reads the same frames and answers them without storing anything.
//! - [`report`]: figures and how they are printed.

mod echo;
mod peer;
mod produce;
mod report;
mod wire;

use std::io;

use clap::{Args, Subcommand};
use thiserror::Error;

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Acknowledged sends.
    Produce(ProduceFlags),
    /// Be the echo server that sends are compared with, until a signal comes.
    EchoServer,
}

/// The load of `bench produce`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProduceFlags {
    /// Bytes of each message's body.
    #[arg(long, default_value_t = 1024)]
    pub(crate) size: usize,
    /// Connections at once.
    #[arg(long, default_value_t = 8)]
    pub(crate) connections: usize,
    /// Requests of a connection that wait for their answers at once.
    #[arg(long, default_value_t = 256)]
    pub(crate) window: usize,
    /// Messages in one request.
    #[arg(long, default_value_t = 1)]
    pub(crate) batch: usize,
    /// Topics that messages go to in turn.
    #[arg(long, default_value_t = 1)]
    pub(crate) topics: usize,
    /// How long each round takes, in seconds.
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// Rounds; the median is printed.
    #[arg(long, default_value_t = 1)]
    pub(crate) rounds: usize,
    /// Address of a broker that runs; without it one is started for the time.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) broker: Option<String>,
    /// Alternate with rounds against an echo server, and print the ratio.
    #[arg(long)]
    pub(crate) echo: bool,
    /// Wait for the disk with every acknowledgement.
    #[arg(long)]
    pub(crate) sync_flush: bool,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Why a measurement failed.
#[derive(Debug, Error)]
pub(crate) enum BenchError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the broker refused a request: {0}")]
    Refused(String),
    #[error("the broker gave an answer that was not asked for: {0}")]
    Unexpected(String),
    #[error("{0} did not become ready")]
    NotReady(&'static str),
}

/// Measures.
pub(crate) fn run(bench: &Bench) -> Result<(), BenchError> {
    match bench {
        Bench::Produce(flags) => runtime()?.block_on(produce::run(flags)),
        Bench::EchoServer => actix_rt::System::new().block_on(echo::serve()),
    }
}

/// One thread for the load, as one thread of a broker serves it.
fn runtime() -> io::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(Runtime(runtime, tokio::task::LocalSet::new()))
}

struct Runtime(tokio::runtime::Runtime, tokio::task::LocalSet);

impl Runtime {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.1.block_on(&self.0, future)
    }
}
