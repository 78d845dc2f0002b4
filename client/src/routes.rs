//! Where topics are, as name servers know it.

use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::permission;
use castmq_protocol::model::system_topics::AUTO_CREATE_TEMPLATE;
use castmq_protocol::native::route::{BrokerSet, TopicRoute};
use castmq_protocol::native::{ErrorCode, Request, Response};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use crate::error::{Error, Result};
use crate::name_servers::NameServers;
use crate::trace::Tracer;

/// How often routes are asked for again without a reason (RocketMQ `pollNameServerInterval`).
pub(crate) const REFRESH: Duration = Duration::from_secs(30);

/// A route that is younger is not asked for again even when it seems to be wrong. So whatever fails, and for how many, name
/// servers are asked twice a second at most.
pub(crate) const FRESH: Duration = Duration::from_millis(500);

/// How often it is looked whether something that is wrong has become right.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// How long name servers may hold up somebody who could go on with what is known.
const PATIENCE: Duration = Duration::from_millis(500);

/// What name servers know of a topic; `None` when they do not know it.
type Found = Option<Arc<TopicRoute>>;

/// A question that is under way. All who want to know wait for the same one.
type Asking = Shared<BoxFuture<'static, Result<Found>>>;

/// What is known of a topic.
#[derive(Debug, Default)]
struct Topic {
    /// Its route, and since when that is known.
    known: Option<(Arc<TopicRoute>, Instant)>,
    /// When the last question was answered, or failed.
    asked: Option<Instant>,
    asking: Option<Asking>,
}

impl Topic {
    fn younger_than(&self, max_age: Duration) -> Found {
        let (route, since) = self.known.as_ref()?;
        (since.elapsed() < max_age).then(|| route.clone())
    }
}

/// The routes that name servers told lately.
#[derive(Debug)]
pub(crate) struct Routes {
    inner: Arc<Inner>,
    runtime: Handle,
}

#[derive(Debug)]
struct Inner {
    servers: NameServers,
    topics: Mutex<HashMap<Arc<str>, Topic>>,
    /// Told which topics are traced.
    tracer: Arc<Tracer>,
}

/// The brokers of a topic that a producer may write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WriteRoute {
    /// Masters that take writes, sorted by name.
    pub(crate) brokers: Vec<WriteBroker>,
    /// There is another set, which has no master now.
    pub(crate) lacks_masters: bool,
    /// The topic does not exist: these brokers create it when it is announced to one of them.
    pub(crate) creates: bool,
}

/// A broker that takes writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WriteBroker {
    pub(crate) name: Arc<str>,
    pub(crate) address: Arc<str>,
    /// How many queues of the topic it has; of a topic to be created only the broker knows.
    pub(crate) queues: u32,
}

/// A broker that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadBroker {
    pub(crate) name: Arc<str>,
    pub(crate) place: Place,
    /// Queues of the topic that can be read.
    pub(crate) queues: u32,
}

/// Where a broker set is read: at the master, or at the slave with the least id while there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: Arc<str>,
    pub(crate) is_slave: bool,
}

/// The address of a set's master.
pub(crate) fn master(set: &BrokerSet) -> Option<&str> {
    let (_, address) = set.addresses.iter().find(|(id, _)| *id == 0)?;
    Some(address)
}

/// Where a route says that a broker set is read.
pub(crate) fn reading_place(route: &TopicRoute, broker: &str) -> Option<Place> {
    let set = route.brokers.iter().find(|set| set.name == broker)?;
    let (id, address) = set.addresses.iter().min_by_key(|(id, _)| *id)?;
    Some(Place {
        address: address.as_str().into(),
        is_slave: *id != 0,
    })
}

/// Brokers of a route that may be read.
pub(crate) fn readable(route: &TopicRoute) -> Vec<ReadBroker> {
    let mut brokers: Vec<_> = route
        .queues
        .iter()
        .filter(|queues| queues.permission & permission::READ != 0)
        .filter_map(|queues| {
            Some(ReadBroker {
                name: queues.broker.as_str().into(),
                place: reading_place(route, &queues.broker)?,
                queues: queues.read_queues,
            })
        })
        .collect();
    brokers.sort_by(|one, other| one.name.cmp(&other.name));
    brokers
}

