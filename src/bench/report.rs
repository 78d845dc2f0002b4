//! Figures and how they are printed.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Times in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Latency {
    p50: f64,
    p99: f64,
    p999: f64,
    p9999: f64,
    max: f64,
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

/// One round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Round {
    pub(crate) messages: u64,
    pub(crate) messages_per_second: f64,
    pub(crate) megabytes_per_second: f64,
    pub(crate) latency_us: Latency,
    pub(crate) server_cpu_ns_per_message: f64,
    pub(crate) client_cpu_ns_per_message: f64,
    pub(crate) server_rss_mib: f64,
    pub(crate) server_mapped_mib: f64,
}

/// The round in the middle.
pub(crate) fn median(rounds: &[Round]) -> Option<Round> {
    let mut sorted: Vec<&Round> = rounds.iter().collect();
    sorted.sort_by(|a, b| a.messages_per_second.total_cmp(&b.messages_per_second));
    sorted.get(sorted.len() / 2).map(|round| (*round).clone())
}

/// The middle of the ratios of rounds that followed each other.
pub(crate) fn median_ratio(rounds: &[Round], others: &[Round]) -> Option<f64> {
    let mut ratios: Vec<f64> = rounds
        .iter()
        .zip(others)
        .map(|(one, other)| one.messages_per_second / other.messages_per_second)
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied()
}
