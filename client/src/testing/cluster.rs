//! A cluster in memory: name servers and brokers, which fail when a test says so.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use castmq_protocol::model::QueueId;
use castmq_protocol::native::request::Pull;
use castmq_protocol::native::{ClientHeader, ErrorCode, Failure, Request, Response, Welcome};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::broker::{Broker, Committed, Fault, Session};
use super::name_server::NameServer;
use super::set::{needs_master, not_master};
use super::{Network, Peer, welcome};
use crate::client::{Client, ClientBuilder};

pub(crate) const NAME_SERVER: &str = "ns:1";

#[derive(Default)]
pub(super) struct State {
    pub(super) name_servers: Vec<NameServer>,
    pub(super) brokers: Vec<Broker>,
    pub(super) creates_topics: bool,
    /// Topics whose routes say that they are traced.
    pub(super) traced: Vec<String>,
    /// Topics whose routes say that nobody may write to them.
    pub(super) read_only: Vec<String>,
    connections: usize,
    pub(super) committed: Committed,
}

/// A cluster in memory.
#[derive(Clone)]
pub(crate) struct FakeCluster {
    pub(super) network: Network,
    pub(super) state: Arc<Mutex<State>>,
}

impl FakeCluster {
    /// Brokers by name, and a name server.
    pub(crate) fn start(brokers: &[&str]) -> Self {
        let cluster = Self {
            network: Network::default(),
            state: Arc::default(),
        };
        cluster.start_name_server(NAME_SERVER);
        for name in brokers {
            cluster.start_broker(name);
        }
        cluster
    }

    /// Starts a broker, or one that was stopped, with what it had.
    pub(crate) fn start_broker(&self, name: &str) {
        let index = {
            let mut state = self.state.lock();
            let known = state.brokers.iter().position(|broker| broker.node == name);
            let index = known.unwrap_or_else(|| {
                state.brokers.push(Broker {
                    node: name.into(),
                    name: name.into(),
                    address: format!("{name}:1"),
                    ..Broker::default()
                });
                state.brokers.len() - 1
            });
            state.brokers[index].up = true;
            index
        };
        self.listen(index, &format!("{name}:1"));
    }

    /// From now on name servers say that a broker is at this address, and it is; who is connected to it stays so.
    pub(crate) fn move_broker(&self, name: &str, address: &str) {
        self.with(name, |broker| address.clone_into(&mut broker.address));
        let brokers = &self.state.lock().brokers;
        let index = brokers.iter().position(|broker| broker.node == name);
        self.listen(index.expect("the broker is there"), address);
    }

    fn listen(&self, index: usize, address: &str) {
        let mut listener = self.network.listen(address);
        let state = self.state.clone();
        tokio::spawn(async move {
            loop {
                let mut peer = listener.accept().await;
                let (name, id) = {
                    let broker = &state.lock().brokers[index];
                    (broker.name.clone(), broker.id)
                };
                let greeting = Welcome {
                    broker_id: id,
                    ..welcome(&name)
                };
                peer.greet(greeting).await;
                tokio::spawn(serve(state.clone(), index, peer));
            }
        });
    }

    /// Stops a broker: its connections close and nobody listens. Name servers still know it.
    pub(crate) fn stop_broker(&self, name: &str) {
        self.network.unlisten(&format!("{name}:1"));
        self.with(name, |broker| {
            broker.up = false;
            broker.connections.clear();
            broker.subscriptions.clear();
            broker.groups.clear();
            broker.waiting.clear();
        });
    }

    /// A broker says on all its connections that it will close them, and leaves them open.
    pub(crate) fn announce_end(&self, name: &str) {
        let reason = Failure::safe(ErrorCode::ShuttingDown, "it stops");
        let closing = Response::Closing { reason };
        self.with(name, |broker| {
            for connection in broker.connections.values() {
                let _ = connection.send((0, closing.clone(), Vec::new()));
            }
        });
    }

    /// From now on routes say of this topic that nobody may write to it.
    pub(crate) fn read_only(&self, topic: &str) {
        self.state.lock().read_only.push(topic.to_owned());
    }

    /// Nobody hears from a broker any more, and who connects is not greeted: its host is gone.
    pub(crate) fn hush_broker(&self, name: &str) {
        self.stop_broker(name);
        self.network.swallow(&format!("{name}:1"));
    }

