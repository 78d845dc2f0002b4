//! consumer-group: the members of a group on this broker, and which of them has which queue (the rebalancer).
//!
//! A queue moves in two steps: its owner is told to give it up, and only when it has, or its lease has ended, the next
//! one gets it. Everybody else goes on undisturbed, and no queue is ever with two members.
//!
//! A member's lease ends when nothing is heard of it for that long, or when it keeps a queue far longer than processing one
//! message may take: then it is no member any more, and its connection is closed.
//!
//! - `holders`: who has which queue; `joining`: becoming a member; `rebalance`: who should have what; `leases`: those that
//!   end; `details`: what operators see.

mod details;
mod heard;
mod holders;
mod joining;
mod leases;
mod messages;
mod rebalance;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::{Assignment, GroupConfig, GroupName, QueueId, QueueOffset, TopicName};
use castmq_protocol::native::admin::{GroupDetails, MemberDetails, QueueProgress};
use castmq_protocol::native::request::{Filter, GroupMode, StartFrom, TopicQueue};
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use serde::Serialize;
use tokio::time::Instant;

use self::holders::Holders;
use super::assignment::{Candidate, MemberId, QueueKey, Shared, Site, assign};
use super::cold_reader::OffsetsAtTime;
use super::popper::ForgetBooks;
use crate::broker::context::BrokerContext;
use crate::supervision::{Answer, Cast, Ctx, Failure, Mailbox, Receive, Reply};

pub(crate) use heard::Heard;
pub(crate) use messages::{
    Change, Commit, Expelled, GroupDeleted, Join, Leave, Parting, Release, SetOffsets,
    SettingsChanged, ShowGroup, Wishes,
};

/// How often leases, new queues and members' sleep are looked at, at most.
const TICK: Duration = Duration::from_secs(1);

/// A lease ends up to a tick early, and members count on four fifths of it.
const TICKS_IN_A_LEASE: u32 = 10;

/// After a failure of this actor its members have this long to join again before queues are given out.
const REJOIN_TIME: Duration = Duration::from_secs(2);

/// A group without members for this long goes to sleep.
const SLEEP_AFTER: Duration = Duration::from_secs(60);

struct Member {
    client_id: String,
    address: String,
    wishes: Wishes,
    changes: Mailbox<Change>,
    expelled: Mailbox<Expelled>,
    heard: Heard,
    /// Broadcasting: queues it was told of.
    told: BTreeSet<QueueKey>,
    membership: Reply<()>,
}

impl Wishes {
    /// Whether two can be members of one group.
    fn agree_with(&self, other: &Self) -> bool {
        self.mode == other.mode && self.topics == other.topics && self.ordered == other.ordered
    }
}

/// See the module.
pub(crate) struct ConsumerGroup {
    context: Arc<BrokerContext>,
    group: GroupName,
    lease: Duration,
    members: BTreeMap<MemberId, Member>,
    /// Those whose first offsets are looked up.
    joining: BTreeMap<MemberId, u64>,
    /// Tells attempts to join apart.
    joins: u64,
    holders: Holders,
    /// Topics whose first offsets are settled: queues that come later are read from their start.
    settled: BTreeSet<TopicName>,
    generation: u64,
    empty_since: Instant,
    /// Until then members say what they hold, and nothing is given out.
    quiet_until: Option<Instant>,
    last_tick: Instant,
    /// Until then nobody's lease ends: the broker itself stood still, and heard nobody.
    patient_until: Instant,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct ConsumerGroupState {
    members: usize,
    owned_queues: usize,
    moving_queues: usize,
    generation: u64,
}

impl ConsumerGroup {
    pub(crate) fn new(
        context: Arc<BrokerContext>,
        group: GroupName,
        is_restart: bool,
    ) -> Result<Self, Failure> {
        let now = Instant::now();
        context.client_groups.set_shared_out(&group, 0);
        Ok(Self {
            quiet_until: is_restart.then(|| now + REJOIN_TIME),
            lease: Duration::from_millis(context.settings.broker.member_lease_ms),
            context,
            group,
            members: BTreeMap::new(),
            joining: BTreeMap::new(),
            joins: 0,
            holders: Holders::default(),
            settled: BTreeSet::new(),
            generation: 0,
            empty_since: now,
            last_tick: now,
            patient_until: now,
        })
    }

