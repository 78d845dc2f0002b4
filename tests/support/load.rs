//! Producers that keep many requests under way, a consumer that commits, and reading everything back.
//!
//! - `numbered`: producers that send again what they heard nothing of.

mod numbered;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use castmq_client::model::{QueueId, QueueOffset};
use castmq_client::raw::admin::AdminRequest;
use castmq_client::raw::request::{Filter, Pull, QueuePosition, Send, SendBatch};
use castmq_client::raw::response::SendStatus;
use castmq_client::raw::{Answer, Connection, Options, Payload, Request, Response, Retry, Role};
use castmq_client::{Error, Result};
use castmq_protocol::record::RecordView;
use castmq_protocol::record::batch::Element;

pub use self::numbered::Numbered;
use super::history::{History, Id, Place, Stored};

/// What is sent, and where to.
#[derive(Debug)]
pub struct Traffic {
    pub topics: Vec<String>,
    /// Queues of each topic.
    pub queues: u32,
    /// Requests that a producer keeps under way.
    pub window: usize,
    pub max_body_bytes: usize,
    pub history: RefCell<History>,
    pub progress: RefCell<Progress>,
    pub numbered: RefCell<Numbered>,
    next_producer: Cell<u32>,
    is_slow: Cell<bool>,
    /// Whether a message that is stored and perhaps not durable counts as acknowledged.
    counts_late: Cell<bool>,
    is_over: Cell<bool>,
}

/// How far the consumer is.
#[derive(Debug, Default)]
pub struct Progress {
    /// Offsets behind what was handled.
    pub handled: BTreeMap<Place, u64>,
    /// Commits that were answered: the offset, and when the answer came.
    pub committed: BTreeMap<Place, Vec<(u64, Instant)>>,
}

impl Traffic {
    pub fn new(topics: &[&str]) -> Rc<Self> {
        Rc::new(Self {
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            queues: 4,
            window: 32,
            max_body_bytes: 1200,
            history: RefCell::default(),
            progress: RefCell::default(),
            numbered: RefCell::default(),
            next_producer: Cell::new(0),
            is_slow: Cell::new(false),
            counts_late: Cell::new(true),
            is_over: Cell::new(false),
        })
    }

    /// Producers send little, or as much as they can.
    pub fn set_slow(&self, is_slow: bool) {
        self.is_slow.set(is_slow);
    }

    /// The power will be cut: only what is called durable has to survive.
    pub fn expect_power_cut(&self) {
        self.counts_late.set(false);
    }

    /// Producers finish what is under way and come to an end.
    pub fn end(&self) {
        self.is_over.set(true);
    }

    pub fn is_over(&self) -> bool {
        self.is_over.get()
    }

    pub fn acknowledged(&self) -> usize {
        self.history.borrow().acknowledged()
    }