    /// A broker says that it closes its connections, and does. Name servers still know it.
    pub(crate) fn restart_broker(&self, name: &str) {
        self.announce_end(name);
        self.stop_broker(name);
        self.start_broker(name);
    }

    pub(crate) fn create_topics(&self) {
        self.state.lock().creates_topics = true;
    }

    /// From now on routes say of this topic alone that it is traced.
    pub(crate) fn trace_only(&self, topic: &str) {
        self.state.lock().traced = vec![topic.to_owned()];
    }

    pub(crate) fn topic(&self, broker: &str, topic: &str, queues: usize) {
        self.with(broker, |broker| {
            broker.topics.insert(topic.into(), vec![Vec::new(); queues]);
        });
    }

    pub(super) fn with<T>(&self, broker: &str, what: impl FnOnce(&mut Broker) -> T) -> T {
        let mut state = self.state.lock();
        let broker = state.brokers.iter_mut().find(|b| b.node == broker);
        what(broker.expect("the broker is there"))
    }

    /// The next request of this name (see `Broker::asked`) meets this.
    pub(crate) fn fault(&self, broker: &str, request: &'static str, fault: Fault) {
        self.with(broker, |broker| broker.faults.push_back((request, fault)));
    }

    /// Stores messages, numbered bodies, in one queue.
    pub(crate) fn store(
        &self,
        broker: &str,
        topic: &str,
        queue: u32,
        bodies: std::ops::Range<u32>,
    ) {
        self.with(broker, |broker| {
            for number in bodies {
                broker.append(topic, QueueId(queue), number.to_string().as_bytes(), b"", 0);
            }
            broker.deliver();
        });
    }

    /// Stores a message with these encoded properties.
    pub(crate) fn store_one(&self, broker: &str, topic: &str, body: &str, properties: &str) {
        self.with(broker, |broker| {
            broker.append(topic, QueueId(0), body.as_bytes(), properties.as_bytes(), 0);
            broker.deliver();
        });
    }

    /// Bodies of a queue.
    pub(crate) fn bodies(&self, broker: &str, topic: &str, queue: usize) -> Vec<String> {
        self.with(broker, |broker| {
            let records = broker.topics.get(topic).map(|queues| queues[queue].clone());
            let body = |record: &Vec<u8>| {
                let view = castmq_protocol::record::RecordView::parse(record).unwrap();
                String::from_utf8_lossy(view.body()).into_owned()
            };
            records.unwrap_or_default().iter().map(body).collect()
        })
    }

    /// Encoded properties of a queue's messages.
    pub(crate) fn properties(&self, broker: &str, topic: &str, queue: usize) -> Vec<String> {
        let read = |record: &Vec<u8>| {
            let view = castmq_protocol::record::RecordView::parse(record).unwrap();
            String::from_utf8_lossy(view.properties()).into_owned()
        };
        self.with(broker, |broker| {
            broker.topics[topic][queue].iter().map(read).collect()
        })
    }

    /// Bodies of all queues of a topic on a broker, queue by queue.
    pub(crate) fn all_bodies(&self, broker: &str, topic: &str) -> Vec<Vec<String>> {
        let queues = self.with(broker, |broker| {
            broker.topics.get(topic).map_or(0, Vec::len)
        });
        (0..queues)
            .map(|queue| self.bodies(broker, topic, queue))
            .collect()
    }

    /// How often something was asked.
    pub(crate) fn asked(&self, broker: &str, request: &str) -> usize {
        self.with(broker, |b| {
            b.asked.iter().filter(|name| **name == request).count()
        })
    }

    /// The sequences that were sent to a broker, with those below which all was settled.
    pub(crate) fn sequences(&self, broker: &str) -> Vec<(u64, u64)> {
        self.with(broker, |broker| {
            let numbers = broker.numbers.iter();
            let pairs = numbers.map(|extras| (extras.producer_sequence, extras.settled_below));
            pairs.collect()
        })
    }

    pub(crate) fn one_way(&self, broker: &str) -> usize {
        self.with(broker, |broker| broker.one_way)
    }

    pub(crate) fn committed(
        &self,
        group: &str,
        topic: &str,
        broker: &str,
        queue: u32,
    ) -> Option<u64> {
        let key = (group.into(), topic.into(), broker.into(), queue);
        self.state.lock().committed.get(&key).copied()
    }

    pub(crate) fn members(&self, broker: &str, group: &str) -> usize {
        self.with(broker, |broker| {
            broker.groups.get(group).map_or(0, Vec::len)
        })
    }

