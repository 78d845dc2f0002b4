//! Members that go, and those that only seem to be there.

use super::*;

impl ConsumerGroup {
    pub(super) fn remove(&mut self, id: MemberId, how: Parting) {
        self.joining.remove(&id);
        let Some(member) = self.members.remove(&id) else {
            return;
        };
        let clients = &self.context.client_groups;
        clients.set_shared_out(&self.group, self.members.len());
        let now = Instant::now();
        let left = match self.is_patient(now) {
            true => self.lease,
            false => self.lease.saturating_sub(member.heard.silence(now)),
        };
        match how {
            // It may be in the middle of a message, and who comes next would get ahead of it.
            Parting::Lost if member.wishes.ordered => {
                self.holders.keep_for(id, &member.client_id, now + left);
            }
            _ => self.holders.free(id),
        }
        member.membership.send(());
        self.empty_since = now;
        self.rebalance();
    }

    fn expel(&mut self, id: MemberId, reason: String) {
        if let Some(member) = self.members.get(&id) {
            tracing::warn!(group = %self.group, client = member.client_id, reason, "a member's lease has ended");
            member.expelled.tell(Expelled { reason });
            self.remove(id, Parting::Left);
        }
    }

    pub(super) fn tick(&mut self, ctx: &mut Ctx<'_, Self>) {
        let now = Instant::now();
        if self.stood_still(now) {
            self.patient_until = now + self.lease;
        }
        self.last_tick = now;
        let mut has_changed = false;
        if self.quiet_until.is_some_and(|end| end <= now) {
            self.quiet_until = None;
            has_changed = true;
        }
        // What ends before the next look ends now: no queue waits for longer than a lease, and members stop sooner still.
        let next = now + self.tick_period();
        if !self.is_patient(now) {
            self.end_leases(next);
            for (topic, queue) in self.holders.end_leases(next) {
                tracing::info!(group = %self.group, %topic, %queue, "a lost member did not come back in time for its queue");
                has_changed = true;
            }
        }
        if has_changed {
            self.rebalance();
        }
        if self.members.is_empty()
            && self.holders.len() == 0
            && self.empty_since.elapsed() >= SLEEP_AFTER
        {
            self.context.groups.forget(&self.group, ctx.me());
            ctx.stop();
        }
    }

    /// Whether this group has heard nobody because it did nothing, with its broker.
    fn stood_still(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_tick) >= self.lease / 2
    }

    /// Whether nobody's lease ends: who stood still cannot say that others were silent.
    fn is_patient(&self, now: Instant) -> bool {
        now < self.patient_until || self.stood_still(now)
    }

    fn end_leases(&mut self, now: Instant) {
        let is_silent = |member: &Member| {
            let counts = member.wishes.mode == GroupMode::Clustering;
            counts && member.heard.silence(now) >= self.lease
        };
        let silent = self.members.iter().filter(|(_, member)| is_silent(member));
        let silent: Vec<_> = silent.map(|(id, _)| *id).collect();
        for id in silent {
            let reason = format!(
                "nothing was heard of this member of group {} for {:?}: its queues go to others",
                self.group, self.lease
            );
            self.expel(id, reason);
        }
        for (id, (topic, queue)) in self.holders.overdue(now, self.most_of_a_message()) {
            let reason = format!(
                "queue {queue} of topic {topic} was to be given up, and this member of group {} has kept it for {:?}",
                self.group,
                self.most_of_a_message()
            );
            self.expel(id, reason);
        }
    }

    pub(super) fn tick_period(&self) -> Duration {
        TICK.min(self.lease / TICKS_IN_A_LEASE)
    }

    /// How long processing a message may take, and with it giving up a queue.
    fn most_of_a_message(&self) -> Duration {
        let config = self.context.groups.config(self.group.as_str());
        let minutes = config.map_or(0, |config| config.consume_timeout_minutes);
        self.lease + Duration::from_secs(60 * u64::from(minutes))
    }
}
