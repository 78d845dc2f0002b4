//! Traces a message: when and where it was sent, given to whom, and what came of it.
//!
//! `cargo run --example trace [NAME_SERVER]`, with a broker running (`cargo run --release`).

#![allow(clippy::print_stdout)]

use std::time::Duration;

use castmq_client::trace_format::{TraceRecord, decode};
use castmq_client::{Ack, Client, DEFAULT_NAME_SERVER, Filter, Message, Result, StartFrom, Trace};
use tokio::sync::mpsc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // All that this client sends and receives. By default a client traces the topics that say so:
    // `castmq admin topic set parcels --trace on`.
    let builder = Client::builder().name_servers([name_server()]);
    let client = builder.trace(Trace::All).build().await?;

    let producer = client.producer().build();
    let message = Message::builder("parcels", "a vase").key("parcel-7");
    producer.send(message.build()?).await?;

    let (sender, mut delivered) = mpsc::unbounded_channel();
    let consumer = client
        .push_consumer("carriers")
        .subscribe("parcels", Filter::All)
        .from(StartFrom::Earliest)
        .handler(move |message| {
            let attempts = message.attempts();
            if attempts > 1 {
                // Nobody listens any more when the example ends.
                let _ = sender.send(message.unique_id().map(str::to_owned));
            }
            async move {
                match attempts {
                    // Nobody at home.
                    1 => Ack::RetryAfter(Duration::from_millis(200)),
                    _ => Ack::Done,
                }
            }
        })
        .start()
        .await?;
    let id = delivered.recv().await.flatten().unwrap_or_default();
    consumer.shutdown().await?;

    // Traces are messages. This is what `castmq admin trace` looks at.
    client.flush_traces().await;
    println!("castmq admin trace {id}");
    let mut traces = client.pull_consumer("tracer").build()?;
    let queues = traces.queues("RMQ_SYS_TRACE_TOPIC").await?;
    traces.assign(queues.clone()).await?;
    for queue in &queues {
        traces.seek(queue, castmq_client::SeekTo::Earliest).await?;
    }
    let mut steps = 0;
    while steps < 5 {
        for message in traces.poll(Duration::from_secs(1)).await? {
            let body = String::from_utf8_lossy(message.body()?).into_owned();
            let records = decode(&body).flatten();
            for record in records.filter(|record| record.message_id() == id) {
                println!("{}", show(&record));
                steps += 1;
            }
        }
    }
    producer.close().await;
    Ok(())
}

fn show(record: &TraceRecord) -> String {
    match record {
        TraceRecord::Produced(sent) => format!("sent to {}", sent.topic),
        TraceRecord::Delivered(begun) => {
            format!("given to {}, attempt {}", begun.group, begun.retries + 1)
        }
        TraceRecord::Acknowledged(done) => format!("{}: {:?}", done.group, done.outcome),
        TraceRecord::TransactionEnded(ended) => format!("ended: {:?}", ended.resolution),
    }
}

/// The first argument, with or without `-n` before it.
fn name_server() -> String {
    let mut arguments = std::env::args().skip(1).filter(|given| given != "-n");
    arguments
        .next()
        .unwrap_or_else(|| DEFAULT_NAME_SERVER.into())
}
