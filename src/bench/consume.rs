//! `bench consume`: a backlog, pushed to one consumer as fast as it goes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use castmq_client::{Client, Filter, ReceivedMessage, StartFrom};
use castmq_protocol::model::{QueueId, QueueOffset};
use castmq_protocol::native::frame::{Frames, decode_header, encode_frame};
use castmq_protocol::native::request::{self, Subscribe};
use castmq_protocol::native::{ClientHeader, Request, Response, Role, ServerHeader};
use castmq_protocol::record::{Step, step};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};

use super::BenchError;
use super::dialect::Dialect;
use super::flags::{ConsumeFlags, Load};
use super::load::{Generator, check};
use super::peer::{Amount, Peer};
use super::progress::Progress;
use super::report::{self, Round, Stopwatch, median};
use super::wire::{MAX_FRAME_BYTES, Wire};

/// Credit of a subscription, given back when half of it is used up.
const CREDIT_MESSAGES: u32 = 1 << 20;
const CREDIT_BYTES: u32 = 16 << 20;

#[derive(Serialize)]
struct Outcome {
    #[serde(flatten)]
    round: Round,
    settings: Settings,
}

#[derive(Serialize)]
struct Settings {
    size: usize,
    messages: u64,
    queues: u32,
    rounds: usize,
    client: bool,
}

/// Measures and prints.
pub(crate) async fn run(flags: &ConsumeFlags) -> Result<(), BenchError> {
    let broker = Peer::of(&flags.target, Amount::Gigabytes).await?;
    let prefix = format!("bench-backlog-{}", std::process::id());
    let backlog =
        Backlog::produce(&broker, &prefix, flags.size, flags.messages, flags.queues).await?;
    let mut rounds = Vec::new();
    for number in 0..flags.rounds {
        rounds.push(match flags.client {
            true => backlog.consume_with_client(&broker, number).await?,
            false => backlog.consume(&broker).await?,
        });
    }
    let Some(round) = median(&rounds) else {
        return Ok(());
    };
    let lines = [report::line("consumer", &round)];
    let outcome = Outcome {
        round,
        settings: Settings {
            size: flags.size,
            messages: flags.messages,
            queues: flags.queues,
            rounds: rounds.len(),
            client: flags.client,
        },
    };
    report::print(flags.target.json, &outcome, lines)
}

/// Messages that lie in a topic.
pub(crate) struct Backlog {
    topic: String,
    size: usize,
    messages: u64,
}

impl Backlog {
    /// Sends them, in batches.
    pub(crate) async fn produce(
        broker: &Peer,
        prefix: &str,
        size: usize,
        messages: u64,
        queues: u32,
    ) -> Result<Self, BenchError> {
        let load = Load {
            unique_ids: None,
            size,
            connections: 4,
            window: 16,
            batch: (65_536 / size.max(1)).clamp(1, 256),
            wire: Dialect::Native,
            topics: 1,
            queues: Some(queues),
            rate: None,
            duration: Duration::ZERO,
            messages: Some(messages),
            rounds: 1,
        };
        let generator = Generator::prepare(&load, broker, prefix).await?;
        let sent = generator.round(broker, "backlog").await?;
        Ok(Self {
            topic: format!("{prefix}-0"),
            size,
            messages: sent.messages,
        })
    }

    pub(crate) fn topics(&self) -> Vec<String> {
        vec![self.topic.clone()]
    }

    async fn consume(&self, broker: &Peer) -> Result<Round, BenchError> {
        let mut follower = Follower::start(broker, self.topics(), From::FirstMessage, 0).await?;
        let shown = follower.progress.show("consumer");
        let stopwatch = Stopwatch::start(broker);
        follower.wait_for(self.messages).await;
        let round = stopwatch.stop(broker, self.messages, self.size, None);
        drop(shown);
        follower.stop()?;
        Ok(round)
    }

