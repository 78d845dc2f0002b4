//! Who should have what.

use super::*;

impl ConsumerGroup {
    /// Gives free queues to those who should have them, and asks for those that others should have.
    pub(super) fn rebalance(&mut self) {
        if self.quiet_until.is_some() {
            return;
        }
        let is_broadcasting = |member: &&Member| member.wishes.mode == GroupMode::Broadcasting;
        let broadcasting: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| is_broadcasting(member))
            .map(|(id, _)| *id)
            .collect();
        for member in broadcasting {
            self.tell_all_queues(member, &HashMap::new());
        }
        let wanted = self.wanted();
        let mut revoked = self.holders.revoke(&wanted, Instant::now());
        let mut given = self.holders.give(wanted);
        let ids: BTreeSet<_> = revoked.keys().chain(given.keys()).copied().collect();
        for id in ids {
            let assigned = given.remove(&id).unwrap_or_default();
            self.tell(id, assigned, revoked.remove(&id).unwrap_or_default());
        }
    }

    fn wanted(&self) -> BTreeMap<QueueKey, MemberId> {
        let config = self.context.groups.config(self.group.as_str());
        // What was stored before it was checked counts as not set.
        let rule = config.and_then(|config| config.assignment().ok());
        let mut topics: BTreeMap<&TopicName, Vec<Candidate<'_>>> = BTreeMap::new();
        for (id, member) in &self.members {
            if member.wishes.mode == GroupMode::Broadcasting {
                continue;
            }
            for topic in member.wishes.topics.keys() {
                topics.entry(topic).or_default().push(Candidate {
                    id: *id,
                    client_id: &member.client_id,
                    room: member.wishes.room.as_deref(),
                    claims: &member.wishes.claims,
                });
            }
        }
        let shared: Vec<_> = topics
            .into_iter()
            .map(|(topic, members)| Shared {
                topic,
                queues: self.read_queues(topic),
                members,
            })
            .collect();
        let broker = &self.context.settings.broker;
        let site = Site {
            broker: &broker.name,
            room: broker.machine_room.as_deref(),
            spread: self.context.spread,
        };
        assign(
            rule.unwrap_or_default(),
            &site,
            &shared,
            &self.holders.owners(),
        )
    }
}
