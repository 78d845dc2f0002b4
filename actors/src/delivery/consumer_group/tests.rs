//! Queues change hands at random; whoever may still be processing one is noted apart, and must be alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use castmq_protocol::model::{Assignment, QueueId, TopicName};
use proptest::prelude::*;
use tokio::time::Instant;

use super::super::assignment::{Candidate, MemberId, QueueKey, Shared, Site, assign};
use super::holders::Holders;

const LEASE: Duration = Duration::from_secs(30);
const QUEUES: u32 = 12;

#[derive(Debug, Clone)]
enum Step {
    /// A client that is not there becomes a member; one that was lost wants back what it had.
    Join(usize),
    Leave(usize),
    Lose(usize),
    /// A member does what it was told: it releases what was asked of it.
    GiveUp(usize),
    /// Seconds go by.
    Wait(u64),
    /// An operator sets an offset.
    Reset(u32),
}

#[derive(Debug, Default)]
struct Client {
    member: Option<MemberId>,
    processes: BTreeSet<QueueKey>,
    to_give_up: BTreeSet<QueueKey>,
    /// Its connection was lost: until then it may go on.
    goes_on_until: Option<Instant>,
}

struct World {
    now: Instant,
    holders: Holders,
    clients: Vec<Client>,
    next_member: MemberId,
    topic: TopicName,
}

fn name(client: usize) -> String {
    format!("client-{client}")
}

impl World {
    fn new() -> Self {
        Self {
            now: Instant::now(),
            holders: Holders::default(),
            clients: (0..5).map(|_| Client::default()).collect(),
            next_member: 1,
            topic: TopicName::new("t").unwrap(),
        }
    }

    fn client_of(&mut self, member: MemberId) -> &mut Client {
        let mut clients = self.clients.iter_mut();
        clients.find(|c| c.member == Some(member)).unwrap()
    }

    fn is_given(&mut self, member: MemberId, keys: Vec<QueueKey>) {
        for key in keys {
            let others = self.clients.iter().filter(|c| c.member != Some(member));
            for other in others {
                assert!(!other.processes.contains(&key), "{key:?} is with two");
            }
            self.client_of(member).processes.insert(key);
        }
    }

    fn rebalance(&mut self) {
        let claims = BTreeSet::new();
        let names: Vec<_> = (0..self.clients.len()).map(name).collect();
        let members = self.clients.iter().zip(&names);
        let members = members.filter_map(|(client, name)| {
            Some(Candidate {
                id: client.member?,
                client_id: name,
                room: None,
                claims: &claims,
            })
        });
        let shared = Shared {
            topic: &self.topic,
            queues: QUEUES,
            members: members.collect(),
        };
        let site = Site {
            broker: "b",
            room: None,
            spread: 0,
        };
        let owners = self.holders.owners();
        let wanted = assign(Assignment::Sticky, &site, &[shared], &owners);
        for (member, keys) in self.holders.revoke(&wanted, self.now) {
            self.client_of(member).to_give_up.extend(keys);
        }
        for (member, keys) in self.holders.give(wanted) {
            self.is_given(member, keys);
        }
    }

    fn end_lost(&mut self) {
        let now = self.now;
        for client in &mut self.clients {
            if client.goes_on_until.is_some_and(|until| until <= now) {
                client.goes_on_until = None;
                client.processes.clear();
            }
        }
        self.holders.end_leases(now);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Join(number) if self.clients[*number].member.is_none() => {
                let member = self.next_member;
                self.next_member += 1;
                let client = &mut self.clients[*number];
                client.member = Some(member);
                client.goes_on_until = None;
                // What it goes on with is what it asks for; what it does not get it stops.
                let had = std::mem::take(&mut client.processes);
                let regained = self.holders.reclaim(&name(*number), member, had);
                self.is_given(member, regained);
            }
            Step::Leave(number) => {
                let client = &mut self.clients[*number];
                if let Some(member) = client.member.take() {
                    client.processes.clear();
                    client.to_give_up.clear();
                    self.holders.free(member);
                }
            }
            Step::Lose(number) => {
                let until = self.now + LEASE;
                let client = &mut self.clients[*number];
                if let Some(member) = client.member.take() {
                    client.goes_on_until = Some(until);
                    client.to_give_up.clear();
                    self.holders.keep_for(member, &name(*number), until);
                }
            }
            Step::GiveUp(number) => {
                let client = &mut self.clients[*number];
                if let Some(member) = client.member {
                    let keys: Vec<_> = std::mem::take(&mut client.to_give_up).into_iter().collect();
                    client.processes.retain(|key| !keys.contains(key));
                    self.holders.release(member, &keys);
                }
            }
            Step::Wait(seconds) => self.now += Duration::from_secs(*seconds),
            Step::Reset(queue) => {
                let key = (self.topic.clone(), QueueId(*queue));
                if let Some(member) = self.holders.reset(&key, self.now) {
                    assert!(!self.holders.may_commit(&key, member));
                    self.client_of(member).to_give_up.insert(key);
                }
            }
            Step::Join(_) => {}
        }
        self.end_lost();
        self.rebalance();
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..5_usize).prop_map(Step::Join),
        1 => (0..5_usize).prop_map(Step::Leave),
        2 => (0..5_usize).prop_map(Step::Lose),
        4 => (0..5_usize).prop_map(Step::GiveUp),
        2 => (0..20_u64).prop_map(Step::Wait),
        1 => (0..QUEUES).prop_map(Step::Reset),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_queue_is_with_two_and_none_stays_without_anybody(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            if world.clients.iter().any(|client| client.member.is_some()) {
                prop_assert_eq!(world.holders.len(), QUEUES as usize);
            }
        }
        // Once everybody does what was asked and the lost have had their time, shares are even.
        world.step(&Step::Wait(LEASE.as_secs()));
        for _ in 0..2 {
            for number in 0..5 {
                world.step(&Step::GiveUp(number));
            }
        }
        let members = world.clients.iter().filter(|client| client.member.is_some());
        let loads: Vec<_> = members.map(|client| client.processes.len()).collect();
        if let (Some(most), Some(least)) = (loads.iter().max(), loads.iter().min()) {
            prop_assert!(most - least <= 1);
            prop_assert_eq!(loads.iter().sum::<usize>(), QUEUES as usize);
        }
        let owners: BTreeMap<_, _> = world.holders.owners();
        prop_assert_eq!(owners.len(), world.holders.len());
    }
}
