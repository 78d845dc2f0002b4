//! Producers that number their sends, and send again what they heard nothing of, over the next connection.

use std::collections::{BTreeMap, BTreeSet};

use castmq_client::model::QueueId;
use castmq_client::raw::Reply;
use castmq_protocol::record::batch::Element;

use super::*;
use crate::support::numbered::Number;

/// What producers know of their sends.
#[derive(Debug, Clone, Default)]
pub struct Numbered {
    producers: BTreeMap<u64, NumberedProducer>,
}

#[derive(Debug, Clone)]
struct NumberedProducer {
    /// Its number in the history.
    number: u32,
    messages: u64,
    sends: u64,
    unsettled: BTreeMap<u64, Pending>,
    is_connected: bool,
}

/// A send that was not acknowledged yet.
#[derive(Debug, Clone)]
struct Pending {
    place: Place,
    ids: Vec<Id>,
    bodies: Vec<String>,
}

impl Numbered {
    /// How many sends nothing was heard of.
    pub fn unsettled(&self) -> usize {
        let producers = self.producers.values();
        producers.map(|producer| producer.unsettled.len()).sum()
    }

    /// Their numbers in the history.
    pub fn ids(&self) -> BTreeSet<u32> {
        let producers = self.producers.values();
        producers.map(|producer| producer.number).collect()
    }

    /// All connections are gone.
    pub fn disconnect(&mut self) {
        let producers = self.producers.values_mut();
        producers.for_each(|producer| producer.is_connected = false);
    }

    /// A producer without a connection, or a new one.
    fn connect(&mut self, next: impl FnOnce() -> u32) -> u64 {
        let known = self.producers.iter_mut();
        let idle = known.filter(|(_, producer)| !producer.is_connected);
        if let Some((id, producer)) = idle.max_by_key(|(_, producer)| producer.unsettled.len()) {
            producer.is_connected = true;
            return *id;
        }
        let id = fastrand::u64(1..);
        let producer = NumberedProducer {
            number: next(),
            messages: 0,
            sends: 0,
            unsettled: BTreeMap::new(),
            is_connected: true,
        };
        self.producers.insert(id, producer);
        id
    }

    fn of(&mut self, id: u64) -> &mut NumberedProducer {
        self.producers.get_mut(&id).expect("it has connected")
    }
}

/// Some messages have so many that a broker is often killed while it writes them.
fn properties(sequence: u64) -> String {
    match sequence % 4 {
        0 => format!("PADDING\x01{}\x02", ".".repeat(16_000)),
        _ => String::new(),
    }
}

impl Traffic {
    /// Sends over one connection until it ends or the traffic is over: first what a connection before left, then new
    /// messages, unless the traffic is over already.
    pub async fn produce_numbered(&self, address: &str) -> Result<()> {
        let connection = open(address, Role::Producer, "producer").await?;
        self.announce(&connection).await?;
        let next = || self.next_producer.replace(self.next_producer.get() + 1);
        let id = self.numbered.borrow_mut().connect(next);
        let pending: Vec<_> = {
            let mut numbered = self.numbered.borrow_mut();
            numbered.of(id).unsettled.keys().copied().collect()
        };
        let begin = |sequence| (sequence, self.send_numbered(&connection, id, sequence));
        let mut under_way: VecDeque<_> = pending.into_iter().map(begin).collect();
        let mut end = Ok(());
        while end.is_ok() && !self.is_over() {
            while under_way.len() < self.window {
                under_way.push_back(begin(self.next_send(id)));
            }
            if let Some((sequence, answer)) = under_way.pop_front() {
                end = self.settle_numbered(id, sequence, answer.await);
            }
        }
        for (sequence, answer) in under_way {
            let settled = self.settle_numbered(id, sequence, answer.await);
            end = end.and(settled);
        }
        self.numbered.borrow_mut().of(id).is_connected = false;
        end
    }

