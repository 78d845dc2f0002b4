//! `castmq consume`: joins a group and prints its messages as lines, until enough were printed or a signal comes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use castmq_client::{Error, Filter, ReceivedMessage, StartFrom, tags};
use castmq_protocol::filter::tags_of;
use clap::Args;
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::interval;

use super::connect::Connect;
use super::message::MessageJson;
use super::progress::Progress;
use super::{ToolError, print, remark, time};

/// How long a printed line stays in memory at most.
const FLUSH_INTERVAL: Duration = Duration::from_millis(50);

/// How many bytes of lines stay in memory at most, but for the last one.
const BUFFER_BYTES: usize = 64 * 1024;

/// What is printed.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConsumeFlags {
    /// The topic.
    topic: String,
    #[command(flatten)]
    connect: Connect,
    /// The consumer group; its members share the messages.
    #[arg(long)]
    group: String,
    /// Only messages with one of these tags: "new || paid". The others count as consumed.
    #[arg(long, value_name = "TAGS", conflicts_with = "sql")]
    tags: Option<String>,
    /// Only messages whose properties satisfy an SQL92 expression: "price BETWEEN 10 AND 20 AND colour = 'red'".
    #[arg(long, value_name = "EXPRESSION")]
    sql: Option<String>,
    /// Where the group begins the first time: earliest, latest, or the first message stored at a time: milliseconds since
    /// the epoch, 2026-01-31T12:00:00Z, a local time like "2026-01-31 12:00", or how long ago like 15m.
    #[arg(long, value_parser = time::parse_start, default_value = "earliest")]
    from: StartFrom,
    /// End after this many messages.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
    /// Print each message as one JSON object.
    #[arg(long)]
    json: bool,
}

fn filter(flags: &ConsumeFlags) -> Filter {
    match (&flags.tags, &flags.sql) {
        (Some(some), _) => tags(tags_of(some)),
        (None, Some(expression)) => Filter::Sql(expression.clone()),
        (None, None) => Filter::All,
    }
}

/// Standard output, shared by the handlers.
struct Printer {
    lines: Mutex<Lines>,
    as_json: bool,
    max: u64,
    /// Enough was printed, or nothing can be any more.
    done: Notify,
}

struct Lines {
    buffer: Vec<u8>,
    printed: u64,
    progress: Progress,
    failure: Option<ToolError>,
}

impl Printer {
    fn new(flags: &ConsumeFlags) -> Self {
        let progress = flags.max.map_or_else(Progress::counting, Progress::up_to);
        Self {
            lines: Mutex::new(Lines {
                buffer: Vec::with_capacity(2 * BUFFER_BYTES),
                printed: 0,
                progress,
                failure: None,
            }),
            as_json: flags.json,
            max: flags.max.unwrap_or(u64::MAX),
            done: Notify::new(),
        }
    }

    /// Prints a message. False when enough were printed or nothing can be printed: then it is left to the group.
    fn print(&self, message: &ReceivedMessage) -> bool {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.printed >= self.max || lines.failure.is_some() {
            return false;
        }
        if let Err(error) = lines.add(message, self.as_json) {
            lines.failure = Some(error);
            self.done.notify_one();
            return false;
        }
        if lines.printed == self.max {
            self.done.notify_one();
        }
        true
    }

    /// Writes what was printed so far.
    fn flush(&self) -> Result<(), ToolError> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.flush()?;
        lines.failure.take().map_or(Ok(()), Err)
    }
}

impl Lines {
    fn add(&mut self, message: &ReceivedMessage, as_json: bool) -> Result<(), ToolError> {
        match as_json {
            true => {
                let line = serde_json::to_vec(&MessageJson::new(message)?);
                self.buffer.extend(line.map_err(print::OutputError::from)?);
            }
            false => self.buffer.extend_from_slice(message.body()?),
        }
        self.buffer.push(b'\n');
        self.printed += 1;
        match self.buffer.len() {
            0..BUFFER_BYTES => Ok(()),
            _ => self.flush(),
        }
    }

    fn flush(&mut self) -> Result<(), ToolError> {
        self.progress.set(self.printed);
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self.progress.aside(|| print::bytes(&self.buffer));
        self.buffer.clear();
        Ok(written?)
    }
}

pub(super) async fn run(flags: &ConsumeFlags) -> Result<(), ToolError> {
    let client = flags.connect.client().await?;
    if let Err(Error::TopicNotFound { topic }) = client.admin().route(&flags.topic).await {
        remark(&format!(
            "note: topic {topic} does not exist yet: waiting for it"
        ));
    }
    let printer = Arc::new(Printer::new(flags));
    let mut terminate = signal(SignalKind::terminate()).map_err(|source| ToolError::System {
        action: "listen to signals",
        source,
    })?;
    let handler = {
        let printer = printer.clone();
        move |message: ReceivedMessage| {
            let printer = printer.clone();
            async move {
                if !printer.print(&message) {
                    // Not this member's any more; another one, or the next run, prints it.
                    std::future::pending().await
                }
            }
        }
    };
    let consumer = client
        .push_consumer(&flags.group)
        .subscribe(flags.topic.as_str(), filter(flags))
        .from(flags.from)
        .drain_timeout(Duration::from_millis(100))
        .handler(handler)
        .start()
        .await?;
    let mut flush = interval(FLUSH_INTERVAL);
    loop {
        tokio::select! {
            // What could not be printed must not be committed, so the group is left without a word.
            _ = flush.tick() => printer.flush()?,
            () = printer.done.notified() => break,
            _ = ctrl_c() => break,
            _ = terminate.recv() => break,
        }
    }
    printer.flush()?;
    consumer.shutdown().await?;
    printer.flush()
}
