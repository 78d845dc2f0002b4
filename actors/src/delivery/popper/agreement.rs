//! What the consumers of a group that pop a topic have in common. Pure.
//!
//! What a filter does not let through is settled by whoever looks at it first, and order is kept only when all keep it. So
//! consumers that pop otherwise than the others are refused, like members of a group that subscribe otherwise: as long as
//! the others are there. A pop is all that is known of a consumer, so it counts as there for a while after its last one.

use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::native::request::Filter;
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use tokio::time::Instant;

use super::share::ShareKey;
use crate::delivery::pop::ledger::Order;

/// A consumer counts as there for this time after its last pop.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// How a consumer pops a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Habit {
    filter: Filter,
    pub(super) order: Order,
}

impl Habit {
    /// Tags are the same in any order.
    pub(crate) fn new(mut filter: Filter, order: Order) -> Self {
        if let Filter::Tags(tags) = &mut filter {
            tags.sort_unstable();
            tags.dedup();
        }
        Self { filter, order }
    }

    fn describe(&self) -> String {
        let order = match self.order {
            Order::Unordered => "in no order",
            Order::Queue => "in the order of queues",
            Order::Keyed => "in the order of keys",
        };
        match &self.filter {
            Filter::All => format!("all messages {order}"),
            Filter::Tags(tags) => format!("messages with tags {} {order}", tags.join(" || ")),
            Filter::Sql(sql) => format!("messages where {sql} {order}"),
        }
    }
}

/// How a group pops a topic.
#[derive(Debug)]
pub(super) struct Agreement {
    habit: Arc<Habit>,
    /// Nobody was there after this.
    until: Instant,
}

impl Agreement {
    /// Lets a consumer pop, or says with whom it does not agree. `is_waited`: pops wait for messages.
    pub(super) fn take_part(
        agreement: &mut Option<Self>,
        habit: &Arc<Habit>,
        is_waited: bool,
        now: Instant,
        (group, topic): &ShareKey,
    ) -> Result<(), Refusal> {
        if let Some(agreed) = agreement
            && agreed.habit != *habit
            && (is_waited || now < agreed.until)
        {
            return Err(Refusal::never(
                ErrorCode::Conflict,
                format!(
                    "consumers of group {group} must pop topic {topic} alike: others pop {}, this one {}; let them end, and come back {} s later",
                    agreed.habit.describe(),
                    habit.describe(),
                    LEASE.as_secs()
                ),
            ));
        }
        *agreement = Some(Self {
            habit: habit.clone(),
            until: now + LEASE,
        });
        Ok(())
    }

    /// A pop was answered: its consumer is there.
    pub(super) fn answered(agreement: &mut Option<Self>, now: Instant) {
        if let Some(agreed) = agreement {
            agreed.until = now + LEASE;
        }
    }
}

#[cfg(test)]
mod tests {
    use castmq_protocol::model::{GroupName, TopicName};

    use super::*;

    fn tags(tags: &[&str], order: Order) -> Arc<Habit> {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        Arc::new(Habit::new(Filter::Tags(tags), order))
    }

    struct Group {
        agreement: Option<Agreement>,
        start: Instant,
        key: ShareKey,
    }

    impl Group {
        fn new() -> Self {
            Self {
                agreement: None,
                start: Instant::now(),
                key: (
                    GroupName::new("billing").unwrap(),
                    TopicName::new("orders").unwrap(),
                ),
            }
        }

        fn pop(&mut self, habit: &Arc<Habit>, is_waited: bool, after: Duration) -> Option<String> {
            let now = self.start + after;
            Agreement::take_part(&mut self.agreement, habit, is_waited, now, &self.key)
                .err()
                .map(|refusal| refusal.message)
        }
    }

    #[test]
    fn who_pops_otherwise_is_refused_as_long_as_the_others_are_there() {
        let mut group = Group::new();
        let reds = tags(&["red", "crimson", "red"], Order::Keyed);
        let same = tags(&["crimson", "red"], Order::Keyed);
        let others = [
            tags(&["red"], Order::Keyed),
            tags(&["crimson", "red"], Order::Queue),
        ];
        assert_eq!(group.pop(&reds, false, Duration::ZERO), None);
        assert_eq!(group.pop(&same, false, Duration::from_secs(20)), None);
        let last = Duration::from_secs(20) + LEASE;
        for other in &others {
            let refused = group
                .pop(other, false, last - Duration::from_millis(1))
                .unwrap();
            assert!(
                refused.contains("crimson || red in the order of keys"),
                "{refused}"
            );
            assert!(group.pop(other, true, last).is_some(), "pops wait still");
        }
        assert_eq!(group.pop(&others[0], false, last), None);
        assert!(group.pop(&reds, false, last).is_some());
    }

    #[test]
    fn a_consumer_is_there_for_a_while_after_its_answer() {
        let mut group = Group::new();
        let (one, other) = (
            tags(&["a"], Order::Unordered),
            tags(&["b"], Order::Unordered),
        );
        assert_eq!(group.pop(&one, false, Duration::ZERO), None);
        let answered = Duration::from_secs(3600);
        Agreement::answered(&mut group.agreement, group.start + answered);
        assert!(group.pop(&other, false, answered + LEASE / 2).is_some());
        assert_eq!(group.pop(&other, false, answered + LEASE), None);
    }
}
