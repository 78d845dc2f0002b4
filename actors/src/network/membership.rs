//! The groups in which a consumer-session speaks for its client.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use castmq_protocol::model::GroupName;
use castmq_protocol::native::Failure as Refusal;
use castmq_protocol::native::request::{GroupAlias, GroupMode};

use super::consumer_session::ConsumerSession;
use super::greeting::Client;
use crate::broker::context::BrokerContext;
use crate::delivery::assignment::{MemberId, QueueKey};
use crate::delivery::consumer_group::{Change, Heard, Join, Leave, Parting, Wishes};
use crate::supervision::{ActorRef, AskError, Reply};

/// Numbers members apart in this process.
static NEXT_MEMBER: AtomicU64 = AtomicU64::new(1);

/// A group's actor failed and has forgotten its members.
#[derive(Debug)]
pub(crate) struct MembershipLost {
    pub(crate) group: GroupName,
}

struct Membership {
    alias: GroupAlias,
    wishes: Wishes,
    holding: BTreeSet<QueueKey>,
    /// What changed before the client was told that it is a member; `None` once it was.
    early: Option<Vec<Change>>,
}

/// See the module. Dropping it ends all memberships.
pub(crate) struct Memberships {
    context: Arc<BrokerContext>,
    member: MemberId,
    client_id: String,
    address: String,
    heard: Heard,
    groups: HashMap<GroupName, Membership>,
}

type Joining =
    std::pin::Pin<Box<dyn Future<Output = Result<Result<(), Refusal>, AskError>> + Send + 'static>>;

impl Memberships {
    pub(crate) fn new(context: Arc<BrokerContext>, client: &Client) -> Self {
        Self {
            context,
            member: NEXT_MEMBER.fetch_add(1, Ordering::Relaxed),
            client_id: client.client_id.clone(),
            address: client.peer.to_string(),
            heard: Heard::now(),
            groups: HashMap::new(),
        }
    }

    /// The session's number in all its groups.
    pub(crate) fn member(&self) -> MemberId {
        self.member
    }

    /// The client is heard of.
    pub(crate) fn note_heard(&self) {
        if !self.groups.is_empty() {
            self.heard.note();
        }
    }

    /// Joins a group.
    pub(crate) fn join(
        &mut self,
        group: &GroupName,
        alias: GroupAlias,
        wishes: Wishes,
        reclaims: Vec<QueueKey>,
        session: &ActorRef<ConsumerSession>,
    ) -> Result<Joining, Refusal> {
        self.heard.note();
        let membership = Membership {
            alias,
            wishes,
            holding: BTreeSet::new(),
            early: Some(Vec::new()),
        };
        let joining = self.ask_to_join(group, &membership, reclaims, session);
        self.groups.insert(group.clone(), membership);
        joining
    }

    /// Joins again with what the client holds; `None` when it has left meanwhile.
    pub(crate) fn join_again(
        &self,
        group: &GroupName,
        session: &ActorRef<ConsumerSession>,
    ) -> Option<Result<Joining, Refusal>> {
        let membership = self.groups.get(group)?;
        Some(self.ask_to_join(group, membership, Vec::new(), session))
    }

    fn ask_to_join(
        &self,
        group: &GroupName,
        membership: &Membership,
        reclaims: Vec<QueueKey>,
        session: &ActorRef<ConsumerSession>,
    ) -> Result<Joining, Refusal> {
        let lost = {
            let (group, session) = (group.clone(), session.clone());
            Reply::<()>::to_fn(move |ended| {
                if ended.is_err() {
                    session.tell(MembershipLost { group });
                }
            })
        };
        let join = Join {
            member: self.member,
            client_id: self.client_id.clone(),
            address: self.address.clone(),
            wishes: membership.wishes.clone(),
            changes: session.mailbox(),
            expelled: session.mailbox(),
            heard: self.heard.clone(),
            holding: membership.holding.iter().cloned().collect(),
            reclaims,
            membership: lost,
        };
        let joining: Joining = Box::pin(self.context.wake_group(group)?.ask(join));
        Ok(joining)
    }

    /// Whether a queue may be read on behalf of a group: members read what they have, and nothing else.
    pub(crate) fn may_read(&self, group: &GroupName, key: &QueueKey) -> bool {
        self.groups.get(group).is_none_or(|membership| {
            membership.wishes.mode == GroupMode::Broadcasting
                || !membership.wishes.topics.contains_key(&key.0)
                || membership.holding.contains(key)
        })
    }

    /// The session is no longer a member.
    pub(crate) fn forget(&mut self, group: &GroupName) {
        self.groups.remove(group);
    }

    /// The client has been told that it is a member. Returns what changed before.
    pub(crate) fn joined(&mut self, group: &GroupName) -> Vec<Change> {
        let membership = self.groups.get_mut(group);
        let early = membership.and_then(|membership| membership.early.take());
        early.unwrap_or_default()
    }

    /// Notes what the client is to be told. Returns the number under which it knows the group, unless it has to wait.
    pub(crate) fn note(&mut self, change: Change) -> Option<(GroupAlias, Change)> {
        let membership = self.groups.get_mut(&change.group)?;
        if let Some(early) = &mut membership.early {
            early.push(change);
            return None;
        }
        let assigned = change.assigned.iter().map(|(key, _)| key.clone());
        membership.holding.extend(assigned);
        Some((membership.alias, change))
    }

    /// The client has given up queues.
    pub(crate) fn released(&mut self, group: &GroupName, queues: &[QueueKey]) {
        if let Some(membership) = self.groups.get_mut(group) {
            for key in queues {
                membership.holding.remove(key);
            }
        }
    }
}

impl Drop for Memberships {
    fn drop(&mut self) {
        let member = self.member;
        for group in self.groups.keys() {
            if let Some(actor) = self.context.groups.find(group) {
                actor.tell(Leave {
                    member,
                    how: Parting::Lost,
                });
            }
        }
    }
}
