//! Asking the producers of half messages that nobody settles, and putting them aside in the end.

use std::time::Duration;

use castmq_protocol::model::{QueueOffset, keys, property_value, system_topics};
use castmq_protocol::native::response::CheckTransaction;
use castmq_protocol::record::RecordView;
use castmq_storage::commit_log::LogSlice;
use castmq_storage::halves::{Half, QUEUE};

use super::{Busy, Transactions};
use crate::delivery::producers::Check;
use crate::storage::put::Put;
use crate::supervision::Ctx;

/// Half messages looked at in one step of a round of checks.
const CHECKS_A_STEP: usize = 256;

/// The pause between two steps.
const STEP_PAUSE: Duration = Duration::from_millis(5);

impl Transactions {
    /// Begins a round of checks every while.
    pub(super) fn begin_checks(&mut self, ctx: &mut Ctx<'_, Self>) {
        let interval = self.context.settings.broker.transaction_check_interval_ms;
        ctx.every(Duration::from_millis(interval), |actor, ctx| {
            actor.mark_again(ctx);
            actor.check(QueueOffset::ZERO, ctx);
        });
    }

    /// Marks half messages that are committed without: what ended the broker, or a full disk, came in between.
    pub(super) fn mark_again(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.forget_noted();
        for half in self.context.store.unseen.halves.unmarked() {
            if !self.busy.contains_key(&half) {
                self.batch(ctx).mark(half);
            }
        }
    }

    /// Asks the producers of half messages that are open for too long, from an offset on.
    fn check(&mut self, from: QueueOffset, ctx: &mut Ctx<'_, Self>) {
        self.forget_noted();
        let halves = &self.context.store.unseen.halves;
        let now_ms = self.context.clock.now_ms();
        let timeout = self.context.settings.broker.transaction_timeout_ms;
        let due_ms = now_ms.saturating_sub(i64::try_from(timeout).unwrap_or(i64::MAX));
        let old = halves.stored_before(due_ms, from, CHECKS_A_STEP);
        let mut next = None;
        for half in &old {
            if !self.has_room() {
                // What is put aside takes memory until it is stored.
                next = Some(half.offset);
                break;
            }
            if !self.busy.contains_key(&half.offset) {
                self.check_one(half, now_ms, ctx);
                self.store_if_large(ctx);
            }
        }
        let last = old.last().filter(|_| old.len() == CHECKS_A_STEP);
        let next = next.or_else(|| last.map(|last| last.offset + 1));
        if let Some(next) = next {
            ctx.after(STEP_PAUSE, move |actor, ctx| actor.check(next, ctx));
        }
    }

    fn check_one(&mut self, half: &Half, now_ms: i64, ctx: &mut Ctx<'_, Self>) {
        let Some(record) = self.context.store.log.record(half.physical) else {
            // Retention has taken it: nothing can become of it.
            self.give_up(half, None, ctx);
            return;
        };
        let Ok(view) = RecordView::parse(record.as_ref()) else {
            self.give_up(half, None, ctx);
            return;
        };
        let properties = view.properties();
        let immunity_s = property_value(properties, keys::CHECK_IMMUNITY_SECONDS);
        let immunity_s = immunity_s.and_then(|seconds| seconds.parse::<i64>().ok());
        // It keeps the log from its place on, and no longer than messages are kept in any case.
        let keep_hours = self.context.settings.retention.keep_hours;
        let most_s = i64::try_from(keep_hours.saturating_mul(3600)).unwrap_or(i64::MAX);
        let immunity_ms = immunity_s.map(|s| s.min(most_s).saturating_mul(1000));
        if immunity_ms.is_some_and(|ms| half.stored_ms.saturating_add(ms) > now_ms) {
            return;
        }
        let halves = &self.context.store.unseen.halves;
        if halves.asked(half.offset) >= self.context.settings.broker.transaction_check_max {
            self.give_up(half, Some(&record), ctx);
            return;
        }
        let asked = halves.ask(half.offset);
        let check = Check {
            check: CheckTransaction {
                half: half.offset,
                place: half.physical,
                checks: asked,
            },
            record: record.clone(),
        };
        let turn = asked as usize;
        let group = property_value(properties, keys::PRODUCER_GROUP).unwrap_or_default();
        if !self.context.producers.ask(group, turn, &check) {
            tracing::debug!(group, half = %half.offset, "no producer can be asked about its transaction");
        }
    }

    /// Puts a half message aside that nobody would settle.
    fn give_up(&mut self, half: &Half, record: Option<&LogSlice>, ctx: &mut Ctx<'_, Self>) {
        let aside = self.system_topic(system_topics::TRANSACTION_UNRESOLVED);
        let view = record.and_then(|record| RecordView::parse(record.as_ref()).ok());
        let message = view.zip(aside).map(|(view, topic)| Put {
            queue: Some(QUEUE),
            ..Put::again(&view, topic)
        });
        let batch = self.batch(ctx);
        if let Some(message) = &message {
            tracing::warn!(half = %half.offset, "a transaction was never settled: its message is put aside");
            batch.put.add(batch.number, message);
        }
        let record = batch.settle(half.offset, message.is_some());
        let number = batch.number;
        self.busy.insert(half.offset, Busy::With { number, record });
    }
}