    /// Thinks of something to send.
    fn next_send(&self, id: u64) -> u64 {
        let place = self.any_place();
        let count = match fastrand::u8(..4) {
            0 => fastrand::u64(2..7),
            _ => 1,
        };
        let mut numbered = self.numbered.borrow_mut();
        let producer = numbered.of(id);
        let messages = producer.messages..producer.messages + count;
        producer.messages += count;
        producer.sends += 1;
        let number = producer.number;
        let ids: Vec<_> = messages
            .map(|sequence| Id {
                producer: number,
                sequence,
            })
            .collect();
        let mut history = self.history.borrow_mut();
        ids.iter().for_each(|id| history.attempt(*id, place));
        let body = |id: &Id| id.body(fastrand::usize(10..self.max_body_bytes));
        let pending = Pending {
            place,
            bodies: ids.iter().map(body).collect(),
            ids,
        };
        producer.unsettled.insert(producer.sends, pending);
        producer.sends
    }

    /// Sends something that was thought of, for the first time or again.
    fn send_numbered(&self, connection: &Connection, id: u64, sequence: u64) -> Answer {
        let mut numbered = self.numbered.borrow_mut();
        let producer = numbered.of(id);
        let oldest = producer.unsettled.keys().next();
        let number = Number::new(id, sequence).settled_below(oldest.copied().unwrap_or(sequence));
        let extras = Some(Box::new(number.extras()));
        let Pending { place, bodies, .. } = &producer.unsettled[&sequence];
        let queue = QueueId(place.queue);
        if let [body] = &bodies[..] {
            let properties = properties(sequence);
            let send = Send {
                topic: place.topic,
                queue,
                flags: 0,
                flag: 0,
                sys_flag: 0,
                born_timestamp_ms: 0,
                properties_bytes: properties.len() as u32,
                extras,
            };
            let payload = Payload::new(properties.as_bytes(), Bytes::from(body.clone()));
            return connection.request(Request::Send(send), payload);
        }
        let mut payload = BytesMut::new();
        for body in bodies {
            let element = Element {
                flag: 0,
                body: body.as_bytes(),
                properties: b"",
            };
            element.encode(&mut payload);
        }
        let send = SendBatch {
            topic: place.topic,
            queue,
            flags: 0,
            sys_flag: 0,
            born_timestamp_ms: 0,
            messages: bodies.len() as u32,
            extras,
        };
        let payload = Payload::new(b"", payload.freeze());
        connection.request(Request::SendBatch(send), payload)
    }

    /// Notes what became of a send. One that is not acknowledged is sent again, whatever the reason: what is refused now may
    /// have been stored before.
    fn settle_numbered(&self, id: u64, sequence: u64, answer: Result<Reply>) -> Result<()> {
        let (first, status) = match answer.map(|reply| reply.header.response) {
            Ok(Response::Sent(sent)) => (sent.queue_offset.0, sent.status),
            Ok(Response::BatchSent(sent)) => (sent.first_queue_offset.0, sent.status),
            Ok(other) => panic!("a send is answered with {other:?}"),
            Err(error) if error.code().is_some() => return Ok(()),
            Err(error) => return Err(error),
        };
        if status != SendStatus::Stored && !self.counts_late.get() {
            return Ok(());
        }
        let pending = self
            .numbered
            .borrow_mut()
            .of(id)
            .unsettled
            .remove(&sequence);
        let pending = pending.expect("each send is settled once");
        let mut history = self.history.borrow_mut();
        for (offset, id) in (first..).zip(pending.ids) {
            history.acknowledge(id, offset);
        }
        Ok(())
    }

    /// Has every producer send again what nothing was heard of. Nothing new is sent from now on.
    pub async fn settle_all(&self, address: &str) {
        self.end();
        self.numbered.borrow_mut().disconnect();
        let unsettled = || self.numbered.borrow().unsettled();
        while unsettled() > 0 {
            let before = unsettled();
            let produced = self.produce_numbered(address).await;
            produced.expect("the broker stays");
            assert!(unsettled() < before, "{before} are refused");
        }
    }
}
