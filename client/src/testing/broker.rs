//! A broker in memory: it stores, delivers, and shares queues out as the protocol says.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset, expires_at_ms};
use castmq_protocol::native::request::{
    ANY_QUEUE, Pop, PopReceipt, Pull, Send, SendBatch, SendExtras, StartFrom, Subscribe,
    TopicQueue, send_flags,
};
use castmq_protocol::native::response::{
    Acknowledged, AssignedQueue, AssignmentChanged, BatchSent, Deliver, Joined, Popped, PullStatus,
    Pulled, QueueRange, SendStatus, Sent,
};
use castmq_protocol::native::{ErrorCode, Failure, Request, Response};
use castmq_protocol::record::{Record, RecordView, batch};
use tokio::sync::mpsc;

/// What happens to a request in place of what it asks for.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It is refused.
    Refuse(Failure),
    /// It is done, and the connection closes before the answer.
    DoneThenClose,
    /// The connection closes before it is looked at.
    Close,
    /// It is never answered.
    Ignore,
    /// It is done, and answered after so long.
    Slow(Duration),
}

pub(super) type Outgoing = mpsc::UnboundedSender<(u64, Response, Vec<u8>)>;

pub(super) struct Member {
    pub(super) connection: usize,
    pub(super) alias: u32,
    pub(super) topics: Vec<String>,
    pub(super) queues: Vec<TopicQueue>,
    pub(super) from: StartFrom,
    pub(super) broadcasting: bool,
}

pub(super) struct Subscription {
    pub(super) connection: usize,
    pub(super) request: Subscribe,
    pub(super) topic: String,
    pub(super) next: u64,
    pub(super) messages: i64,
    pub(super) bytes: i64,
}

#[derive(Default)]
pub(super) struct Broker {
    /// Tells it from others of its set; the set's name for its first master.
    pub(super) node: String,
    /// The name of its set.
    pub(super) name: String,
    /// 0 for a master.
    pub(super) id: u64,
    /// Name servers do not tell of it.
    pub(super) unlisted: bool,
    pub(super) takes_back: bool,
    pub(super) sent_back: Vec<u64>,
    /// How many messages of each topic's first queue were popped.
    pub(super) popped: BTreeMap<String, usize>,
    pub(super) acknowledged: Vec<u64>,
    /// Where name servers say that it is.
    pub(super) address: String,
    pub(super) up: bool,
    pub(super) topics: BTreeMap<String, Vec<Vec<Vec<u8>>>>,
    pub(super) physical: u64,
    pub(super) groups: BTreeMap<String, Vec<Member>>,
    pub(super) generation: u64,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) waiting: Vec<(usize, u64, Pull, String)>,
    pub(super) connections: BTreeMap<usize, Outgoing>,
    pub(super) faults: VecDeque<(&'static str, Fault)>,
    /// What was asked, by name, in order.
    pub(super) asked: Vec<&'static str>,
    pub(super) one_way: usize,
    /// The answers to numbered sends, by producer and sequence.
    pub(super) numbered: BTreeMap<(u64, u64), Response>,
    /// The numbers of each send, in order.
    pub(super) numbers: Vec<SendExtras>,
}

/// One connection to a broker.
pub(super) struct Session {
    pub(super) id: usize,
    pub(super) topics: Vec<String>,
    pub(super) groups: Vec<String>,
}

fn refused(code: ErrorCode) -> Response {
    Response::Failed(Failure::never(code, "no"))
}

/// Offset by group, topic, broker and queue.
pub(super) type Committed = BTreeMap<(String, String, String, u32), u64>;