    /// Tells a member which queues it has and has to give up.
    fn tell(&mut self, id: MemberId, assigned: Vec<QueueKey>, revoked: Vec<QueueKey>) {
        let assigned = assigned.into_iter().map(|key| {
            let offset = self.committed(&key);
            (key, offset)
        });
        let assigned = assigned.collect();
        self.send(id, assigned, revoked);
    }

    fn send(
        &mut self,
        id: MemberId,
        assigned: Vec<(QueueKey, QueueOffset)>,
        revoked: Vec<QueueKey>,
    ) {
        self.generation += 1;
        let change = Change {
            group: self.group.clone(),
            generation: self.generation,
            assigned,
            revoked,
        };
        if let Some(member) = self.members.get(&id) {
            member.changes.tell(change);
        }
    }

    fn commit(&mut self, commit: Commit) -> Result<(), Refusal> {
        // Offsets of a group that was deleted would be there again when it is made again.
        self.context.groups.existing(&self.group)?;
        let mut refused = None;
        for (key, offset) in commit.offsets {
            match self.holders.may_commit(&key, commit.member) {
                true => self.context.offsets.set(&self.group, key, offset),
                false => refused = Some(key),
            }
        }
        match refused {
            None => Ok(()),
            Some((topic, queue)) => Err(Refusal::never(
                ErrorCode::NotOwner,
                format!(
                    "queue {queue} of topic {topic} belongs to another member of group {}: its offset was not changed",
                    self.group
                ),
            )),
        }
    }
}

impl Cast for ConsumerGroup {
    type State = ConsumerGroupState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        ctx.every(self.tick_period(), Self::tick);
        Ok(())
    }

    fn observe(&self) -> ConsumerGroupState {
        ConsumerGroupState {
            members: self.members.len(),
            owned_queues: self.holders.len(),
            moving_queues: self.holders.moving(),
            generation: self.generation,
        }
    }
}

impl Answer<Join> for ConsumerGroup {
    type Reply = Result<(), Refusal>;

    fn answer(&mut self, join: Join, reply: Reply<Self::Reply>, ctx: &mut Ctx<'_, Self>) {
        self.join(join, reply, ctx);
    }
}

impl Receive<Leave> for ConsumerGroup {
    fn receive(&mut self, Leave { member, how }: Leave, _ctx: &mut Ctx<'_, Self>) {
        self.remove(member, how);
    }
}

impl Receive<Release> for ConsumerGroup {
    fn receive(&mut self, release: Release, _ctx: &mut Ctx<'_, Self>) {
        if self.holders.release(release.member, &release.queues) {
            self.rebalance();
        }
    }
}

impl Answer<Commit> for ConsumerGroup {
    type Reply = Result<(), Refusal>;

    fn answer(&mut self, commit: Commit, reply: Reply<Self::Reply>, _ctx: &mut Ctx<'_, Self>) {
        reply.send(self.commit(commit));
    }
}

impl Receive<GroupDeleted> for ConsumerGroup {
    fn receive(&mut self, GroupDeleted: GroupDeleted, _ctx: &mut Ctx<'_, Self>) {
        self.settled.clear();
    }
}

impl Receive<SettingsChanged> for ConsumerGroup {
    fn receive(&mut self, SettingsChanged: SettingsChanged, _ctx: &mut Ctx<'_, Self>) {
        self.rebalance();
    }
}

impl Answer<SetOffsets> for ConsumerGroup {
    type Reply = ();

    /// Owners lose the queues at once and get them, or others do, with the new offsets: what they commit for the old
    /// ones meanwhile is refused.
    fn answer(&mut self, set: SetOffsets, reply: Reply<()>, _ctx: &mut Ctx<'_, Self>) {
        let mut revoked: BTreeMap<MemberId, Vec<QueueKey>> = BTreeMap::new();
        let mut queues = Vec::with_capacity(set.offsets.len());
        for (key, offset) in set.offsets {
            if let Some(member) = self.holders.reset(&key, Instant::now()) {
                revoked.entry(member).or_default().push(key.clone());
            }
            self.context.offsets.set(&self.group, key.clone(), offset);
            queues.push(key);
        }
        if let Ok(actors) = self.context.actors() {
            let group = self.group.clone();
            actors.popper.tell(ForgetBooks { group, queues });
        }
        for (member, revoked) in revoked {
            self.tell(member, Vec::new(), revoked);
        }
        reply.send(());
    }
}
