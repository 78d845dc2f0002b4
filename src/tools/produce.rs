//! `castmq produce`: sends the lines of a file or of standard input as messages, or one given body.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use castmq_client::{Delivery, Error, ErrorCode, Message, Producer, SendReceipt};
use clap::Args;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Duration, Instant, sleep_until};

use super::connect::Connect;
use super::progress::Progress;
use super::{ToolError, remark, time};

/// Messages under way at once.
const MAX_UNDER_WAY: usize = 4096;

/// Messages between two looks at the progress line.
const PROGRESS_STEP: u64 = 64;

/// What is sent.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProduceFlags {
    /// The topic.
    topic: String,
    #[command(flatten)]
    connect: Connect,
    /// Read lines from a file instead of standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "body")]
    file: Option<PathBuf>,
    /// Send one message with this body.
    #[arg(long)]
    body: Option<String>,
    /// The messages' tag.
    #[arg(long)]
    tag: Option<String>,
    /// A key of the messages; may be given several times.
    #[arg(long)]
    key: Vec<String>,
    /// A property of the messages; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_property)]
    property: Vec<(String, String)>,
    /// Send to the queue of this number instead of all in turn.
    #[arg(long, value_name = "N")]
    queue: Option<u32>,
    /// The messages' priority, in a topic that has priorities.
    #[arg(long, value_name = "0-9", value_parser = clap::value_parser!(u8).range(..=9))]
    priority: Option<u8>,
    /// Nobody gets the messages this long after they are sent.
    #[arg(long, value_name = "TIME", value_parser = time::parse_length)]
    ttl: Option<Duration>,
    /// Nobody gets the messages before this long after they are sent.
    #[arg(long, value_name = "TIME", value_parser = time::parse_length)]
    delay: Option<Duration>,
    /// Send at most this many messages a second.
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    rate: Option<f64>,
}

fn parse_property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} has no `=` between name and value"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Messages a second.
pub(crate) fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok();
    rate.filter(|rate: &f64| rate.is_finite() && *rate > 0.0)
        .ok_or_else(|| format!("{text:?} is not a number of messages a second above 0"))
}

pub(super) async fn run(flags: &ProduceFlags) -> Result<(), ToolError> {
    // A message that no broker could take is told of before anything is asked of one.
    message(flags, Vec::new()).map_err(ToolError::Client)?;
    let source = open(flags.file.as_deref()).await?;
    let client = flags.connect.client().await?;
    let producer = client.producer().build();
    producer.prepare(&flags.topic).await?;
    let began = Instant::now();
    let mut sending = Sending::new(producer.clone(), flags, source.bytes);
    let end = {
        let all = pin!(sending.send_all(source));
        tokio::select! {
            end = all => end,
            () = interrupted() => End::Interrupted,
        }
    };
    let result = sending.settle_all(end).await;
    producer.close().await;
    let stored = result?;
    let seconds = began.elapsed().as_secs_f64();
    let rate = stored as f64 / seconds;
    remark(&format!(
        "{stored} messages stored in {seconds:.2} s ({rate:.0} a second)"
    ));
    Ok(())
}

/// Where bodies come from.
struct Source {
    lines: Box<dyn AsyncRead + Unpin>,
    /// Its length, when it has one.
    bytes: Option<u64>,
    name: PathBuf,
}

async fn open(file: Option<&Path>) -> Result<Source, ToolError> {
    let Some(path) = file else {
        return Ok(Source {
            lines: Box::new(tokio::io::stdin()),
            bytes: None,
            name: "standard input".into(),
        });
    };
    let failed = |source| ToolError::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).await.map_err(failed)?;
    let metadata = file.metadata().await.map_err(failed)?;
    Ok(Source {
        lines: Box::new(file),
        bytes: metadata.is_file().then_some(metadata.len()),
        name: path.to_owned(),
    })
}

async fn interrupted() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => drop(ctrl_c().await),
    }
}

/// Why no more messages are sent.
enum End {
    /// There are no more.
    Complete,
    Interrupted,
    /// One was not stored, and the next would not be either.
    Failed,
    /// One cannot be sent at all.
    Unsendable(Error),
    Unreadable(ToolError),
}

/// Messages under way, and what became of the others.
struct Sending<'a> {
    producer: Producer,
    flags: &'a ProduceFlags,
    progress: Progress,
    began: Instant,
    read_bytes: u64,
    under_way: VecDeque<Delivery>,
    sent: u64,
    failed: u64,
    first_failure: Option<Error>,
    /// Whether one failed for a reason that the next would meet, too.
    is_hopeless: bool,
}

impl<'a> Sending<'a> {
    fn new(producer: Producer, flags: &'a ProduceFlags, bytes: Option<u64>) -> Self {
        Self {
            producer,
            flags,
            progress: bytes.map_or_else(Progress::counting, Progress::through_file),
            began: Instant::now(),
            read_bytes: 0,
            under_way: VecDeque::new(),
            sent: 0,
            failed: 0,
            first_failure: None,
            is_hopeless: false,
        }
    }

