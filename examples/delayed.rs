//! Sends messages that are delivered later, by RocketMQ's delay levels.
//!
//! `cargo run --example delayed [NAME_SERVER]`, with a broker running (`cargo run --release`).

#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use castmq_client::{Client, DEFAULT_NAME_SERVER, Filter, Message, Result, StartFrom};
use tokio::sync::mpsc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let client = Client::connect(name_server()).await?;
    let producer = client.producer().build();
    let sent = Instant::now();
    // Level 1 is 1 s where the broker has RocketMQ's levels: 1s 5s 10s 30s 1m … 2h.
    let later = Message::builder("reminders", "take the bread out").delay_level(1);
    producer.send(later.build()?).await?;
    producer
        .send(Message::new("reminders", "put the bread in"))
        .await?;

    let (sender, mut reminders) = mpsc::unbounded_channel();
    let consumer = client
        .push_consumer("kitchen")
        .subscribe("reminders", Filter::All)
        .from(StartFrom::Earliest)
        .handler(move |message| {
            let sender = sender.clone();
            async move {
                let text = String::from_utf8_lossy(message.body()?).into_owned();
                // Nobody listens any more when the example ends.
                let _ = sender.send(text);
                Ok::<_, castmq_client::Error>(())
            }
        })
        .start()
        .await?;
    for _ in 0..2 {
        if let Some(text) = reminders.recv().await {
            let after = sent.elapsed();
            let when = if after < Duration::from_secs(1) {
                "at once"
            } else {
                "after a second"
            };
            println!("{when}: {text}");
        }
    }
    consumer.shutdown().await?;
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
