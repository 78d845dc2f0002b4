//! The Rust SDK for CastMQ.
//!
//! A program that sends a message and handles all that are sent, until Ctrl-C:
//!
//! ```no_run
//! use castmq_client::{Client, Error, Filter, Message, StartFrom};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Error> {
//!     // Name servers know where topics are; one address finds the whole cluster.
//!     let client = Client::connect("127.0.0.1:9876").await?;
//!
//!     let producer = client.producer().build();
//!     let message = Message::builder("orders", "3 apples").key("order-17").build()?;
//!     let receipt = producer.send(message).await?;
//!     println!("stored as {receipt}");
//!
//!     let consumer = client
//!         .push_consumer("billing")
//!         .subscribe("orders", Filter::All)
//!         .from(StartFrom::Earliest)
//!         .handler(|message| async move {
//!             let order = String::from_utf8_lossy(message.body()?);
//!             println!("{} #{}: {order}", message.queue(), message.offset());
//!             // An error lets the message come again.
//!             Ok::<_, Error>(())
//!         })
//!         .start()
//!         .await?;
//!
//!     tokio::signal::ctrl_c().await.ok();
//!     // Finishes what runs, commits, leaves the group.
//!     consumer.shutdown().await?;
//!     producer.close().await;
//!     Ok(())
//! }
//! ```
//!
//! More of them lie in the repository's `examples/`: many messages at once, batches, order, broadcasting, pulling.
//!
//! # Layout
//!
//! - [`Client`]: what the others are made from; they share its connections and routes.
//! - [`Producer`]: sends, one by one or in batches, from one task or many; asks, and replies. (`producer`)
//! - [`PushConsumer`], [`PopConsumer`] and [`PullConsumer`]: receive, as a member of a group, message by message, or on their
//!   own. (`consumer`)
//! - [`Admin`] and [`BrokerAdmin`]: what operators do. (`admin`)
//! - [`jms`]: JMS's model of queues, topics, sessions and messages, over the same brokers.
//! - [`Message`] and [`ReceivedMessage`]: what is sent and received. (`message`)
//! - [`Trace`]: which messages are traced. (`trace`)
//! - [`Error`]: what can go wrong, and whether trying again is safe. (`error`)
//! - [`raw`]: connections as such, for tools and benchmarks.
//! - `link`: an address that is connected to again; `name_servers`: which of them is asked; `routes`: where topics are;
//!   `backoff`: how long to wait.
//!
//! # What can be relied on
//!
//! - A [`SendReceipt`] means *stored*, as the broker's policy says.
//! - Everything has a timeout; nothing waits for ever. Lost connections are made again, with growing pauses.
//! - Messages with one [ordering key](MessageBuilder::ordering_key) from one task are stored in that order, whatever has
//!   to be sent again. Others are, as long as nothing has to.
//! - A message is delivered to a group at least once. Committed offsets never pass one that is not done.
//! - Memory is bounded: by [`ProducerBuilder::max_buffered_bytes`], and by [`PushConsumerBuilder::window`] for each queue.
//!
//! All types may be sent and shared between threads. Everything runs on tokio, on a runtime with one thread or many.

#![warn(missing_docs)]

mod admin;
mod backoff;
mod client;
mod consumer;
mod error;
pub mod jms;
mod link;
mod message;
mod name_servers;
mod producer;
pub mod raw;
mod routes;
#[cfg(test)]
mod testing;
mod trace;

pub use admin::{Admin, BrokerAdmin};
pub use client::{Client, ClientBuilder, DEFAULT_NAME_SERVER};
pub use consumer::{
    Ack, Filter, FnHandler, Handler, IntoAck, Order, PopConsumer, PopConsumerBuilder,
    PoppedMessage, PullConsumer, PullConsumerBuilder, PushConsumer, PushConsumerBuilder, SeekTo,
    StartFrom, tags,
};
pub use error::{Error, Result};
pub use message::{
    Compression, Message, MessageBuilder, Queue, QueueChoice, ReceivedMessage, Reply,
};
pub use producer::{
    Delivery, Producer, ProducerBuilder, SendReceipt, SendStatus, Transaction, TransactionProducer,
    TransactionProducerBuilder,
};

pub use trace::Trace;

pub use castmq_protocol::model;
pub use castmq_protocol::native::request::{PopOrder, PopReceipt, Resolution};
pub use castmq_protocol::native::{ErrorCode, Failure, Retry};
pub use castmq_protocol::record::MessageId;
pub use castmq_protocol::trace as trace_format;

/// The example in the repository's front page must compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct ReadMe;
