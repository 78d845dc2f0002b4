//! A group of workers that pops a topic, through the client and by single requests.

use castmq_client::raw::request::{ANY_QUEUE, Acknowledge, Pop, PopReceipt};
use castmq_client::raw::{Connection, Payload, Request, Response, Role};
use castmq_client::{
    Client, ErrorCode, Filter, Message, PopConsumer, PopConsumerBuilder, PopOrder, PoppedMessage,
    StartFrom,
};

use super::load::open;

pub(crate) const TOPIC: &str = "jobs";
pub(crate) const GROUP: &str = "workers";

/// A consumer of the group, from the first message on.
pub(crate) fn consumer(client: &Client) -> PopConsumerBuilder {
    client
        .pop_consumer(GROUP)
        .topic(TOPIC)
        .from(StartFrom::Earliest)
}

/// It, without further settings.
pub(crate) fn built(consumer: PopConsumerBuilder) -> PopConsumer {
    consumer.build().expect("a consumer")
}

/// Sends messages, one after the other.
pub(crate) async fn send(client: &Client, bodies: impl IntoIterator<Item = String>) {
    let producer = client.producer().build();
    for body in bodies {
        let message = Message::new(TOPIC, body);
        producer.send(message).await.expect("it is stored");
    }
    producer.close().await;
}

/// Numbers as bodies.
pub(crate) fn numbers(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|number| number.to_string())
}

/// The next message, however long it takes.
pub(crate) async fn next(consumer: &mut PopConsumer) -> PoppedMessage {
    loop {
        let mut messages = consumer.receive().await.expect("an answer");
        assert!(messages.len() <= 1, "the consumer takes one at a time");
        if let Some(message) = messages.pop() {
            return message;
        }
    }
}

/// How far the group is in a queue of the topic.
pub(crate) async fn committed(client: &Client, queue: usize) -> Option<u64> {
    let admin = client.admin();
    let broker = admin.brokers().await.expect("brokers").remove(0);
    let address = broker.addresses[0].1.clone();
    let group = admin.at(&address).show_group(GROUP).await.expect("a group");
    let progress = group.progress.into_iter();
    let mut of_topic = progress.filter(|progress| progress.queue.topic == TOPIC);
    of_topic.nth(queue)?.committed.map(|offset| offset.0)
}

/// A connection with topic and group under number 0.
pub(crate) async fn connection(address: &str) -> Connection {
    let connection = open(address, Role::Consumer, "raw").await;
    let connection = connection.expect("a connection");
    let (alias, topic, group) = (0, TOPIC.to_owned(), GROUP.to_owned());
    for announce in [
        Request::AnnounceTopic { alias, topic },
        Request::AnnounceGroup { alias, group },
    ] {
        let announced = connection.request(announce, Payload::none()).await;
        announced.expect("it is announced");
    }
    connection
}

/// Asks for one message, for longer than any test runs.
pub(crate) fn one() -> Pop {
    Pop {
        group: 0,
        topic: 0,
        queue: ANY_QUEUE,
        max_messages: 1,
        invisible_ms: 86_400_000,
        wait_ms: 0,
        from: StartFrom::Earliest,
        filter: Filter::All,
        order: PopOrder::Any,
        attempt_id: None,
    }
}

/// Takes messages; their receipts.
pub(crate) async fn pop(connection: &Connection, pop: Pop) -> Vec<PopReceipt> {
    let answer = connection.request(Request::Pop(pop), Payload::none()).await;
    match answer.expect("an answer").header.response {
        Response::Popped(popped) => popped.receipts,
        other => panic!("a pop is answered with {other:?}"),
    }
}

/// Acknowledges; the codes of those that are refused, by their place.
pub(crate) async fn acknowledge(
    connection: &Connection,
    receipts: Vec<PopReceipt>,
) -> Vec<(u32, ErrorCode)> {
    let ack = Request::Acknowledge(Acknowledge {
        group: 0,
        topic: 0,
        receipts,
    });
    let answer = connection.request(ack, Payload::none()).await;
    match answer.expect("an answer").header.response {
        Response::Acknowledged(answer) => {
            let refused = answer.refused.into_iter();
            refused.map(|one| (one.place, one.failure.code)).collect()
        }
        other => panic!("an acknowledgement is answered with {other:?}"),
    }
}
