//! Consumers that want a part of a topic's messages: by tags, and by an expression over properties.
//!
//! `cargo run --example filter [NAME_SERVER]`, with a broker running (`cargo run --release`).

#![allow(clippy::print_stdout)]

use castmq_client::{Client, DEFAULT_NAME_SERVER, Filter, Message, Result, StartFrom};
use tokio::sync::mpsc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let client = Client::connect(name_server()).await?;
    let producer = client.producer().build();
    for (fruit, tag, grams) in [
        ("apple", "red", "150"),
        ("cherry", "red", "8"),
        ("melon", "green", "2000"),
        ("plum", "blue", "60"),
    ] {
        let message = Message::builder("fruits", fruit)
            .tag(tag)
            .property("grams", grams);
        producer.send(message.build()?).await?;
    }
    producer.close().await;

    let red = Filter::Tags(vec!["red".into()]);
    show(&client, "reds", red, 2).await?;
    // RocketMQ's SQL92: comparisons, BETWEEN, IN, CONTAINS, IS NULL, AND, OR, NOT. A tag is the property TAGS.
    let heavy = Filter::Sql("grams >= 100 AND TAGS IN ('red', 'green')".into());
    show(&client, "heavies", heavy, 2).await
}

/// Prints the first messages that a group gets.
async fn show(client: &Client, group: &str, filter: Filter, count: usize) -> Result<()> {
    let (sender, mut fruits) = mpsc::unbounded_channel();
    let consumer = client
        .push_consumer(group)
        .subscribe("fruits", filter)
        .from(StartFrom::Earliest)
        .handler(move |message| {
            let text = message
                .body()
                .map(|body| String::from_utf8_lossy(body).into_owned());
            // Nobody listens any more when the example ends.
            let _ = text.map(|text| sender.send(text));
            async {}
        })
        .start()
        .await?;
    let mut seen = Vec::new();
    while seen.len() < count {
        seen.extend(fruits.recv().await);
    }
    seen.sort();
    println!("{group}: {}", seen.join(", "));
    consumer.shutdown().await
}

/// The first argument, with or without `-n` before it.
fn name_server() -> String {
    let mut arguments = std::env::args().skip(1).filter(|given| given != "-n");
    arguments
        .next()
        .unwrap_or_else(|| DEFAULT_NAME_SERVER.into())
}
