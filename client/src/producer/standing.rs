//! Connections that stand as long as their producer, one to each broker of the topics that it uses.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use castmq_protocol::model::permission;
use castmq_protocol::native::route::TopicRoute;
use futures_util::future::select_all;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::kept::{Current, Keeping, keep};
use crate::backoff::Backoff;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::link::Session;
use crate::routes::{FRESH, LOOK, REFRESH, WriteBroker, master, writable};

/// A broker of a topic, with the connection to it.
#[derive(Debug)]
struct Broker {
    name: Arc<str>,
    address: Arc<str>,
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

/// The brokers that take a topic's messages, and the route that said so.
#[derive(Debug)]
struct Known {
    brokers: Arc<[Broker]>,
    route: Arc<TopicRoute>,
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
    /// Nothing of those that name servers did not know yet.
    topics: Mutex<HashMap<Arc<str>, Option<Known>>>,
    /// What routes say has turned out to be wrong.
    is_stale: AtomicBool,
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

    /// The broker has said that it is no master: the route is out of date, and the connection of no use.
    pub(super) fn turn_away(&self, session: &Session) {
        self.is_stale.store(true, Ordering::Release);
        session.connection.close();
    }
}

impl<K: Keeping> Standing<K> {
    pub(super) fn new(client: Client, keeping: K) -> Arc<Self> {
        let runtime = client.shared.runtime.clone();
        let new = Arc::new(Self {
            client,
            keeping: Arc::new(keeping),
            backoff: Backoff::up_to(LOOK),
            connections: Mutex::default(),
            topics: Mutex::default(),
            is_stale: AtomicBool::new(false),
            stop: watch::Sender::new(false),
        });
        runtime.spawn(follow(Arc::downgrade(&new), new.stop.subscribe()));
        new
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
        loop {
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
                self.await_master(topic, broker).await?;
            } else if let Ok((session, _, _)) = timeout(LOOK, select_all(connecting)).await {
                return session.ok_or(Error::Closed { what: "producer" });
            }
            // They may be elsewhere by now.
            self.is_stale.store(true, Ordering::Release);
        }
    }

    /// Waits a moment, when a broker set that is wanted has only lost its master.
    async fn await_master(&self, topic: &Arc<str>, broker: Option<&str>) -> Result<()> {
        let route = self.client.shared.routes.at_hand(topic, REFRESH).await?;
        let sets = route.as_ref().map_or(&[][..], |route| &route.brokers);
        let mut wanted = sets
            .iter()
            .filter(|set| broker.is_none_or(|name| set.name == name));
        if wanted.any(|set| master(set).is_none()) {
            tokio::time::sleep(LOOK / 2).await;
            return Ok(());
        }
        Err(Error::NoQueue {
            topic: topic.clone(),
            reason: match broker {
                Some(broker) => format!("broker {broker} takes no messages of it").into(),
                None => "no broker with a master takes writes of it".into(),
            },
        })
    }

    /// The brokers of a topic.
    async fn brokers_of(&self, topic: &Arc<str>) -> Result<Arc<[Broker]>> {
        let routes = &self.client.shared.routes;
        let found = match self.is_stale.swap(false, Ordering::AcqRel) {
            true => routes.find(topic, FRESH).await,
            false => routes.at_hand(topic, REFRESH / 2).await,
        };
        match found {
            Ok(Some(route)) => Ok(self.brokers_in(topic, route)),
            // Name servers may have forgotten for a moment what they knew.
            not_found if let Some(Some(known)) = self.topics.lock().get(topic) => {
                tracing::debug!(%topic, ?not_found, "keeping the brokers known before");
                Ok(known.brokers.clone())
            }
            // One of those that may create the topic does, and the others are none of its brokers.
            Ok(None) => {
                self.topics.lock().entry(topic.clone()).or_default();
                let route = routes.for_writing(topic, REFRESH / 2).await?;
                Ok(self.connected_to(route.brokers))
            }
            Err(error) => Err(error),
        }
    }

    fn brokers_in(&self, topic: &Arc<str>, route: Arc<TopicRoute>) -> Arc<[Broker]> {
        if let Some(Some(known)) = self.topics.lock().get(topic)
            && Arc::ptr_eq(&known.route, &route)
        {
            return known.brokers.clone();
        }
        let brokers = self.connected_to(writable(&route, permission::WRITE));
        let known = Known {
            brokers: brokers.clone(),
            route,
        };
        let mut topics = self.topics.lock();
        topics.insert(topic.clone(), Some(known));
        // Connections to where no broker is any more end by themselves when nobody has them.
        let is_known = |address: &Arc<str>| {
            let known = topics.values().flatten();
            let mut all = known.flat_map(|known| known.brokers.iter());
            all.any(|broker| broker.address == *address)
        };
        self.connections
            .lock()
            .retain(|address, _| is_known(address));
        brokers
    }

    /// Whether there is a connection to each broker.
    fn is_whole(&self) -> bool {
        let connections = self.connections.lock();
        let mut all = connections.values();
        all.all(|current| usable(&current.borrow()).is_some())
    }

    /// Connects to where the brokers of all topics are by now.
    async fn look(&self) {
        let topics: Vec<_> = self.topics.lock().keys().cloned().collect();
        for topic in topics {
            match self.client.shared.routes.find(&topic, FRESH).await {
                Ok(Some(route)) => drop(self.brokers_in(&topic, route)),
                not_found => {
                    tracing::debug!(%topic, ?not_found, "keeping the brokers known before")
                }
            }
        }
    }

    fn connected_to(&self, brokers: Vec<WriteBroker>) -> Arc<[Broker]> {
        let mut connections = self.connections.lock();
        let brokers = brokers.into_iter().map(|found| Broker {
            name: found.name,
            current: connections
                .entry(found.address.clone())
                .or_insert_with_key(|address| self.keep(address))
                .clone(),
            address: found.address,
        });
        brokers.collect()
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

/// Follows brokers to where they are by now, also while nobody sends anything: those who ask have nobody else.
async fn follow<K: Keeping>(standing: Weak<Standing<K>>, mut stop: watch::Receiver<bool>) {
    let mut last = Instant::now();
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = sleep(LOOK) => {}
        }
        let Some(standing) = standing.upgrade() else {
            return;
        };
        if !standing.is_whole() || last.elapsed() >= REFRESH {
            standing.look().await;
            last = Instant::now();
        }
    }
}
