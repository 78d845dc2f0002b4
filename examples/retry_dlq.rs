//! What becomes of messages that cannot be processed: another attempt later, or the dead letters.
//!
//! `cargo run --example retry_dlq [NAME_SERVER]`, with a broker running (`cargo run --release`).

#![allow(clippy::print_stdout)]

use std::time::Duration;

use castmq_client::{Ack, Client, DEFAULT_NAME_SERVER, Filter, Message, Result, SeekTo, StartFrom};
use tokio::sync::mpsc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let client = Client::connect(name_server()).await?;
    let producer = client.producer().build();
    for body in ["good", "flaky", "poison"] {
        producer.send(Message::new("jobs", body)).await?;
    }

    let (sender, mut done) = mpsc::unbounded_channel();
    let consumer = client
        .push_consumer("workers")
        .subscribe("jobs", Filter::All)
        .from(StartFrom::Earliest)
        .handler(move |message| {
            let body = String::from_utf8_lossy(message.body().unwrap_or_default()).into_owned();
            let attempt = message.attempts();
            let ack = match (body.as_str(), attempt) {
                // `Ack::Retry`, or an error, waits 10 s, then 30 s and so on. This one is in a hurry: level 1 is 1 s.
                ("flaky", 1) => Ack::RetryAtLevel(1),
                // Nobody can process it: no need for 16 more attempts.
                ("poison", _) => Ack::DeadLetter,
                _ => Ack::Done,
            };
            println!("{body}, attempt {attempt}: {ack:?}");
            // Nobody listens any more when the example ends.
            let _ = sender.send(ack);
            async move { ack }
        })
        .start()
        .await?;
    // Good, flaky twice, poison.
    for _ in 0..4 {
        done.recv().await;
    }
    consumer.shutdown().await?;

    // Dead letters lie in a topic of the group, to be looked at and sent again.
    let mut letters = client.pull_consumer("workers-audit").build()?;
    let queues = letters.queues("%DLQ%workers").await?;
    letters.assign(queues.clone()).await?;
    for queue in &queues {
        letters.seek(queue, SeekTo::Earliest).await?;
    }
    for letter in letters.poll(Duration::from_secs(5)).await? {
        let body = String::from_utf8_lossy(letter.body()?).into_owned();
        println!("dead letter: {body}, sent to {}", letter.topic());
    }
    producer.close().await;
    Ok(())
}

/// The first argument, with or without `-n` before it.
fn name_server() -> String {
    let mut arguments = std::env::args().skip(1).filter(|given| given != "-n");
    arguments
        .next()
        .unwrap_or_else(|| DEFAULT_NAME_SERVER.into())
}
