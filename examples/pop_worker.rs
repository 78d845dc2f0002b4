//! A job queue: workers take jobs one by one, and each job is done by one of them, however many there are.
//!
//! `cargo run --example pop_worker [NAME_SERVER]`, with a broker running (`cargo run --release`).

#![allow(clippy::print_stdout)]

use std::time::Duration;

use castmq_client::{Client, DEFAULT_NAME_SERVER, Message, Result, StartFrom};
use tokio::sync::mpsc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let client = Client::connect(name_server()).await?;
    let producer = client.producer().build();
    for job in ["wash", "dry", "break", "fold", "iron", "stack"] {
        producer.send(Message::new("laundry", job)).await?;
    }
    producer.close().await;

    let (sender, mut done) = mpsc::unbounded_channel();
    for worker in 1..=8 {
        tokio::spawn(work(client.clone(), worker, sender.clone()));
    }
    for _ in 0..6 {
        if let Some(job) = done.recv().await {
            println!("{job} is done");
        }
    }
    Ok(())
}

async fn work(client: Client, worker: u32, done: mpsc::UnboundedSender<String>) -> Result<()> {
    let mut consumer = client
        .pop_consumer("laundrymen")
        .topic("laundry")
        .from(StartFrom::Earliest)
        // A worker that dies keeps its job for so long; then another one gets it.
        .invisible(Duration::from_secs(30))
        .max_messages(1)
        .build()?;
    loop {
        for mut message in consumer.receive().await? {
            let job = String::from_utf8_lossy(message.body()?).into_owned();
            let attempt = message.attempts();
            println!("worker {worker} begins to {job}, attempt {attempt}");
            match (job.as_str(), attempt) {
                // It failed: in a second somebody tries again.
                ("break", 1) => {
                    message.nack(Duration::from_secs(1)).await?;
                    continue;
                }
                // It takes longer than thought.
                ("iron", _) => message.extend(Duration::from_secs(120)).await?,
                _ => {}
            }
            // Stands for the work.
            tokio::time::sleep(Duration::from_millis(50)).await;
            message.ack().await?;
            // Nobody listens any more when the example ends.
            let _ = done.send(job);
        }
    }
}

/// The first argument, with or without `-n` before it.
fn name_server() -> String {
    let mut arguments = std::env::args().skip(1).filter(|given| given != "-n");
    arguments
        .next()
        .unwrap_or_else(|| DEFAULT_NAME_SERVER.into())
}
