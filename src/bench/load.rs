//! Acknowledged sends: each connection keeps a window of requests under way, and every answer lets the next one go.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use castmq_protocol::model::{QueueId, TopicConfig};
use castmq_protocol::native::admin::AdminRequest;
use castmq_protocol::native::frame::{Frames, encode_frame};
use castmq_protocol::native::request::{ANY_QUEUE, Send, SendBatch};
use castmq_protocol::native::{ClientHeader, Request, Role};
use castmq_protocol::record::batch::Element;
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::BenchError;
use super::flags::Load;
use super::peer::Peer;
use super::progress::Progress;
use super::report::{Round, Stopwatch, new_histogram};
use super::ticker::Ticker;
use super::wire::{MAX_FRAME_BYTES, Wire, acknowledged};

/// A load that is ready to be sent, again and again.
pub(crate) struct Generator {
    load: Rc<Load>,
    prefix: String,
    /// One frame for each topic and queue, complete but for its correlation.
    frames: Rc<[Bytes]>,
}

impl Generator {
    /// Makes the topics `{prefix}-{number}` where they need more queues than a new topic has.
    pub(crate) async fn prepare(
        load: &Load,
        peer: &Peer,
        prefix: &str,
    ) -> Result<Self, BenchError> {
        if let Some(queues) = load.queues {
            let mut admin = Wire::connect(&peer.address, Role::Admin, "bench").await?;
            for number in 0..load.topics.max(1) {
                let put = AdminRequest::PutTopic {
                    topic: format!("{prefix}-{number}"),
                    config: TopicConfig::with_queues(queues.max(1)),
                    only_new: false,
                };
                admin.ask(Request::Admin(put)).await?;
            }
        }
        let queues = || 0..load.queues.unwrap_or(1).max(1);
        let frames = queues().flat_map(|queue| {
            let queue = load.queues.map_or(ANY_QUEUE, |_| QueueId(queue));
            (0..load.topics.max(1)).map(move |topic| frame(load, topic as u32, queue))
        });
        Ok(Self {
            frames: frames.collect(),
            load: Rc::new(load.clone()),
            prefix: prefix.to_owned(),
        })
    }

    /// Sends until the load is done, and waits for all answers.
    pub(crate) async fn round(&self, peer: &Peer, what: &'static str) -> Result<Round, BenchError> {
        let count = self.load.connections.max(1);
        let mut connections = Vec::new();
        for number in 0..count {
            connections.push(Connection::open(self, peer, number).await?);
        }
        let batch = self.load.batch.max(1) as u64;
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
    frames: Rc<[Bytes]>,
}

impl Connection {
    async fn open(of: &Generator, peer: &Peer, number: usize) -> Result<Self, BenchError> {
        let name = format!("bench-{}-{number}", std::process::id());
        let mut wire = Wire::connect(&peer.address, Role::Producer, &name).await?;
        for topic in 0..of.load.topics.max(1) {
            let announce = Request::AnnounceTopic {
                alias: u32::try_from(topic).unwrap_or(u32::MAX),
                topic: format!("{}-{topic}", of.prefix),
            };
            wire.ask(announce).await?;
        }
        Ok(Self {
            wire,
            load: of.load.clone(),
            frames: of.frames.clone(),
        })
    }

    /// Sends what the plan says, then waits for what is under way. Returns how long each request took, in nanoseconds.
    async fn run(mut self, plan: Plan, progress: Progress) -> Result<Histogram<u64>, BenchError> {
        let window = self.load.window.max(1) as u64;
        let batch = self.load.batch.max(1) as u64;
        let ticker = match plan.pace {
            Some(_) => Some(Ticker::start()?),
            None => None,
        };
        let mut meant = vec![plan.began; window as usize];
        let mut latencies = new_histogram();
        let (mut sent, mut answered) = (0_u64, 0_u64);
        let mut out = BytesMut::new();
        let (mut reader, mut writer) = self.wire.socket.split();
        loop {
            let now = Instant::now();
            let is_over = plan.is_over(now, sent);
            if !is_over {
                let due = plan.due(now);
                while sent < due && sent - answered < window {
                    let frame = &self.frames[(sent % self.frames.len() as u64) as usize];
                    let at = out.len();
                    out.extend_from_slice(frame);
                    out[at + 4..at + 12].copy_from_slice(&(sent + 1).to_le_bytes());
                    meant[(sent % window) as usize] = plan.meant(sent, now);
                    sent += 1;
                }
            } else if sent == answered {
                return Ok(latencies);
            }
            // Answers come while requests are being written: both sides must go on.
            let waits_for_time = !is_over && sent - answered < window;
            tokio::select! {
                biased;
                written = writer.write_buf(&mut out), if !out.is_empty() => { written?; }
                read = reader.read_buf(&mut self.wire.input), if sent > answered => { check(read?)?; }
                () = tick(ticker.as_ref()), if out.is_empty() && waits_for_time => {}
            }
            let now = Instant::now();
            let mut answers = Frames::new(&self.wire.input, MAX_FRAME_BYTES);
            let before = answered;
            for answer in answers.by_ref() {
                let number = acknowledged(answer.map_err(io::Error::other)?)? - 1;
                let took = now.saturating_duration_since(meant[(number % window) as usize]);
                latencies.saturating_record((took.as_nanos() as u64).max(1));
                answered += 1;
            }
            progress.add((answered - before) * batch);
            let consumed = answers.consumed();
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

fn frame(load: &Load, topic: u32, queue: QueueId) -> Bytes {
    let body = vec![b'x'; load.size];
    let born_timestamp_ms = 1_700_000_000_000;
    let mut payload = BytesMut::new();
    let request = if load.batch > 1 {
        let element = Element {
            flag: 0,
            body: &body,
            properties: b"",
        };
        (0..load.batch).for_each(|_| element.encode(&mut payload));
        Request::SendBatch(SendBatch {
            topic,
            queue,
            flags: 0,
            sys_flag: 0,
            born_timestamp_ms,
            messages: u32::try_from(load.batch).unwrap_or(u32::MAX),
            extras: None,
        })
    } else {
        payload.extend_from_slice(&body);
        Request::Send(Send {
            topic,
            queue,
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
    frame.freeze()
}
