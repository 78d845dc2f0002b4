//! Where topics are, as name servers know it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use castmq_protocol::model::permission;
use castmq_protocol::model::system_topics::AUTO_CREATE_TEMPLATE;
use castmq_protocol::native::route::{BrokerSet, TopicRoute};
use castmq_protocol::native::{ErrorCode, Request, Response};
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::link::{Link, Session};
use crate::trace::Tracer;

/// How often routes are asked for again without a reason (RocketMQ `pollNameServerInterval`).
pub(crate) const REFRESH: Duration = Duration::from_secs(30);

/// A route, and since when it is known.
type Known = (Arc<TopicRoute>, Instant);

/// The name servers, and the routes they told lately.
#[derive(Debug)]
pub(crate) struct Routes {
    servers: Vec<Arc<Link>>,
    /// The server that answered last.
    preferred: AtomicUsize,
    known: Mutex<HashMap<Arc<str>, Known>>,
    /// Told which topics are traced.
    tracer: Arc<Tracer>,
}

/// The brokers of a topic that a producer may write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WriteRoute {
    /// Masters that take writes, sorted by name.
    pub(crate) brokers: Vec<WriteBroker>,
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
    pub(crate) address: Arc<str>,
    /// Queues of the topic that can be read.
    pub(crate) queues: u32,
}

/// The address of a set's master.
pub(crate) fn master(set: &BrokerSet) -> Option<&str> {
    let (_, address) = set.addresses.iter().find(|(id, _)| *id == 0)?;
    Some(address)
}

/// Brokers of a route that may be read: at the master, or at a slave while there is no master.
pub(crate) fn readable(route: &TopicRoute) -> Vec<ReadBroker> {
    let mut brokers: Vec<_> = route
        .queues
        .iter()
        .filter(|queues| queues.permission & permission::READ != 0)
        .filter_map(|queues| {
            let set = route.brokers.iter().find(|set| set.name == queues.broker)?;
            let any = || Some(set.addresses.first()?.1.as_str());
            Some(ReadBroker {
                name: queues.broker.as_str().into(),
                address: master(set).or_else(any)?.into(),
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

fn is_not_found(error: &Error) -> bool {
    error.code() == Some(ErrorCode::TopicNotFound)
}

impl Routes {
    pub(crate) fn new(servers: Vec<Arc<Link>>, tracer: Arc<Tracer>) -> Self {
        Self {
            servers,
            preferred: AtomicUsize::new(0),
            known: Mutex::new(HashMap::new()),
            tracer,
        }
    }

    /// A connection to a name server: the one that answered last, or the next that can be reached.
    pub(crate) async fn name_server(&self) -> Result<Arc<Session>> {
        self.on_a_server(|session| async move { Ok(session) }).await
    }

    /// Does something on the first name server on which it does not fail for lack of a connection.
    async fn on_a_server<T, F: Future<Output = Result<T>>>(
        &self,
        what: impl Fn(Arc<Session>) -> F,
    ) -> Result<T> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let mut last = Error::setting("no name server is configured: name at least one");
        for index in (preferred..).take(self.servers.len()) {
            let index = index % self.servers.len();
            let Some(server) = self.servers.get(index) else {
                break;
            };
            let attempt = async { what(server.session().await?).await };
            match attempt.await {
                Err(error) if error.is_connectivity() => last = error,
                result => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return result;
                }
            }
        }
        Err(last)
    }

    /// A topic's route, asked for when what is known is older than `max_age`. `None` when name servers do not know the
    /// topic. While none of them can be reached, the route that was known last.
    pub(crate) async fn find(
        &self,
        topic: &Arc<str>,
        max_age: Duration,
    ) -> Result<Option<Arc<TopicRoute>>> {
        let now = Instant::now();
        if let Some((route, since)) = self.known.lock().get(topic)
            && now.duration_since(*since) < max_age
        {
            return Ok(Some(route.clone()));
        }
        let asked = self.on_a_server(|session| async move {
            let topic = topic.as_ref().into();
            let reply = session.ask(Request::Route { topic }).await?;
            match reply.header.response {
                Response::Route(route) => Ok(Arc::new(route)),
                _ => Err(session.unexpected("route")),
            }
        });
        match asked.await {
            Ok(route) => {
                let is_traced = route.queues.iter().any(|queues| queues.is_traced);
                self.tracer.learn(topic, is_traced);
                let entry = (route.clone(), Instant::now());
                self.known.lock().insert(topic.clone(), entry);
                Ok(Some(route))
            }
            Err(error) if is_not_found(&error) => {
                self.known.lock().remove(topic);
                Ok(None)
            }
            // Brokers may well be there while name servers are not.
            Err(error) if error.is_connectivity() => match self.known.lock().get(topic) {
                Some((route, _)) => {
                    tracing::debug!(%topic, %error, "using the route known before");
                    Ok(Some(route.clone()))
                }
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// The brokers from which a topic is read, sorted by name. `None` when the topic does not exist.
    pub(crate) async fn for_reading(
        &self,
        topic: &Arc<str>,
        max_age: Duration,
    ) -> Result<Option<Vec<ReadBroker>>> {
        let route = self.find(topic, max_age).await?;
        Ok(route.map(|route| readable(&route)))
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
        let read: Vec<_> = readable(&route).into_iter().map(|b| b.address).collect();
        assert_eq!(
            read.iter().map(|a| &**a).collect::<Vec<_>>(),
            ["a:0", "b:0", "closed:0", "s:1"]
        );
    }
}
