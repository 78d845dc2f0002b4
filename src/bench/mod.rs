//! `castmq bench`: what a broker does with a load.
//!
//! - [`produce`]: acknowledged sends; [`load`]: how they are made.
//! - [`consume`]: a backlog, pushed to a consumer.
//! - [`latency`]: from producer to handler, at a fixed rate.
//! - [`disk`]: the raw group-commit loop.
//! - [`echo`]: a server that reads the same frames and answers them without storing anything.
//! - [`peer`]: the process under load; [`memory`], [`spares`]: the machine's memory and disk before it.
//! - [`flags`], [`report`], [`progress`]: settings, figures, and how they are shown.
//! - [`dialect`], [`wire`], [`ticker`]: requests, connections, and their pace.

mod consume;
mod dialect;
mod disk;
mod echo;
mod flags;
mod latency;
mod load;
mod memory;
mod peer;
mod produce;
mod progress;
mod report;
mod spares;
mod ticker;
mod wire;

use std::io;

use clap::Subcommand;
use thiserror::Error;

use flags::{ConsumeFlags, DiskFlags, EchoFlags, LatencyFlags, ProduceFlags};

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Acknowledged sends.
    Produce(ProduceFlags),
    /// A backlog, pushed to one consumer.
    Consume(ConsumeFlags),
    /// From producer to handler at a fixed rate, through the Rust client.
    Latency(LatencyFlags),
    /// The raw group-commit loop: appends and syncs with nothing around them.
    Disk(DiskFlags),
    /// Be the echo server that sends are compared with, until a signal comes.
    Echo(EchoFlags),
}

/// Why a measurement failed.
#[derive(Debug, Error)]
pub(crate) enum BenchError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("no broker can be reached at {address}: {source}; start one, or add --embedded")]
    Connect { address: String, source: io::Error },
    #[error(transparent)]
    Client(#[from] castmq_client::Error),
    #[error("the broker refused a request: {0}")]
    Refused(String),
    #[error("the broker gave an answer that was not asked for: {0}")]
    Unexpected(String),
    #[error("{0} did not become ready")]
    NotReady(&'static str),
    #[error(
        "retention gave back {made} of {wanted} segments in a minute: the measurement would not be one of a full log"
    )]
    NoSpares { made: usize, wanted: usize },
    #[error("the echo server speaks the native wire only: leave out --echo, or --wire")]
    EchoIsNative,
    #[error("batches of {0} messages go without ids: leave out --unique-ids, or --batch")]
    BatchWithIds(usize),
    #[error("this is measured with a broker that is started for it: add --embedded")]
    NeedsEmbedded,
    #[error("the result has no JSON form: {0}")]
    Json(#[from] serde_json::Error),
}

/// Measures.
pub(crate) fn run(bench: &Bench) -> Result<(), BenchError> {
    match bench {
        Bench::Produce(flags) => runtime()?.block_on(produce::run(flags)),
        Bench::Consume(flags) => runtime()?.block_on(consume::run(flags)),
        Bench::Latency(flags) => runtime()?.block_on(latency::run(flags)),
        Bench::Disk(flags) => runtime()?.block_on(disk::run(flags)),
        Bench::Echo(flags) => actix_rt::System::new().block_on(echo::serve(&flags.listen)),
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
