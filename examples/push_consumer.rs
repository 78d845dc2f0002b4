//! A member of a consumer group: is given messages, and handles several at once. Start it twice, and the two share the
//! messages.
//!
//! `cargo run --example push_consumer [NAME_SERVER]`, after the example `producer`. Ends when nothing has come for three
//! seconds.

#![allow(clippy::print_stdout)]

use std::time::Duration;

use castmq_client::{
    Client, DEFAULT_NAME_SERVER, Error, Filter, ReceivedMessage, Result, StartFrom,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let client = Client::connect(name_server()).await?;
    let (sender, mut handled) = mpsc::unbounded_channel();
    let consumer = client
        .push_consumer("billing")
        .subscribe("orders", Filter::All)
        .from(StartFrom::Earliest)
        .concurrency(8)
        .handler(move |message| {
            let sender = sender.clone();
            async move {
                // An error, or a panic, lets the message come again after a pause.
                bill(&message).await?;
                let _ = sender.send(());
                Ok::<_, Error>(())
            }
        })
        .start()
        .await?;

    // A service would wait for a signal here.
    let mut count = 0;
    while let Ok(Some(())) = timeout(Duration::from_secs(3), handled.recv()).await {
        count += 1;
    }

    // Finishes what runs, commits, and leaves the group: nothing that was handled comes again.
    consumer.shutdown().await?;
    println!("billed {count} orders");
    Ok(())
}

async fn bill(message: &ReceivedMessage) -> Result<()> {
    let order = String::from_utf8_lossy(message.body()?);
    println!("{} #{}: {order}", message.queue(), message.offset());
    Ok(())
}

/// The first argument, with or without `-n` before it.
fn name_server() -> String {
    let mut arguments = std::env::args().skip(1).filter(|given| given != "-n");
    arguments
        .next()
        .unwrap_or_else(|| DEFAULT_NAME_SERVER.into())
}
