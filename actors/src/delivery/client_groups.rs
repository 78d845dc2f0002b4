//! Groups whose members share the queues among themselves, as RocketMQ's clients do: a broker keeps who they are and what they
//! subscribe to, tells all of a change, and locks queues for those that consume in order.
//!
//! A group has members of one kind at a time: where the broker shares the queues out, nobody else may take them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use castmq_protocol::filter::CompiledFilter;
use castmq_protocol::model::{GroupName, QueueOffset, TopicName};
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use castmq_protocol::remoting::bodies::MessageQueue;
use castmq_protocol::remoting::bodies::heartbeat::{
    ConsumeFrom, ConsumeType, MessageModel, Subscription,
};
use castmq_protocol::remoting::{Fields, Language};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::delivery::queues::QueueKey;
use crate::supervision::{Mailbox, Reply};

/// A member of which nothing is heard for this long is none any more (RocketMQ `channelExpiredTimeout`).
pub(crate) const SILENCE: Duration = Duration::from_secs(120);

/// A lock that is not renewed ends after this time (RocketMQ `rebalance.lockMaxLiveTime`).
const LOCK_LASTS: Duration = Duration::from_secs(60);

/// Pairs of groups and topics for which an operator may say that the group pops.
const MAX_POPS: usize = 65_536;

/// Tells sessions apart.
pub(crate) type SessionId = u64;

/// Members of a group came or went.
#[derive(Debug, Clone)]
pub(crate) struct MembersChanged(pub(crate) GroupName);

/// What is known of a member.
#[derive(Debug, Clone)]
pub(crate) struct ClientMember {
    pub(crate) client_id: String,
    pub(crate) address: String,
    pub(crate) language: Language,
    pub(crate) version: i32,
    pub(crate) changes: Mailbox<MembersChanged>,
    pub(crate) relays: Mailbox<Relay>,
}

/// A request for a member.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) code: i32,
    pub(crate) fields: Fields<'static>,
    pub(crate) body: Bytes,
    pub(crate) reply: Reply<Relayed>,
}

/// A member's answer.
#[derive(Debug)]
pub(crate) struct Relayed {
    pub(crate) code: i32,
    pub(crate) remark: Option<String>,
    pub(crate) fields: Fields<'static>,
    pub(crate) body: Bytes,
}

/// What a heartbeat says of a group.
#[derive(Debug, Clone)]
pub(crate) struct ClientWishes {
    pub(crate) consume_type: ConsumeType,
    pub(crate) model: MessageModel,
    pub(crate) from: ConsumeFrom,
    /// By topic.
    pub(crate) subscriptions: BTreeMap<TopicName, Subscribed>,
}

/// A subscription that was understood.
#[derive(Debug, Clone)]
pub(crate) struct Subscribed {
    pub(crate) told: Subscription,
    /// `None` for all messages.
    pub(crate) filter: Option<Arc<CompiledFilter>>,
}

/// A client, and when it was heard of last.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) member: ClientMember,
    pub(crate) at: Instant,
}

#[derive(Debug)]
struct Group {
    members: BTreeMap<SessionId, Heard>,
    wishes: ClientWishes,
    /// By queue: who has it, and since when.
    locks: HashMap<MessageQueue, (String, Instant)>,
    /// Offsets that an operator has set, and that the member of the queue has not been told.
    resets: HashMap<QueueKey, QueueOffset>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ClientGroups {
    groups: Mutex<HashMap<GroupName, Group>>,
    /// Clients that produce in a group.
    producers: Mutex<HashMap<GroupName, BTreeMap<SessionId, Heard>>>,
    /// Groups that pop a topic because an operator wants them to.
    pops: Mutex<HashSet<(GroupName, TopicName)>>,
    /// Groups that have members whose queues the broker shares out.
    shared_out: Mutex<HashMap<GroupName, usize>>,
}

impl ClientGroups {
    /// A member is heard of. All hear of it when it is new, or wants something else than the group did.
    pub(crate) fn heartbeat(
        &self,
        group: &GroupName,
        session: SessionId,
        member: ClientMember,
        wishes: ClientWishes,
    ) -> Result<(), Refusal> {
        self.check_not_shared_out(group)?;
        let mut groups = self.groups.lock();
        let known = groups.entry(group.clone()).or_insert_with(|| Group {
            members: BTreeMap::new(),
            wishes: wishes.clone(),
            locks: HashMap::new(),
            resets: HashMap::new(),
        });
        let at = Instant::now();
        let is_new = known
            .members
            .insert(session, Heard { member, at })
            .is_none();
        let has_changed = known.wishes.take(wishes);
        if is_new || has_changed {
            known.tell(group);
        }
        Ok(())
    }