/// Brokers of a route with a master and all bits of `wanted`.
pub(crate) fn writable(route: &TopicRoute, wanted: u32) -> Vec<WriteBroker> {
    let mut brokers: Vec<_> = route
        .queues
        .iter()
        .filter(|queues| queues.permission & wanted == wanted)
        .filter_map(|queues| {
            let set = route.brokers.iter().find(|set| set.name == queues.broker)?;
            Some(WriteBroker {
                name: queues.broker.as_str().into(),
                address: master(set)?.into(),
                queues: queues.write_queues,
            })
        })
        .collect();
    brokers.sort_by(|one, other| one.name.cmp(&other.name));
    brokers
}

/// Whether a route has a set without a master. Name servers say of such a one that it takes no writes.
fn lacks_masters(route: &TopicRoute) -> bool {
    route.brokers.iter().any(|set| master(set).is_none())
}

fn is_not_found(error: &Error) -> bool {
    error.code() == Some(ErrorCode::TopicNotFound)
}

impl Inner {
    async fn ask(&self, topic: &Arc<str>) -> Result<Found> {
        let asked = self.servers.ask(|session| async move {
            let topic = topic.as_ref().into();
            let reply = session.ask(Request::Route { topic }).await?;
            match reply.header.response {
                Response::Route(route) => Ok(Arc::new(route)),
                _ => Err(session.unexpected("route")),
            }
        });
        let found = match asked.await {
            Ok(route) => Ok(Some(route)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        };
        if let Ok(Some(route)) = &found {
            let is_traced = route.queues.iter().any(|queues| queues.is_traced);
            self.tracer.learn(topic, is_traced);
        }
        self.note(topic, &found);
        found
    }

    fn note(&self, topic: &Arc<str>, found: &Result<Found>) {
        let mut topics = self.topics.lock();
        let now = Instant::now();
        match found {
            Ok(None) => {
                topics.remove(topic);
            }
            _ => {
                let entry = topics.entry(topic.clone()).or_default();
                entry.asking = None;
                entry.asked = Some(now);
                if let Ok(Some(route)) = found {
                    entry.known = Some((route.clone(), now));
                }
            }
        }
    }
}

impl Routes {
    /// `runtime` asks in the background.
    pub(crate) fn new(servers: NameServers, tracer: Arc<Tracer>, runtime: Handle) -> Self {
        let inner = Inner {
            servers,
            topics: Mutex::default(),
            tracer,
        };
        Self {
            inner: Arc::new(inner),
            runtime,
        }
    }

    pub(crate) fn name_servers(&self) -> &NameServers {
        &self.inner.servers
    }

    /// Asks for a route, whether anybody waits for it or not.
    fn ask(&self, topic: &Arc<str>) -> Asking {
        let mut topics = self.inner.topics.lock();
        let entry = topics.entry(topic.clone()).or_default();
        if let Some(asking) = &entry.asking {
            return asking.clone();
        }
        let (inner, name) = (self.inner.clone(), topic.clone());
        let asking = async move { inner.ask(&name).await }.boxed().shared();
        entry.asking = Some(asking.clone());
        drop(topics);
        self.runtime.spawn(asking.clone().map(drop));
        asking
    }

    fn known(&self, topic: &str) -> Found {
        let topics = self.inner.topics.lock();
        let (route, _) = topics.get(topic)?.known.as_ref()?;
        Some(route.clone())
    }

    fn younger_than(&self, topic: &str, max_age: Duration) -> Found {
        let topics = self.inner.topics.lock();
        topics.get(topic)?.younger_than(max_age)
    }

    /// A topic's route as it is now. `None` when name servers do not know the topic. While none of them answers, the route
    /// that was known last.
    pub(crate) async fn latest(&self, topic: &Arc<str>) -> Result<Found> {
        let asked = self.ask(topic).await;
        match (asked, self.known(topic)) {
            // Brokers may well be there while name servers are not.
            (Err(error), Some(route)) => {
                tracing::debug!(%topic, %error, "using the route known before");
                Ok(Some(route))
            }
            (asked, _) => asked,
        }
    }

