//! The groups in which a consumer-session speaks for its client.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use castmq_protocol::model::{GroupName, TopicName};
use castmq_protocol::native::Failure as Refusal;
use castmq_protocol::native::request::{Filter, GroupAlias, GroupMode, JoinGroup, StartFrom};

use super::consumer_session::ConsumerSession;
use super::greeting::Client;
use crate::broker::context::BrokerContext;
use crate::delivery::assignment::{MemberId, QueueKey};
use crate::delivery::consumer_group::{Change, Join, Leave};
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
    mode: GroupMode,
    from: StartFrom,
    topics: BTreeMap<TopicName, Filter>,
    holding: BTreeSet<QueueKey>,
}

/// See the module. Dropping it ends all memberships.
pub(crate) struct Memberships {
    context: Arc<BrokerContext>,
    member: MemberId,
    client_id: String,
    address: String,
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
            groups: HashMap::new(),
        }
    }

    /// The session's number in all its groups.
    pub(crate) fn member(&self) -> MemberId {
        self.member
    }

    /// Joins a group.
    pub(crate) fn join(
        &mut self,
        group: &GroupName,
        join: &JoinGroup,
        topics: BTreeMap<TopicName, Filter>,
        session: &ActorRef<ConsumerSession>,
    ) -> Result<Joining, Refusal> {
        let membership = Membership {
            alias: join.group,
            mode: join.mode,
            from: join.from,
            topics,
            holding: BTreeSet::new(),
        };
        self.groups.insert(group.clone(), membership);
        match self.join_again(group, session) {
            Some(joining) => joining,
            None => Err(self.context.internal("the membership vanished")),
        }
    }

    /// Joins again with what the client holds; `None` when it has left meanwhile.
    pub(crate) fn join_again(
        &self,
        group: &GroupName,
        session: &ActorRef<ConsumerSession>,
    ) -> Option<Result<Joining, Refusal>> {
        let membership = self.groups.get(group)?;
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
            mode: membership.mode,
            from: membership.from,
            topics: membership.topics.clone(),
            changes: session.mailbox(),
            holding: membership.holding.iter().cloned().collect(),
            membership: lost,
        };
        Some(self.context.wake_group(group).map(|actor| {
            let joining: Joining = Box::pin(actor.ask(join));
            joining
        }))
    }

    /// The session is no longer a member.
    pub(crate) fn forget(&mut self, group: &GroupName) {
        self.groups.remove(group);
    }

    /// Notes what the client was told, and returns the number under which it knows the group.
    pub(crate) fn note(&mut self, change: &Change) -> Option<GroupAlias> {
        let membership = self.groups.get_mut(&change.group)?;
        let assigned = change.assigned.iter().map(|(key, _)| key.clone());
        membership.holding.extend(assigned);
        Some(membership.alias)
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
                actor.tell(Leave { member });
            }
        }
    }
}
