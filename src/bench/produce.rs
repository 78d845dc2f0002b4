//! Acknowledged sends: each connection keeps a window of requests under way, and every answer lets the next one go.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use castmq_protocol::native::frame::{Frames, encode_frame};
use castmq_protocol::native::request::{ANY_QUEUE, Send, SendBatch};
use castmq_protocol::native::{ClientHeader, Request, Role};
use castmq_protocol::record::batch::Element;
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::peer::Peer;
use super::report::{Latency, Round, median, median_ratio};
use super::wire::{MAX_FRAME_BYTES, Wire, acknowledged};
use super::{BenchError, ProduceFlags};

/// Latencies beyond this many nanoseconds count as this many: a minute.
const MAX_LATENCY_NS: u64 = 60_000_000_000;

#[derive(Debug, Serialize)]
struct Outcome {
    size: usize,
    connections: usize,
    window: usize,
    batch: usize,
    topics: usize,
    flush: &'static str,
    rounds: usize,
    #[serde(flatten)]
    broker: Round,
    echo: Option<Round>,
    ratio_to_echo: Option<f64>,
}

/// Measures and prints.
pub(crate) async fn run(flags: &ProduceFlags) -> Result<(), BenchError> {
    let broker = match &flags.broker {
        Some(address) => Peer::running(address),
        None => Peer::broker(flags.sync_flush).await?,
    };
    let echo = match flags.echo {
        true => Some(Peer::echo().await?),
        false => None,
    };
    let (mut rounds, mut echo_rounds) = (Vec::new(), Vec::new());
    for _ in 0..flags.rounds.max(1) {
        if let Some(echo) = &echo {
            echo_rounds.push(round(flags, echo).await?);
        }
        rounds.push(round(flags, &broker).await?);
    }
    let Some(middle) = median(&rounds) else {
        return Ok(());
    };
    let outcome = Outcome {
        size: flags.size,
        connections: flags.connections,
        window: flags.window,
        batch: flags.batch,
        topics: flags.topics,
        flush: if flags.sync_flush { "sync" } else { "async" },
        rounds: rounds.len(),
        broker: middle,
        echo: median(&echo_rounds),
        ratio_to_echo: median_ratio(&rounds, &echo_rounds),
    };
    print(&outcome, flags.json);
    Ok(())
}

#[allow(clippy::print_stdout)]
fn print(outcome: &Outcome, as_json: bool) {
    if as_json {
        let json = serde_json::to_string(outcome).unwrap_or_default();
        println!("{json}");
        return;
    }
    let line = |name: &str, round: &Round| {
        println!(
            "{name}: {:.0} messages/s, {:.1} MB/s, {:?}, server {:.0} ns/message, client {:.0} ns/message, server {:.1} MiB and {:.1} MiB mapped",
            round.messages_per_second,
            round.megabytes_per_second,
            round.latency_us,
            round.server_cpu_ns_per_message,
            round.client_cpu_ns_per_message,
            round.server_rss_mib,
            round.server_mapped_mib
        );
    };
    line("broker", &outcome.broker);
    if let Some(echo) = &outcome.echo {
        line("echo", echo);
    }
    if let Some(ratio) = outcome.ratio_to_echo {
        println!("ratio to echo: {ratio:.3}");
    }
}

async fn round(flags: &ProduceFlags, peer: &Peer) -> Result<Round, BenchError> {
    let mut connections = Vec::new();
    for number in 0..flags.connections.max(1) {
        connections.push(Connection::open(flags, peer, number).await?);
    }
    let (server_cpu, client_cpu) = (peer.cpu_ns(), own_cpu_ns());
    let began = Instant::now();
    let end = began + Duration::from_secs_f64(flags.seconds);
    let flags = Rc::new(flags.clone());
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|connection| tokio::task::spawn_local(connection.run(flags.clone(), end)))
        .collect();
    let mut requests = 0;
    let mut latencies = new_histogram();
    for task in tasks {
        let (sent, of_connection) = task.await.map_err(std::io::Error::other)??;
        requests += sent;
        latencies
            .add(of_connection)
            .map_err(std::io::Error::other)?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let messages = requests * flags.batch.max(1) as u64;
    let per_message = |ns: u64| ns as f64 / messages.max(1) as f64;
    let (server_rss_mib, server_mapped_mib) = peer.rss_mib();
    let rate = messages as f64 / seconds;
    Ok(Round {
        messages,
        messages_per_second: rate,
        megabytes_per_second: rate * flags.size as f64 / 1e6,
        latency_us: Latency::of(&latencies),
        server_cpu_ns_per_message: per_message(peer.cpu_ns().saturating_sub(server_cpu)),
        client_cpu_ns_per_message: per_message(own_cpu_ns().saturating_sub(client_cpu)),
        server_rss_mib,
        server_mapped_mib,
    })
}

