//! Membership of groups, and which queues it brings.

use std::collections::BTreeMap;

use castmq_protocol::native::request::GroupMode;

use crate::delivery::consumer_group::Wishes;
use crate::names::topic_name;

use super::*;

impl ConsumerSession {
    pub(super) fn join(
        &mut self,
        correlation: u64,
        join: JoinGroup,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<Option<Response>, Refusal> {
        self.context.check_reads()?;
        if join.ordered {
            // Nobody knows whether somebody else has the queues at the master.
            self.context.standing.check_master()?;
        }
        let group = self.groups.get(join.group)?.clone();
        let mut topics = BTreeMap::new();
        for subscription in &join.subscriptions {
            compile(&subscription.filter)?;
            let name = topic_name(&subscription.topic)?;
            topics.insert(name, subscription.filter.clone());
        }
        if join.mode == GroupMode::Clustering {
            // What comes there has passed the filter once.
            topics.insert(TopicName::retry_of(&group), Filter::All);
        }
        let alias = join.group;
        let reclaims = queue_keys(&join.reclaims)?;
        let wishes = Wishes {
            mode: join.mode,
            from: join.from,
            topics,
            ordered: join.ordered,
            room: join.room,
            claims: queue_keys(&join.claims)?.into_iter().collect(),
        };
        let joining = self
            .memberships
            .join(&group, alias, wishes, reclaims, ctx.me())?;
        let lease_ms = self.context.settings.broker.member_lease_ms;
        ctx.then(joining, move |session, answer, ctx| {
            match answer.map_err(|error| error.to_string()) {
                Ok(Ok(())) => {
                    let joined = Joined {
                        group: alias,
                        lease_ms: u32::try_from(lease_ms).unwrap_or(u32::MAX),
                    };
                    let response = Response::Joined(joined);
                    session.connection.answer(correlation, response);
                    for change in session.memberships.joined(&group) {
                        session.receive(change, ctx);
                    }
                }
                refused => {
                    session.memberships.forget(&group);
                    session.finish(correlation, refused);
                }
            }
        });
        Ok(None)
    }

    pub(super) fn leave(&mut self, group: GroupAlias) -> Result<Option<Response>, Refusal> {
        let group = self.groups.get(group)?.clone();
        let member = self.memberships.member();
        self.memberships.forget(&group);
        let how = Parting::Left;
        self.context.wake_group(&group)?.tell(Leave { member, how });
        Ok(Some(Response::Done))
    }

    pub(super) fn release(
        &mut self,
        group: GroupAlias,
        queues: &[TopicQueue],
    ) -> Result<Option<Response>, Refusal> {
        let group = self.groups.get(group)?.clone();
        let queues = queue_keys(queues)?;
        self.memberships.released(&group, &queues);
        let member = self.memberships.member();
        let release = Release { member, queues };
        self.context.wake_group(&group)?.tell(release);
        Ok(Some(Response::Done))
    }
}

fn queue_keys(queues: &[TopicQueue]) -> Result<Vec<QueueKey>, Refusal> {
    queues
        .iter()
        .map(|queue| Ok((topic_name(&queue.topic)?, queue.queue)))
        .collect()
}

impl Receive<Expelled> for ConsumerSession {
    fn receive(&mut self, Expelled { reason }: Expelled, _ctx: &mut Ctx<'_, Self>) {
        // What it has been given cannot be taken back otherwise.
        self.connection
            .close(Refusal::safe(ErrorCode::NotOwner, reason));
    }
}

impl Receive<Change> for ConsumerSession {
    fn receive(&mut self, change: Change, _ctx: &mut Ctx<'_, Self>) {
        let Some((alias, change)) = self.memberships.note(change) else {
            return;
        };
        let queue = |(topic, queue): (TopicName, QueueId)| TopicQueue {
            topic: topic.to_string(),
            queue,
        };
        let assigned = change
            .assigned
            .into_iter()
            .map(|(key, offset)| AssignedQueue {
                queue: queue(key),
                offset,
            });
        let response = Response::AssignmentChanged(AssignmentChanged {
            group: alias,
            generation: change.generation,
            epoch: self.context.copied_epochs.lock().last_epoch(),
            assigned: assigned.collect(),
            revoked: change.revoked.into_iter().map(queue).collect(),
        });
        self.connection.answer(PUSH, response);
    }
}

impl Receive<MembershipLost> for ConsumerSession {
    fn receive(&mut self, lost: MembershipLost, ctx: &mut Ctx<'_, Self>) {
        match self.memberships.join_again(&lost.group, ctx.me()) {
            Some(Ok(joining)) => {
                ctx.spawn(async move {
                    if let Ok(Err(refusal)) | Err(refusal) = joining
                        .await
                        .map_err(|e| Refusal::safe(ErrorCode::Internal, e.to_string()))
                    {
                        tracing::warn!(%refusal, "a member could not join its group again");
                    }
                });
            }
            Some(Err(refusal)) => {
                tracing::warn!(%refusal, "a member could not join its group again")
            }
            None => {}
        }
    }
}
