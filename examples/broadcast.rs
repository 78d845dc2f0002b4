//! Every member gets every message: for caches, settings, whatever each process has to hear of.
//!
//! `cargo run --example broadcast [NAME_SERVER]`, with a broker running. Starts two members, sends, and ends when both have
//! got everything.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;

use castmq_client::{
    Client, DEFAULT_NAME_SERVER, Filter, Message, PushConsumer, Result, StartFrom,
};
use tokio::sync::mpsc;

const CHANGES: usize = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let client = Client::connect(name_server()).await?;
    let producer = client.producer().build();
    // Creates the topic, so that the members have something to listen to.
    producer.prepare("price-changes").await?;

    let (sender, mut seen) = mpsc::unbounded_channel();
    let first = member(&client, "first", folder.path(), sender.clone()).await?;
    let second = member(&client, "second", folder.path(), sender).await?;

    let changes = (1..=CHANGES).map(|price| Message::new("price-changes", price.to_string()));
    for receipt in producer.send_all(changes).await {
        receipt?;
    }
    producer.close().await;

    for _ in 0..2 * CHANGES {
        if let Some(line) = seen.recv().await {
            println!("{line}");
        }
    }
    first.shutdown().await?;
    second.shutdown().await?;
    Ok(())
}

async fn member(
    client: &Client,
    name: &'static str,
    folder: &Path,
    sender: mpsc::UnboundedSender<String>,
) -> Result<PushConsumer> {
    client
        .push_consumer("caches")
        .subscribe("price-changes", Filter::All)
        .from(StartFrom::Latest)
        .broadcasting()
        // Each member keeps its own offsets. With a file they outlive the process.
        .offset_file(folder.join(format!("{name}.json")))
        .handler(move |message| {
            let sender = sender.clone();
            async move {
                let price = String::from_utf8_lossy(message.body()?).into_owned();
                let _ = sender.send(format!("{name} member: the price is {price}"));
                Ok::<_, castmq_client::Error>(())
            }
        })
        .start()
        .await
}

/// The first argument, with or without `-n` before it.
fn name_server() -> String {
    let mut arguments = std::env::args().skip(1).filter(|given| given != "-n");
    arguments
        .next()
        .unwrap_or_else(|| DEFAULT_NAME_SERVER.into())
}
