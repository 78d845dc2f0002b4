//! Which queue a message goes to. Pure.

use castmq_protocol::model::{QueueId, java_string_hash};
use tokio::time::Instant;

use crate::message::QueueChoice;

/// What choosing needs to know of a topic's writable queues.
pub(super) trait Candidates {
    /// All queues, sorted by broker and number, whether their brokers can be reached or not.
    fn len(&self) -> usize;
    /// Indexes of the queues whose brokers could be reached lately.
    fn live(&self) -> &[usize];
    /// Whether a queue's broker can be reached now.
    fn is_usable(&self, index: usize) -> bool;
    /// Whether a queue's broker was so slow that others are better.
    fn is_avoided(&self, index: usize, now: Instant) -> bool;
    /// A queue's broker.
    fn broker(&self, index: usize) -> &str;
    /// A queue's number.
    fn id(&self, index: usize) -> QueueId;
}

/// What became of choosing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Chosen {
    /// This one, which can be reached.
    Queue(usize),
    /// This one, whether it can be reached or not: the order of its messages has to be kept.
    InOrder(usize),
    /// None can be reached now.
    Wait,
    /// The queue that was asked for is not one of the topic's.
    NoSuchQueue,
}

/// Chooses. `turn` counts the messages that had no wish; `failed` is a broker that failed the message before.
///
/// A message without a wish goes to a broker that neither failed it nor was slow, or else to one that did not fail it, or
/// else to any that can be reached.
pub(super) fn choose(
    candidates: &impl Candidates,
    choice: &QueueChoice,
    turn: usize,
    failed: Option<&str>,
    now: Instant,
) -> Chosen {
    if candidates.len() == 0 {
        return Chosen::Wait;
    }
    let wanted = match choice {
        QueueChoice::Any => {
            let is_another = |index| failed.is_none_or(|failed| candidates.broker(index) != failed);
            let is_good = |index| is_another(index) && !candidates.is_avoided(index, now);
            let any = next_in_turn(candidates, turn, is_good)
                .or_else(|| next_in_turn(candidates, turn, is_another))
                .or_else(|| next_in_turn(candidates, turn, |_| true));
            return any.map_or(Chosen::Wait, Chosen::Queue);
        }
        QueueChoice::Key(key) => return Chosen::InOrder(of_key(key, candidates.len())),
        QueueChoice::Id(id) => find(candidates, |index| candidates.id(index) == *id),
        QueueChoice::On { broker, id } => find(candidates, |index| {
            candidates.id(index) == *id && candidates.broker(index) == &**broker
        }),
    };
    match wanted {
        None => Chosen::NoSuchQueue,
        Some(index) if candidates.is_usable(index) => Chosen::Queue(index),
        Some(_) => Chosen::Wait,
    }
}

fn find(candidates: &impl Candidates, is_it: impl Fn(usize) -> bool) -> Option<usize> {
    (0..candidates.len()).find(|index| is_it(*index))
}

fn next_in_turn(
    candidates: &impl Candidates,
    turn: usize,
    is_wanted: impl Fn(usize) -> bool,
) -> Option<usize> {
    let live = candidates.live();
    let start = turn.checked_rem(live.len())?;
    let (before, after) = live.split_at(start);
    let mut in_turn = after.iter().chain(before).copied();
    in_turn.find(|index| candidates.is_usable(*index) && is_wanted(*index))
}

