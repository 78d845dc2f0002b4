//! Where topics have queues to be read, as name servers say: a broker that shares a topic's queues out among a group's members has to
//! know those of all brokers. What was heard is remembered for a moment, and for longer while nobody can be asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::{TopicName, permission};
use castmq_protocol::native::route::TopicRoute;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::context::BrokerContext;
use crate::network::registrar::questions::FindRoute;

/// After this time name servers are asked again.
const FRESH: Duration = Duration::from_secs(5);

/// Topics that are remembered at one time.
const MAX_TOPICS: usize = 16_384;

/// A broker's queues of a topic that consumers read: the broker's name, and how many.
pub(crate) type ReadQueues = (String, u32);

#[derive(Debug)]
struct Known {
    at: Instant,
    queues: Arc<[ReadQueues]>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Routes(Mutex<HashMap<TopicName, Known>>);

impl Routes {
    fn fresh(&self, topic: &TopicName, now: Instant) -> Option<Arc<[ReadQueues]>> {
        let known = self.0.lock();
        let known = known.get(topic)?;
        let is_fresh = now.duration_since(known.at) < FRESH;
        is_fresh.then(|| known.queues.clone())
    }

    fn last(&self, topic: &TopicName) -> Option<Arc<[ReadQueues]>> {
        let known = self.0.lock();
        known.get(topic).map(|known| known.queues.clone())
    }

    fn hear(&self, topic: &TopicName, route: TopicRoute, at: Instant) -> Arc<[ReadQueues]> {
        let readable = route.queues.into_iter();
        let readable = readable.filter(|queues| queues.permission & permission::READ != 0);
        let queues: Arc<[_]> = readable
            .map(|queues| (queues.broker, queues.read_queues))
            .collect();
        let mut known = self.0.lock();
        if known.len() >= MAX_TOPICS {
            known.retain(|_, known| at.duration_since(known.at) < FRESH);
        }
        if known.len() < MAX_TOPICS || known.contains_key(topic) {
            let queues = queues.clone();
            known.insert(topic.clone(), Known { at, queues });
        }
        queues
    }

    fn forget(&self, topic: &TopicName) {
        self.0.lock().remove(topic);
    }
}

/// The queues of a topic by their brokers, this one's as they are now; `None` when no broker has the topic.
pub(crate) async fn read_queues(
    context: Arc<BrokerContext>,
    topic: TopicName,
) -> Option<Vec<ReadQueues>> {
    let others = elsewhere(&context, &topic).await;
    let own = context.topics.find(topic.as_str());
    let own = own.filter(|topic| topic.config().permission & permission::READ != 0);
    let name = &context.settings.broker.name;
    if others.is_none() && own.is_none() {
        return None;
    }
    let others = others.iter().flat_map(|queues| queues.iter());
    let others = others.filter(|(broker, _)| broker != name).cloned();
    let own = own.map(|topic| (name.clone(), topic.read_queues()));
    Some(others.chain(own).collect())
}

async fn elsewhere(context: &BrokerContext, topic: &TopicName) -> Option<Arc<[ReadQueues]>> {
    let routes = &context.routes;
    let now = Instant::now();
    if let Some(queues) = routes.fresh(topic, now) {
        return Some(queues);
    }
    for registrar in context.registrars.get().into_iter().flatten() {
        match registrar.ask(FindRoute(topic.to_string())).await {
            Ok(Ok(Some(route))) => return Some(routes.hear(topic, route, now)),
            Ok(Ok(None)) => {
                routes.forget(topic);
                return None;
            }
            // The next one may be there.
            Ok(Err(_)) | Err(_) => {}
        }
    }
    routes.last(topic)
}

#[cfg(test)]
mod tests {
    use castmq_protocol::native::route::BrokerQueues;

    use super::*;

    fn route(permission: u32) -> TopicRoute {
        TopicRoute {
            queues: vec![BrokerQueues {
                broker: "b".into(),
                read_queues: 3,
                write_queues: 1,
                permission,
                is_traced: false,
            }],
            ..TopicRoute::default()
        }
    }

    #[test]
    fn what_was_heard_is_fresh_for_a_moment_and_known_for_longer() {
        let (routes, now) = (Routes::default(), Instant::now());
        let topic = TopicName::new("t").unwrap();
        assert_eq!(routes.fresh(&topic, now), None);
        let queues = routes.hear(&topic, route(6), now);
        assert_eq!(&*queues, [("b".to_owned(), 3)]);
        assert_eq!(routes.fresh(&topic, now), Some(queues.clone()));
        assert_eq!(routes.fresh(&topic, now + FRESH), None);
        assert_eq!(routes.last(&topic), Some(queues));
        assert!(routes.hear(&topic, route(2), now).is_empty());
        routes.forget(&topic);
        assert_eq!(routes.last(&topic), None);
    }

    #[test]
    fn topics_that_are_remembered_are_bounded() {
        let (routes, now) = (Routes::default(), Instant::now());
        for number in 0..MAX_TOPICS + 10 {
            let topic = TopicName::new(&format!("t{number}")).unwrap();
            routes.hear(&topic, route(6), now);
        }
        assert_eq!(routes.0.lock().len(), MAX_TOPICS);
        let topic = TopicName::new("late").unwrap();
        routes.hear(&topic, route(6), now + FRESH);
        assert_eq!(routes.0.lock().len(), 1);
    }
}
