//! When the popper wakes although nobody asks it anything: for pops that have waited long enough, and to look around. A
//! popper that nobody uses sleeps.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

use castmq_protocol::model::QueueId;
use tokio::time::Instant;

use super::Popper;
use super::agreement::Agreement;
use super::hand_out::Outgoing;
use super::serving::queues_of;
use super::share::{Share, ShareKey};
use crate::supervision::{Ctx, Task};

/// Pops whose time is over within this are answered at once.
const TICK: Duration = Duration::from_millis(50);

/// How often it is looked whether somebody else has set offsets, or deleted topics, while anybody pops or acknowledges.
const LOOK: Duration = Duration::from_secs(1);

/// How often it is looked whether ledgers have to be written down, while nobody does.
const IDLE_LOOK: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Default)]
pub(super) struct Waking {
    /// When pops are answered next.
    tick: Option<(Instant, Task)>,
    look: Option<Task>,
    /// Looks come every second.
    is_awake: bool,
    /// Somebody has asked something since the last look.
    is_used: bool,
}

impl Waking {
    /// Whether it wakes every second, and not only for what it knows of.
    pub(super) fn is_awake(&self) -> bool {
        self.is_awake
    }
}

impl Popper {
    /// Answers pops that have waited until then.
    pub(super) fn wake_at(&mut self, until: Instant, ctx: &mut Ctx<'_, Self>) {
        if let Some((at, timer)) = &self.waking.tick {
            if *at <= until + TICK {
                return;
            }
            timer.cancel();
        }
        let delay = until.saturating_duration_since(Instant::now()).max(TICK);
        let timer = ctx.after(delay, |popper, ctx| popper.tick(ctx));
        self.waking.tick = Some((Instant::now() + delay, timer));
    }

    /// Answers pops that have waited long enough, unless their messages are on the way.
    fn tick(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.waking.tick = None;
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        for share in self.shares.values_mut() {
            let mut kept = VecDeque::with_capacity(share.waiting.len());
            for waiting in std::mem::take(&mut share.waiting) {
                if waiting.is_over(share, now) {
                    waiting.reply.send(Ok(Outgoing::default().finish()));
                    Agreement::answered(&mut share.agreement, now);
                } else {
                    next = Some(next.map_or(waiting.until, |next| next.min(waiting.until)));
                    kept.push_back(waiting);
                }
            }
            share.waiting = kept;
        }
        if let Some(until) = next {
            self.wake_at(until, ctx);
        }
    }

    /// A pop of this share was answered.
    pub(super) fn answered(&mut self, key: &ShareKey) {
        if let Some(share) = self.shares.get_mut(key) {
            Agreement::answered(&mut share.agreement, Instant::now());
        }
    }

    /// Somebody asks something: what happened while the popper slept is found out first.
    pub(super) fn stay_awake(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.waking.is_used = true;
        if !self.waking.is_awake {
            self.waking.is_awake = true;
            self.look_later(LOOK, ctx);
            self.look_around(ctx);
        }
    }

    fn look_later(&mut self, delay: Duration, ctx: &mut Ctx<'_, Self>) {
        let timer = ctx.after(delay, |popper, ctx| popper.look(ctx));
        if let Some(before) = self.waking.look.replace(timer) {
            before.cancel();
        }
    }

    /// Looks around, and decides when to do it again.
    fn look(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.look_around(ctx);
        let is_waited = |share: &Share| !share.waiting.is_empty();
        let is_used = std::mem::take(&mut self.waking.is_used);
        self.waking.is_awake = is_used || self.shares.values().any(is_waited);
        if self.waking.is_awake || !self.is_ready {
            self.look_later(LOOK, ctx);
        } else if !self.shares.is_empty() {
            self.look_later(IDLE_LOOK, ctx);
        }
    }

    /// Forgets ledgers whose offset somebody else has set, an operator for instance, and those of deleted topics.
    pub(super) fn look_around(&mut self, ctx: &mut Ctx<'_, Self>) {
        if !self.is_ready {
            return;
        }
        let (topics, offsets) = (&self.context.topics, &self.context.offsets);
        let stale = self.places(|(group, topic), queue, book| {
            let offset = offsets.get(group, &(topic.clone(), queue));
            topics.find(topic.as_str()).is_none() || offset != Some(book.committed)
        });
        for (key, queue) in stale {
            tracing::info!(group = %key.0, topic = %key.1, %queue, "the group's offset was set: its popped messages are forgotten");
            self.forget_book(&key, queue);
        }
        self.shares
            .retain(|_, share| !share.books.is_empty() || !share.waiting.is_empty());
        for key in self.shares.keys().cloned().collect::<Vec<_>>() {
            self.open_again(&key, ctx);
        }
        let log_end = self.context.store.log.appended();
        self.writing.look_at_age(&self.shares, log_end);
        self.end_turn(ctx);
    }

    /// Opens the ledgers that pops wait for and that are not there, because they were forgotten or their queues are new, and
    /// has their queues watched.
    pub(super) fn open_again(&mut self, key: &ShareKey, ctx: &mut Ctx<'_, Self>) {
        let Some(share) = self.shares.get(key) else {
            return;
        };
        let wanted = share.waiting.iter();
        let wanted = wanted.map(|waiting| queues_of(&waiting.pop, None));
        // Most want the same.
        let wanted: HashSet<Range<u32>> = wanted.collect();
        let missing: BTreeSet<QueueId> = wanted
            .into_iter()
            .flatten()
            .map(QueueId)
            .filter(|queue| !share.books.contains_key(queue))
            .collect();
        if missing.is_empty() {
            return;
        }
        self.serve_waiting(key, None, ctx);
        for queue in missing {
            self.watch(key, queue, ctx);
        }
    }
}