impl Broker {
    pub(super) fn answer(
        &mut self,
        session: &mut Session,
        request: Request,
        payload: &Bytes,
        correlation: u64,
        creates: bool,
        committed: &mut Committed,
    ) -> Option<(Response, Vec<u8>)> {
        let key = |session: &Session, group: u32, topic: &str, queue: QueueId| {
            let group = session.groups[group as usize].clone();
            (group, topic.to_owned(), self.node.clone(), queue.0)
        };
        let response = match request {
            Request::Heartbeat
            | Request::JoinProducers { .. }
            | Request::TakeReplies
            | Request::EndTransaction(_) => Response::Done,
            Request::AnnounceTopic { alias, topic } => {
                assert_eq!(alias as usize, session.topics.len(), "aliases are dense");
                if creates && !self.topics.contains_key(&topic) {
                    self.topics.insert(topic.clone(), vec![Vec::new(); 4]);
                }
                match self.topics.get(&topic) {
                    None => refused(ErrorCode::TopicNotFound),
                    Some(queues) => {
                        let queues = queues.len() as u32;
                        session.topics.push(topic);
                        Response::TopicAnnounced {
                            alias,
                            write_queues: queues,
                            read_queues: queues,
                        }
                    }
                }
            }
            Request::AnnounceGroup { alias, group } => {
                assert_eq!(alias as usize, session.groups.len(), "aliases are dense");
                session.groups.push(group);
                Response::GroupAnnounced { alias }
            }
            Request::Send(send) => {
                let number = self.take_number(send.extras.as_deref());
                if let Some(known) = number.and_then(|number| self.numbered.get(&number)) {
                    return Some((known.clone(), Vec::new()));
                }
                let answer = self.send(session, &send, payload);
                if let (Some(number), Some((sent @ Response::Sent(_), _))) = (number, &answer) {
                    self.numbered.insert(number, sent.clone());
                }
                return answer;
            }
            Request::SendBatch(send) => {
                let number = self.take_number(send.extras.as_deref());
                let known = number.and_then(|number| self.numbered.get(&number).cloned());
                known.unwrap_or_else(|| {
                    let sent = self.send_batch(session, &send, payload);
                    if let Some(number) = number {
                        self.numbered.insert(number, sent.clone());
                    }
                    sent
                })
            }
            Request::Subscribe(request) => self.subscribe(session, request),
            Request::Credit {
                subscription,
                messages,
                bytes,
            } => {
                let mut own = self.subscriptions.iter_mut();
                let found = own
                    .find(|s| s.connection == session.id && s.request.subscription == subscription);
                if let Some(found) = found {
                    found.messages += i64::from(messages);
                    found.bytes += i64::from(bytes);
                }
                return None;
            }
            Request::Unsubscribe { subscription } => {
                self.subscriptions.retain(|s| {
                    s.connection != session.id || s.request.subscription != subscription
                });
                Response::Done
            }
            Request::Pull(pull) => {
                let topic = session.topics[pull.topic as usize].clone();
                return self.pull(session.id, correlation, pull, topic);
            }
            Request::CommitOffsets { group, offsets } => {
                for position in offsets {
                    let topic = session.topics[position.topic as usize].clone();
                    let key = key(session, group, &topic, position.queue);
                    committed.insert(key, position.offset.0);
                }
                Response::Done
            }
            Request::QueryOffset {
                group,
                topic,
                queue,
            } => {
                let topic = session.topics[topic as usize].clone();
                let found = committed.get(&key(session, group, &topic, queue));
                Response::Offset(found.map(|offset| QueueOffset(*offset)))
            }
            Request::QueueRange { topic, queue } => {
                let queue = &self.topics[&session.topics[topic as usize]][queue.0 as usize];
                Response::Range(QueueRange {
                    offset: QueueOffset(0),
                    min: QueueOffset(0),
                    max: QueueOffset(queue.len() as u64),
                })
            }
            Request::OffsetAtTime { timestamp_ms, .. } => {
                Response::Offset(Some(QueueOffset(timestamp_ms as u64)))
            }
            Request::JoinGroup(join) => {
                let group = session.groups[join.group as usize].clone();
                let member = Member {
                    connection: session.id,
                    alias: join.group,
                    topics: join.subscriptions.iter().map(|s| s.topic.clone()).collect(),
                    queues: Vec::new(),
                    from: join.from,
                    broadcasting: join.mode
                        == castmq_protocol::native::request::GroupMode::Broadcasting,
                };
                self.groups.entry(group.clone()).or_default().push(member);
                let joined = Joined {
                    group: join.group,
                    lease_ms: 10_000,
                };
                self.tell(session.id, correlation, Response::Joined(joined));
                self.rebalance(&group, committed);
                return None;
            }
            Request::LeaveGroup { group } => {
                let group = session.groups[group as usize].clone();
                self.leave(&group, session.id, committed);
                Response::Done
            }
            Request::ReleaseQueues { group, .. } => {
                let group = session.groups[group as usize].clone();
                self.rebalance(&group, committed);
                Response::Done
            }
            Request::SendBack(back) if self.takes_back => {
                self.sent_back.push(back.offset.0);
                Response::Done
            }
            Request::Pop(pop) => return self.pop(session, &pop),
            Request::Acknowledge(acknowledged) => {
                let receipts = acknowledged.receipts.iter();
                self.acknowledged
                    .extend(receipts.map(|receipt| receipt.offset.0));
                Response::Acknowledged(Acknowledged {
                    refused: Vec::new(),
                })
            }
            Request::SendReply(_) => Response::Done,
            Request::SendBack(_) => Response::Failed(Failure::never(
                ErrorCode::NotSupported,
                "this broker takes no messages back",
            )),
            other => panic!("a broker is not asked {other:?}"),
        };
        Some((response, Vec::new()))
    }

