//! `bench disk`: what the disk gives when nothing else is done: as many records as wait at once are appended to a prepared
//! segment, made durable together, and then come the next.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset};
use castmq_protocol::record::Record;
use castmq_storage::disk::os::OsDisk;
use castmq_storage::disk::{Disk, Grain, Segment};
use hdrhistogram::Histogram;
use serde::Serialize;
use tempfile::TempDir;

use super::BenchError;
use super::flags::DiskFlags;
use super::report::{self, CpuPerMessage, Latency, Round, median, new_histogram};

/// A segment of the loop: large enough that changing to the next one is rare.
const SEGMENT_BYTES: u64 = 256 * 1024 * 1024;

/// The loop's settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupCommit {
    pub(crate) size: usize,
    pub(crate) in_flight: u64,
    pub(crate) duration: Duration,
}

/// What a round of the loop gave.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct GroupCommitRound {
    #[serde(flatten)]
    pub(crate) round: Round,
    pub(crate) syncs_per_second: f64,
    pub(crate) sync_us: Latency,
}

impl GroupCommitRound {
    pub(crate) fn median(rounds: &[Self]) -> Option<Self> {
        let all: Vec<Round> = rounds.iter().map(|round| round.round.clone()).collect();
        let middle = median(&all)?.messages_per_second;
        let found = rounds
            .iter()
            .find(|round| round.round.messages_per_second == middle);
        found.cloned()
    }
}

#[derive(Serialize)]
struct Outcome {
    #[serde(flatten)]
    commit: GroupCommitRound,
    size: usize,
    in_flight: u64,
    rounds: usize,
}

/// Measures and prints.
pub(crate) async fn run(flags: &DiskFlags) -> Result<(), BenchError> {
    let commit = GroupCommit {
        size: flags.size,
        in_flight: flags.in_flight,
        duration: flags.duration,
    };
    let mut rounds = Vec::new();
    for _ in 0..flags.rounds {
        rounds.push(commit.round().await?);
    }
    let Some(commit) = GroupCommitRound::median(&rounds) else {
        return Ok(());
    };
    let lines = [
        report::line("raw group commit", &commit.round),
        format!(
            "{:.0} syncs/s, p50 {:.0} µs, p99 {:.0} µs, max {:.0} µs",
            commit.syncs_per_second, commit.sync_us.p50, commit.sync_us.p99, commit.sync_us.max
        ),
    ];
    let outcome = Outcome {
        commit,
        size: flags.size,
        in_flight: flags.in_flight,
        rounds: rounds.len(),
    };
    report::print(flags.json, &outcome, lines)
}

impl GroupCommit {
    /// Runs the loop once, in the current directory's file system.
    pub(crate) async fn round(self) -> Result<GroupCommitRound, BenchError> {
        let ran = tokio::task::spawn_blocking(move || self.run()).await;
        Ok(ran.map_err(io::Error::other)??)
    }

    fn run(self) -> io::Result<GroupCommitRound> {
        let folder = TempDir::with_prefix_in("castmq-bench-", ".")?;
        let path = folder.path().to_owned();
        // The next segment is made and prepared while this one is written, as a broker does it.
        let (segments, ready) = sync_channel(1);
        thread::spawn(move || {
            let mut number = 0;
            while segments.send(self.prepared(&path, number)).is_ok() {
                number += 1;
            }
        });
        let (mut synced, mut syncs) = (0, new_histogram());
        let mut segment = ready.recv().map_err(io::Error::other)??;
        let began = Instant::now();
        while began.elapsed() < self.duration {
            synced += self.fill(&segment, began, &mut syncs)?;
            if began.elapsed() < self.duration {
                segment = ready.recv().map_err(io::Error::other)??;
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        let rate = synced as f64 / seconds;
        Ok(GroupCommitRound {
            round: Round {
                messages: synced,
                messages_per_second: rate,
                megabytes_per_second: rate * self.size as f64 / 1e6,
                latency_us: None,
                cpu_ns_per_message: CpuPerMessage {
                    server: None,
                    client: 0.0,
                },
                server_rss_mib: None,
                server_mapped_mib: None,
            },
            syncs_per_second: syncs.len() as f64 / seconds,
            sync_us: Latency::of(&syncs),
        })
    }

    /// What is made durable together.
    fn group_bytes(self) -> usize {
        let body = vec![b'x'; self.size];
        self.in_flight as usize * record(&body).encoded_bytes()
    }

    fn prepared(self, folder: &Path, number: u64) -> io::Result<Arc<dyn Segment>> {
        let segment = OsDisk.create_segment(&folder.join(number.to_string()), SEGMENT_BYTES)?;
        let grain = Grain::for_syncs_of(self.group_bytes() as u64);
        segment.prepare(0..SEGMENT_BYTES as usize, grain)?;
        Ok(Arc::from(segment))
    }

    /// Appends to a segment and syncs it until it is full or time is up. Returns how many records are durable.
    fn fill(
        self,
        segment: &Arc<dyn Segment>,
        began: Instant,
        syncs: &mut Histogram<u64>,
    ) -> io::Result<u64> {
        let body = vec![b'x'; self.size];
        let group = self.group_bytes();
        let writer = segment.clone().writer();
        let mut writer = writer.ok_or_else(|| io::Error::other("the segment has a writer"))?;
        let mut end = 0;
        let mut synced = 0;
        while end + group <= segment.capacity() && began.elapsed() < self.duration {
            for _ in 0..self.in_flight {
                let bytes = record(&body).encode(writer.unpublished());
                writer.publish(bytes);
            }
            let start = Instant::now();
            segment.sync(end..end + group)?;
            syncs.saturating_record((start.elapsed().as_nanos() as u64).max(1));
            end += group;
            synced += self.in_flight;
        }
        Ok(synced)
    }
}

fn record(body: &[u8]) -> Record<'_> {
    let host = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    Record {
        topic: "bench",
        queue: QueueId(0),
        queue_offset: QueueOffset(0),
        physical_offset: PhysicalOffset(0),
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 0,
        born_host: host,
        store_timestamp_ms: 0,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        body_crc: None,
        properties: b"",
    }
}