    /// A member is heard of that says nothing of what it wants. Whether it is known.
    pub(crate) fn renew(&self, group: &GroupName, session: SessionId) -> bool {
        let mut groups = self.groups.lock();
        let members = groups.get_mut(group).map(|group| &mut group.members);
        let heard = members.and_then(|members| members.get_mut(&session));
        heard.is_some_and(|heard| {
            heard.at = Instant::now();
            true
        })
    }

    /// A member is gone.
    pub(crate) fn leave(&self, group: &GroupName, session: SessionId) {
        let mut groups = self.groups.lock();
        if let Some(known) = groups.get_mut(group)
            && known.members.remove(&session).is_some()
        {
            known.tell(group);
            if known.members.is_empty() {
                groups.remove(group);
            }
        }
    }

    /// Whether a member has said nothing for so long that it is none any more.
    pub(crate) fn is_silent(&self, group: &GroupName, session: SessionId) -> bool {
        let groups = self.groups.lock();
        let heard = groups.get(group).and_then(|g| g.members.get(&session));
        heard.is_some_and(|heard| heard.at.elapsed() >= SILENCE)
    }

    /// The ids of a group's members, sorted; `None` when it has none.
    pub(crate) fn client_ids(&self, group: &str) -> Option<Vec<String>> {
        let groups = self.groups.lock();
        let members = groups.get(group)?.members.values();
        let mut ids: Vec<_> = members
            .map(|heard| heard.member.client_id.clone())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        Some(ids)
    }

    /// What a group wants, when it has members.
    pub(crate) fn wishes(&self, group: &str) -> Option<ClientWishes> {
        Some(self.groups.lock().get(group)?.wishes.clone())
    }

    /// What a group wants of a topic; the outer `None` when it has no members.
    pub(crate) fn subscribed(&self, group: &str, topic: &str) -> Option<Option<Subscribed>> {
        let groups = self.groups.lock();
        let wishes = &groups.get(group)?.wishes;
        Some(wishes.subscriptions.get(topic).cloned())
    }

    /// Members of a group.
    pub(crate) fn members(&self, group: &str) -> Vec<ClientMember> {
        let groups = self.groups.lock();
        let members = groups
            .get(group)
            .into_iter()
            .flat_map(|g| g.members.values());
        members.map(|heard| heard.member.clone()).collect()
    }

    /// Groups that subscribe to a topic.
    pub(crate) fn of_topic(&self, topic: &str) -> Vec<GroupName> {
        let groups = self.groups.lock();
        let of_topic = groups
            .iter()
            .filter(|(_, group)| group.wishes.subscriptions.contains_key(topic));
        of_topic.map(|(name, _)| name.clone()).collect()
    }

    /// Locks queues for a client, or renews its locks. Returns those that it has then.
    pub(crate) fn lock(
        &self,
        group: &GroupName,
        client_id: &str,
        queues: Vec<MessageQueue>,
    ) -> Vec<MessageQueue> {
        let mut groups = self.groups.lock();
        let Some(known) = groups.get_mut(group) else {
            return Vec::new();
        };
        let now = Instant::now();
        let mut locked = Vec::new();
        for queue in queues {
            let lock = known.locks.entry(queue.clone());
            let (owner, since) = lock.or_insert_with(|| (client_id.to_owned(), now));
            if owner != client_id && now.duration_since(*since) >= LOCK_LASTS {
                client_id.clone_into(owner);
            }
            if owner == client_id {
                *since = now;
                locked.push(queue);
            }
        }
        locked
    }

    /// A client gives locks back.
    pub(crate) fn unlock(&self, group: &GroupName, client_id: &str, queues: &[MessageQueue]) {
        let mut groups = self.groups.lock();
        if let Some(known) = groups.get_mut(group) {
            for queue in queues {
                if known
                    .locks
                    .get(queue)
                    .is_some_and(|(owner, _)| owner == client_id)
                {
                    known.locks.remove(queue);
                }
            }
        }
    }

    /// A client produces in a group.
    pub(crate) fn produces(&self, group: &GroupName, session: SessionId, member: ClientMember) {
        let mut producers = self.producers.lock();
        let at = Instant::now();
        producers
            .entry(group.clone())
            .or_default()
            .insert(session, Heard { member, at });
    }