    /// The number of a send that has one.
    fn take_number(&mut self, extras: Option<&SendExtras>) -> Option<(u64, u64)> {
        let extras = extras.filter(|extras| extras.producer_id != 0)?;
        assert!(
            (1..=extras.producer_sequence).contains(&extras.settled_below),
            "{extras:?}"
        );
        self.numbers.push(extras.clone());
        Some((extras.producer_id, extras.producer_sequence))
    }

    fn tell(&self, connection: usize, correlation: u64, response: Response) {
        if let Some(outgoing) = self.connections.get(&connection) {
            let _ = outgoing.send((correlation, response, Vec::new()));
        }
    }

    pub(super) fn append(
        &mut self,
        topic: &str,
        queue: QueueId,
        body: &[u8],
        properties: &[u8],
        system_flag: i32,
    ) -> (u64, u64) {
        let records =
            &mut self.topics.get_mut(topic).expect("the topic is there")[queue.0 as usize];
        let record = Record {
            topic,
            queue,
            queue_offset: QueueOffset(records.len() as u64),
            physical_offset: PhysicalOffset(self.physical),
            flag: 0,
            sys_flag: system_flag,
            born_timestamp_ms: 1,
            born_host: "10.0.0.9:1".parse().unwrap(),
            store_timestamp_ms: 2,
            store_host: "10.0.0.1:10911".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            body_crc: None,
            properties,
        };
        let mut bytes = vec![0; record.encoded_bytes()];
        record.encode(&mut bytes);
        let place = (records.len() as u64, self.physical);
        self.physical += bytes.len() as u64;
        records.push(bytes);
        place
    }

    fn send(
        &mut self,
        session: &Session,
        send: &Send,
        payload: &Bytes,
    ) -> Option<(Response, Vec<u8>)> {
        let topic = session.topics[send.topic as usize].clone();
        let (properties, body) = payload.split_at(send.properties_bytes as usize);
        let queue = match send.queue {
            ANY_QUEUE => QueueId(0),
            named => named,
        };
        if queue.0 as usize >= self.topics[&topic].len() {
            return Some((refused(ErrorCode::QueueOutOfRange), Vec::new()));
        }
        let (offset, physical) = self.append(&topic, queue, body, properties, send.sys_flag);
        if send.flags & send_flags::ONE_WAY != 0 {
            self.one_way += 1;
            return None;
        }
        let sent = Sent {
            status: SendStatus::Stored,
            queue,
            queue_offset: QueueOffset(offset),
            physical_offset: PhysicalOffset(physical),
        };
        Some((Response::Sent(sent), Vec::new()))
    }

