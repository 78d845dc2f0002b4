use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const RULES: [Assignment; 5] = [
    Assignment::Sticky,
    Assignment::Average,
    Assignment::Circle,
    Assignment::ConsistentHash,
    Assignment::MachineRoom,
];

/// A member as a test writes it: its number, its room, the queues of topic `t` that it claims.
#[derive(Debug, Clone)]
struct Member {
    id: MemberId,
    client_id: String,
    room: Option<&'static str>,
    claims: BTreeSet<QueueKey>,
}

impl Member {
    fn new(id: MemberId) -> Self {
        Self {
            id,
            client_id: format!("client-{id}"),
            room: None,
            claims: BTreeSet::new(),
        }
    }

    fn in_room(id: MemberId, room: &'static str) -> Self {
        Self {
            room: Some(room),
            ..Self::new(id)
        }
    }

    fn claiming<const N: usize>(id: MemberId, queues: [u32; N]) -> Self {
        Self {
            claims: queues.map(key).into(),
            ..Self::new(id)
        }
    }
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn key(queue: u32) -> QueueKey {
    (topic("t"), QueueId(queue))
}

fn site(spread: u64) -> Site<'static> {
    Site {
        broker: "broker-a",
        room: Some("east"),
        spread,
    }
}

/// The owners of `queues` queues of topic `t`.
fn owners(
    rule: Assignment,
    queues: u32,
    members: &[Member],
    before: &BTreeMap<QueueKey, MemberId>,
    spread: u64,
) -> BTreeMap<QueueKey, MemberId> {
    let topic = topic("t");
    let members = members.iter().map(|member| Candidate {
        id: member.id,
        client_id: &member.client_id,
        room: member.room,
        claims: &member.claims,
    });
    let shared = Shared {
        topic: &topic,
        queues,
        members: members.collect(),
    };
    assign(rule, &site(spread), &[shared], before)
}

fn fresh(rule: Assignment, queues: u32, members: &[Member]) -> Vec<Option<MemberId>> {
    let owners = owners(rule, queues, members, &BTreeMap::new(), 0);
    (0..queues)
        .map(|queue| owners.get(&key(queue)).copied())
        .collect()
}

fn members(ids: impl IntoIterator<Item = MemberId>) -> Vec<Member> {
    ids.into_iter().map(Member::new).collect()
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
    let assigned = owners(Assignment::Sticky, 8, &members(1..=3), &BTreeMap::new(), 0);
    assert_eq!(assigned.len(), 8);
    let mut loads: Vec<_> = loads(&assigned).into_values().collect();
    loads.sort();
    assert_eq!(loads, [2, 3, 3]);
}

#[test]
fn a_new_member_takes_only_its_share() {
    let before = owners(Assignment::Sticky, 8, &members(1..=2), &BTreeMap::new(), 0);
    let after = owners(Assignment::Sticky, 8, &members(1..=3), &before, 0);
    let moved = before
        .iter()
        .filter(|(key, member)| after.get(*key) != Some(member));
    assert_eq!(moved.count(), 2);
}

#[test]
fn what_a_member_leaves_goes_to_the_others_and_nothing_else_moves() {
    let before = owners(Assignment::Sticky, 9, &members(1..=3), &BTreeMap::new(), 0);
    let after = owners(Assignment::Sticky, 9, &members([1, 3]), &before, 0);
    for (key, member) in &before {
        if *member != 2 {
            assert_eq!(after.get(key), Some(member));
        }
    }
    assert_eq!(after.len(), 9);
}

#[test]
fn single_queues_of_many_topics_go_to_different_members() {
    let members = members(1..=4);
    let topics: Vec<_> = (0..4).map(|n| topic(&format!("t{n}"))).collect();
    let candidates: Vec<_> = members
        .iter()
        .map(|member| Candidate {
            id: member.id,
            client_id: &member.client_id,
            room: None,
            claims: &member.claims,
        })
        .collect();
    let topics: Vec<_> = topics
        .iter()
        .map(|topic| Shared {
            topic,
            queues: 1,
            members: candidates.clone(),
        })
        .collect();
    for rule in [Assignment::Sticky, Assignment::Average, Assignment::Circle] {
        let assigned = assign(rule, &site(0), &topics, &BTreeMap::new());
        assert_eq!(loads(&assigned).len(), 4, "{rule}");
    }
}