    async fn consume_with_client(&self, broker: &Peer, number: usize) -> Result<Round, BenchError> {
        let name_server = broker
            .name_server
            .as_ref()
            .ok_or(BenchError::NeedsEmbedded)?;
        let client = Client::connect(name_server.clone()).await?;
        let (counted, all) = (Arc::new(AtomicU64::new(0)), self.messages);
        let done = Arc::new(Notify::new());
        let (of_handler, tell) = (counted.clone(), done.clone());
        let stopwatch = Stopwatch::start(broker);
        let consumer = client
            .push_consumer(&format!("bench-{}-{number}", std::process::id()))
            .subscribe(&self.topic, Filter::All)
            .from(StartFrom::Earliest)
            .handler(move |_: ReceivedMessage| {
                if of_handler.fetch_add(1, Ordering::Relaxed) + 1 == all {
                    tell.notify_one();
                }
                std::future::ready(())
            })
            .start()
            .await?;
        done.notified().await;
        let round = stopwatch.stop(broker, self.messages, self.size, None);
        consumer.shutdown().await?;
        Ok(round)
    }
}

/// A consumer that reads topics from their first message on, or from their end.
///
/// It has a thread of its own, as a consumer has a machine of its own: one that is measured beside producers stands back
/// behind them, so that what shows is what it costs the broker.
pub(crate) struct Follower {
    progress: Progress,
    wanted: Arc<AtomicU64>,
    reached: Arc<Notify>,
    /// Dropped to end it.
    until: oneshot::Sender<()>,
    /// Hears of its end.
    has_ended: oneshot::Receiver<()>,
    thread: JoinHandle<Result<(), BenchError>>,
}

/// Where a [`Follower`] begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    FirstMessage,
    End,
}

impl Follower {
    /// Starts it and waits until it has subscribed.
    pub(crate) async fn start(
        broker: &Peer,
        topics: Vec<String>,
        from: From,
        stands_back: i32,
    ) -> Result<Self, BenchError> {
        let (until, is_over) = oneshot::channel();
        let (started, has_started) = oneshot::channel();
        let (ends, has_ended) = oneshot::channel();
        let (progress, wanted) = (Progress::default(), Arc::new(AtomicU64::new(u64::MAX)));
        let reached = Arc::new(Notify::new());
        let receiver = Receiver {
            out: BytesMut::new(),
            used: Vec::new(),
            progress: progress.clone(),
            wanted: wanted.clone(),
            reached: reached.clone(),
        };
        let address = broker.address.clone();
        let thread = thread::Builder::new()
            .name("consumer".to_owned())
            .spawn(move || {
                let _ends = ends;
                rustix::process::nice(stands_back).map_err(io::Error::from)?;
                super::runtime()?.block_on(async {
                    let follow = async {
                        let (wire, subscribes) = subscribe_to(&address, topics).await?;
                        let _ = started.send(());
                        receiver.run(wire, subscribes, from).await
                    };
                    tokio::select! {
                        done = follow => done,
                        _ = is_over => Ok(()),
                    }
                })
            })?;
        let follower = Self {
            progress,
            wanted,
            reached,
            until,
            has_ended,
            thread,
        };
        match has_started.await {
            Ok(()) => Ok(follower),
            // It ended before.
            Err(_) => follower
                .stop()
                .and(Err(BenchError::NotReady("the consumer"))),
        }
    }

    /// Until it has got so many messages, or ended.
    async fn wait_for(&mut self, messages: u64) {
        self.wanted.store(messages, Ordering::Relaxed);
        tokio::select! {
            () = self.reached.notified() => {}
            _ = &mut self.has_ended => {}
        }
    }

    /// Ends it, and returns how many messages it got.
    pub(crate) fn stop(self) -> Result<u64, BenchError> {
        drop(self.until);
        let ended = self.thread.join();
        ended.map_err(|_| io::Error::other("the consumer's thread panicked"))??;
        Ok(self.progress.messages())
    }
}