    fn send_batch(&mut self, session: &Session, send: &SendBatch, payload: &Bytes) -> Response {
        let topic = session.topics[send.topic as usize].clone();
        let elements: Vec<_> = batch::elements(payload).map(Result::unwrap).collect();
        assert_eq!(elements.len(), send.messages as usize);
        let places: Vec<_> = elements
            .iter()
            .map(|e| self.append(&topic, send.queue, e.body, e.properties, send.sys_flag))
            .collect();
        Response::BatchSent(BatchSent {
            status: SendStatus::Stored,
            queue: send.queue,
            first_queue_offset: QueueOffset(places[0].0),
            first_physical_offset: PhysicalOffset(places[0].1),
            messages: send.messages,
        })
    }

    fn subscribe(&mut self, session: &Session, request: Subscribe) -> Response {
        let topic = session.topics[request.topic as usize].clone();
        let max = self.topics[&topic][request.queue.0 as usize].len() as u64;
        let offset = request.offset.0.min(max);
        self.subscriptions.push(Subscription {
            connection: session.id,
            topic,
            next: offset,
            messages: request.credit_messages.into(),
            bytes: request.credit_bytes.into(),
            request,
        });
        Response::Subscribed(QueueRange {
            offset: QueueOffset(offset),
            min: QueueOffset(0),
            max: QueueOffset(max),
        })
    }

    /// Streams what credit allows, and answers pulls that have waited.
    pub(super) fn deliver(&mut self) {
        for subscription in &mut self.subscriptions {
            let records = &self.topics[&subscription.topic][subscription.request.queue.0 as usize];
            let mut payload = Vec::new();
            let mut messages = 0;
            let mut may_expire = false;
            while subscription.messages > 0
                && subscription.bytes > 0
                && let Some(record) = records.get(subscription.next as usize)
            {
                let view = RecordView::parse(record);
                may_expire |= view.is_ok_and(|view| expires_at_ms(view.properties()).is_some());
                payload.extend_from_slice(record);
                subscription.next += 1;
                subscription.messages -= 1;
                subscription.bytes -= record.len() as i64;
                messages += 1;
            }
            if messages > 0
                && let Some(outgoing) = self.connections.get(&subscription.connection)
            {
                let deliver = Response::Deliver(Deliver {
                    subscription: subscription.request.subscription,
                    messages,
                    next_offset: QueueOffset(subscription.next),
                    max_offset: QueueOffset(records.len() as u64),
                    expires: may_expire.then_some(0),
                    by_priority: false,
                });
                let _ = outgoing.send((0, deliver, payload));
            }
        }
        for (connection, correlation, pull, topic) in std::mem::take(&mut self.waiting) {
            if let Some((response, payload)) = self.pull(connection, correlation, pull, topic)
                && let Some(outgoing) = self.connections.get(&connection)
            {
                let _ = outgoing.send((correlation, response, payload));
            }
        }
    }

    fn pull(
        &mut self,
        connection: usize,
        correlation: u64,
        pull: Pull,
        topic: String,
    ) -> Option<(Response, Vec<u8>)> {
        let records = &self.topics[&topic][pull.queue.0 as usize];
        let max = records.len() as u64;
        let wanted = records
            .iter()
            .skip(pull.offset.0 as usize)
            .take(pull.max_messages as usize);
        let found: Vec<_> = wanted.cloned().collect();
        if found.is_empty() && pull.offset.0 <= max && pull.wait_ms > 0 {
            self.waiting.push((connection, correlation, pull, topic));
            return None;
        }
        let (status, next) = match found.len() as u64 {
            _ if pull.offset.0 > max => (PullStatus::OffsetTooLarge, max),
            0 => (PullStatus::NoNewMessage, max),
            count => (PullStatus::Found, pull.offset.0 + count),
        };
        let pulled = Pulled {
            status,
            next_offset: QueueOffset(next),
            min_offset: QueueOffset(0),
            max_offset: QueueOffset(max),
            messages: found.len() as u32,
            ask_next: 0,
        };
        Some((Response::Pulled(pulled), found.concat()))
    }

