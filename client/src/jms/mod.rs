//! JMS's model: queues and topics, sessions that acknowledge or commit, six kinds of messages, selectors.
//!
//! A program that takes orders from a queue, and bills them in one transaction:
//!
//! ```no_run
//! use castmq_client::jms::{Acknowledge, ConnectionFactory, Destination, Message, Result};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<()> {
//!     let factory = ConnectionFactory::new("127.0.0.1:9876").client_id("billing-7");
//!     let connection = factory.create_connection().await?;
//!     connection.start()?;
//!
//!     let (orders, bills) = (Destination::queue("orders")?, Destination::queue("bills")?);
//!     let session = connection.create_session(Acknowledge::Transacted)?;
//!     let consumer = session.create_consumer(&orders, None).await?;
//!     let producer = session.create_producer(&bills)?;
//!     while let Some(order) = consumer.receive().await? {
//!         let mut bill = Message::map();
//!         bill.map_mut()?.set("order", order.as_text()?)?;
//!         bill.map_mut()?.set("cents", 499_i64)?;
//!         bill.set_property("region", "eu")?;
//!         producer.send(&mut bill).await?;
//!         // Both, or neither: the order is done, and the bill is sent.
//!         session.commit().await?;
//!     }
//!     connection.close().await
//! }
//! ```
//!
//! `examples/jms_style.rs` shows more: subscriptions, selectors, listeners, request and reply.
//!
//! # How it is mapped
//!
//! | JMS | CastMQ |
//! |---|---|
//! | queue | a topic that one group, `JMS-queue`, consumes, message by message: any number of consumers share it |
//! | topic, durable or shared subscription | a topic, and a group for each subscription, consumed in the same way |
//! | topic, other subscriptions | a topic that the consumer reads by itself; the broker keeps nothing of it |
//! | redelivery | the message comes again with JMSRedelivered; after 16 times it is among the group's dead letters, or dropped by a consumer that reads by itself |
//! | a consumer that dies | what it had comes again after the [lease](ConnectionFactory::lease) |
//! | order | what a session sends to a destination goes to one queue of the broker's; a JMSXGroupID chooses another |
//! | header, property | a property, with a note of its type: `castmq admin` shows them, SQL filters see their text |
//! | text, bytes, object | a body that any client can read: the text, the bytes, JSON |
//! | selector | asked by the broker before a message is sent anywhere |
//!
//! Where brokers do not create topics and groups by themselves, an operator creates them: the topics, `JMS-queue` for queues,
//! `JMS-reader` for topics, and `JMS-durable-` or `JMS-shared-` with client id, `-` and name for subscriptions.
//!
//! Messages of other producers are messages with bytes; messages sent here are read by all consumers.
//!
//! # What can be relied on
//!
//! - A persistent message is stored when [`MessageProducer::send`] returns, as the broker's policy says. One whose answer was
//!   lost is sent again, and may be there twice.
//! - [`DeliveryMode::NonPersistent`] waits for nothing and is never sent again: at most once.
//! - [`Session::commit`] sends, and then acknowledges. A crash in between leaves messages sent, some or all, and those received
//!   come again: a transaction may be done twice, and is never half forgotten.
//! - A message is with one consumer of its queue or subscription at a time, as long as that lives: leases are made longer in
//!   the background, whatever time processing takes.
//!
//! # What is different
//!
//! - Selectors are for topics and for browsers. A queue's consumers take none.
//! - A shared subscription that is not durable keeps what comes while it has no consumer.
//! - That a durable subscription has one consumer is seen to on one connection, not between them.
//! - There is no `noLocal`, and there are no XA transactions.
//!
//! # Layout
//!
//! - `factory`, `connection`: [`ConnectionFactory`] and [`Connection`].
//! - `session`, `creating`, `transaction`: [`Session`].
//! - `destination`: [`Destination`]; `subscription`: the groups behind them.
//! - `consumer`: [`MessageConsumer`]; `feed`: where its messages come from; `delivery`: what was delivered and is not settled.
//! - `producer`: [`MessageProducer`]; `browser`: [`QueueBrowser`].
//! - `message`: [`Message`]; `error`: [`Error`].

mod browser;
mod connection;
mod consumer;
mod creating;
mod delivery;
mod destination;
mod error;
mod factory;
mod feed;
mod message;
mod producer;
mod session;
mod subscription;
#[cfg(test)]
mod tests;
mod transaction;

pub use browser::QueueBrowser;
pub use connection::Connection;
pub use consumer::MessageConsumer;
pub use destination::Destination;
pub use error::{Error, Result};
pub use factory::ConnectionFactory;
pub use message::{
    BodyKind, BytesBody, DeliveryMode, FromValue, MapBody, Message, StreamBody, Value,
};
pub use producer::MessageProducer;
pub use session::{Acknowledge, Session};