    /// A client of this cluster.
    pub(crate) async fn client(&self) -> Client {
        self.builder().build().await.unwrap()
    }

    /// Settings of a client of this cluster.
    pub(crate) fn builder(&self) -> ClientBuilder {
        Client::builder()
            .name_servers([NAME_SERVER])
            .client_id("test")
            .dial(Arc::new(self.network.clone()))
    }
}

async fn serve(state: Arc<Mutex<State>>, index: usize, mut peer: Peer) {
    let (sender, mut outgoing) = mpsc::unbounded_channel();
    let mut session = {
        let mut state = state.lock();
        state.connections += 1;
        let id = state.connections;
        state.brokers[index].connections.insert(id, sender);
        Session {
            id,
            topics: Vec::new(),
            groups: Vec::new(),
        }
    };
    loop {
        tokio::select! {
            biased;
            frame = outgoing.recv() => {
                let Some((correlation, response, payload)) = frame else { break };
                peer.reply_with(correlation, response, &payload).await;
            }
            request = peer.next() => {
                let Some((header, payload)) = request else { break };
                if !handle(&state, index, &mut session, header, &payload) {
                    break;
                }
            }
        }
    }
    let mut state = state.lock();
    let state = &mut *state;
    let broker = &mut state.brokers[index];
    broker.connections.remove(&session.id);
    broker.subscriptions.retain(|s| s.connection != session.id);
    broker.waiting.retain(|w| w.0 != session.id);
    for group in session.groups {
        broker.leave(&group, session.id, &state.committed);
    }
}

/// Does what is asked. False closes the connection.
fn handle(
    shared: &Arc<Mutex<State>>,
    index: usize,
    session: &mut Session,
    header: ClientHeader,
    payload: &Bytes,
) -> bool {
    let mut state = shared.lock();
    let state = &mut *state;
    let creates = state.creates_topics;
    let set = state.brokers[index].name.clone();
    let masters = state.brokers.iter().filter(|broker| broker.id == 0);
    let is_master_there = masters
        .into_iter()
        .any(|master| master.name == set && master.up && !master.unlisted);
    let broker = &mut state.brokers[index];
    let name = crate::raw::request_name(&header.request);
    broker.asked.push(name);
    let fault = match broker.faults.front() {
        Some((wanted, _)) if *wanted == name => broker.faults.pop_front().map(|(_, f)| f),
        _ => None,
    };
    let outgoing = broker.connections[&session.id].clone();
    let answer = |response| drop(outgoing.send((header.correlation, response, Vec::new())));
    match fault {
        Some(Fault::Refuse(failure)) => {
            answer(Response::Failed(failure));
            return true;
        }
        Some(Fault::Close) => return false,
        Some(Fault::Ignore) => return true,
        Some(Fault::DoneThenClose | Fault::Slow(_)) | None => {}
    }
    if broker.id != 0 && needs_master(&header.request, is_master_there) {
        answer(not_master());
        return true;
    }
    if let Request::Pull(pull) = &header.request {
        let wait = Duration::from_millis(pull.wait_ms.into());
        tokio::spawn(end_pull(
            shared.clone(),
            index,
            session.id,
            header.correlation,
            wait,
        ));
    }
    let committed = &mut state.committed;
    let response = broker.answer(
        session,
        header.request,
        payload,
        header.correlation,
        creates,
        committed,
    );
    if matches!(fault, Some(Fault::DoneThenClose)) {
        return false;
    }
    if let Some((response, payload)) = response {
        let answer = (header.correlation, response, payload);
        if let Some(Fault::Slow(late)) = fault {
            tokio::spawn(async move {
                tokio::time::sleep(late).await;
                let _ = outgoing.send(answer);
            });
        } else {
            let _ = outgoing.send(answer);
        }
    }
    broker.deliver();
    true
}

/// Answers a pull that has waited for long enough.
async fn end_pull(
    state: Arc<Mutex<State>>,
    index: usize,
    connection: usize,
    correlation: u64,
    wait: Duration,
) {
    tokio::time::sleep(wait).await;
    let broker = &mut state.lock().brokers[index];
    let its =
        |waiting: &(usize, u64, Pull, String)| (waiting.0, waiting.1) == (connection, correlation);
    if let Some(place) = broker.waiting.iter().position(its) {
        broker.waiting[place].2.wait_ms = 0;
        broker.deliver();
    }
}
