//! What the measurements are set to.

use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde::Serialize;

use super::BenchError;
use super::dialect::Dialect;
use super::wire::MAX_FRAME_BYTES;
use crate::tools::{parse_length, parse_rate};

/// Which broker is measured.
#[derive(Debug, Clone, Args)]
pub(crate) struct Target {
    /// Address of a broker that runs.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:10911")]
    pub(crate) broker: String,
    /// Start a broker for the time, as a process of its own with an empty folder in the current directory.
    #[arg(long, conflicts_with = "broker")]
    pub(crate) embedded: bool,
    /// Acknowledge what is on the disk only.
    #[arg(long, requires = "embedded")]
    pub(crate) sync_flush: bool,
    /// Do not touch the machine's free memory before measuring. See docs/benchmarks.md.
    #[arg(long, requires = "embedded")]
    pub(crate) cold_memory: bool,
    /// Begin with so many spare segments of 1 GiB, as a broker has whose retention removes what it writes. See docs/benchmarks.md.
    #[arg(long, value_name = "N", requires = "embedded", default_value_t = 0, value_parser = RangedU64ValueParser::<usize>::new().range(..=1024))]
    pub(crate) spare_segments: usize,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Target {
    /// What acknowledgements wait for, where that is known.
    pub(crate) fn flush(&self) -> Option<&'static str> {
        let started = if self.sync_flush { "sync" } else { "async" };
        self.embedded.then_some(started)
    }
}

/// Messages and how they are sent.
#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct Load {
    /// Bytes of each message's body.
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = bytes())]
    pub(crate) size: usize,
    /// Connections at once.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = count::<usize>())]
    pub(crate) connections: usize,
    /// Requests of a connection that wait for their answers at once.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = count::<usize>())]
    pub(crate) window: usize,
    /// Messages in one request.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count::<usize>())]
    pub(crate) batch: usize,
    /// Whether messages have ids, property UNIQ_KEY, which the broker enters into its index [default: true on RocketMQ's wires, as all
    /// its clients give them, where batches are of one message; the broker would give one to each that has none].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(crate) unique_ids: Option<bool>,
    /// The wire that requests are written in.
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = Dialect::Native)]
    pub(crate) wire: Dialect,
    /// Topics that messages go to in turn.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count::<usize>())]
    pub(crate) topics: usize,
    /// Queues of each topic that messages go to in turn [default: the topic's own, chosen by the broker].
    #[arg(long, value_name = "N", value_parser = count::<u32>())]
    pub(crate) queues: Option<u32>,
    /// Messages per second, all connections together [default: as many as go].
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    pub(crate) rate: Option<f64>,
    /// How long a round takes.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_length, conflicts_with = "messages")]
    #[serde(rename = "duration_s", serialize_with = "as_seconds")]
    pub(crate) duration: Duration,
    /// Messages of a round, instead of its duration.
    #[arg(long, value_name = "N", value_parser = messages())]
    pub(crate) messages: Option<u64>,
    /// Rounds; the one in the middle is printed.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count::<usize>())]
    pub(crate) rounds: usize,
}

impl Load {
    /// The load with what nobody has set.
    ///
    /// # Errors
    ///
    /// [`BenchError::BatchWithIds`].
    pub(crate) fn settled(&self) -> Result<Self, BenchError> {
        let is_single = self.batch == 1;
        let has_ids = match self.unique_ids {
            Some(true) if !is_single => return Err(BenchError::BatchWithIds(self.batch)),
            Some(has_ids) => has_ids,
            None => is_single && self.wire != Dialect::Native,
        };
        Ok(Self {
            unique_ids: Some(has_ids),
            ..self.clone()
        })
    }
}

/// The settings of `bench produce`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProduceFlags {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) load: Load,
    /// Alternate with rounds against an echo server, and print the ratio.
    #[arg(long)]
    pub(crate) echo: bool,
    /// Alternate with rounds of the raw group-commit loop of `bench disk`, and print the ratio.
    #[arg(long)]
    pub(crate) disk: bool,
    /// Alternate with rounds of the same load to so many queues of other topics, and print the ratio.
    #[arg(long, value_name = "N", value_parser = count::<u32>())]
    pub(crate) against_queues: Option<u32>,
    /// Alternate with rounds of the same load on the native wire, and print the ratio.
    #[arg(long)]
    pub(crate) against_native: bool,
    /// Alternate with rounds beside a consumer, and print what it costs.
    #[arg(long, value_name = "WHICH", value_enum)]
    pub(crate) beside: Option<Beside>,
}

/// Who reads while messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Beside {
    /// A consumer that takes messages as they come.
    Consumer,
    /// A consumer of old messages, which are on the disk and not in memory. Needs `--embedded`.
    ColdConsumer,
}

/// The settings of `bench consume`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConsumeFlags {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Bytes of each message's body.
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = bytes())]
    pub(crate) size: usize,
    /// Messages that are sent before, and then consumed in each round.
    #[arg(long, value_name = "N", default_value_t = 2_000_000, value_parser = messages())]
    pub(crate) messages: u64,
    /// Queues they lie in.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = count::<u32>())]
    pub(crate) queues: u32,
    /// Rounds; the one in the middle is printed.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count::<usize>())]
    pub(crate) rounds: usize,
    /// Consume with the Rust client and a handler, not with as little work per message as can be.
    #[arg(long)]
    pub(crate) client: bool,
}

/// The settings of `bench latency`.
#[derive(Debug, Clone, Args)]
pub(crate) struct LatencyFlags {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Bytes of each message's body, at least 8.
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = bytes())]
    pub(crate) size: usize,
    /// Messages per second.
    #[arg(long, value_name = "N", default_value_t = 50_000.0, value_parser = parse_rate)]
    pub(crate) rate: f64,
    /// How long the broker keeps each message; what is measured is how late it comes after that.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_length)]
    pub(crate) delay: Duration,
    /// Queues of the topic.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = count::<u32>())]
    pub(crate) queues: u32,
    /// How long a round takes.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_length)]
    pub(crate) duration: Duration,
    /// Rounds; the one in the middle is printed.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count::<usize>())]
    pub(crate) rounds: usize,
}

/// The settings of `bench disk`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DiskFlags {
    /// Bytes of each record's body.
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = bytes())]
    pub(crate) size: usize,
    /// Records that wait for the disk at once.
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = count::<u64>())]
    pub(crate) in_flight: u64,
    /// How long a round takes.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_length)]
    pub(crate) duration: Duration,
    /// Rounds; the one in the middle is printed.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count::<usize>())]
    pub(crate) rounds: usize,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The settings of `bench echo`.
#[derive(Debug, Clone, Args)]
pub(crate) struct EchoFlags {
    /// Address to listen on.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub(crate) listen: String,
}

fn as_seconds<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(duration.as_secs_f64())
}

/// So many of what is kept in memory.
fn count<T: TryFrom<u64>>() -> RangedU64ValueParser<T> {
    RangedU64ValueParser::new().range(1..=65_536)
}

/// As many as fit into a frame.
fn bytes() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(..=MAX_FRAME_BYTES as u64)
}

fn messages() -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::new().range(1..)
}
