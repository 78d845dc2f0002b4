//! Connections that stand as long as their producer, one to each broker of the topics that it uses.

use std::sync::Arc;

use futures_util::future::select_all;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::kept::{Current, Keeping, keep};
use crate::backoff::Backoff;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::link::Session;
use crate::routes::REFRESH;

/// A broker of a topic, with the connection to it.
#[derive(Debug)]
struct Broker {
    name: Arc<str>,
    current: Current,
}

fn usable(current: &Option<Arc<Session>>) -> Option<&Arc<Session>> {
    current
        .as_ref()
        .filter(|session| session.connection.is_usable())
}

impl Broker {
    fn session(&self) -> Option<Arc<Session>> {
        usable(&self.current.borrow()).cloned()
    }

    /// Waits for a session; `None` when there will be none any more.
    async fn connected(&self) -> Option<Arc<Session>> {
        let mut current = self.current.clone();
        let found = current.wait_for(|current| usable(current).is_some()).await;
        found.ok().and_then(|current| current.clone())
    }
}

/// The brokers that take a topic's messages, as its route said.
#[derive(Debug)]
struct Known {
    brokers: Arc<[Broker]>,
    since: Instant,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Standing<K> {
    client: Client,
    keeping: Arc<K>,
    /// How each connection's pauses begin.
    backoff: Backoff,
    /// By address.
    connections: Mutex<HashMap<Arc<str>, Current>>,
    topics: Mutex<HashMap<Arc<str>, Known>>,
    stop: watch::Sender<bool>,
}

impl<K> Drop for Standing<K> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<K> Standing<K> {
    /// Ends all connections, and makes no more.
    pub(super) fn close(&self) {
        self.stop.send_replace(true);
    }
}

impl<K: Keeping> Standing<K> {
    pub(super) fn new(client: Client, keeping: K, backoff: Backoff) -> Self {
        Self {
            client,
            keeping: Arc::new(keeping),
            backoff,
            connections: Mutex::default(),
            topics: Mutex::default(),
            stop: watch::Sender::new(false),
        }
    }

    /// Connects to the brokers that take a topic's messages, in the background.
    pub(super) async fn connect(&self, topic: &Arc<str>) -> Result<()> {
        self.brokers_of(topic).await.map(drop)
    }

    /// A session at a broker that takes a topic's messages: at the one of this name when there is one, another one each
    /// `turn` otherwise. Waits for the first when there is none; without waiting for anybody when there is one, and the
    /// topic's route is known.
    pub(super) async fn session(
        &self,
        topic: &Arc<str>,
        broker: Option<&str>,
        turn: usize,
    ) -> Result<Arc<Session>> {
        let brokers = self.brokers_of(topic).await?;
        let is_wanted = |found: &&Broker| broker.is_none_or(|name| *found.name == *name);
        let wanted = || brokers.iter().filter(is_wanted);
        let sessions = || wanted().filter_map(Broker::session);
        let nth = turn.checked_rem(sessions().count());
        if let Some(session) = nth.and_then(|nth| sessions().nth(nth)) {
            return Ok(session);
        }
        let connecting: Vec<_> = wanted().map(|found| Box::pin(found.connected())).collect();
        if connecting.is_empty() {
            return Err(Error::NoQueue {
                topic: topic.clone(),
                reason: match broker {
                    Some(broker) => format!("broker {broker} takes no messages of it").into(),
                    None => "no broker with a master takes writes of it".into(),
                },
            });
        }
        let (session, _, _) = select_all(connecting).await;
        session.ok_or(Error::Closed { what: "producer" })
    }

    /// The brokers of a topic, as they were at most [`REFRESH`] ago.
    async fn brokers_of(&self, topic: &Arc<str>) -> Result<Arc<[Broker]>> {
        if let Some(known) = self.topics.lock().get(topic)
            && known.since.elapsed() < REFRESH / 2
        {
            return Ok(known.brokers.clone());
        }
        let routes = &self.client.shared.routes;
        let route = routes.for_writing(topic, REFRESH / 2).await?;
        let mut connections = self.connections.lock();
        let brokers = route.brokers.into_iter().map(|found| Broker {
            name: found.name,
            current: connections
                .entry(found.address)
                .or_insert_with_key(|address| self.keep(address))
                .clone(),
        });
        let brokers: Arc<[Broker]> = brokers.collect();
        // One of those that may create the topic does, and the others are none of its brokers.
        if !route.creates {
            let known = Known {
                brokers: brokers.clone(),
                since: Instant::now(),
            };
            self.topics.lock().insert(topic.clone(), known);
        }
        Ok(brokers)
    }

    fn keep(&self, address: &Arc<str>) -> Current {
        let (current, sessions) = watch::channel(None);
        let keeping = keep(
            self.keeping.clone(),
            address.clone(),
            self.backoff,
            current,
            self.stop.subscribe(),
        );
        self.client.shared.runtime.spawn(keeping);
        sessions
    }
}