    /// It does not any more.
    pub(crate) fn ends_producing(&self, group: &GroupName, session: SessionId) {
        let mut producers = self.producers.lock();
        if let Some(known) = producers.get_mut(group) {
            known.remove(&session);
            if known.is_empty() {
                producers.remove(group);
            }
        }
    }

    /// Clients that produce, by group.
    pub(crate) fn producers(&self) -> BTreeMap<GroupName, Vec<Heard>> {
        let producers = self.producers.lock();
        let all = producers.iter();
        all.map(|(group, of)| (group.clone(), of.values().cloned().collect()))
            .collect()
    }

    /// An operator wants a group to pop a topic, or not to.
    pub(crate) fn set_pops(&self, group: GroupName, topic: TopicName, pops: bool) {
        let mut known = self.pops.lock();
        match pops {
            true if known.len() < MAX_POPS => drop(known.insert((group, topic))),
            true => {}
            false => drop(known.remove(&(group, topic))),
        }
    }

    /// Whether a group is to pop a topic.
    pub(crate) fn pops(&self, group: &GroupName, topic: &TopicName) -> bool {
        self.pops.lock().contains(&(group.clone(), topic.clone()))
    }

    /// Groups that are to pop, and what.
    pub(crate) fn all_pops(&self) -> Vec<(GroupName, TopicName)> {
        self.pops.lock().iter().cloned().collect()
    }

    /// An operator has set an offset: whoever pulls the queue next is told, if there are members.
    pub(crate) fn reset(&self, group: &GroupName, key: QueueKey, offset: QueueOffset) {
        if let Some(known) = self.groups.lock().get_mut(group) {
            known.resets.insert(key, offset);
        }
    }

    /// The offset that an operator has set, once.
    pub(crate) fn take_reset(&self, group: &GroupName, key: &QueueKey) -> Option<QueueOffset> {
        self.groups.lock().get_mut(group)?.resets.remove(key)
    }

    /// Whether an operator has set an offset that nobody was told of.
    pub(crate) fn is_reset(&self, group: &GroupName, key: &QueueKey) -> bool {
        let groups = self.groups.lock();
        groups
            .get(group)
            .is_some_and(|known| known.resets.contains_key(key))
    }

    /// Whether a group has queues locked, as one that consumes in order does.
    pub(crate) fn is_locked(&self, group: &GroupName) -> bool {
        let groups = self.groups.lock();
        let locks = groups
            .get(group)
            .into_iter()
            .flat_map(|known| known.locks.values());
        let now = Instant::now();
        locks
            .into_iter()
            .any(|(_, since)| now.duration_since(*since) < LOCK_LASTS)
    }

    /// Refuses members whose queues the broker shares out, where there are others.
    pub(crate) fn check_shared_out(&self, group: &GroupName) -> Result<(), Refusal> {
        match self.groups.lock().contains_key(group) {
            false => Ok(()),
            true => Err(Refusal::safe(
                ErrorCode::Conflict,
                format!(
                    "group {group} has members that share the queues among themselves, clients of RocketMQ: stop those first, or use another group"
                ),
            )),
        }
    }

    /// Refuses members that share the queues among themselves, where there are others.
    pub(crate) fn check_not_shared_out(&self, group: &GroupName) -> Result<(), Refusal> {
        match self.shared_out.lock().contains_key(group) {
            false => Ok(()),
            true => Err(Refusal::safe(
                ErrorCode::Conflict,
                format!(
                    "group {group} has members whose queues the broker shares out: stop those first, or use another group"
                ),
            )),
        }
    }

