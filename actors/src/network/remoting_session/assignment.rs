//! Which queues of a topic a member of a group reads, where it lets a broker decide: queues of all brokers, which all of them share
//! out in the same way.

use castmq_protocol::model::TopicName;
use castmq_protocol::remoting::bodies::MessageQueue;
use castmq_protocol::remoting::bodies::assignment::{
    Assignments, QueryAssignment, QueueAssignment, RequestMode,
};
use castmq_protocol::remoting::bodies::heartbeat::MessageModel;
use castmq_protocol::remoting::json::from_slice;

use super::*;
use crate::broker::routes::{ReadQueues, read_queues};
use crate::names::{group_name, topic_name};
use crate::network::remoting::json;

/// The most queues of a topic on one broker, whatever name servers say.
const MAX_QUEUES: u32 = 65_536;

/// How queues are shared out, by the names that RocketMQ's brokers know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strategy {
    /// Each member gets queues that lie beside each other.
    Average,
    /// Members take turns.
    Circle,
}

impl Strategy {
    fn of(name: &str) -> Option<Self> {
        match name {
            "AVG" => Some(Self::Average),
            "AVG_BY_CIRCLE" => Some(Self::Circle),
            _ => None,
        }
    }

    /// Which of so many queues a member has that stands at a place among so many.
    fn share(self, queues: usize, members: usize, place: usize) -> Vec<usize> {
        match self {
            Self::Average => {
                let (share, rest) = (queues / members, queues % members);
                let start = place * share + place.min(rest);
                let count = share + usize::from(place < rest);
                (start..start + count).collect()
            }
            Self::Circle => (place..queues).step_by(members).collect(),
        }
    }
}

impl RemotingSession {
    /// Tells a member which queues it reads. It keeps what it has where nothing is known of the topic or the group.
    pub(super) fn query_assignment(
        &mut self,
        asked: &Asked<'_>,
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let query: QueryAssignment = from_slice(asked.body.bytes)?;
        let group = group_name(&query.consumer_group)?;
        let topic = topic_name(&query.topic)?;
        let asker = asked.asker;
        let found = read_queues(self.context.clone(), topic.clone());
        let respond = move |session: &mut Self, queues: Option<Vec<_>>, _: &mut Ctx<'_, Self>| {
            let groups = &session.context.client_groups;
            let mode = match groups.pops(&group, &topic) {
                true => RequestMode::Pop,
                false => RequestMode::Pull,
            };
            let members = groups.client_ids(group.as_str());
            let mine = queues.and_then(|queues| share(queues, &topic, &query, mode, members));
            let assigned = mine.map(|queues| {
                let queues = queues.into_iter();
                let assigned = queues.map(|queue| QueueAssignment {
                    attachments: None,
                    queue,
                    mode,
                });
                assigned.collect()
            });
            let body = json(&Assignments { queues: assigned });
            session.connection.respond(asker, &(), &body);
            Ok(())
        };
        self.then(asker, async move { Ok(found.await) }, respond, ctx);
        Ok(())
    }
}

/// A member's queues; `None` when it cannot be said which they are. Members come in the order of their ids.
fn share(
    queues: Vec<ReadQueues>,
    topic: &TopicName,
    query: &QueryAssignment,
    mode: RequestMode,
    members: Option<Vec<String>>,
) -> Option<Vec<MessageQueue>> {
    let queue = |broker: &str, id: i32| MessageQueue::new(topic.as_str(), broker, id);
    let each = queues.iter().flat_map(|(broker, count)| {
        let ids = 0..(*count).min(MAX_QUEUES) as i32;
        ids.map(move |id| queue(broker, id))
    });
    match (query.message_model, mode) {
        (MessageModel::Broadcasting, _) => Some(each.collect()),
        // One that pops takes any queue of a broker.
        (MessageModel::Clustering, RequestMode::Pop) => {
            let brokers = queues.iter().filter(|(_, count)| *count > 0);
            Some(brokers.map(|(broker, _)| queue(broker, -1)).collect())
        }
        (MessageModel::Clustering, RequestMode::Pull) => {
            let strategy = Strategy::of(&query.strategy_name)?;
            let members = members?;
            let Some(place) = members.iter().position(|id| *id == query.client_id) else {
                return Some(Vec::new());
            };
            let mut all: Vec<_> = each.collect();
            all.sort();
            let mine = strategy.share(all.len(), members.len(), place);
            Some(
                mine.into_iter()
                    .filter_map(|at| all.get(at).cloned())
                    .collect(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(client: &str, strategy: &str) -> QueryAssignment {
        QueryAssignment {
            client_id: client.to_owned(),
            strategy_name: strategy.to_owned(),
            message_model: MessageModel::Clustering,
            ..QueryAssignment::default()
        }
    }

    fn shared(client: &str, strategy: &str, mode: RequestMode) -> Option<Vec<(String, i32)>> {
        let topic = TopicName::new("t").unwrap();
        let queues = vec![
            ("b".to_owned(), 3),
            ("a".to_owned(), 2),
            ("c".to_owned(), 0),
        ];
        let members = Some(vec!["one".to_owned(), "two".to_owned()]);
        let mine = share(queues, &topic, &query(client, strategy), mode, members)?;
        let mine = mine
            .into_iter()
            .map(|queue| (queue.broker_name, queue.queue_id));
        Some(mine.collect())
    }

    fn named(queues: &[(&str, i32)]) -> Option<Vec<(String, i32)>> {
        let queues = queues
            .iter()
            .map(|(broker, id)| ((*broker).to_owned(), *id));
        Some(queues.collect())
    }

    #[test]
    fn members_share_queues_as_rocketmqs_do() {
        let shares = |strategy: Strategy, queues, members| -> Vec<_> {
            (0..members)
                .map(|place| strategy.share(queues, members, place))
                .collect()
        };
        let average = Strategy::Average;
        assert_eq!(
            shares(average, 8, 3),
            [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]
        );
        assert_eq!(shares(average, 2, 3), [vec![0], vec![1], vec![]]);
        assert_eq!(shares(average, 4, 1), [vec![0, 1, 2, 3]]);
        let circle = Strategy::Circle;
        assert_eq!(
            shares(circle, 8, 3),
            [vec![0, 3, 6], vec![1, 4, 7], vec![2, 5]]
        );
        assert_eq!(shares(circle, 2, 3), [vec![0], vec![1], vec![]]);
    }

    #[test]
    fn queues_of_all_brokers_are_shared_out() {
        let pull = RequestMode::Pull;
        assert_eq!(
            shared("one", "AVG", pull),
            named(&[("a", 0), ("a", 1), ("b", 0)])
        );
        assert_eq!(shared("two", "AVG", pull), named(&[("b", 1), ("b", 2)]));
        assert_eq!(
            shared("two", "AVG_BY_CIRCLE", pull),
            named(&[("a", 1), ("b", 1)])
        );
        assert_eq!(shared("three", "AVG", pull), named(&[]));
        assert_eq!(shared("one", "ROOM", pull), None);
        assert_eq!(
            shared("three", "", RequestMode::Pop),
            named(&[("b", -1), ("a", -1)])
        );
    }
}
