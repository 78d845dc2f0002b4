//! Sessions and destinations of JMS's model on a broker of their own.

use std::path::Path;
use std::time::Duration;

use castmq_actors::Node;
use castmq_client::jms::{
    Acknowledge, Connection, ConnectionFactory, Destination, Message, MessageConsumer, Session,
};

use tokio::sync::mpsc;

use super::{admin, client, start, with_queues};

/// Longer than any test runs.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

pub(crate) async fn broker(data: &Path, queues: u32) -> Node {
    start(&with_queues(data, queues)).await
}

pub(crate) fn factory(node: &Node) -> ConnectionFactory {
    let address = node.name_server_address().expect("a name server");
    // Whatever is not given back stays away.
    ConnectionFactory::new(address.to_string()).lease(LONG)
}

pub(crate) async fn connected(factory: ConnectionFactory) -> Connection {
    let connection = factory.create_connection().await.expect("a connection");
    connection.start().expect("it starts");
    connection
}

pub(crate) fn session(connection: &Connection, mode: Acknowledge) -> Session {
    connection.create_session(mode).expect("a session")
}

pub(crate) fn queue(name: &str) -> Destination {
    Destination::queue(name).expect("a queue")
}

pub(crate) fn topic(name: &str) -> Destination {
    Destination::topic(name).expect("a topic")
}

pub(crate) async fn consumer(session: &Session, destination: &Destination) -> MessageConsumer {
    let consumer = session.create_consumer(destination, None).await;
    consumer.expect("a consumer")
}

pub(crate) async fn send(session: &Session, destination: &Destination, texts: &[&str]) {
    let producer = session.create_producer(destination).expect("a producer");
    for text in texts {
        let mut message = Message::text(*text);
        producer.send(&mut message).await.expect("it is sent");
    }
}

/// The next message, however long it takes.
pub(crate) async fn next(consumer: &MessageConsumer) -> Message {
    let received = consumer.receive().await.expect("an answer");
    received.expect("the consumer is open")
}

pub(crate) async fn texts(consumer: &MessageConsumer, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        texts.push(text(&next(consumer).await));
    }
    texts
}

pub(crate) fn text(message: &Message) -> String {
    message.as_text().expect("a text").to_owned()
}

/// How many messages of a queue with one queue at the broker are settled, all before the first that is not.
pub(crate) async fn settled(node: &Node, queue: &Destination) -> u64 {
    let broker = admin(&client(node).await).await;
    let group = broker.show_group("JMS-queue").await.expect("a group");
    let mut progress = group.progress.into_iter();
    let of_queue = progress.find(|progress| progress.queue.topic == queue.name());
    let committed = of_queue.expect("it was read").committed;
    committed.expect("it was read").0
}

/// What a connection's exception listener is told.
pub(crate) fn failures(connection: &Connection) -> mpsc::UnboundedReceiver<String> {
    let (failures, failed) = mpsc::unbounded_channel();
    connection.set_exception_listener(move |error| {
        let _ = failures.send(error.to_string());
    });
    failed
}
