//! Name servers in memory, and how they die.

use std::sync::Arc;

use castmq_protocol::model::permission;
use castmq_protocol::native::route::{BrokerQueues, BrokerSet, TopicRoute};
use castmq_protocol::native::{ErrorCode, Failure, Request, Response};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::cluster::{FakeCluster, State};
use super::{Peer, welcome};

#[derive(Default)]
pub(super) struct NameServer {
    address: String,
    /// Its connections.
    connections: Vec<AbortHandle>,
    /// Questions so far.
    asked: usize,
    babbles: bool,
}

impl FakeCluster {
    /// Starts a name server. All know the same.
    pub(crate) fn start_name_server(&self, address: &str) {
        let mut listener = self.network.listen(address);
        let index = {
            let mut state = self.state.lock();
            state.name_servers.push(NameServer {
                address: address.to_owned(),
                ..NameServer::default()
            });
            state.name_servers.len() - 1
        };
        let state = self.state.clone();
        tokio::spawn(async move {
            loop {
                let peer = listener.greet(welcome("")).await;
                let serving = tokio::spawn(serve(state.clone(), index, peer));
                let mut state = state.lock();
                let connections = &mut state.name_servers[index].connections;
                connections.push(serving.abort_handle());
            }
        });
    }

    /// Its connections close, and nobody listens.
    pub(crate) fn stop_name_server(&self, address: &str) {
        self.network.unlisten(address);
        self.end_name_server(address);
    }

    /// Its connections close, and whoever connects is not greeted.
    pub(crate) fn hush_name_server(&self, address: &str) {
        self.network.swallow(address);
        self.end_name_server(address);
    }

    fn end_name_server(&self, address: &str) {
        self.with_name_server(address, |server| {
            for connection in server.connections.drain(..) {
                connection.abort();
            }
        });
    }

    /// From now on what it answers is not the protocol.
    pub(crate) fn babble(&self, address: &str) {
        self.with_name_server(address, |server| server.babbles = true);
    }

    /// How often a name server was asked for routes.
    pub(crate) fn routes_asked(&self, address: &str) -> usize {
        self.with_name_server(address, |server| server.asked)
    }

    fn with_name_server<T>(&self, address: &str, what: impl FnOnce(&mut NameServer) -> T) -> T {
        let mut state = self.state.lock();
        let mut servers = state.name_servers.iter_mut();
        what(servers.find(|server| server.address == address).unwrap())
    }
}

async fn serve(state: Arc<Mutex<State>>, index: usize, mut peer: Peer) {
    while let Some((header, _)) = peer.next().await {
        let response = match header.request {
            Request::Heartbeat => Response::Done,
            Request::Route { topic } => {
                let (babbles, answer) = {
                    let mut state = state.lock();
                    state.name_servers[index].asked += 1;
                    (state.name_servers[index].babbles, route(&state, &topic))
                };
                if babbles {
                    peer.write(b"HTTP/1.1 400 Bad Request").await;
                    continue;
                }
                answer
            }
            other => panic!("a name server is not asked {other:?}"),
        };
        peer.reply(header.correlation, response).await;
    }
}

fn route(state: &State, topic: &str) -> Response {
    let creates = topic == "TBW102" && state.creates_topics;
    let mut route = TopicRoute::default();
    let writes = match state.read_only.iter().any(|closed| closed == topic) {
        true => 0,
        false => permission::WRITE,
    };
    for broker in state.brokers.iter().filter(|broker| !broker.unlisted) {
        let queues = match broker.topics.get(topic) {
            Some(queues) => queues.len() as u32,
            None if creates => 8,
            None => continue,
        };
        let address = (broker.id, broker.address.clone());
        if let Some(set) = route.brokers.iter_mut().find(|set| set.name == broker.name) {
            set.addresses.push(address);
            set.addresses.sort();
            continue;
        }
        route.brokers.push(BrokerSet {
            cluster: "c".into(),
            name: broker.name.clone(),
            addresses: vec![address],
        });
        route.queues.push(BrokerQueues {
            broker: broker.name.clone(),
            read_queues: queues,
            write_queues: queues,
            permission: permission::READ | writes | permission::INHERIT,
            is_traced: state.traced.iter().any(|traced| traced == topic),
        });
    }
    // Nobody can write where there is no master.
    for (set, queues) in route.brokers.iter().zip(&mut route.queues) {
        if set.addresses.iter().all(|(id, _)| *id > 0) {
            queues.permission &= !permission::WRITE;
        }
    }
    if route.brokers.is_empty() {
        let message = format!("no topic {topic}");
        return Response::Failed(Failure::never(ErrorCode::TopicNotFound, message));
    }
    Response::Route(route)
}