    /// Waits until so many messages are acknowledged.
    pub async fn reach(&self, acknowledged: usize) {
        while self.acknowledged() < acknowledged {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub fn places(&self) -> Vec<Place> {
        let topics = 0..self.topics.len() as u32;
        topics
            .flat_map(|topic| (0..self.queues).map(move |queue| Place { topic, queue }))
            .collect()
    }

    fn any_place(&self) -> Place {
        Place {
            topic: fastrand::u32(..self.topics.len() as u32),
            queue: fastrand::u32(..self.queues),
        }
    }

    async fn announce(&self, connection: &Connection) -> Result<()> {
        for (alias, topic) in (0..).zip(&self.topics) {
            let topic = topic.clone();
            let announce = Request::AnnounceTopic { alias, topic };
            connection.request(announce, Payload::none()).await?;
        }
        Ok(())
    }

    /// Sends over one connection until it ends or the traffic is over.
    pub async fn produce(&self, address: &str) -> Result<()> {
        let connection = open(address, Role::Producer, "producer").await?;
        self.announce(&connection).await?;
        let producer = self.next_producer.get();
        self.next_producer.set(producer + 1);
        let mut sequence = 0;
        let mut under_way = VecDeque::new();
        let mut end = Ok(());
        while end.is_ok() && !self.is_over() {
            if self.is_slow.get() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            while under_way.len() < self.window {
                under_way.push_back(self.send(&connection, producer, &mut sequence));
            }
            if let Some((ids, answer)) = under_way.pop_front() {
                end = self.settle(&ids, answer.await);
            }
        }
        for (ids, answer) in under_way {
            let settled = self.settle(&ids, answer.await);
            end = end.and(settled);
        }
        end
    }

    fn send(
        &self,
        connection: &Connection,
        producer: u32,
        sequence: &mut u64,
    ) -> (Vec<Id>, Answer) {
        let place = self.any_place();
        let count = if fastrand::u8(..4) == 0 {
            fastrand::u64(2..7)
        } else {
            1
        };
        let ids: Vec<_> = (*sequence..*sequence + count)
            .map(|sequence| Id { producer, sequence })
            .collect();
        *sequence += count;
        let mut history = self.history.borrow_mut();
        for id in &ids {
            history.attempt(*id, place);
        }
        let body = |id: Id| id.body(fastrand::usize(10..self.max_body_bytes));
        let answer = match ids.as_slice() {
            [id] => send_one(connection, place, *id, body(*id)),
            _ => send_batch(connection, place, ids.iter().map(|id| body(*id)).collect()),
        };
        (ids, answer)
    }

    /// Notes what became of messages; an error ends the connection.
    fn settle(&self, ids: &[Id], answer: Result<castmq_client::raw::Reply>) -> Result<()> {
        let mut history = self.history.borrow_mut();
        let (first, status) = match answer.map(|reply| reply.header.response) {
            Ok(Response::Sent(sent)) => (sent.queue_offset.0, sent.status),
            Ok(Response::BatchSent(sent)) => (sent.first_queue_offset.0, sent.status),
            Ok(other) => panic!("a send is answered with {other:?}"),
            Err(error) => {
                if error.retry() != Retry::MayDuplicate {
                    ids.iter().for_each(|id| history.refuse(*id));
                }
                let is_answer = error.code().is_some();
                return if is_answer { Ok(()) } else { Err(error) };
            }
        };
        if status != SendStatus::Stored && !self.counts_late.get() {
            return Ok(());
        }
        for (offset, id) in (first..).zip(ids) {
            history.acknowledge(*id, offset);
        }
        Ok(())
    }

    /// Pulls from where the group is and commits what was pulled, until the connection ends or the traffic is over.
    pub async fn consume(&self, address: &str, group: &str) -> Result<()> {
        let connection = open(address, Role::Consumer, "consumer").await?;
        self.announce(&connection).await?;
        announce_group(&connection, group).await?;
        let mut offsets = BTreeMap::new();
        for place in self.places() {
            let committed = committed(&connection, place).await?;
            offsets.insert(place, committed.unwrap_or_default());
        }
        while !self.is_over() {
            for (place, offset) in &mut offsets {
                let next = self.pull(&connection, *place, *offset).await?;
                if next == *offset {
                    continue;
                }
                *offset = next;
                self.progress.borrow_mut().handled.insert(*place, next);
                commit(&connection, *place, next).await?;
                let mut progress = self.progress.borrow_mut();
                let commits = progress.committed.entry(*place).or_default();
                commits.push((next, Instant::now()));
            }
        }
        Ok(())
    }

    async fn pull(&self, connection: &Connection, place: Place, offset: u64) -> Result<u64> {
        let (messages, next) = pull(connection, place, offset, 5).await?;
        let mut history = self.history.borrow_mut();
        for (offset, id) in messages {
            let id = id.expect("a body that begins with its identity");
            history.see(place, offset, id);
        }
        Ok(next)
    }

    /// Everything that the broker has.
    pub async fn read_all(&self, address: &str) -> Result<Stored> {
        let connection = open(address, Role::Consumer, "reader").await?;
        self.announce(&connection).await?;
        let mut stored = Stored::new();
        for place in self.places() {
            let (mut all, mut offset) = (Vec::new(), 0);
            loop {
                let (messages, next) = pull(&connection, place, offset, 0).await?;
                if next == offset {
                    break;
                }
                all.extend(messages);
                offset = next;
            }
            stored.insert(place, all);
        }
        Ok(stored)
    }

    /// Compares what the broker has with what is known; panics when they disagree.
    pub async fn verify(&self, address: &str) -> super::history::Figures {
        let stored = self.read_all(address).await.expect("everything is read");
        let (figures, violations) = self.history.borrow().check(&stored);
        let some: Vec<_> = violations.iter().take(10).collect();
        assert!(
            violations.is_empty(),
            "{} violations, the first: {some:?}; {figures:?}",
            violations.len()
        );
        figures
    }
}

/// Opens a connection with patience: what is tested are not timeouts.
pub async fn open(address: &str, role: Role, name: &str) -> Result<Connection> {
    let options = Options::new(role, name)
        .connect_timeout(Duration::from_secs(30))
        .request_timeout(Duration::from_secs(60));
    let (connection, _) = Connection::open(address, &options).await?;
    Ok(connection)
}

fn send_one(connection: &Connection, place: Place, id: Id, body: String) -> Answer {
    let properties = match id.sequence % 8 {
        0 => format!("KEYS\x01key-{}\x02", id.sequence),
        _ => String::new(),
    };
    let send = Send {
        topic: place.topic,
        queue: QueueId(place.queue),
        flags: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 0,
        properties_bytes: properties.len() as u32,
        extras: None,
    };
    let payload = Payload::new(properties.as_bytes(), Bytes::from(body));
    connection.request(Request::Send(send), payload)
}

fn send_batch(connection: &Connection, place: Place, bodies: Vec<String>) -> Answer {
    let mut payload = BytesMut::new();
    for body in &bodies {
        let element = Element {
            flag: 0,
            body: body.as_bytes(),
            properties: b"",
        };
        element.encode(&mut payload);
    }
    let send = SendBatch {
        topic: place.topic,
        queue: QueueId(place.queue),
        flags: 0,
        sys_flag: 0,
        born_timestamp_ms: 0,
        messages: bodies.len() as u32,
        extras: None,
    };
    let payload = Payload::new(b"", payload.freeze());
    connection.request(Request::SendBatch(send), payload)
}

async fn announce_group(connection: &Connection, group: &str) -> Result<()> {
    let (alias, group) = (0, group.to_owned());
    let announce = Request::AnnounceGroup { alias, group };
    connection.request(announce, Payload::none()).await?;
    Ok(())
}

/// How far group 0 of the connection is.
async fn committed(connection: &Connection, place: Place) -> Result<Option<u64>> {
    let query = Request::QueryOffset {
        group: 0,
        topic: place.topic,
        queue: QueueId(place.queue),
    };
    let reply = connection.request(query, Payload::none()).await?;
    match reply.header.response {
        Response::Offset(offset) => Ok(offset.map(|offset| offset.0)),
        other => panic!("a query for an offset is answered with {other:?}"),
    }
}

async fn commit(connection: &Connection, place: Place, offset: u64) -> Result<()> {
    let position = QueuePosition {
        topic: place.topic,
        queue: QueueId(place.queue),
        offset: QueueOffset(offset),
    };
    let commit = Request::CommitOffsets {
        group: 0,
        offsets: vec![position],
    };
    connection.request(commit, Payload::none()).await?;
    Ok(())
}

/// How far a group is in all queues of the traffic.
pub async fn offsets(
    traffic: &Traffic,
    address: &str,
    group: &str,
) -> Result<BTreeMap<Place, u64>> {
    let connection = open(address, Role::Consumer, "offsets").await?;
    traffic.announce(&connection).await?;
    announce_group(&connection, group).await?;
    let mut offsets = BTreeMap::new();
    for place in traffic.places() {
        if let Some(offset) = committed(&connection, place).await? {
            offsets.insert(place, offset);
        }
    }
    Ok(offsets)
}

type Pulled = (Vec<(u64, Option<Id>)>, u64);

/// Messages from an offset on, and where to go on.
async fn pull(connection: &Connection, place: Place, offset: u64, wait_ms: u32) -> Result<Pulled> {
    let pull = Pull {
        topic: place.topic,
        queue: QueueId(place.queue),
        offset: QueueOffset(offset),
        max_messages: 1000,
        max_bytes: 1 << 20,
        wait_ms,
        filter: Filter::All,
    };
    loop {
        let reply = connection
            .request(Request::Pull(pull.clone()), Payload::none())
            .await;
        let reply = match reply {
            // The queue's actor was interrupted.
            Err(error) if error.is_retry_safe() && error.code().is_some() => continue,
            reply => reply?,
        };
        let Response::Pulled(pulled) = reply.header.response else {
            panic!("a pull is answered with {:?}", reply.header.response);
        };
        let records = records(&reply.payload)?;
        assert_eq!(records.len(), pulled.messages as usize);
        return Ok((records, pulled.next_offset.0));
    }
}

fn records(mut payload: &[u8]) -> Result<Vec<(u64, Option<Id>)>, Error> {
    let mut records = Vec::new();
    while !payload.is_empty() {
        let record = RecordView::parse(payload)?;
        record.verify_body()?;
        records.push((record.queue_offset()?.0, Id::parse(record.body())));
        payload = payload.get(record.total_bytes()..).unwrap_or_default();
    }
    Ok(records)
}

/// Asks an operator's questions until the connection ends or the traffic is over.
pub async fn ask(traffic: &Traffic, address: &str, name: &str) -> Result<()> {
    let connection = open(address, Role::Admin, name).await?;
    while !traffic.is_over() {
        let list = Request::Admin(AdminRequest::ListTopics);
        connection.request(list, Payload::none()).await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
