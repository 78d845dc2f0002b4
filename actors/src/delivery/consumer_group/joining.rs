//! Becoming a member: what has to fit, where the group begins, and what the client had before.

use super::*;

impl ConsumerGroup {
    fn check_join(&self, join: &Join) -> Result<(), Refusal> {
        let config = self.context.groups.consuming(&self.group)?;
        if join.wishes.mode == GroupMode::Broadcasting && !config.broadcast_enabled {
            return Err(Refusal::never(
                ErrorCode::GroupDisabled,
                format!(
                    "group {} may not broadcast: change its settings",
                    self.group
                ),
            ));
        }
        let wishes = &join.wishes;
        let mut members = self.members.values();
        let conflict = members.find(|member| !member.wishes.agree_with(wishes));
        if let Some(member) = conflict {
            let topics = member
                .wishes
                .topics
                .iter()
                .map(|(topic, filter)| match filter {
                    Filter::All => topic.to_string(),
                    Filter::Tags(tags) => format!("{topic} with tags {}", tags.join(" || ")),
                    Filter::Sql(sql) => format!("{topic} where {sql}"),
                    Filter::Selector(selector) => format!("{topic} selecting {selector}"),
                });
            let topics: Vec<_> = topics.collect();
            return Err(Refusal::never(
                ErrorCode::Conflict,
                format!(
                    "members of group {} must subscribe alike: {} is {:?}{} to {}",
                    self.group,
                    member.client_id,
                    member.wishes.mode,
                    match member.wishes.ordered {
                        true => " in order",
                        false => "",
                    },
                    topics.join(", ")
                ),
            ));
        }
        self.check_claims(&config, join)
    }

