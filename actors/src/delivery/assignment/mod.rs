//! Which member of a group gets which queue. Pure: members and queues in, owners out.
//!
//! - `sticky`: fair shares with few moves; `ranges`: runs of queues, and around in a circle; `ring`: by consistent hash.

mod ranges;
mod ring;
mod sticky;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use castmq_protocol::model::{Assignment, QueueId, TopicName};

/// A member's number.
pub(crate) type MemberId = u64;

/// A queue of a topic.
pub(crate) type QueueKey = (TopicName, QueueId);

/// Where the queues are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    pub(crate) broker: &'a str,
    pub(crate) room: Option<&'a str>,
    /// Turns the order of members, so that those with one queue more are not the same ones on every broker and for every
    /// topic.
    pub(crate) spread: u64,
}

/// A member that wants a topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) id: MemberId,
    pub(crate) client_id: &'a str,
    pub(crate) room: Option<&'a str>,
    /// The queues that it says are its own; used by [`Assignment::Config`] only.
    pub(crate) claims: &'a BTreeSet<QueueKey>,
}

/// A topic with its queues and who wants it.
#[derive(Debug, Clone)]
pub(crate) struct Shared<'a> {
    pub(crate) topic: &'a TopicName,
    pub(crate) queues: u32,
    pub(crate) members: Vec<Candidate<'a>>,
}

/// Who should have each queue. Queues that nobody should have are left out. `owners`: who has what now.
pub(crate) fn assign(
    rule: Assignment,
    site: &Site<'_>,
    topics: &[Shared<'_>],
    owners: &BTreeMap<QueueKey, MemberId>,
) -> BTreeMap<QueueKey, MemberId> {
    let mut assigned = BTreeMap::new();
    for (index, shared) in topics.iter().enumerate() {
        let mut members = match rule {
            Assignment::MachineRoom => near(site, &shared.members),
            _ => shared.members.clone(),
        };
        if members.is_empty() || shared.queues == 0 {
            continue;
        }
        // The order that all members would agree on, if they were asked.
        members.sort_by_key(|member| (member.client_id, member.id));
        let turn = site.spread.wrapping_add(index as u64) % members.len() as u64;
        let turn = turn as usize;
        match rule {
            Assignment::Sticky | Assignment::MachineRoom => {
                sticky::share(shared, &members, owners, turn, &mut assigned);
            }
            Assignment::Average => ranges::average(shared, &members, turn, &mut assigned),
            Assignment::Circle => ranges::circle(shared, &members, turn, &mut assigned),
            Assignment::ConsistentHash => ring::hash(site, shared, &members, &mut assigned),
            Assignment::Config => claimed(shared, &members, &mut assigned),
        }
    }
    assigned
}

/// The members in the broker's machine room, or all when there are none.
fn near<'a>(site: &Site<'_>, members: &[Candidate<'a>]) -> Vec<Candidate<'a>> {
    let is_near = |member: &&Candidate<'_>| site.room.is_some() && member.room == site.room;
    let near: Vec<_> = members.iter().filter(is_near).copied().collect();
    match near.is_empty() {
        true => members.to_vec(),
        false => near,
    }
}

fn claimed(
    shared: &Shared<'_>,
    members: &[Candidate<'_>],
    assigned: &mut BTreeMap<QueueKey, MemberId>,
) {
    for key in keys(shared) {
        if let Some(member) = members.iter().find(|m| m.claims.contains(&key)) {
            assigned.insert(key, member.id);
        }
    }
}

fn keys(shared: &Shared<'_>) -> impl Iterator<Item = QueueKey> {
    (0..shared.queues).map(|queue| (shared.topic.clone(), QueueId(queue)))
}