    async fn send_all(&mut self, source: Source) -> End {
        if let Some(body) = &self.flags.body {
            return match self.send(body.clone().into()).await {
                Ok(()) => End::Complete,
                Err(error) => End::Unsendable(error),
            };
        }
        let has_length = source.bytes.is_some();
        let mut lines = BufReader::with_capacity(256 * 1024, source.lines);
        while !self.is_hopeless {
            let mut line = Vec::new();
            match lines.read_until(b'\n', &mut line).await {
                Ok(0) => return End::Complete,
                Ok(read) => self.read_bytes += read as u64,
                Err(error) => {
                    return End::Unreadable(ToolError::File {
                        action: "read on in",
                        path: source.name,
                        source: error,
                    });
                }
            }
            // The line feed is not part of the line.
            line.pop_if(|last| *last == b'\n');
            if let Err(error) = self.send(line).await {
                return End::Unsendable(error);
            }
            if self.sent.is_multiple_of(PROGRESS_STEP) {
                self.show_progress(has_length);
            }
        }
        End::Failed
    }

    fn show_progress(&self, has_length: bool) {
        match has_length {
            true => self.progress.set(self.read_bytes),
            false => self.progress.set(self.sent),
        }
        self.progress.say(|| self.sent.to_string());
    }

    async fn send(&mut self, body: Vec<u8>) -> Result<(), Error> {
        if let Some(rate) = self.flags.rate {
            sleep_until(self.began + Duration::from_secs_f64(self.sent as f64 / rate)).await;
        }
        let message = message(self.flags, body)?;
        self.producer.ready().await?;
        let delivery = self.producer.enqueue(message);
        self.under_way.push_back(delivery);
        self.sent += 1;
        self.settle_what_is_done();
        if self.under_way.len() >= MAX_UNDER_WAY {
            self.settle_one().await;
        }
        Ok(())
    }

    /// Without waiting, so that a slow producer hears of a failure before its line is full.
    fn settle_what_is_done(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        while let Some(delivery) = self.under_way.front_mut()
            && let Poll::Ready(outcome) = Pin::new(delivery).poll(&mut context)
        {
            self.settle(outcome);
        }
    }

    async fn settle_one(&mut self) {
        // It stays in line while it is waited for: an interruption must not lose count of it.
        if let Some(delivery) = self.under_way.front_mut() {
            let outcome = delivery.await;
            self.settle(outcome);
        }
    }

    /// Counts what became of the first in line.
    fn settle(&mut self, outcome: Result<SendReceipt, Error>) {
        self.under_way.pop_front();
        if let Err(error) = outcome {
            self.failed += 1;
            self.is_hopeless |= !is_about_the_message(&error);
            self.first_failure.get_or_insert(error);
        }
    }

    /// Waits for what is under way. Returns how many messages are stored.
    async fn settle_all(mut self, end: End) -> Result<u64, ToolError> {
        while !self.under_way.is_empty() {
            self.settle_one().await;
        }
        let stored = self.sent - self.failed;
        match (end, self.first_failure) {
            (End::Unreadable(error), _) => Err(error),
            (End::Unsendable(reason), None) => Err(ToolError::Unsendable {
                number: self.sent + 1,
                stored,
                reason,
            }),
            (end, Some(first)) => Err(ToolError::NotStored {
                failed: self.failed,
                sent: self.sent,
                first,
                is_cut_short: !matches!(end, End::Complete),
            }),
            (End::Interrupted, None) => Err(ToolError::Interrupted { stored }),
            (End::Complete | End::Failed, None) => Ok(stored),
        }
    }
}

/// Whether another message may fare better.
fn is_about_the_message(error: &Error) -> bool {
    matches!(error, Error::TooLarge { .. })
        || matches!(
            error.code(),
            Some(ErrorCode::MessageTooLarge | ErrorCode::PropertiesTooLarge)
        )
}

fn message(flags: &ProduceFlags, body: Vec<u8>) -> Result<Message, Error> {
    let mut builder = Message::builder(flags.topic.as_str(), body);
    if let Some(tag) = &flags.tag {
        builder = builder.tag(tag);
    }
    for key in &flags.key {
        builder = builder.key(key);
    }
    for (name, value) in &flags.property {
        builder = builder.property(name, value);
    }
    if let Some(queue) = flags.queue {
        builder = builder.queue(queue);
    }
    if let Some(priority) = flags.priority {
        builder = builder.priority(priority);
    }
    if let Some(delay) = flags.delay {
        let ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        builder = builder.deliver_at_ms(time::now_ms().saturating_add(ms));
    }
    if let Some(ttl) = flags.ttl {
        builder = builder.expires_after(ttl);
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_properties_that_make_no_sense_are_refused() {
        assert_eq!(parse_rate("0.5"), Ok(0.5));
        for text in ["0", "-1", "fast", "inf", "NaN"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
        assert_eq!(parse_property("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(parse_property("a").is_err());
    }
}