fn own_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[allow(clippy::expect_used)]
fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_LATENCY_NS, 3).expect("the bounds are constants that fit")
}

/// One connection's load.
struct Connection {
    wire: Wire,
    /// One frame for each topic, complete but for its correlation.
    frames: Vec<BytesMut>,
}

impl Connection {
    async fn open(flags: &ProduceFlags, peer: &Peer, number: usize) -> Result<Self, BenchError> {
        let name = format!("bench-{}-{number}", std::process::id());
        let mut wire = Wire::connect(&peer.address, Role::Producer, &name).await?;
        let mut frames = Vec::new();
        for topic in 0..flags.topics.max(1) {
            let alias = u32::try_from(topic).unwrap_or(u32::MAX);
            let announce = Request::AnnounceTopic {
                alias,
                topic: format!("bench-{topic}"),
            };
            wire.ask(announce).await?;
            frames.push(frame(flags, alias));
        }
        Ok(Self { wire, frames })
    }

    /// Sends until `end`, then waits for what is under way. Returns how many requests were answered, and how long each
    /// took in nanoseconds.
    async fn run(
        mut self,
        flags: Rc<ProduceFlags>,
        end: Instant,
    ) -> Result<(u64, Histogram<u64>), BenchError> {
        let window = flags.window.max(1) as u64;
        let start = Instant::now();
        let nanos = |at: Instant| at.duration_since(start).as_nanos() as u64;
        let mut sent_at = vec![0; window as usize];
        let mut latencies = new_histogram();
        let (mut sent, mut answered) = (0_u64, 0_u64);
        let mut out = BytesMut::new();
        let (mut reader, mut writer) = self.wire.socket.split();
        loop {
            let now = Instant::now();
            if now < end {
                while sent - answered < window {
                    let frame = &self.frames[(sent % self.frames.len() as u64) as usize];
                    let at = out.len();
                    out.extend_from_slice(frame);
                    out[at + 4..at + 12].copy_from_slice(&(sent + 1).to_le_bytes());
                    sent_at[(sent % window) as usize] = nanos(now);
                    sent += 1;
                }
            } else if sent == answered {
                return Ok((answered, latencies));
            }
            if !out.is_empty() {
                // Answers come while requests are being written: both sides must go on.
                tokio::select! {
                    biased;
                    written = writer.write_buf(&mut out) => { written?; }
                    read = reader.read_buf(&mut self.wire.input) => { check(read?)?; }
                }
            }
            if out.is_empty() && self.wire.input.is_empty() {
                check(reader.read_buf(&mut self.wire.input).await?)?;
            }
            let now = nanos(Instant::now());
            let mut answers = Frames::new(&self.wire.input, MAX_FRAME_BYTES);
            for answer in answers.by_ref() {
                let number = acknowledged(answer.map_err(std::io::Error::other)?)? - 1;
                let took = now - sent_at[(number % window) as usize];
                latencies.saturating_record(took.max(1));
                answered += 1;
            }
            let consumed = answers.consumed();
            self.wire.input.advance(consumed);
            if consumed == 0 && out.is_empty() && !self.wire.input.is_empty() {
                check(reader.read_buf(&mut self.wire.input).await?)?;
            }
        }
    }
}

fn check(read: usize) -> Result<(), BenchError> {
    match read {
        0 => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
        _ => Ok(()),
    }
}

fn frame(flags: &ProduceFlags, topic: u32) -> BytesMut {
    let body = vec![b'x'; flags.size];
    let born_timestamp_ms = 1_700_000_000_000;
    let mut payload = BytesMut::new();
    let request = if flags.batch > 1 {
        let element = Element {
            flag: 0,
            body: &body,
            properties: b"",
        };
        (0..flags.batch).for_each(|_| element.encode(&mut payload));
        Request::SendBatch(SendBatch {
            topic,
            queue: ANY_QUEUE,
            flags: 0,
            sys_flag: 0,
            born_timestamp_ms,
            messages: u32::try_from(flags.batch).unwrap_or(u32::MAX),
            extras: None,
        })
    } else {
        payload.extend_from_slice(&body);
        Request::Send(Send {
            topic,
            queue: ANY_QUEUE,
            flags: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms,
            properties_bytes: 0,
            extras: None,
        })
    };
    let header = ClientHeader {
        correlation: 0,
        request,
    };
    let mut frame = BytesMut::new();
    encode_frame(&header, &[&payload], &mut frame);
    frame
}