#[test]
fn average_gives_runs_and_circle_goes_around() {
    let three = members(1..=3);
    assert_eq!(
        fresh(Assignment::Average, 8, &three),
        [1, 1, 1, 2, 2, 2, 3, 3].map(Some)
    );
    assert_eq!(
        fresh(Assignment::Circle, 8, &three),
        [1, 2, 3, 1, 2, 3, 1, 2].map(Some)
    );
    // More members than queues: those behind the last queue have none.
    assert_eq!(fresh(Assignment::Average, 2, &three), [1, 2].map(Some));
}

#[test]
fn members_are_taken_in_the_order_of_their_client_ids() {
    let mut two = members(1..=2);
    two[0].client_id = "z".to_owned();
    assert_eq!(fresh(Assignment::Average, 4, &two), [2, 2, 1, 1].map(Some));
}

#[test]
fn on_the_ring_only_queues_of_who_comes_or_goes_move() {
    let four = owners(
        Assignment::ConsistentHash,
        64,
        &members(1..=4),
        &BTreeMap::new(),
        0,
    );
    let three = owners(
        Assignment::ConsistentHash,
        64,
        &members([1, 2, 4]),
        &BTreeMap::new(),
        0,
    );
    assert_eq!((four.len(), three.len()), (64, 64));
    assert!(four.values().any(|member| *member == 3));
    for (key, member) in &four {
        assert!(*member == 3 || three.get(key) == Some(member));
    }
}

#[test]
fn members_that_name_their_queues_have_those_and_no_others() {
    let two = [Member::claiming(1, [0, 3]), Member::claiming(2, [1, 9])];
    assert_eq!(
        fresh(Assignment::Config, 4, &two),
        [Some(1), Some(2), None, Some(1)]
    );
}

#[test]
fn members_in_the_brokers_room_have_its_queues_as_long_as_there_are_any() {
    let near_and_far = [
        Member::in_room(1, "west"),
        Member::in_room(2, "east"),
        Member::new(3),
    ];
    assert_eq!(
        fresh(Assignment::MachineRoom, 3, &near_and_far),
        [2, 2, 2].map(Some)
    );
    let far = [Member::in_room(1, "west"), Member::new(3)];
    let owners = owners(Assignment::MachineRoom, 4, &far, &BTreeMap::new(), 0);
    assert_eq!(loads(&owners), BTreeMap::from([(1, 2), (3, 2)]));
}

proptest! {
    #[test]
    fn every_queue_has_one_owner_whatever_comes_and_goes(
        rounds in prop::collection::vec((0_u32..20, prop::collection::btree_set(0_u64..8, 0..8)), 1..12),
        spread in any::<u64>(),
    ) {
        for rule in RULES {
            let mut before = BTreeMap::new();
            for (queues, ids) in &rounds {
                let members = members(ids.iter().copied());
                let next = owners(rule, *queues, &members, &before, spread);
                let expected = if ids.is_empty() { 0 } else { *queues as usize };
                prop_assert_eq!(next.len(), expected);
                prop_assert!(next.values().all(|member| ids.contains(member)));
                let loads: Vec<usize> = ids.iter().map(|m| next.values().filter(|o| *o == m).count()).collect();
                if rule != Assignment::ConsistentHash
                    && let (Some(most), Some(least)) = (loads.iter().max(), loads.iter().min())
                {
                    prop_assert!(most - least <= 1, "{rule}");
                }
                let again = owners(rule, *queues, &members, &next, spread);
                prop_assert_eq!(&again, &next, "nothing moves without a cause");
                before = next;
            }
        }
    }
}