/// The queue of a key among `queues` (RocketMQ `SelectMessageQueueByHash`).
fn of_key(key: &str, queues: usize) -> usize {
    let queues = i32::try_from(queues).unwrap_or(i32::MAX);
    (java_string_hash(key) % queues).unsigned_abs() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    /// Two queues on each broker.
    struct Topic {
        brokers: Vec<(&'static str, bool)>,
        live: Vec<usize>,
        slow: Vec<&'static str>,
    }

    fn topic(brokers: &[(&'static str, bool)]) -> Topic {
        let live = (0..brokers.len() * 2)
            .filter(|index| brokers[index / 2].1)
            .collect();
        Topic {
            brokers: brokers.to_vec(),
            live,
            slow: Vec::new(),
        }
    }

    fn choose(topic: &Topic, choice: &QueueChoice, turn: usize, failed: Option<&str>) -> Chosen {
        super::choose(topic, choice, turn, failed, Instant::now())
    }

    impl Candidates for Topic {
        fn len(&self) -> usize {
            self.brokers.len() * 2
        }
        fn live(&self) -> &[usize] {
            &self.live
        }
        fn is_usable(&self, index: usize) -> bool {
            self.brokers[index / 2].1
        }
        fn is_avoided(&self, index: usize, _: Instant) -> bool {
            self.slow.contains(&self.brokers[index / 2].0)
        }
        fn broker(&self, index: usize) -> &str {
            self.brokers[index / 2].0
        }
        fn id(&self, index: usize) -> QueueId {
            QueueId(index as u32 % 2)
        }
    }

    #[test]
    fn messages_without_a_wish_go_round_all_queues_that_can_be_reached() {
        let topic = topic(&[("a", true), ("b", false), ("c", true)]);
        let chosen: Vec<_> = (0..5)
            .map(|turn| choose(&topic, &QueueChoice::Any, turn, None))
            .collect();
        assert_eq!(chosen, [0, 1, 4, 5, 0].map(Chosen::Queue));
    }

    #[test]
    fn a_broker_that_failed_is_avoided_while_there_is_another() {
        let both = topic(&[("a", true), ("b", true)]);
        assert_eq!(
            choose(&both, &QueueChoice::Any, 0, Some("a")),
            Chosen::Queue(2)
        );
        let one = topic(&[("a", true), ("b", false)]);
        assert_eq!(
            choose(&one, &QueueChoice::Any, 0, Some("a")),
            Chosen::Queue(0)
        );
        let none = topic(&[("a", false)]);
        assert_eq!(choose(&none, &QueueChoice::Any, 0, None), Chosen::Wait);
    }

    #[test]
    fn a_slow_broker_is_avoided_while_there_is_another_that_did_not_fail() {
        let mut three = topic(&[("a", true), ("b", true), ("c", true)]);
        three.slow = vec!["a", "b"];
        let any = |topic: &Topic, failed| choose(topic, &QueueChoice::Any, 0, failed);
        assert_eq!(any(&three, None), Chosen::Queue(4));
        // Better a slow one than one that failed.
        assert_eq!(any(&three, Some("c")), Chosen::Queue(0));
        assert_eq!(any(&three, Some("a")), Chosen::Queue(4));
        three.slow.push("c");
        assert_eq!(any(&three, None), Chosen::Queue(0));
        assert_eq!(any(&three, Some("a")), Chosen::Queue(2));
        let mut one = topic(&[("a", true), ("b", false)]);
        one.slow = vec!["a"];
        assert_eq!(any(&one, Some("a")), Chosen::Queue(0));
        // Whoever wishes a queue gets it.
        let wished = choose(&three, &QueueChoice::from(1), 0, None);
        assert_eq!(wished, Chosen::Queue(1));
    }

    #[test]
    fn a_key_keeps_its_queue_when_a_broker_goes_away() {
        let up = topic(&[("a", true), ("b", true)]);
        let down = topic(&[("a", true), ("b", false)]);
        for key in ["x", "customer-17", "", "polygenelubricants"] {
            let choice = QueueChoice::Key(key.into());
            let chosen = choose(&up, &choice, 3, None);
            assert!(matches!(chosen, Chosen::InOrder(_)), "{chosen:?}");
            assert_eq!(choose(&down, &choice, 8, Some("a")), chosen);
        }
    }

    #[test]
    fn a_keys_queue_is_javas() {
        assert_eq!(of_key("TagA", 8), 2_598_919 % 8);
        // The hash of the smallest integer has no positive counterpart.
        assert_eq!(
            of_key("polygenelubricants", 7),
            (i32::MIN % 7).unsigned_abs() as usize
        );
    }

    #[test]
    fn a_wished_queue_is_taken_or_missed_by_name() {
        let topic = topic(&[("a", false), ("b", true)]);
        let on = |broker: &str, id| QueueChoice::On {
            broker: broker.into(),
            id: QueueId(id),
        };
        assert_eq!(choose(&topic, &on("b", 1), 0, None), Chosen::Queue(3));
        assert_eq!(choose(&topic, &on("a", 1), 0, None), Chosen::Wait);
        assert_eq!(choose(&topic, &on("b", 2), 0, None), Chosen::NoSuchQueue);
        assert_eq!(choose(&topic, &QueueChoice::from(1), 0, None), Chosen::Wait);
        assert_eq!(
            choose(&topic, &QueueChoice::from(5), 0, None),
            Chosen::NoSuchQueue
        );
    }

    proptest! {
        #[test]
        fn turns_reach_every_live_queue(up in prop::collection::vec(any::<bool>(), 1..6), start in any::<u16>()) {
            let names = ["a", "b", "c", "d", "e", "f"];
            let brokers: Vec<_> = names.into_iter().zip(up).collect();
            let topic = topic(&brokers);
            let start = usize::from(start);
            let turns = start..start + topic.live.len();
            let reached: HashSet<_> = turns.map(|turn| choose(&topic, &QueueChoice::Any, turn, None)).collect();
            prop_assert_eq!(reached, topic.live.iter().map(|index| Chosen::Queue(*index)).collect());
        }
    }
}
