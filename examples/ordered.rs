//! Messages in order: those with one ordering key go to one queue, and are handled one after the other.
//!
//! `cargo run --example ordered [NAME_SERVER]`, with a broker running. Sends the steps of a few orders and ends when all
//! were handled.

#![allow(clippy::print_stdout)]

use castmq_client::{Client, DEFAULT_NAME_SERVER, Filter, Message, Order, Result, StartFrom};
use tokio::sync::mpsc;

const STEPS: [&str; 4] = ["created", "paid", "packed", "shipped"];
const ORDERS: usize = 5;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let client = Client::connect(name_server()).await?;

    let producer = client.producer().build();
    let mut deliveries = Vec::new();
    for step in STEPS {
        for order in 1..=ORDERS {
            let message = Message::builder("order-steps", format!("order {order} {step}"))
                .ordering_key(&format!("order-{order}"))
                .build()?;
            // No need to await one before the next: the order of a key is kept, whatever has to be sent again.
            deliveries.push(producer.enqueue(message));
        }
    }
    for delivery in deliveries {
        delivery.await?;
    }
    producer.close().await;

    let (sender, mut handled) = mpsc::unbounded_channel();
    let consumer = client
        .push_consumer("warehouse")
        .subscribe("order-steps", Filter::All)
        .from(StartFrom::Earliest)
        .order(Order::PerQueue)
        .handler(move |message| {
            let sender = sender.clone();
            async move {
                let step = String::from_utf8_lossy(message.body()?).into_owned();
                let _ = sender.send(step);
                Ok::<_, castmq_client::Error>(())
            }
        })
        .start()
        .await?;
    for _ in 0..STEPS.len() * ORDERS {
        if let Some(step) = handled.recv().await {
            println!("{step}");
        }
    }
    consumer.shutdown().await
}

/// The first argument, with or without `-n` before it.
fn name_server() -> String {
    let mut arguments = std::env::args().skip(1).filter(|given| given != "-n");
    arguments
        .next()
        .unwrap_or_else(|| DEFAULT_NAME_SERVER.into())
}
