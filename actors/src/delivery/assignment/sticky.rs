//! Every member gets its fair share of a topic's queues, and as few queues as possible move: a member keeps what it has up
//! to its share.

use std::collections::BTreeMap;

use super::{Candidate, MemberId, QueueKey, Shared, keys};

pub(super) fn share(
    shared: &Shared<'_>,
    members: &[Candidate<'_>],
    owners: &BTreeMap<QueueKey, MemberId>,
    turn: usize,
    assigned: &mut BTreeMap<QueueKey, MemberId>,
) {
    let queues = shared.queues as usize;
    let (share, more) = (queues / members.len(), queues % members.len());
    let mut kept: BTreeMap<MemberId, Vec<QueueKey>> = members
        .iter()
        .map(|member| (member.id, Vec::new()))
        .collect();
    let mut free = Vec::new();
    for key in keys(shared) {
        let owner = owners.get(&key);
        match owner.and_then(|owner| kept.get_mut(owner)) {
            Some(queues) => queues.push(key),
            None => free.push(key),
        }
    }
    // Members with the most queues keep one more, so that the fewest move; the rest of those go around.
    let mut order: Vec<MemberId> = members.iter().map(|member| member.id).collect();
    order.rotate_left(turn);
    order.sort_by_key(|member| std::cmp::Reverse(kept.get(member).map_or(0, Vec::len)));
    let quota = |rank: usize| share + usize::from(rank < more);
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
        for key in has.into_iter().chain(free.by_ref().take(missing)) {
            assigned.insert(key, *member);
        }
    }
}