    /// A topic's route, asked for when what is known is older than `max_age`. Does not wait for long when something is known:
    /// the answer then counts the next time.
    pub(crate) async fn find(&self, topic: &Arc<str>, max_age: Duration) -> Result<Found> {
        if let Some(route) = self.younger_than(topic, max_age) {
            return Ok(Some(route));
        }
        match self.known(topic) {
            None => self.latest(topic).await,
            known => match timeout(PATIENCE, self.latest(topic)).await {
                Ok(found) => found,
                Err(_) => Ok(known),
            },
        }
    }

    /// A topic's route as it is known, without waiting for anybody; asked for in the background when it is older than
    /// `max_age`. Waits when nothing is known.
    pub(crate) async fn at_hand(&self, topic: &Arc<str>, max_age: Duration) -> Result<Found> {
        let (route, is_due) = {
            let topics = self.inner.topics.lock();
            let entry = topics.get(topic);
            let known = entry.and_then(|entry| entry.known.as_ref());
            let since = known.map(|(_, since)| since.elapsed());
            let asked = entry.and_then(|entry| entry.asked);
            // A question that failed just now would fail again.
            let is_due = since.is_some_and(|since| since >= max_age)
                && asked.is_none_or(|asked| asked.elapsed() >= FRESH);
            (known.map(|(route, _)| route.clone()), is_due)
        };
        if route.is_none() {
            return self.latest(topic).await;
        }
        if is_due {
            drop(self.ask(topic));
        }
        Ok(route)
    }

    /// The brokers that take a topic's messages, or that would create it.
    ///
    /// # Errors
    ///
    /// [`Error::TopicNotFound`] when the topic is not there and no broker creates topics.
    pub(crate) async fn for_writing(
        &self,
        topic: &Arc<str>,
        max_age: Duration,
    ) -> Result<WriteRoute> {
        if let Some(route) = self.find(topic, max_age).await? {
            return Ok(WriteRoute {
                brokers: writable(&route, permission::WRITE),
                lacks_masters: lacks_masters(&route),
                creates: false,
            });
        }
        let template = self.find(&AUTO_CREATE_TEMPLATE.into(), max_age).await?;
        let wanted = permission::WRITE | permission::INHERIT;
        let brokers = template.map_or(Vec::new(), |route| writable(&route, wanted));
        if brokers.is_empty() {
            return Err(Error::TopicNotFound {
                topic: topic.clone(),
            });
        }
        Ok(WriteRoute {
            brokers,
            lacks_masters: false,
            creates: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use castmq_protocol::native::route::BrokerQueues;

    fn set(name: &str, addresses: &[(u64, &str)]) -> BrokerSet {
        BrokerSet {
            cluster: "c".into(),
            name: name.into(),
            addresses: addresses.iter().map(|(id, a)| (*id, (*a).into())).collect(),
        }
    }

    fn queues(broker: &str, write_queues: u32, permission: u32) -> BrokerQueues {
        BrokerQueues {
            broker: broker.into(),
            read_queues: 9,
            write_queues,
            permission,
            is_traced: false,
        }
    }

    #[test]
    fn only_masters_that_take_writes_are_written_to_sorted_by_name() {
        let route = TopicRoute {
            brokers: vec![
                set("b", &[(0, "b:0"), (1, "b:1")]),
                set("a", &[(0, "a:0")]),
                set("slave-only", &[(1, "s:1")]),
                set("closed", &[(0, "closed:0")]),
            ],
            queues: vec![
                queues("b", 4, 6),
                queues("a", 8, 7),
                queues("slave-only", 4, 6),
                queues("closed", 4, 4),
                queues("unknown", 4, 6),
            ],
        };
        let found = writable(&route, permission::WRITE);
        let found: Vec<_> = found
            .iter()
            .map(|b| (&*b.name, &*b.address, b.queues))
            .collect();
        assert_eq!(found, [("a", "a:0", 8), ("b", "b:0", 4)]);
        let creating = writable(&route, permission::WRITE | permission::INHERIT);
        assert_eq!(creating.len(), 1);
        let read: Vec<_> = readable(&route)
            .into_iter()
            .map(|b| b.place.address)
            .collect();
        assert_eq!(
            read.iter().map(|a| &**a).collect::<Vec<_>>(),
            ["a:0", "b:0", "closed:0", "s:1"]
        );
    }
}
