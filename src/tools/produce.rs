//! `castmq produce`: sends the lines of a file or of standard input as messages, or one given body.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use castmq_client::{Delivery, Error, Message, Producer};
use clap::Args;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use super::{Connect, ToolError};

/// Messages under way at once.
const MAX_UNDER_WAY: usize = 4096;

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
}

fn parse_property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} has no `=` between name and value"))?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) async fn run(flags: &ProduceFlags) -> Result<(), ToolError> {
    let client = flags.connect.client().await?;
    let producer = client.producer().build();
    producer.prepare(&flags.topic).await?;
    let began = Instant::now();
    let mut sending = Sending::default();
    match (&flags.body, &flags.file) {
        (Some(body), _) => sending.send(&producer, flags, body.clone().into()).await?,
        (None, Some(path)) => {
            let opened = File::open(path).await;
            let file = opened.map_err(|source| ToolError::File {
                path: path.clone(),
                source,
            })?;
            sending.send_lines(&producer, flags, file).await?;
        }
        (None, None) => {
            sending
                .send_lines(&producer, flags, tokio::io::stdin())
                .await?;
        }
    }
    let sent = sending.finish().await?;
    producer.close().await;
    let seconds = began.elapsed().as_secs_f64();
    eprintln!(
        "{sent} messages stored in {seconds:.2} s ({:.0} a second)",
        sent as f64 / seconds
    );
    Ok(())
}

/// Messages under way, and what became of the others.
#[derive(Default)]
struct Sending {
    under_way: VecDeque<Delivery>,
    sent: usize,
    failed: usize,
    first_failure: Option<Error>,
}

impl Sending {
    async fn send_lines(
        &mut self,
        producer: &Producer,
        flags: &ProduceFlags,
        lines: impl AsyncRead + Unpin,
    ) -> Result<(), ToolError> {
        let mut lines = BufReader::with_capacity(256 * 1024, lines);
        loop {
            let mut line = Vec::new();
            if read_line(&mut lines, &mut line).await? == 0 {
                return Ok(());
            }
            self.send(producer, flags, line).await?;
        }
    }

    async fn send(
        &mut self,
        producer: &Producer,
        flags: &ProduceFlags,
        body: Vec<u8>,
    ) -> Result<(), ToolError> {
        producer.ready().await?;
        self.under_way
            .push_back(producer.enqueue(message(flags, body)?));
        self.sent += 1;
        if self.under_way.len() >= MAX_UNDER_WAY {
            self.settle_one().await;
        }
        Ok(())
    }

    async fn settle_one(&mut self) {
        if let Some(delivery) = self.under_way.pop_front()
            && let Err(error) = delivery.await
        {
            self.failed += 1;
            self.first_failure.get_or_insert(error);
        }
    }

    async fn finish(mut self) -> Result<usize, ToolError> {
        while !self.under_way.is_empty() {
            self.settle_one().await;
        }
        match self.first_failure {
            None => Ok(self.sent),
            Some(first) => Err(ToolError::NotStored {
                failed: self.failed,
                sent: self.sent,
                first,
            }),
        }
    }
}

/// Reads up to the next line feed, which is not part of the line. Returns how many bytes were read.
async fn read_line(
    lines: &mut (impl AsyncBufReadExt + Unpin),
    line: &mut Vec<u8>,
) -> io::Result<usize> {
    let read = lines.read_until(b'\n', line).await?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(read)
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
    builder.build()
}
