//! consumer-group: the members of a group on this broker, and which of them has which queue (the rebalancer).
//!
//! A queue moves in two steps: its owner is told to give it up, and only when it has, or its lease has ended, the next
//! one gets it. Everybody else goes on undisturbed, and no queue is ever with two members.

mod details;
mod messages;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::{GroupName, QueueId, QueueOffset, TopicName};
use castmq_protocol::native::admin::{GroupDetails, MemberDetails, QueueProgress};
use castmq_protocol::native::request::{Filter, GroupMode, StartFrom, TopicQueue};
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use serde::Serialize;
use tokio::time::Instant;

use super::assignment::{MemberId, QueueKey, assign};
use super::cold_reader::OffsetsAtTime;
use crate::broker::context::BrokerContext;
use crate::supervision::{Answer, Cast, Ctx, Failure, Mailbox, Receive, Reply};

pub(crate) use messages::{
    Change, Commit, GroupDeleted, Join, Leave, Release, SetOffsets, ShowGroup, TopicsChanged,
};

/// Queues that a member does not give up go to others after this time.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// How often leases, new queues and members' sleep are looked at.
const TICK: Duration = Duration::from_secs(1);

/// After a failure of this actor its members have this long to join again before queues are given out.
const REJOIN_TIME: Duration = Duration::from_secs(2);

/// A group without members for this long goes to sleep.
const SLEEP_AFTER: Duration = Duration::from_secs(60);

struct Member {
    client_id: String,
    address: String,
    mode: GroupMode,
    topics: BTreeMap<TopicName, Filter>,
    from: StartFrom,
    changes: Mailbox<Change>,
    /// Broadcasting: queues it was told of.
    told: BTreeSet<QueueKey>,
    membership: Reply<()>,
}

struct Owned {
    member: MemberId,
    /// It was told to give the queue up, and when.
    revoked: Option<Instant>,
    /// The group's offset was set by somebody else: what the member commits for it is refused.
    is_reset: bool,
}

impl Owned {
    fn by(member: MemberId) -> Self {
        Self {
            member,
            revoked: None,
            is_reset: false,
        }
    }
}