    /// Hands out what is new in the first queue; when there is nothing, it is never answered.
    fn pop(&mut self, session: &Session, pop: &Pop) -> Option<(Response, Vec<u8>)> {
        let topic = session.topics[pop.topic as usize].clone();
        let records = &self.topics[&topic][0];
        let popped = self.popped.entry(topic).or_default();
        let new = &records[*popped..];
        if new.is_empty() {
            return None;
        }
        let receipt = |place: usize| PopReceipt {
            queue: QueueId(0),
            offset: QueueOffset((*popped + place) as u64),
            popped_at_ms: 1,
            invisible_ms: pop.invisible_ms,
            attempt: 1,
        };
        let receipts = (0..new.len()).map(receipt).collect();
        let payload = new.concat();
        *popped = records.len();
        Some((Response::Popped(Popped { receipts }), payload))
    }

    pub(super) fn leave(&mut self, group: &str, connection: usize, committed: &Committed) {
        if let Some(members) = self.groups.get_mut(group) {
            members.retain(|member| member.connection != connection);
            self.rebalance(group, committed);
        }
    }

    /// Deals queues round; one that a member has to give up is dealt only once it has been released.
    fn rebalance(&mut self, group: &str, committed: &Committed) {
        let Some(members) = self.groups.get_mut(group) else {
            return;
        };
        let count = members.len();
        let mut all = Vec::new();
        for topic in members
            .first()
            .map_or(Vec::new(), |member| member.topics.clone())
        {
            let queues = self.topics.get(&topic).map_or(0, Vec::len);
            all.extend((0..queues).map(|id| TopicQueue {
                topic: topic.clone(),
                queue: QueueId(id as u32),
            }));
        }
        self.generation += 1;
        let had: Vec<Vec<TopicQueue>> = members.iter().map(|m| m.queues.clone()).collect();
        for (number, member) in members.iter_mut().enumerate() {
            let due = |index: usize| member.broadcasting || index % count == number;
            let mine: Vec<_> = (0..)
                .zip(&all)
                .filter(|(i, _)| due(*i))
                .map(|(_, q)| q.clone())
                .collect();
            let taken = |queue: &TopicQueue| {
                let others = had.iter().enumerate().filter(|(other, _)| *other != number);
                others.into_iter().any(|(_, queues)| queues.contains(queue))
            };
            let revoked: Vec<_> = had[number]
                .iter()
                .filter(|queue| !mine.contains(queue))
                .cloned()
                .collect();
            let gained: Vec<_> = mine
                .iter()
                .filter(|queue| !had[number].contains(queue))
                .filter(|queue| member.broadcasting || !taken(queue))
                .cloned()
                .collect();
            if revoked.is_empty() && gained.is_empty() {
                continue;
            }
            member.queues.retain(|queue| !revoked.contains(queue));
            member.queues.extend(gained.iter().cloned());
            let assigned = gained
                .into_iter()
                .map(|queue| {
                    let key = (
                        group.to_owned(),
                        queue.topic.clone(),
                        self.node.clone(),
                        queue.queue.0,
                    );
                    let max = self.topics[&queue.topic][queue.queue.0 as usize].len() as u64;
                    let start = match member.from {
                        StartFrom::Earliest => 0,
                        StartFrom::Latest => max,
                        StartFrom::Timestamp(at) => at as u64,
                    };
                    let offset = committed.get(&key).copied().unwrap_or(start);
                    AssignedQueue {
                        queue,
                        offset: QueueOffset(offset),
                    }
                })
                .collect();
            let change = AssignmentChanged {
                group: member.alias,
                generation: self.generation,
                epoch: 1,
                assigned,
                revoked,
            };
            if let Some(outgoing) = self.connections.get(&member.connection) {
                let _ = outgoing.send((0, Response::AssignmentChanged(change), Vec::new()));
            }
        }
    }
}
