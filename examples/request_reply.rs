//! Asks and waits for the reply: a call, with messages.
//!
//! `cargo run --example request_reply [NAME_SERVER]`, with a broker running (`cargo run --release`).

#![allow(clippy::print_stdout)]

use std::time::Duration;

use castmq_client::{Client, DEFAULT_NAME_SERVER, Filter, Message, Result, StartFrom};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let client = Client::connect(name_server()).await?;
    let asker = client.producer().build();
    asker.prepare("stock").await?;

    // The one that replies: any consumer will do. An error, because the asker is gone say, lets the request come again.
    let replier = client.producer().build();
    let consumer = client
        .push_consumer("warehouse")
        .subscribe("stock", Filter::All)
        .from(StartFrom::Earliest)
        .handler(move |request| {
            let replier = replier.clone();
            async move {
                let fruit = String::from_utf8_lossy(request.body()?).into_owned();
                let pieces = fruit.len();
                replier.reply(&request, format!("{pieces} {fruit}")).await
            }
        })
        .start()
        .await?;

    // The one that asks, as often as it likes before the first reply is there.
    let asked = ["apples", "plums", "cherries"].map(|fruit| {
        let asker = asker.clone();
        tokio::spawn(async move {
            let request = Message::new("stock", fruit);
            asker.request(request, Duration::from_secs(5)).await
        })
    });
    for asked in asked {
        if let Ok(reply) = asked.await {
            let reply = reply?;
            println!("there are {}", String::from_utf8_lossy(reply.body()?));
        }
    }

    consumer.shutdown().await?;

    // Nobody is there any more: the error says which request it was, and how long it waited.
    let nobody = asker.request(Message::new("stock", "pears"), Duration::from_millis(300));
    if let Err(error) = nobody.await {
        println!("{error}");
    }
    asker.close().await;
    Ok(())
}

/// The first argument, with or without `-n` before it.
fn name_server() -> String {
    let mut arguments = std::env::args().skip(1).filter(|given| given != "-n");
    arguments
        .next()
        .unwrap_or_else(|| DEFAULT_NAME_SERVER.into())
}
