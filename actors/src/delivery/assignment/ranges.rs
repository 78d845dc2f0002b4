//! By position alone: what a member has does not matter, only how many there are and which of them it is.

use std::collections::BTreeMap;

use super::{Candidate, MemberId, QueueKey, Shared, keys};

/// Runs of neighbouring queues; the first members get one more where shares are not even.
pub(super) fn average(
    shared: &Shared<'_>,
    members: &[Candidate<'_>],
    turn: usize,
    assigned: &mut BTreeMap<QueueKey, MemberId>,
) {
    let queues = shared.queues as usize;
    let (share, more) = (queues / members.len(), queues % members.len());
    let around = members.iter().cycle().skip(turn).take(members.len());
    let mut keys = keys(shared);
    for (rank, member) in around.enumerate() {
        let run = share + usize::from(rank < more);
        assigned.extend(keys.by_ref().take(run).map(|key| (key, member.id)));
    }
}

/// One queue each, around and around.
pub(super) fn circle(
    shared: &Shared<'_>,
    members: &[Candidate<'_>],
    turn: usize,
    assigned: &mut BTreeMap<QueueKey, MemberId>,
) {
    let around = members.iter().cycle().skip(turn);
    assigned.extend(keys(shared).zip(around.map(|member| member.id)));
}
