//! `bench latency`: from the moment a message should be sent to its handler, through the Rust client, at a fixed rate.
//!
//! The schedule is fixed before: a message that leaves late because others were slow counts from when it should have left,
//! so that a stall is seen by all whom it would have met (no coordinated omission).
//!
//! With a delay the broker keeps each message for a time, and what counts is how late it comes after that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use castmq_client::{Client, Filter, Message, ReceivedMessage, StartFrom};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;

use super::BenchError;
use super::flags::LatencyFlags;
use super::peer::{Amount, Peer};
use super::report::{self, Round, Stopwatch, new_histogram};
use super::ticker::Ticker;
use crate::tools::now_ms;

/// Sent before measuring, so that routes, queues and caches are there.
const WARM_UP: Duration = Duration::from_secs(1);

/// How long messages may take behind the last one that was sent.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Serialize)]
struct Outcome {
    #[serde(flatten)]
    round: Round,
    settings: Settings,
}

#[derive(Serialize)]
struct Settings {
    size: usize,
    rate: f64,
    delay_ms: u64,
    queues: u32,
    duration_s: f64,
    rounds: usize,
    flush: Option<&'static str>,
}

/// What handlers see.
struct Seen {
    latencies: Histogram<u64>,
    messages: u64,
}

/// Measures and prints.
pub(crate) async fn run(flags: &LatencyFlags) -> Result<(), BenchError> {
    let broker = Peer::of(&flags.target, Amount::Megabytes).await?;
    let name_server = broker
        .name_server
        .clone()
        .unwrap_or_else(|| castmq_client::DEFAULT_NAME_SERVER.to_owned());
    let client = Client::connect(name_server).await?;
    let mut rounds = Vec::new();
    for number in 0..flags.rounds {
        rounds.push(round(flags, &broker, &client, number).await?);
    }
    rounds.sort_by(|a, b| p99(a).total_cmp(&p99(b)));
    let round = rounds.swap_remove(rounds.len() / 2);
    let lines = [report::line("produce to handler", &round)];
    let outcome = Outcome {
        round,
        settings: Settings {
            size: flags.size,
            rate: flags.rate,
            delay_ms: flags.delay.as_millis() as u64,
            queues: flags.queues,
            duration_s: flags.duration.as_secs_f64(),
            rounds: flags.rounds,
            flush: flags.target.flush(),
        },
    };
    report::print(flags.target.json, &outcome, lines)
}

fn p99(round: &Round) -> f64 {
    round
        .latency_us
        .map_or(f64::INFINITY, |latency| latency.p99)
}

async fn round(
    flags: &LatencyFlags,
    broker: &Peer,
    client: &Client,
    number: usize,
) -> Result<Round, BenchError> {
    let topic = format!("bench-latency-{}-{number}", std::process::id());
    let (clock, began_ms) = begin_at_a_millisecond();
    let seen = Arc::new(Mutex::new(Seen {
        latencies: new_histogram(),
        messages: 0,
    }));
    let producer = client.producer().linger(Duration::ZERO).build();
    producer.prepare(&topic).await?;
    let of_handler = seen.clone();
    let consumer = client
        .push_consumer(&topic)
        .subscribe(&topic, Filter::All)
        .from(StartFrom::Earliest)
        .handler(move |message: ReceivedMessage| {
            let now = clock.elapsed();
            let meant = message
                .body()
                .ok()
                .and_then(|body| body.first_chunk().copied());
            let meant = Duration::from_nanos(u64::from_le_bytes(meant.unwrap_or_default()));
            let mut seen = of_handler.lock();
            if !meant.is_zero() {
                let took = now.saturating_sub(meant).as_nanos() as u64;
                seen.latencies.saturating_record(took.max(1));
                seen.messages += 1;
            }
            std::future::ready(())
        })
        .start()
        .await?;
    let pace = Pace {
        flags,
        clock,
        began_ms,
    };
    pace.send(&producer, &topic, WARM_UP, false).await?;
    let stopwatch = Stopwatch::start(broker);
    let sent = pace.send(&producer, &topic, flags.duration, true).await?;
    let deadline = Instant::now() + flags.delay + PATIENCE;
    while seen.lock().messages < sent {
        if Instant::now() > deadline {
            let missing = sent - seen.lock().messages;
            return Err(BenchError::Unexpected(format!(
                "{missing} messages never came"
            )));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let round = stopwatch.stop(broker, sent, flags.size, Some(&seen.lock().latencies));
    producer.close().await;
    consumer.shutdown().await?;
    Ok(round)
}

struct Pace<'a> {
    flags: &'a LatencyFlags,
    clock: Instant,
    /// The time of day when the clock began, in milliseconds since the epoch.
    began_ms: i64,
}

/// Both clocks, from a moment at which the time of day is a whole millisecond.
fn begin_at_a_millisecond() -> (Instant, i64) {
    let before = now_ms();
    loop {
        let now = now_ms();
        if now != before {
            return (Instant::now(), now);
        }
        std::hint::spin_loop();
    }
}

impl Pace<'_> {
    /// When a message that is to be sent at a time should be with its handler.
    fn due(&self, meant: Duration) -> Duration {
        match self.flags.delay.is_zero() {
            true => meant,
            // Brokers count in milliseconds.
            false => Duration::from_millis((meant + self.flags.delay).as_millis() as u64 + 1),
        }
    }

    /// Sends for some time. Messages that are not `measured` say so.
    async fn send(
        &self,
        producer: &castmq_client::Producer,
        topic: &str,
        duration: Duration,
        measured: bool,
    ) -> Result<u64, BenchError> {
        let ticker = Ticker::start()?;
        let began = self.clock.elapsed();
        let messages = (duration.as_secs_f64() * self.flags.rate) as u64;
        let mut body = vec![b'x'; self.flags.size.max(8)];
        let mut sent = 0;
        let mut last = None;
        while sent < messages {
            ticker.tick().await;
            let elapsed = self.clock.elapsed().saturating_sub(began);
            let due = ((elapsed.as_secs_f64() * self.flags.rate) as u64).min(messages);
            while sent < due {
                let meant = began + Duration::from_secs_f64((sent + 1) as f64 / self.flags.rate);
                let at = self.due(meant);
                let stamp = if measured { at.as_nanos() as u64 } else { 0 };
                body[..8].copy_from_slice(&stamp.to_le_bytes());
                producer.ready().await?;
                let mut message = Message::builder(topic, body.clone());
                if !self.flags.delay.is_zero() {
                    message = message.deliver_at_ms(self.began_ms + at.as_millis() as i64);
                }
                last = Some(producer.enqueue(message.build()?));
                sent += 1;
            }
        }
        if let Some(last) = last {
            last.await?;
        }
        Ok(sent)
    }
}
