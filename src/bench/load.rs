//! Acknowledged sends: each connection keeps a window of requests under way, and every answer lets the next one go.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use castmq_protocol::model::QueueId;
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::BenchError;
use super::dialect::Template;
use super::flags::Load;
use super::peer::Peer;
use super::progress::Progress;
use super::report::{Round, Stopwatch, new_histogram};
use super::ticker::Ticker;
use super::wire::Wire;

/// Bytes of requests that are put in line for a socket while it takes no more, but always one request.
const MAX_UNWRITTEN_BYTES: usize = 4 * 1024 * 1024;

/// A load that is ready to be sent, again and again.
pub(crate) struct Generator {
    load: Rc<Load>,
    topics: Vec<String>,
    /// One for each topic and queue.
    requests: Rc<[Template]>,
}

impl Generator {
    /// Makes the topics `{prefix}-{number}` where they need more queues than a new topic has.
    pub(crate) async fn prepare(
        load: &Load,
        peer: &Peer,
        prefix: &str,
    ) -> Result<Self, BenchError> {
        let names = (0..load.topics).map(|number| format!("{prefix}-{number}"));
        let names: Vec<String> = names.collect();
        if let Some(queues) = load.queues {
            for name in &names {
                let made = load.wire.make_topic(&peer.address, name, queues);
                made.await?;
            }
        }
        let queues = || 0..load.queues.unwrap_or(1);
        let requests = queues().flat_map(|queue| {
            let queue = load.queues.map(|_| QueueId(queue));
            let topics = (0..).zip(&names);
            topics.map(move |(alias, name)| load.wire.template(load, (alias, name), queue))
        });
        Ok(Self {
            requests: requests.collect(),
            load: Rc::new(load.clone()),
            topics: names,
        })
    }

    /// Sends until the load is done, and waits for all answers.
    pub(crate) async fn round(&self, peer: &Peer, what: &'static str) -> Result<Round, BenchError> {
        let count = self.load.connections;
        let mut connections = Vec::new();
        for number in 0..count {
            connections.push(Connection::open(self, peer, number).await?);
        }
        let batch = self.load.batch as u64;
        let progress = Progress::default();
        let shown = progress.show(what);
        let stopwatch = Stopwatch::start(peer);
        let began = Instant::now();
        let tasks: Vec<_> = connections
            .into_iter()
            .enumerate()
            .map(|(number, connection)| {
                let (number, count) = (number as u64, count as u64);
                let share = self.load.messages.map(|messages| {
                    let requests = messages.div_ceil(batch);
                    requests / count + u64::from(number < requests % count)
                });
                let pace = self.load.rate.map(|rate| rate / (batch * count) as f64);
                let plan = Plan {
                    began,
                    end: began + self.load.duration,
                    share,
                    pace,
                };
                let progress = progress.clone();
                tokio::task::spawn_local(connection.run(plan, progress))
            })
            .collect();
        let mut latencies = new_histogram();
        for task in tasks {
            let of_connection = task.await.map_err(io::Error::other)??;
            latencies.add(of_connection).map_err(io::Error::other)?;
        }
        let round = stopwatch.stop(peer, progress.messages(), self.load.size, Some(&latencies));
        drop(shown);
        Ok(round)
    }
}

/// What one connection sends of a round.
struct Plan {
    began: Instant,
    end: Instant,
    /// So many requests, whatever the time.
    share: Option<u64>,
    /// Requests per second.
    pace: Option<f64>,
}

impl Plan {
    /// Requests that may have been sent by now.
    fn due(&self, now: Instant) -> u64 {
        let paced = self.pace.map_or(u64::MAX, |pace| {
            (now.duration_since(self.began).as_secs_f64() * pace) as u64
        });
        paced.min(self.share.unwrap_or(u64::MAX))
    }

    fn is_over(&self, now: Instant, sent: u64) -> bool {
        match self.share {
            Some(share) => sent >= share,
            None => now >= self.end,
        }
    }

    /// When a request should leave: under a pace, lateness counts as latency.
    fn meant(&self, number: u64, now: Instant) -> Instant {
        match self.pace {
            Some(pace) => self.began + Duration::from_secs_f64((number + 1) as f64 / pace),
            None => now,
        }
    }
}

/// One connection's load.
struct Connection {
    wire: Wire,
    load: Rc<Load>,
    requests: Rc<[Template]>,
}

impl Connection {
    async fn open(of: &Generator, peer: &Peer, number: usize) -> Result<Self, BenchError> {
        let name = format!("bench-{}-{number}", std::process::id());
        let topics = of.topics.iter().cloned();
        let wire = of.load.wire.connect(&peer.address, &name, topics).await?;
        Ok(Self {
            wire,
            load: of.load.clone(),
            requests: of.requests.clone(),
        })
    }

    /// Sends what the plan says, then waits for what is under way. Returns how long each request took, in nanoseconds.
    async fn run(mut self, plan: Plan, progress: Progress) -> Result<Histogram<u64>, BenchError> {
        let window = self.load.window as u64;
        let batch = self.load.batch as u64;
        let ticker = match plan.pace {
            Some(_) => Some(Ticker::start()?),
            None => None,
        };
        // When each request under way was to leave, by its number, and the numbers that are free.
        let mut meant = vec![plan.began; window as usize];
        let mut free: Vec<u32> = (0..window as u32).rev().collect();
        let mut latencies = new_histogram();
        let (mut sent, mut answered) = (0_u64, 0_u64);
        let mut out = BytesMut::new();
        let mut lost = None;
        let (mut reader, mut writer) = self.wire.socket.split();
        loop {
            let now = Instant::now();
            let is_over = plan.is_over(now, sent);
            if !is_over {
                let due = plan.due(now);
                while sent < due
                    && out.len() < MAX_UNWRITTEN_BYTES
                    && let Some(number) = free.pop()
                {
                    let request = (sent % self.requests.len() as u64) as usize;
                    self.requests[request].put(number, &mut out);
                    meant[number as usize] = plan.meant(sent, now);
                    sent += 1;
                }
            } else if sent == answered {
                return Ok(latencies);
            }
            // Answers come while requests are being written: both sides must go on.
            let waits_for_time = !is_over && !free.is_empty();
            tokio::select! {
                biased;
                written = writer.write_buf(&mut out), if !out.is_empty() => { lost = written.err(); }
                read = reader.read_buf(&mut self.wire.input), if sent > answered => { check(read?)?; }
                () = tick(ticker.as_ref()), if out.is_empty() && waits_for_time => {}
            }
            if lost.is_some() {
                // The broker may have said why.
                while reader
                    .read_buf(&mut self.wire.input)
                    .await
                    .is_ok_and(|read| read > 0)
                {}
            }
            let now = Instant::now();
            let before = answered;
            let consumed = self.load.wire.answers(&self.wire.input, |number| {
                let meant = meant.get(number as usize).copied().unwrap_or(now);
                let took = now.saturating_duration_since(meant);
                latencies.saturating_record((took.as_nanos() as u64).max(1));
                free.push(number);
                answered += 1;
            })?;
            if let Some(error) = lost {
                return Err(error.into());
            }
            progress.add((answered - before) * batch);
            self.wire.input.advance(consumed);
        }
    }
}

async fn tick(ticker: Option<&Ticker>) {
    match ticker {
        Some(ticker) => ticker.tick().await,
        None => std::future::pending().await,
    }
}

pub(crate) fn check(read: usize) -> io::Result<()> {
    match read {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
