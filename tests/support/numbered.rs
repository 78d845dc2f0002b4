//! A producer's connection that numbers what it sends, and can send it again.

use bytes::{Bytes, BytesMut};
use castmq_client::model::QueueId;
use castmq_client::raw::request::{Send, SendBatch, SendExtras};
use castmq_client::raw::response::{BatchSent, Sent};
use castmq_client::raw::{Answer, Connection, Payload, Request, Response, Role};
use castmq_client::{Error, Result};
use castmq_protocol::record::batch::Element;

use super::load::open;

/// The numbers of a send.
#[derive(Debug, Clone, Copy)]
pub struct Number {
    pub id: u64,
    pub sequence: u64,
    pub settled_below: u64,
}

impl Number {
    /// Of a producer that has settled nothing.
    pub fn new(id: u64, sequence: u64) -> Self {
        Self {
            id,
            sequence,
            settled_below: 1,
        }
    }

    pub fn settled_below(self, settled_below: u64) -> Self {
        Self {
            settled_below,
            ..self
        }
    }

    pub fn extras(self) -> SendExtras {
        SendExtras {
            producer_id: self.id,
            producer_sequence: self.sequence,
            settled_below: self.settled_below,
            ..SendExtras::default()
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct NumberedSender {
    pub connection: Connection,
}

impl NumberedSender {
    /// Connects. Topic 0 of the connection is this one.
    pub async fn open(address: &str, topic: &str) -> Self {
        let connection = open(address, Role::Producer, "numbered").await;
        let sender = Self {
            connection: connection.expect("a connection"),
        };
        sender.announce(0, topic).await;
        sender
    }

    pub async fn announce(&self, alias: u32, topic: &str) {
        let topic = topic.to_owned();
        let announce = Request::AnnounceTopic { alias, topic };
        let announced = self.connection.request(announce, Payload::none()).await;
        announced.expect("it is announced");
    }

    /// Begins to send a message to topic 0.
    pub fn begin(
        &self,
        queue: QueueId,
        extras: SendExtras,
        properties: &str,
        body: &str,
    ) -> Answer {
        let send = Request::Send(Send {
            topic: 0,
            queue,
            flags: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: 1,
            properties_bytes: properties.len() as u32,
            extras: Some(Box::new(extras)),
        });
        let body = Bytes::copy_from_slice(body.as_bytes());
        self.connection
            .request(send, Payload::new(properties.as_bytes(), body))
    }

    /// Sends a message to the first queue of topic 0.
    pub async fn send(&self, number: Number, body: &str) -> Result<Sent> {
        self.send_with(number.extras(), body).await
    }

    pub async fn send_with(&self, extras: SendExtras, body: &str) -> Result<Sent> {
        sent(self.begin(QueueId(0), extras, "", body).await)
    }

    /// Begins to send a batch to topic 0.
    pub fn begin_batch(&self, queue: QueueId, number: Number, bodies: &[String]) -> Answer {
        let mut payload = BytesMut::new();
        for body in bodies {
            let element = Element {
                flag: 0,
                body: body.as_bytes(),
                properties: b"TAGS\x01t\x02",
            };
            element.encode(&mut payload);
        }
        let send = Request::SendBatch(SendBatch {
            topic: 0,
            queue,
            flags: 0,
            sys_flag: 0,
            born_timestamp_ms: 0,
            messages: bodies.len() as u32,
            extras: Some(Box::new(number.extras())),
        });
        self.connection
            .request(send, Payload::new(b"", payload.freeze()))
    }

    pub async fn send_batch(&self, number: Number, bodies: &[&str]) -> Result<BatchSent> {
        let bodies: Vec<_> = bodies.iter().map(|body| (*body).to_owned()).collect();
        let answer = self.begin_batch(QueueId(0), number, &bodies).await;
        match answer?.header.response {
            Response::BatchSent(sent) => Ok(sent),
            other => panic!("a batch is answered with {other:?}"),
        }
    }
}

/// The answer to one message.
pub fn sent(answer: Result<castmq_client::raw::Reply, Error>) -> Result<Sent> {
    match answer?.header.response {
        Response::Sent(sent) => Ok(sent),
        other => panic!("a send is answered with {other:?}"),
    }
}
