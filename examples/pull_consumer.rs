//! Reads queues at its own pace: chooses them, goes where it wants in them, and commits when it is done.
//!
//! `cargo run --example pull_consumer [NAME_SERVER]`, after the example `producer`. Ends when it has read everything.

#![allow(clippy::print_stdout)]

use std::time::Duration;

use castmq_client::{Client, DEFAULT_NAME_SERVER, Result, SeekTo};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let client = Client::connect(name_server()).await?;
    let mut consumer = client.pull_consumer("audit").build()?;

    let queues = consumer.queues("orders").await?;
    consumer.assign(queues.clone()).await?;
    // Without a seek it goes on where the group's offsets are.
    for queue in &queues {
        consumer.seek(queue, SeekTo::Earliest).await?;
    }

    loop {
        let messages = consumer.poll(Duration::from_secs(1)).await?;
        if messages.is_empty() {
            break;
        }
        let bytes: usize = messages.iter().map(|message| message.record_bytes()).sum();
        println!("{} messages, {bytes} bytes", messages.len());
        // What was handed out before is done.
        consumer.commit().await?;
    }
    for queue in &queues {
        if let Some(position) = consumer.position(queue) {
            println!("{queue} was read up to {position}");
        }
    }
    Ok(())
}

/// The first argument, with or without `-n` before it.
fn name_server() -> String {
    let mut arguments = std::env::args().skip(1).filter(|given| given != "-n");
    arguments
        .next()
        .unwrap_or_else(|| DEFAULT_NAME_SERVER.into())
}