/// See the module.
pub(crate) struct ConsumerGroup {
    context: Arc<BrokerContext>,
    group: GroupName,
    members: BTreeMap<MemberId, Member>,
    owned: BTreeMap<QueueKey, Owned>,
    /// Topics whose first offsets are settled: queues that come later are read from their start.
    settled: BTreeSet<TopicName>,
    generation: u64,
    empty_since: Instant,
    /// After a restart: until then members say again what they hold, and nothing is given out.
    quiet_until: Option<Instant>,
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
        Ok(Self {
            quiet_until: is_restart.then(|| Instant::now() + REJOIN_TIME),
            context,
            group,
            members: BTreeMap::new(),
            owned: BTreeMap::new(),
            settled: BTreeSet::new(),
            generation: 0,
            empty_since: Instant::now(),
        })
    }

    fn check_join(&self, join: &Join) -> Result<(), Refusal> {
        let Some(config) = self.context.groups.config(self.group.as_str()) else {
            return Err(Refusal::never(
                ErrorCode::GroupNotFound,
                format!("group {} does not exist", self.group),
            ));
        };
        if !config.consume_enabled {
            return Err(Refusal::never(
                ErrorCode::GroupDisabled,
                format!(
                    "group {} may not consume: an operator has switched it off",
                    self.group
                ),
            ));
        }
        if join.mode == GroupMode::Broadcasting && !config.broadcast_enabled {
            return Err(Refusal::never(
                ErrorCode::GroupDisabled,
                format!(
                    "group {} may not broadcast: change its settings",
                    self.group
                ),
            ));
        }
        let mut members = self.members.values();
        let conflict =
            members.find(|member| member.mode != join.mode || member.topics != join.topics);
        if let Some(member) = conflict {
            let topics = member.topics.iter().map(|(topic, filter)| match filter {
                Filter::All => topic.to_string(),
                Filter::Tags(tags) => format!("{topic} with tags {}", tags.join(" || ")),
                Filter::Sql(sql) => format!("{topic} where {sql}"),
                Filter::Selector(selector) => format!("{topic} selecting {selector}"),
            });
            let topics: Vec<_> = topics.collect();
            return Err(Refusal::never(
                ErrorCode::Conflict,
                format!(
                    "members of group {} must subscribe alike: {} is {:?} to {}",
                    self.group,
                    member.client_id,
                    member.mode,
                    topics.join(", ")
                ),
            ));
        }
        Ok(())
    }

    /// Settles where the group begins in topics that it never read, then admits the member.
    fn join(&mut self, join: Join, reply: Reply<Result<(), Refusal>>, ctx: &mut Ctx<'_, Self>) {
        if let Err(refusal) = self.check_join(&join) {
            reply.send(Err(refusal));
            return;
        }
        let StartFrom::Timestamp(timestamp_ms) = join.from else {
            self.admit(join, reply, &HashMap::new());
            return;
        };
        let unknown: Vec<_> = join
            .topics
            .keys()
            .filter(|topic| join.mode == GroupMode::Broadcasting || !self.is_settled(topic))
            .flat_map(|topic| self.queues_of(topic))
            .collect();
        let queues = &self.context.store.queues;
        let question = OffsetsAtTime {
            queues: unknown
                .iter()
                .map(|(topic, queue)| queues.queue(topic, *queue))
                .collect(),
            timestamp_ms,
        };
        let cold_reader = match self.context.actors() {
            Ok(actors) => actors.cold_reader.clone(),
            Err(failure) => return ctx.fail(failure),
        };
        ctx.then(
            cold_reader.ask(question),
            move |group, answer, _| match answer {
                Ok(Ok(offsets)) => {
                    let found = unknown.into_iter().zip(offsets).collect();
                    group.admit(join, reply, &found);
                }
                // The question is answered again when the client joins again.
                Ok(Err(error)) => reply.send(Err(Refusal::safe(ErrorCode::Internal, error))),
                Err(error) => {
                    reply.send(Err(Refusal::safe(ErrorCode::Internal, error.to_string())))
                }
            },
        );
    }

    fn admit(
        &mut self,
        join: Join,
        reply: Reply<Result<(), Refusal>>,
        at_time: &HashMap<QueueKey, QueueOffset>,
    ) {
        if join.mode == GroupMode::Clustering {
            for topic in join.topics.keys() {
                self.settle(topic, join.from, at_time);
            }
        }
        // A member that joins anew has what it says it has, unless somebody else got it meanwhile.
        self.owned.retain(|_, owned| owned.member != join.member);
        let mut told = BTreeSet::new();
        for key in join.holding {
            match join.mode {
                GroupMode::Broadcasting => {
                    told.insert(key);
                }
                GroupMode::Clustering => {
                    self.owned.entry(key).or_insert(Owned::by(join.member));
                }
            }
        }
        let member = Member {
            client_id: join.client_id,
            address: join.address,
            mode: join.mode,
            topics: join.topics,
            from: join.from,
            changes: join.changes,
            told,
            membership: join.membership,
        };
        self.members.insert(join.member, member);
        reply.send(Ok(()));
        if join.mode == GroupMode::Broadcasting {
            self.tell_all_queues(join.member, at_time);
        }
        self.rebalance();
    }

    fn is_settled(&self, topic: &TopicName) -> bool {
        self.settled.contains(topic) || self.context.offsets.knows_topic(&self.group, topic)
    }

    fn queues_of(&self, topic: &TopicName) -> Vec<QueueKey> {
        let count = self
            .context
            .topics
            .find(topic.as_str())
            .map_or(0, |topic| topic.read_queues());
        (0..count)
            .map(|queue| (topic.clone(), QueueId(queue)))
            .collect()
    }

    /// Where reading begins in a queue that the group knows nothing of.
    fn first_offset(
        &self,
        key: &QueueKey,
        from: StartFrom,
        at_time: &HashMap<QueueKey, QueueOffset>,
    ) -> QueueOffset {
        let Some(queue) = self.context.store.queues.find(key.0.as_str(), key.1) else {
            return QueueOffset::ZERO;
        };
        match from {
            StartFrom::Earliest => queue.min_offset(),
            StartFrom::Latest => queue.max_offset(),
            StartFrom::Timestamp(_) => at_time
                .get(key)
                .copied()
                .unwrap_or_else(|| queue.min_offset()),
        }
    }

    /// The first time a group reads a topic, it begins where its member says, in every queue there is by then. That is
    /// noted at once: queues that come later, and messages that come before the first commit, are not passed over.
    fn settle(
        &mut self,
        topic: &TopicName,
        from: StartFrom,
        at_time: &HashMap<QueueKey, QueueOffset>,
    ) {
        if !self.is_settled(topic) {
            // What waits for another attempt is nothing that the group has seen.
            let is_retry = *topic == TopicName::retry_of(&self.group);
            let from = if is_retry { StartFrom::Earliest } else { from };
            for key in self.queues_of(topic) {
                let offset = self.first_offset(&key, from, at_time);
                self.context.offsets.set(&self.group, key, offset);
            }
        }
        self.settled.insert(topic.clone());
    }

    fn committed(&self, key: &QueueKey) -> QueueOffset {
        if let Some(offset) = self.context.offsets.get(&self.group, key) {
            return offset;
        }
        // A queue that came after the group had begun: from its start.
        let queue = self.context.store.queues.find(key.0.as_str(), key.1);
        let first = queue.map_or(QueueOffset::ZERO, |queue| queue.min_offset());
        self.context.offsets.set(&self.group, key.clone(), first);
        first
    }

    fn tell_all_queues(&mut self, id: MemberId, at_time: &HashMap<QueueKey, QueueOffset>) {
        let Some(member) = self.members.get(&id) else {
            return;
        };
        let queues = member.topics.keys().flat_map(|topic| self.queues_of(topic));
        let new: Vec<_> = queues.filter(|key| !member.told.contains(key)).collect();
        if new.is_empty() {
            return;
        }
        let is_first = member.told.is_empty();
        let from = if is_first {
            member.from
        } else {
            StartFrom::Earliest
        };
        let assigned: Vec<_> = new
            .iter()
            .map(|key| (key.clone(), self.first_offset(key, from, at_time)))
            .collect();
        self.generation += 1;
        let change = Change {
            group: self.group.clone(),
            generation: self.generation,
            assigned,
            revoked: Vec::new(),
        };
        if let Some(member) = self.members.get_mut(&id) {
            member.told.extend(new);
            member.changes.tell(change);
        }
    }

    /// Gives free queues to those who should have them, and asks for those that others should have.
    fn rebalance(&mut self) {
        if self.quiet_until.is_some() {
            return;
        }
        let broadcasting: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| member.mode == GroupMode::Broadcasting)
            .map(|(id, _)| *id)
            .collect();
        for member in broadcasting {
            self.tell_all_queues(member, &HashMap::new());
        }
        let wanted = self.wanted();
        let mut changes: BTreeMap<MemberId, (Vec<QueueKey>, Vec<QueueKey>)> = BTreeMap::new();
        let now = Instant::now();
        for (key, owned) in &mut self.owned {
            if wanted.get(key) != Some(&owned.member) && owned.revoked.is_none() {
                owned.revoked = Some(now);
                changes.entry(owned.member).or_default().1.push(key.clone());
            }
        }
        for (key, member) in wanted {
            if !self.owned.contains_key(&key) {
                self.owned.insert(key.clone(), Owned::by(member));
                changes.entry(member).or_default().0.push(key);
            }
        }
        for (id, (assigned, revoked)) in changes {
            self.generation += 1;
            let assigned = assigned
                .into_iter()
                .map(|key| {
                    let offset = self.committed(&key);
                    (key, offset)
                })
                .collect();
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
    }

    fn wanted(&self) -> BTreeMap<QueueKey, MemberId> {
        let mut topics: BTreeMap<TopicName, (u32, BTreeSet<MemberId>)> = BTreeMap::new();
        for (id, member) in &self.members {
            if member.mode == GroupMode::Broadcasting {
                continue;
            }
            for topic in member.topics.keys() {
                let queues = self
                    .context
                    .topics
                    .find(topic.as_str())
                    .map_or(0, |topic| topic.read_queues());
                let entry = topics.entry(topic.clone()).or_default();
                entry.0 = queues;
                entry.1.insert(*id);
            }
        }
        let owners = self
            .owned
            .iter()
            .map(|(key, owned)| (key.clone(), owned.member))
            .collect();
        assign(&topics, &owners, self.context.spread)
    }

    fn remove(&mut self, member: MemberId) {
        if let Some(left) = self.members.remove(&member) {
            left.membership.send(());
            self.owned.retain(|_, owned| owned.member != member);
            self.empty_since = Instant::now();
            self.rebalance();
        }
    }

    fn tick(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.quiet_until.is_some_and(|end| end <= Instant::now()) {
            self.quiet_until = None;
            self.rebalance();
        }
        let before = self.owned.len();
        self.owned.retain(|key, owned| {
            let is_over = owned.revoked.is_some_and(|since| since.elapsed() >= LEASE);
            if is_over {
                tracing::warn!(group = %self.group, topic = %key.0, queue = %key.1, "a member did not give up a queue in time");
            }
            !is_over
        });
        if self.owned.len() < before {
            self.rebalance();
        }
        if self.members.is_empty() && self.empty_since.elapsed() >= SLEEP_AFTER {
            self.context.groups.forget(&self.group, ctx.me());
            ctx.stop();
        }
    }

    fn commit(&mut self, commit: Commit) -> Result<(), Refusal> {
        let mut refused = None;
        for (key, offset) in commit.offsets {
            match self.owned.get(&key) {
                Some(owned) if owned.member != commit.member || owned.is_reset => {
                    refused = Some(key)
                }
                _ => self.context.offsets.set(&self.group, key, offset),
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
        ctx.every(TICK, Self::tick);
        Ok(())
    }

    fn observe(&self) -> ConsumerGroupState {
        let moving = self.owned.values().filter(|owned| owned.revoked.is_some());
        ConsumerGroupState {
            members: self.members.len(),
            owned_queues: self.owned.len(),
            moving_queues: moving.count(),
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
    fn receive(&mut self, Leave { member }: Leave, _ctx: &mut Ctx<'_, Self>) {
        self.remove(member);
    }
}

impl Receive<Release> for ConsumerGroup {
    fn receive(&mut self, release: Release, _ctx: &mut Ctx<'_, Self>) {
        for key in &release.queues {
            if self
                .owned
                .get(key)
                .is_some_and(|owned| owned.member == release.member)
            {
                self.owned.remove(key);
            }
        }
        self.rebalance();
    }
}

impl Answer<Commit> for ConsumerGroup {
    type Reply = Result<(), Refusal>;

    fn answer(&mut self, commit: Commit, reply: Reply<Self::Reply>, _ctx: &mut Ctx<'_, Self>) {
        reply.send(self.commit(commit));
    }
}

impl Receive<TopicsChanged> for ConsumerGroup {
    fn receive(&mut self, TopicsChanged: TopicsChanged, _ctx: &mut Ctx<'_, Self>) {
        self.rebalance();
    }
}

impl Receive<GroupDeleted> for ConsumerGroup {
    fn receive(&mut self, GroupDeleted: GroupDeleted, _ctx: &mut Ctx<'_, Self>) {
        self.settled.clear();
    }
}

impl Answer<SetOffsets> for ConsumerGroup {
    type Reply = ();

    /// Owners lose the queues at once and get them, or others do, with the new offsets: what they commit for the old
    /// ones meanwhile is refused.
    fn answer(&mut self, set: SetOffsets, reply: Reply<()>, _ctx: &mut Ctx<'_, Self>) {
        let mut revoked: BTreeMap<MemberId, Vec<QueueKey>> = BTreeMap::new();
        for (key, offset) in set.offsets {
            if let Some(owned) = self.owned.get_mut(&key) {
                owned.revoked = Some(Instant::now());
                owned.is_reset = true;
                revoked.entry(owned.member).or_default().push(key.clone());
            }
            self.context.offsets.set(&self.group, key, offset);
        }
        for (id, revoked) in revoked {
            self.generation += 1;
            let change = Change {
                group: self.group.clone(),
                generation: self.generation,
                assigned: Vec::new(),
                revoked,
            };
            if let Some(member) = self.members.get(&id) {
                member.changes.tell(change);
            }
        }
        reply.send(());
    }
}
