//! `castmq consume`: joins a group and prints its messages as lines, until enough were printed or a signal comes.

use std::io::{self, BufWriter, Stdout, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use castmq_client::{Filter, ReceivedMessage, StartFrom};
use clap::Args;
use serde_json::json;
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::interval;

use super::{Connect, ToolError};

/// How long a printed line stays in memory at most.
const FLUSH_INTERVAL: Duration = Duration::from_millis(50);

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
    /// Where the group begins the first time: earliest, latest, or milliseconds since the epoch.
    #[arg(long, value_parser = parse_from, default_value = "earliest")]
    from: StartFrom,
    /// End after this many messages.
    #[arg(long)]
    max: Option<u64>,
    /// Print each message as one JSON object.
    #[arg(long)]
    json: bool,
}

fn parse_from(text: &str) -> Result<StartFrom, String> {
    match text {
        "earliest" => Ok(StartFrom::Earliest),
        "latest" => Ok(StartFrom::Latest),
        _ => text.parse().map(StartFrom::Timestamp).map_err(|_| {
            format!("{text:?} is not earliest, latest, or a time in milliseconds since the epoch")
        }),
    }
}

/// Standard output, shared by the handlers.
struct Printer {
    out: Mutex<BufWriter<Stdout>>,
    as_json: bool,
    printed: AtomicU64,
    max: u64,
    done: Notify,
}

impl Printer {
    /// Prints a message. False when enough were printed: then it is left to the group.
    fn print(&self, message: &ReceivedMessage) -> io::Result<bool> {
        let body = message.body().map_err(io::Error::other)?;
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.printed.load(Ordering::Relaxed);
        if before >= self.max {
            return Ok(false);
        }
        if self.as_json {
            writeln!(out, "{}", describe(message, body))?;
        } else {
            out.write_all(body)?;
            out.write_all(b"\n")?;
        }
        self.printed.store(before + 1, Ordering::Relaxed);
        if before + 1 == self.max {
            self.done.notify_one();
        }
        Ok(true)
    }

    fn flush(&self) -> io::Result<()> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.flush()
    }
}

fn describe(message: &ReceivedMessage, body: &[u8]) -> serde_json::Value {
    let properties: serde_json::Map<_, _> = message
        .properties()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    json!({
        "id": message.id().to_string(),
        "topic": message.topic(),
        "broker": message.broker(),
        "queue": message.queue_id().0,
        "offset": message.offset().0,
        "store_timestamp_ms": message.store_timestamp_ms(),
        "properties": properties,
        "body": String::from_utf8_lossy(body),
    })
}

pub(super) async fn run(flags: &ConsumeFlags) -> Result<(), ToolError> {
    let client = flags.connect.client().await?;
    let printer = Arc::new(Printer {
        out: Mutex::new(BufWriter::with_capacity(64 * 1024, io::stdout())),
        as_json: flags.json,
        printed: AtomicU64::new(0),
        max: flags.max.unwrap_or(u64::MAX),
        done: Notify::new(),
    });
    let mut terminate = signal(SignalKind::terminate())?;
    let handler = {
        let printer = printer.clone();
        move |message: ReceivedMessage| {
            let printer = printer.clone();
            async move {
                match printer.print(&message) {
                    Ok(true) => {}
                    // Not this member's any more; another one, or the next run, prints it.
                    Ok(false) => std::future::pending().await,
                    // Nobody reads: the end of the pipe is the end of the tool.
                    Err(_) => {
                        printer.done.notify_one();
                        std::future::pending().await
                    }
                }
            }
        }
    };
    let consumer = client
        .push_consumer(&flags.group)
        .subscribe(flags.topic.as_str(), Filter::All)
        .from(flags.from)
        .drain_timeout(Duration::from_millis(100))
        .handler(handler)
        .start()
        .await?;
    let mut flush = interval(FLUSH_INTERVAL);
    loop {
        tokio::select! {
            _ = flush.tick() => printer.flush()?,
            () = printer.done.notified() => break,
            _ = ctrl_c() => break,
            _ = terminate.recv() => break,
        }
    }
    printer.flush()?;
    consumer.shutdown().await?;
    printer.flush()?;
    Ok(())
}
