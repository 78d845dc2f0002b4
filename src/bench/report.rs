//! Figures and how they are printed.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::BenchError;
use super::peer::Peer;

/// Latencies beyond this many nanoseconds count as this many: a minute.
const MAX_LATENCY_NS: u64 = 60_000_000_000;

/// For latencies in nanoseconds, to three digits.
#[allow(clippy::expect_used)]
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_LATENCY_NS, 3).expect("the bounds are constants that fit")
}

/// Times in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) p9999: f64,
    pub(crate) max: f64,
}

impl Latency {
    /// From a histogram of nanoseconds.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let us = |ns: u64| ns as f64 / 1000.0;
        let at = |quantile| us(histogram.value_at_quantile(quantile));
        Self {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: us(histogram.max()),
        }
    }
}

/// Processor time of a message, in nanoseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct CpuPerMessage {
    /// Of a server that was started for the measurement.
    pub(crate) server: Option<f64>,
    pub(crate) client: f64,
}

/// One round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Round {
    pub(crate) messages: u64,
    pub(crate) messages_per_second: f64,
    pub(crate) megabytes_per_second: f64,
    pub(crate) latency_us: Option<Latency>,
    pub(crate) cpu_ns_per_message: CpuPerMessage,
    /// Resident memory of the server without pages of mapped files.
    pub(crate) server_rss_mib: Option<f64>,
    /// Its pages of mapped files.
    pub(crate) server_mapped_mib: Option<f64>,
}

/// Reads clocks before a round, and makes its figures behind it.
pub(crate) struct Stopwatch {
    began: std::time::Instant,
    server_cpu_ns: Option<u64>,
    client_cpu_ns: u64,
}

impl Stopwatch {
    pub(crate) fn start(peer: &Peer) -> Self {
        Self {
            server_cpu_ns: peer.cpu_ns(),
            client_cpu_ns: own_cpu_ns(),
            began: std::time::Instant::now(),
        }
    }

    pub(crate) fn stop(
        self,
        peer: &Peer,
        messages: u64,
        size: usize,
        latencies: Option<&Histogram<u64>>,
    ) -> Round {
        let seconds = self.began.elapsed().as_secs_f64();
        let rate = messages as f64 / seconds;
        let per_message = |ns: u64| ns as f64 / messages.max(1) as f64;
        let server = self.server_cpu_ns.zip(peer.cpu_ns());
        let memory = peer.rss_mib();
        Round {
            messages,
            messages_per_second: rate,
            megabytes_per_second: rate * size as f64 / 1e6,
            latency_us: latencies.map(Latency::of),
            cpu_ns_per_message: CpuPerMessage {
                server: server.map(|(before, after)| per_message(after.saturating_sub(before))),
                client: per_message(own_cpu_ns().saturating_sub(self.client_cpu_ns)),
            },
            server_rss_mib: memory.map(|(own, _)| own),
            server_mapped_mib: memory.map(|(_, mapped)| mapped),
        }
    }
}

fn own_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// The round in the middle.
pub(crate) fn median(rounds: &[Round]) -> Option<Round> {
    let mut sorted: Vec<&Round> = rounds.iter().collect();
    sorted.sort_by(|a, b| a.messages_per_second.total_cmp(&b.messages_per_second));
    sorted.get(sorted.len() / 2).map(|round| (*round).clone())
}

/// The middle of the ratios of rounds that followed each other.
pub(crate) fn median_ratio(
    rounds: &[Round],
    others: &[Round],
    figure: impl Fn(&Round) -> f64,
) -> Option<f64> {
    let mut ratios: Vec<f64> = rounds
        .iter()
        .zip(others)
        .map(|(one, other)| figure(one) / figure(other))
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied()
}

/// What the figures are of.
pub(crate) fn line(name: &str, round: &Round) -> String {
    let mut text = format!(
        "{name}: {:.0} messages/s, {:.1} MB/s",
        round.messages_per_second, round.megabytes_per_second
    );
    if let Some(latency) = &round.latency_us {
        text += &format!(
            ", latency p50 {:.0} µs, p99 {:.0} µs, p99.9 {:.0} µs, p99.99 {:.0} µs, max {:.0} µs",
            latency.p50, latency.p99, latency.p999, latency.p9999, latency.max
        );
    }
    text += &format!(
        ", processor time per message: client {:.0} ns",
        round.cpu_ns_per_message.client
    );
    if let Some(server) = round.cpu_ns_per_message.server {
        text += &format!(", server {server:.0} ns");
    }
    if let (Some(own), Some(mapped)) = (round.server_rss_mib, round.server_mapped_mib) {
        text += &format!(", server memory {own:.1} MiB and {mapped:.0} MiB of mapped files");
    }
    text
}

/// Prints an outcome: as the lines it makes, or as one JSON object.
#[allow(clippy::print_stdout)]
pub(crate) fn print<T: Serialize>(
    as_json: bool,
    outcome: &T,
    lines: impl IntoIterator<Item = String>,
) -> Result<(), BenchError> {
    if as_json {
        println!("{}", serde_json::to_string(outcome)?);
    } else {
        lines.into_iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}
