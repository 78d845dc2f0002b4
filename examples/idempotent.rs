//! Sends messages over a network that breaks all the time, and has each of them stored once.
//!
//! `cargo run --example idempotent [NAME_SERVER]`, with a broker running (`cargo run --release`).

#![allow(clippy::print_stdout)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use castmq_client::raw::{Dial, Dialing, Stream};
use castmq_client::{Client, DEFAULT_NAME_SERVER, Message, Result, SeekTo};
use tokio::io::{AsyncReadExt, copy, duplex, split};
use tokio::net::TcpStream;

const MESSAGES: usize = 500;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let network = Arc::new(Flaky::default());
    let client = Client::builder()
        .name_servers([name_server()])
        .dial(network.clone())
        .build()
        .await?;
    let producer = client
        .producer()
        .idempotent(true)
        // How long a message may be tried: longer than a broker takes to start, say.
        .send_timeout(Duration::from_secs(30))
        .build();

    let run = std::process::id();
    let messages = (0..MESSAGES).map(|number| Message::new("invoices", format!("{run}/{number}")));
    let deliveries: Vec<_> = messages.map(|message| producer.enqueue(message)).collect();
    for delivery in deliveries {
        // An error would say whether the message may be stored. Sent anew after it, it would be another message.
        delivery.await?;
    }
    producer.close().await;
    let connections = network.connections.load(Ordering::Relaxed);
    println!("{MESSAGES} messages acknowledged, over {connections} connections");

    let client = Client::connect(name_server()).await?;
    let mut consumer = client.pull_consumer("audit").build()?;
    let queues = consumer.queues("invoices").await?;
    consumer.assign(queues.clone()).await?;
    for queue in &queues {
        consumer.seek(queue, SeekTo::Earliest).await?;
    }
    let mut found: HashMap<String, usize> = HashMap::new();
    let own = format!("{run}/");
    loop {
        let messages = consumer.poll(Duration::from_millis(500)).await?;
        if messages.is_empty() {
            break;
        }
        for message in messages {
            let body = String::from_utf8_lossy(message.body()?).into_owned();
            if body.starts_with(&own) {
                *found.entry(body).or_default() += 1;
            }
        }
    }
    let twice = found.values().filter(|times| **times > 1).count();
    println!("{} are stored, {twice} of them twice", found.len());
    Ok(())
}

/// A network on which no connection lasts: behind so many bytes of answers it is cut, whatever is under way.
#[derive(Debug, Default)]
struct Flaky {
    connections: AtomicUsize,
}

const ANSWERS_BYTES: u64 = 4096;

impl Dial for Flaky {
    fn dial(&self, address: &str) -> Dialing {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let address = address.to_owned();
        Box::pin(async move {
            let (from_broker, mut to_broker) = TcpStream::connect(address).await?.into_split();
            let (near, far) = duplex(64 * 1024);
            let (mut from_client, mut to_client) = split(far);
            tokio::spawn(async move {
                let mut answers = from_broker.take(ANSWERS_BYTES);
                tokio::select! {
                    _ = copy(&mut from_client, &mut to_broker) => {}
                    _ = copy(&mut answers, &mut to_client) => {}
                }
            });
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }
}

/// The first argument, with or without `-n` before it.
fn name_server() -> String {
    let mut arguments = std::env::args().skip(1).filter(|given| given != "-n");
    arguments
        .next()
        .unwrap_or_else(|| DEFAULT_NAME_SERVER.into())
}