async fn subscribe_to(
    address: &str,
    topics: Vec<String>,
) -> Result<(Wire, Vec<(request::TopicAlias, QueueId)>), BenchError> {
    let name = format!("bench-consumer-{}", std::process::id());
    let mut wire = Wire::connect(address, Role::Consumer, &name).await?;
    let group = Request::AnnounceGroup {
        alias: 0,
        group: "bench".to_owned(),
    };
    wire.ask(group).await?;
    let mut subscribes = Vec::new();
    for (alias, topic) in (0..).zip(topics) {
        let answer = wire.ask(Request::AnnounceTopic { alias, topic }).await?;
        let Response::TopicAnnounced { read_queues, .. } = answer else {
            return Err(BenchError::Unexpected(format!("{answer:?}")));
        };
        subscribes.extend((0..read_queues).map(|queue| (alias, QueueId(queue))));
    }
    Ok((wire, subscribes))
}

struct Receiver {
    out: BytesMut,
    /// Messages and bytes of each subscription since credit was last given.
    used: Vec<(u32, u32)>,
    progress: Progress,
    wanted: Arc<AtomicU64>,
    reached: Arc<Notify>,
}

impl Receiver {
    async fn run(
        mut self,
        mut wire: Wire,
        subscribes: Vec<(request::TopicAlias, QueueId)>,
        from: From,
    ) -> Result<(), BenchError> {
        self.used = vec![(0, 0); subscribes.len()];
        let offset = match from {
            From::FirstMessage => QueueOffset::ZERO,
            From::End => QueueOffset(u64::MAX),
        };
        for (subscription, (topic, queue)) in (0..).zip(subscribes) {
            self.say(Request::Subscribe(Subscribe {
                subscription,
                group: 0,
                topic,
                queue,
                offset,
                filter: request::Filter::All,
                credit_messages: CREDIT_MESSAGES,
                credit_bytes: CREDIT_BYTES,
            }));
        }
        loop {
            if !self.out.is_empty() {
                wire.socket.write_all_buf(&mut self.out).await?;
            }
            check(wire.socket.read_buf(&mut wire.input).await?)?;
            let mut frames = Frames::new(&wire.input, MAX_FRAME_BYTES);
            for frame in frames.by_ref() {
                self.take(frame.map_err(io::Error::other)?)?;
            }
            let consumed = frames.consumed();
            wire.input.advance(consumed);
            wire.input.reserve(256 * 1024);
        }
    }

    fn take(&mut self, frame: &[u8]) -> Result<(), BenchError> {
        let (header, header_bytes) =
            decode_header::<ServerHeader>(frame).map_err(io::Error::other)?;
        let deliver = match header.response {
            Response::Deliver(deliver) => deliver,
            Response::Subscribed(_) => return Ok(()),
            Response::Failed(refusal) => return Err(BenchError::Refused(refusal.message)),
            other => return Err(BenchError::Unexpected(format!("{other:?}"))),
        };
        let records = frame.get(header_bytes..).unwrap_or_default();
        let found = count_records(records)?;
        if found != u64::from(deliver.messages) {
            return Err(BenchError::Unexpected(format!(
                "{found} records for {deliver:?}"
            )));
        }
        let used = &mut self.used[deliver.subscription as usize];
        used.0 += deliver.messages;
        used.1 += records.len() as u32;
        if used.0 >= CREDIT_MESSAGES / 2 || used.1 >= CREDIT_BYTES / 2 {
            let (messages, bytes) = std::mem::take(used);
            self.say(Request::Credit {
                subscription: deliver.subscription,
                messages,
                bytes,
            });
        }
        self.progress.add(found);
        if self.progress.messages() >= self.wanted.load(Ordering::Relaxed) {
            self.reached.notify_one();
        }
        Ok(())
    }

    fn say(&mut self, request: Request) {
        let header = ClientHeader {
            correlation: 1,
            request,
        };
        encode_frame(&header, &[], &mut self.out);
    }
}

/// Steps over records as a consumer has to, at the least.
fn count_records(mut records: &[u8]) -> Result<u64, BenchError> {
    let mut count = 0;
    while !records.is_empty() {
        let Step::Record(record) = step(records).map_err(io::Error::other)? else {
            return Err(BenchError::Unexpected(
                "a delivery that is not all records".to_owned(),
            ));
        };
        records = records.get(record.total_bytes()..).unwrap_or_default();
        count += 1;
    }
    Ok(count)
}
