//! Which member of a group gets which queue. Pure: members and queues in, moves out.
//!
//! Every member gets its fair share of each topic's queues, and as few queues as possible move: a member keeps what it
//! has up to its share.

use std::collections::{BTreeMap, BTreeSet};

use castmq_protocol::model::{QueueId, TopicName};

/// A member's number.
pub(crate) type MemberId = u64;

/// A queue of a topic.
pub(crate) type QueueKey = (TopicName, QueueId);

/// Who should have each queue. Queues of topics without members are left out.
///
/// `topics`: for each topic its queues and the members that want it. `owners`: who has what now. `spread` turns the
/// order of members, so that members with one queue more are not the same ones on every broker and for every topic.
pub(crate) fn assign(
    topics: &BTreeMap<TopicName, (u32, BTreeSet<MemberId>)>,
    owners: &BTreeMap<QueueKey, MemberId>,
    spread: u64,
) -> BTreeMap<QueueKey, MemberId> {
    let mut assigned = BTreeMap::new();
    for (index, (topic, (queues, members))) in topics.iter().enumerate() {
        let turn = spread.wrapping_add(index as u64);
        assign_topic(topic, *queues, members, owners, turn, &mut assigned);
    }
    assigned
}

fn assign_topic(
    topic: &TopicName,
    queues: u32,
    members: &BTreeSet<MemberId>,
    owners: &BTreeMap<QueueKey, MemberId>,
    spread: u64,
    assigned: &mut BTreeMap<QueueKey, MemberId>,
) {
    if members.is_empty() {
        return;
    }
    let count = members.len() as u32;
    let (share, more) = (queues / count, queues % count);
    let mut kept: BTreeMap<MemberId, Vec<QueueId>> =
        members.iter().map(|member| (*member, Vec::new())).collect();
    let mut free = Vec::new();
    for queue in (0..queues).map(QueueId) {
        let owner = owners.get(&(topic.clone(), queue));
        match owner.and_then(|owner| kept.get_mut(owner)) {
            Some(queues) => queues.push(queue),
            None => free.push(queue),
        }
    }
    // Members with the most queues keep one more, so that the fewest move; the rest of those go around.
    let mut order: Vec<MemberId> = members.iter().copied().collect();
    order.rotate_left((spread % u64::from(count)) as usize);
    order.sort_by_key(|member| std::cmp::Reverse(kept.get(member).map_or(0, Vec::len)));
    let quota = |rank: usize| (share + u32::from((rank as u32) < more)) as usize;
    for (rank, member) in order.iter().enumerate() {
        if let Some(queues) = kept.get_mut(member) {
            free.extend(queues.split_off(queues.len().min(quota(rank))));
        }
    }
    free.sort();
    let mut free = free.into_iter();
    for (rank, member) in order.iter().enumerate() {
        let has = kept.remove(member).unwrap_or_default();
        let missing = quota(rank) - has.len();
        for queue in has.into_iter().chain(free.by_ref().take(missing)) {
            assigned.insert((topic.clone(), queue), *member);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).unwrap()
    }

    fn one_topic(
        queues: u32,
        members: impl IntoIterator<Item = MemberId>,
    ) -> BTreeMap<TopicName, (u32, BTreeSet<MemberId>)> {
        BTreeMap::from([(topic("t"), (queues, members.into_iter().collect()))])
    }

    fn loads(assigned: &BTreeMap<QueueKey, MemberId>) -> BTreeMap<MemberId, usize> {
        let mut loads = BTreeMap::new();
        for member in assigned.values() {
            *loads.entry(*member).or_default() += 1;
        }
        loads
    }

    #[test]
    fn shares_differ_by_one_at_most() {
        let assigned = assign(&one_topic(8, 1..=3), &BTreeMap::new(), 0);
        assert_eq!(assigned.len(), 8);
        let mut loads: Vec<_> = loads(&assigned).into_values().collect();
        loads.sort();
        assert_eq!(loads, [2, 3, 3]);
    }

    #[test]
    fn a_new_member_takes_only_its_share() {
        let before = assign(&one_topic(8, 1..=2), &BTreeMap::new(), 0);
        let after = assign(&one_topic(8, 1..=3), &before, 0);
        let moved = before
            .iter()
            .filter(|(key, member)| after.get(*key) != Some(member));
        assert_eq!(moved.count(), 2);
    }

    #[test]
    fn what_a_member_leaves_goes_to_the_others_and_nothing_else_moves() {
        let before = assign(&one_topic(9, 1..=3), &BTreeMap::new(), 0);
        let after = assign(&one_topic(9, [1, 3]), &before, 0);
        for (key, member) in &before {
            if *member != 2 {
                assert_eq!(after.get(key), Some(member));
            }
        }
        assert_eq!(after.len(), 9);
    }

    #[test]
    fn single_queues_of_many_topics_go_to_different_members() {
        let topics = (0..4)
            .map(|n| (topic(&format!("t{n}")), (1, BTreeSet::from([1, 2, 3, 4]))))
            .collect();
        let assigned = assign(&topics, &BTreeMap::new(), 0);
        assert_eq!(loads(&assigned).len(), 4);
    }

    proptest! {
        #[test]
        fn every_queue_has_one_fair_owner_whatever_comes_and_goes(
            rounds in prop::collection::vec((0_u32..20, prop::collection::btree_set(0_u64..8, 0..8)), 1..12),
            spread in any::<u64>(),
        ) {
            let mut owners = BTreeMap::new();
            for (queues, members) in rounds {
                let next = assign(&one_topic(queues, members.clone()), &owners, spread);
                let expected = if members.is_empty() { 0 } else { queues as usize };
                prop_assert_eq!(next.len(), expected);
                prop_assert!(next.values().all(|member| members.contains(member)));
                let loads: Vec<usize> = members.iter().map(|m| next.values().filter(|o| *o == m).count()).collect();
                if let (Some(most), Some(least)) = (loads.iter().max(), loads.iter().min()) {
                    prop_assert!(most - least <= 1);
                }
                let again = assign(&one_topic(queues, members), &next, spread);
                prop_assert_eq!(&again, &next, "nothing moves without a cause");
                owners = next;
            }
        }
    }
}
