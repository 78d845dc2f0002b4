//! Sends messages that are seen only when something else has happened too: a booking, say.
//!
//! `cargo run --example transaction [NAME_SERVER]`, with a broker running (`cargo run --release`).

#![allow(clippy::print_stdout)]

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use castmq_client::{Client, DEFAULT_NAME_SERVER, Filter, Message, Resolution, Result, StartFrom};
use tokio::sync::mpsc;

/// Stands for a database: the transactions that were booked.
type Bookings = Arc<Mutex<HashSet<String>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let client = Client::connect(name_server()).await?;
    let bookings = Bookings::default();
    let booked = bookings.clone();
    let producer = client
        .transaction_producer("payments")
        .topic("paid")
        // Asked about transactions that were never ended: of this producer, or of one that died. The truth is in the database.
        .checker(move |message| {
            let booked = booked.lock().unwrap_or_else(PoisonError::into_inner);
            let is_booked = message.unique_id().is_some_and(|id| booked.contains(id));
            async move {
                if is_booked {
                    Resolution::Commit
                } else {
                    Resolution::Unknown
                }
            }
        })
        .start()
        .await?;

    for (order, has_money) in [("order 1", true), ("order 2", false), ("order 3", true)] {
        // Stored, and seen by nobody.
        let transaction = producer.begin(Message::new("paid", order)).await?;
        if has_money {
            let id = transaction.id().to_owned();
            bookings
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(id);
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
    }

    let (sender, mut paid) = mpsc::unbounded_channel();
    let consumer = client
        .push_consumer("shipping")
        .subscribe("paid", Filter::All)
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
    for _ in 0..2 {
        if let Some(order) = paid.recv().await {
            println!("ships {order}");
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