    /// How many members a group has whose queues the broker shares out.
    pub(crate) fn set_shared_out(&self, group: &GroupName, members: usize) {
        let mut shared_out = self.shared_out.lock();
        match members {
            0 => drop(shared_out.remove(group)),
            _ => drop(shared_out.insert(group.clone(), members)),
        }
    }
}

impl Group {
    fn tell(&self, group: &GroupName) {
        for heard in self.members.values() {
            heard.member.changes.tell(MembersChanged(group.clone()));
        }
    }
}

impl ClientWishes {
    /// Takes over what a member wants: newer subscriptions replace older ones, and topics that it does not name go. Whether
    /// topics came or went.
    fn take(&mut self, new: Self) -> bool {
        self.consume_type = new.consume_type;
        self.model = new.model;
        self.from = new.from;
        let mut has_changed = false;
        self.subscriptions.retain(|topic, _| {
            let stays = new.subscriptions.contains_key(topic);
            has_changed |= !stays;
            stays
        });
        for (topic, subscribed) in new.subscriptions {
            match self.subscriptions.get_mut(&topic) {
                Some(known) if subscribed.told.version > known.told.version => *known = subscribed,
                Some(_) => {}
                None => {
                    has_changed = true;
                    self.subscriptions.insert(topic, subscribed);
                }
            }
        }
        has_changed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    fn group() -> GroupName {
        GroupName::new("g").unwrap()
    }

    fn member(client_id: &str) -> (ClientMember, Receiver<GroupName>) {
        let (sender, told) = channel();
        let changes = Mailbox::from_fn(move |MembersChanged(group)| sender.send(group).is_ok());
        let member = ClientMember {
            client_id: client_id.to_owned(),
            address: "127.0.0.1:1".to_owned(),
            language: Language::Java,
            version: 0,
            changes,
            relays: Mailbox::from_fn(|_| false),
        };
        (member, told)
    }

    fn wishes(topics: &[(&str, i64)]) -> ClientWishes {
        let subscriptions = topics.iter().map(|(topic, version)| {
            let told = Subscription {
                topic: (*topic).to_owned(),
                version: *version,
                ..Subscription::default()
            };
            let filter = None;
            (TopicName::new(topic).unwrap(), Subscribed { told, filter })
        });
        ClientWishes {
            consume_type: ConsumeType::Passively,
            model: MessageModel::Clustering,
            from: ConsumeFrom::First,
            subscriptions: subscriptions.collect(),
        }
    }

    fn queue(id: i32) -> MessageQueue {
        MessageQueue::new("t", "b", id)
    }

    #[test]
    fn all_members_hear_of_those_who_come_and_go_and_of_other_topics_and_of_nothing_else() {
        let groups = ClientGroups::default();
        let ((first, told_first), (second, told_second)) = (member("a"), member("b"));
        let heartbeat = |session, member: &ClientMember, topics: &[(&str, i64)]| {
            let heard = groups.heartbeat(&group(), session, member.clone(), wishes(topics));
            heard.unwrap();
        };
        heartbeat(1, &first, &[("t", 1)]);
        heartbeat(2, &second, &[("t", 1)]);
        assert_eq!(told_first.try_iter().count(), 2);
        assert_eq!(told_second.try_iter().count(), 1);
        heartbeat(1, &first, &[("t", 2)]);
        assert_eq!(told_second.try_iter().count(), 0);
        assert_eq!(
            groups.subscribed("g", "t").unwrap().unwrap().told.version,
            2
        );
        heartbeat(1, &first, &[("t", 2), ("u", 1)]);
        assert_eq!(told_second.try_iter().count(), 1);
        assert_eq!(groups.client_ids("g").unwrap(), ["a", "b"]);
        groups.leave(&group(), 1);
        assert_eq!(told_second.try_iter().count(), 1);
        groups.leave(&group(), 2);
        assert_eq!(groups.client_ids("g"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_locked_by_one_until_that_gives_it_back_or_is_silent() {
        let groups = ClientGroups::default();
        let (first, _told) = member("a");
        let heard = groups.heartbeat(&group(), 1, first, wishes(&[("t", 1)]));
        heard.unwrap();
        let lock = |client, ids: &[i32]| {
            let queues = ids.iter().map(|id| queue(*id)).collect();
            groups.lock(&group(), client, queues).len()
        };
        assert_eq!(lock("a", &[0, 1]), 2);
        assert_eq!(lock("b", &[0, 1, 2]), 1);
        groups.unlock(&group(), "b", &[queue(0)]);
        groups.unlock(&group(), "a", &[queue(1)]);
        assert_eq!(lock("b", &[0, 1]), 1);
        tokio::time::advance(LOCK_LASTS).await;
        assert_eq!(lock("a", &[1]), 1);
    }

    #[test]
    fn members_of_both_kinds_are_not_in_one_group() {
        let groups = ClientGroups::default();
        groups.set_shared_out(&group(), 1);
        let (first, _told) = member("a");
        let join = || groups.heartbeat(&group(), 1, first.clone(), wishes(&[]));
        assert_eq!(join().unwrap_err().code, ErrorCode::Conflict);
        assert!(groups.check_shared_out(&group()).is_ok());
        groups.set_shared_out(&group(), 0);
        join().unwrap();
        let refused = groups.check_shared_out(&group()).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Conflict);
    }
}
