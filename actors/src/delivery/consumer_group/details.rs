//! What operators see of a group.

use super::*;

impl ConsumerGroup {
    fn details(&self) -> Option<GroupDetails> {
        let config = self.context.groups.config(self.group.as_str())?;
        let topic_queue = |key: &QueueKey| TopicQueue {
            topic: key.0.to_string(),
            queue: key.1,
        };
        let members = self.members.iter().map(|(id, member)| MemberDetails {
            client_id: member.client_id.clone(),
            address: member.address.clone(),
            queues: match member.wishes.mode {
                GroupMode::Clustering => self.holders.of(*id).map(topic_queue).collect(),
                GroupMode::Broadcasting => member.told.iter().map(topic_queue).collect(),
            },
        });
        let offsets = self.context.offsets.of_group(&self.group);
        let known: BTreeMap<_, _> = offsets.into_iter().collect();
        let keys: BTreeSet<_> = known.keys().chain(self.holders.keys()).cloned().collect();
        let progress = keys.iter().map(|key| {
            let queue = self.context.store.queues.find(key.0.as_str(), key.1);
            let owner = self.holders.holder_of(key).and_then(|holder| match holder {
                Ok(id) => self
                    .members
                    .get(&id)
                    .map(|member| member.client_id.as_str()),
                Err(lost) => Some(lost),
            });
            QueueProgress {
                queue: topic_queue(key),
                committed: known.get(key).copied(),
                min_offset: queue.as_ref().map_or(QueueOffset::ZERO, |q| q.min_offset()),
                max_offset: queue.as_ref().map_or(QueueOffset::ZERO, |q| q.max_offset()),
                owner: owner.map(str::to_owned),
            }
        });
        Some(GroupDetails {
            config,
            mode: self
                .members
                .values()
                .next()
                .map(|member| member.wishes.mode),
            members: members.collect(),
            progress: progress.collect(),
        })
    }
}

impl Answer<ShowGroup> for ConsumerGroup {
    type Reply = Option<GroupDetails>;

    fn answer(
        &mut self,
        ShowGroup: ShowGroup,
        reply: Reply<Self::Reply>,
        _ctx: &mut Ctx<'_, Self>,
    ) {
        reply.send(self.details());
    }
}
