//! Who has which queue of a group. Pure: time comes in.
//!
//! A queue is with one holder until that one has released it, has left, or its lease has ended; only then it is free.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::super::assignment::{MemberId, QueueKey};

/// Queues by member.
pub(super) type ByMember = BTreeMap<MemberId, Vec<QueueKey>>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Holder {
    Member(MemberId),
    /// A member that processes in order and whose connection was lost: it may still be at it.
    Lost {
        client_id: String,
        until: Instant,
    },
}

#[derive(Debug)]
struct Held {
    holder: Holder,
    /// The holder was told to give the queue up, and when.
    revoked: Option<Instant>,
    /// The group's offset was set by somebody else: what the holder commits for it is refused.
    is_reset: bool,
}

impl Held {
    fn by(member: MemberId) -> Self {
        Self {
            holder: Holder::Member(member),
            revoked: None,
            is_reset: false,
        }
    }

    fn member(&self) -> Option<MemberId> {
        match self.holder {
            Holder::Member(member) => Some(member),
            Holder::Lost { .. } => None,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Holders(BTreeMap<QueueKey, Held>);

impl Holders {
    /// Queues that are with somebody.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Those that are to go to somebody else.
    pub(super) fn moving(&self) -> usize {
        let moving = |held: &&Held| held.revoked.is_some() || held.member().is_none();
        self.0.values().filter(moving).count()
    }

    /// Queues and the members that have them.
    pub(super) fn owners(&self) -> BTreeMap<QueueKey, MemberId> {
        let owners = self.0.iter();
        owners
            .filter_map(|(key, held)| Some((key.clone(), held.member()?)))
            .collect()
    }

    /// The queues that a member has.
    pub(super) fn of(&self, member: MemberId) -> impl Iterator<Item = &QueueKey> {
        let of_member = move |held: &Held| held.member() == Some(member);
        let held = self.0.iter().filter(move |(_, held)| of_member(held));
        held.map(|(key, _)| key)
    }

    /// All queues that are with somebody.
    pub(super) fn keys(&self) -> impl Iterator<Item = &QueueKey> {
        self.0.keys()
    }

    /// The member that has a queue, or the client that had it and may come back.
    pub(super) fn holder_of(&self, key: &QueueKey) -> Option<Result<MemberId, &str>> {
        self.0.get(key).map(|held| match &held.holder {
            Holder::Member(member) => Ok(*member),
            Holder::Lost { client_id, .. } => Err(client_id.as_str()),
        })
    }

    /// Whether what a member says about a queue's progress counts. A queue that nobody has may be anybody's: those who pull
    /// are no members.
    pub(super) fn may_commit(&self, key: &QueueKey, member: MemberId) -> bool {
        self.0
            .get(key)
            .is_none_or(|held| held.member() == Some(member) && !held.is_reset)
    }

    /// A member says what it has, after this group's actor had forgotten: it has what nobody else has.
    pub(super) fn recall(&mut self, member: MemberId, keys: impl IntoIterator<Item = QueueKey>) {
        self.0.retain(|_, held| held.member() != Some(member));
        for key in keys {
            self.0.entry(key).or_insert(Held::by(member));
        }
    }

    /// A client that was lost is back as `member`, and wants these queues again. Returns those that it gets; what it had and
    /// does not want is free.
    pub(super) fn reclaim(
        &mut self,
        client: &str,
        member: MemberId,
        keys: impl IntoIterator<Item = QueueKey>,
    ) -> Vec<QueueKey> {
        self.0.retain(
            |_, held| !matches!(&held.holder, Holder::Lost { client_id, .. } if client_id == client),
        );
        let free = keys.into_iter().filter(|key| !self.0.contains_key(key));
        let regained: BTreeSet<_> = free.collect();
        for key in &regained {
            self.0.insert(key.clone(), Held::by(member));
        }
        regained.into_iter().collect()
    }

    /// A member has released queues. Whether anything is free by that.
    pub(super) fn release(&mut self, member: MemberId, keys: &[QueueKey]) -> bool {
        let before = self.0.len();
        for key in keys {
            if self.0.get(key).and_then(Held::member) == Some(member) {
                self.0.remove(key);
            }
        }
        self.0.len() < before
    }

    /// A member has left, or its lease has ended: what it had is free.
    pub(super) fn free(&mut self, member: MemberId) {
        self.0.retain(|_, held| held.member() != Some(member));
    }

    /// A member's connection is lost: what it has is kept for it until its lease ends.
    pub(super) fn keep_for(&mut self, member: MemberId, client_id: &str, until: Instant) {
        for held in self.0.values_mut() {
            if held.member() == Some(member) {
                held.holder = Holder::Lost {
                    client_id: client_id.to_owned(),
                    until,
                };
            }
        }
    }

    /// Asks for what others should have. Returns what each member has to give up.
    pub(super) fn revoke(
        &mut self,
        wanted: &BTreeMap<QueueKey, MemberId>,
        now: Instant,
    ) -> ByMember {
        let mut revoked = ByMember::new();
        for (key, held) in &mut self.0 {
            if let Some(member) = held.member()
                && wanted.get(key) != Some(&member)
                && held.revoked.is_none()
            {
                held.revoked = Some(now);
                revoked.entry(member).or_default().push(key.clone());
            }
        }
        revoked
    }

    /// Gives what is free to those who should have it. Returns what each member gets.
    pub(super) fn give(&mut self, wanted: BTreeMap<QueueKey, MemberId>) -> ByMember {
        let mut given = ByMember::new();
        for (key, member) in wanted {
            if !self.0.contains_key(&key) {
                self.0.insert(key.clone(), Held::by(member));
                given.entry(member).or_default().push(key);
            }
        }
        given
    }

    /// Somebody else has set the group's offset in a queue: whoever has it has to give it up. Returns who that is.
    pub(super) fn reset(&mut self, key: &QueueKey, now: Instant) -> Option<MemberId> {
        let held = self.0.get_mut(key)?;
        held.revoked = Some(now);
        held.is_reset = true;
        held.member()
    }

    /// Frees what was kept for lost members whose lease has ended. Returns those queues.
    pub(super) fn end_leases(&mut self, now: Instant) -> Vec<QueueKey> {
        let is_over =
            |held: &Held| matches!(held.holder, Holder::Lost { until, .. } if until <= now);
        let over = self.0.iter().filter(|(_, held)| is_over(held));
        let over: Vec<_> = over.map(|(key, _)| key.clone()).collect();
        self.0.retain(|_, held| !is_over(held));
        over
    }

    /// Members that have kept a queue for `most` or longer after they were told to give it up, each with one such queue.
    pub(super) fn overdue(&self, now: Instant, most: Duration) -> BTreeMap<MemberId, QueueKey> {
        let overdue = self.0.iter().filter_map(|(key, held)| {
            let since = now.saturating_duration_since(held.revoked?);
            (since >= most).then_some((held.member()?, key.clone()))
        });
        overdue.collect()
    }
}
