//! A whole message queue in one process: starts a broker, sends, consumes, and stops.
//!
//! `cargo run --example quickstart`
//!
//! The broker listens on free ports and keeps its data in a folder that goes away at the end.

#![allow(clippy::print_stdout)]

use std::error::Error;

use castmq_actors::{Node, Parts};
use castmq_client::{Client, Filter, Message, StartFrom};
use castmq_config::{Flag, Loader, Node as Kind};
use tokio::sync::mpsc;

fn main() -> Result<(), Box<dyn Error>> {
    actix_rt::System::new().block_on(quickstart())
}

async fn quickstart() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let settings = [
        ("store.data_dir", folder.path().display().to_string()),
        ("store.commit_log_segment_bytes", (8 << 20).to_string()),
        ("broker.listen", "127.0.0.1:0".to_owned()),
        ("name_server.listen", "127.0.0.1:0".to_owned()),
    ];
    let flags = settings.map(|(key, value)| Flag::new(key, value, "quickstart"));
    let loaded = Loader::new(Kind::Standalone).flags(flags).load()?;
    let node = Node::start(&loaded.settings, Parts::Standalone).await?;
    let address = node
        .name_server_address()
        .ok_or("a standalone node has a name server")?;
    println!("name server and broker run, clients find them at {address}");

    let client = Client::connect(address.to_string()).await?;

    let producer = client.producer().build();
    for number in 1..=5 {
        let message = Message::new("greetings", format!("hello {number}"));
        println!("stored as {}", producer.send(message).await?);
    }
    producer.close().await;

    let (sender, mut received) = mpsc::unbounded_channel();
    let consumer = client
        .push_consumer("readers")
        .subscribe("greetings", Filter::All)
        .from(StartFrom::Earliest)
        .handler(move |message| {
            // The consumer has ended when nobody listens any more.
            let _ = sender.send(message);
            std::future::ready(())
        })
        .start()
        .await?;
    for _ in 1..=5 {
        let message = received.recv().await.ok_or("the consumer ended")?;
        let text = String::from_utf8_lossy(message.body()?);
        println!("received {text:?} from {}", message.queue());
    }
    consumer.shutdown().await?;

    node.stop().await?;
    println!("done");
    Ok(())
}
