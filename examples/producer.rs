//! Sends messages: one by one, many at once, and in batches.
//!
//! `cargo run --example producer [NAME_SERVER]`, with a broker running (`cargo run --release`).

#![allow(clippy::print_stdout)]

use castmq_client::{Client, DEFAULT_NAME_SERVER, Message, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let client = Client::connect(name_server()).await?;
    let producer = client.producer().build();

    // One at a time. A receipt means that the message is stored.
    let order = Message::builder("orders", "3 apples")
        .tag("created")
        .key("order-1")
        .property("region", "eu")
        .build()?;
    match producer.send(order).await {
        Ok(receipt) => println!("one message, stored as {receipt}"),
        Err(error) if error.is_retry_safe() => println!("not stored, send it again: {error}"),
        Err(error) => println!("may or may not be stored: {error}"),
    }

    // Many at once: each goes its way in `enqueue`, and the answers are awaited later.
    let mut deliveries = Vec::new();
    for number in 1..=100 {
        producer.ready().await?;
        let message = Message::new("orders", format!("{number} pears"));
        deliveries.push(producer.enqueue(message));
    }
    for delivery in deliveries {
        delivery.await?;
    }
    println!("100 messages, with their requests under way at once");

    // In batches: many messages in one request.
    let messages = (1..=100).map(|number| Message::new("orders", format!("{number} plums")));
    let receipts: Result<Vec<_>> = producer.send_all(messages).await.into_iter().collect();
    println!("{} messages, in batches", receipts?.len());

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