    /// Two members that both call a queue their own would process it both.
    fn check_claims(&self, config: &GroupConfig, join: &Join) -> Result<(), Refusal> {
        if config.assignment() != Ok(Assignment::Config) {
            return Ok(());
        }
        for (id, member) in &self.members {
            let mut both = member.wishes.claims.intersection(&join.wishes.claims);
            if *id != join.member
                && member.client_id != join.client_id
                && let Some((topic, queue)) = both.next()
            {
                return Err(Refusal::never(
                    ErrorCode::Conflict,
                    format!(
                        "queue {queue} of topic {topic} is claimed by {} of group {} already: members claim different queues",
                        member.client_id, self.group
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Settles where the group begins in topics that it never read, then admits the member.
    pub(super) fn join(
        &mut self,
        join: Join,
        reply: Reply<Result<(), Refusal>>,
        ctx: &mut Ctx<'_, Self>,
    ) {
        let clients = self.context.client_groups.check_shared_out(&self.group);
        if let Err(refusal) = clients.and_then(|()| self.check_join(&join)) {
            reply.send(Err(refusal));
            return;
        }
        let StartFrom::Timestamp(timestamp_ms) = join.wishes.from else {
            self.admit(join, reply, &HashMap::new());
            return;
        };
        let unknown: Vec<_> = join
            .wishes
            .topics
            .keys()
            .filter(|topic| join.wishes.mode == GroupMode::Broadcasting || !self.is_settled(topic))
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
        self.joins += 1;
        let number = self.joins;
        self.joining.insert(join.member, number);
        ctx.then(cold_reader.ask(question), move |group, answer, _| {
            if group.joining.get(&join.member) != Some(&number) {
                // It has gone meanwhile, and may be about to come back.
                return;
            }
            group.joining.remove(&join.member);
            let offsets = match answer {
                Ok(offsets) => offsets,
                Err(error) => Err(error.to_string()),
            };
            // The question is answered again when the client joins again.
            let offsets = offsets.map_err(|error| Refusal::safe(ErrorCode::Internal, error));
            // Others may have joined, and the group may be gone.
            match offsets.and_then(|offsets| group.check_join(&join).map(|()| offsets)) {
                Ok(offsets) => {
                    let found = unknown.into_iter().zip(offsets).collect();
                    group.admit(join, reply, &found);
                }
                Err(refusal) => reply.send(Err(refusal)),
            }
        });
    }

    fn admit(
        &mut self,
        join: Join,
        reply: Reply<Result<(), Refusal>>,
        at_time: &HashMap<QueueKey, QueueOffset>,
    ) {
        let id = join.member;
        let is_clustering = join.wishes.mode == GroupMode::Clustering;
        if is_clustering {
            self.wait_for_those_before(&join);
            for topic in join.wishes.topics.keys() {
                self.settle(topic, join.wishes.from, at_time);
            }
        }
        let mut told = BTreeSet::new();
        let mut regained = Vec::new();
        match is_clustering {
            false => told.extend(join.holding),
            true => {
                self.holders.recall(id, join.holding);
                let mut wanted = join.reclaims;
                wanted.retain(|(topic, queue)| {
                    queue.0 < self.read_queues(topic) && join.wishes.topics.contains_key(topic)
                });
                regained = self.holders.reclaim(&join.client_id, id, wanted);
            }
        }
        let member = Member {
            client_id: join.client_id,
            address: join.address,
            wishes: join.wishes,
            changes: join.changes,
            expelled: join.expelled,
            heard: join.heard,
            told,
            membership: join.membership,
        };
        self.members.insert(id, member);
        let clients = &self.context.client_groups;
        clients.set_shared_out(&self.group, self.members.len());
        reply.send(Ok(()));
        match is_clustering {
            false => self.tell_all_queues(id, at_time),
            true if !regained.is_empty() => self.tell(id, regained, Vec::new()),
            true => {}
        }
        self.rebalance();
    }

    /// After a start of the broker, members that process in order may still be at what they had: they have a moment to come
    /// back and say so.
    fn wait_for_those_before(&mut self, join: &Join) {
        // Whoever was the first in a topic since the start has waited, or there was nobody before.
        let mut topics = join.wishes.topics.keys();
        if join.wishes.ordered
            && self.members.is_empty()
            && self.quiet_until.is_none()
            && let Some(left) = REJOIN_TIME.checked_sub(self.context.meters.uptime())
            && topics.any(|topic| {
                !self.settled.contains(topic)
                    && self.context.offsets.knows_topic(&self.group, topic)
            })
        {
            tracing::info!(group = %self.group, wait = ?left, "the broker has just started: members that were there before may come back and go on");
            self.quiet_until = Some(Instant::now() + left);
        }
    }

    /// Queues of a topic that can be read; none when it is not there.
    pub(super) fn read_queues(&self, topic: &TopicName) -> u32 {
        let found = self.context.topics.find(topic.as_str());
        found.map_or(0, |topic| topic.read_queues())
    }

    fn is_settled(&self, topic: &TopicName) -> bool {
        self.settled.contains(topic) || self.context.offsets.knows_topic(&self.group, topic)
    }

    pub(super) fn queues_of(&self, topic: &TopicName) -> Vec<QueueKey> {
        (0..self.read_queues(topic))
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

    pub(super) fn committed(&self, key: &QueueKey) -> QueueOffset {
        if let Some(offset) = self.context.offsets.get(&self.group, key) {
            return offset;
        }
        // A queue that came after the group had begun: from its start.
        let queue = self.context.store.queues.find(key.0.as_str(), key.1);
        let first = queue.map_or(QueueOffset::ZERO, |queue| queue.min_offset());
        self.context.offsets.set(&self.group, key.clone(), first);
        first
    }

    pub(super) fn tell_all_queues(
        &mut self,
        id: MemberId,
        at_time: &HashMap<QueueKey, QueueOffset>,
    ) {
        let Some(member) = self.members.get(&id) else {
            return;
        };
        let queues = member
            .wishes
            .topics
            .keys()
            .flat_map(|topic| self.queues_of(topic));
        let new: Vec<_> = queues.filter(|key| !member.told.contains(key)).collect();
        if new.is_empty() {
            return;
        }
        let is_first = member.told.is_empty();
        let from = if is_first {
            member.wishes.from
        } else {
            StartFrom::Earliest
        };
        let assigned: Vec<_> = new
            .iter()
            .map(|key| (key.clone(), self.first_offset(key, from, at_time)))
            .collect();
        if let Some(member) = self.members.get_mut(&id) {
            member.told.extend(new);
        }
        self.send(id, assigned, Vec::new());
    }
}
