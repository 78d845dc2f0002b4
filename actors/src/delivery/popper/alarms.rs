//! When invisible times end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use castmq_protocol::model::QueueId;

use super::Popper;
use super::share::{Share, ShareKey};
use crate::supervision::{Ctx, Task};

/// The wall clock is looked at again after this time, however far away the next end is: it may have been set.
const LOOK_MS: i64 = 1_000;

/// The ledgers that have to be looked at, by time. One whose alarm was set earlier since is here twice; the later alarm is
/// passed over.
#[derive(Default)]
pub(super) struct Alarms {
    due: BinaryHeap<Reverse<(i64, ShareKey, QueueId)>>,
    /// When the timer rings.
    armed: Option<(i64, Task)>,
    /// What the clock showed last.
    last_ms: Option<i64>,
}

impl Alarms {
    /// Has a ledger looked at when its next invisible time ends.
    pub(super) fn set(&mut self, key: &ShareKey, queue: QueueId, share: &mut Share) {
        let Some(book) = share.books.get_mut(&queue) else {
            return;
        };
        if let Some(at_ms) = book.ledger.next_event_ms() {
            self.set_at(at_ms, key, queue, share);
        }
    }

    /// Has a ledger looked at at this time at the latest.
    pub(super) fn set_at(&mut self, at_ms: i64, key: &ShareKey, queue: QueueId, share: &mut Share) {
        if let Some(book) = share.books.get_mut(&queue)
            && book.alarm_ms.is_none_or(|alarm_ms| at_ms < alarm_ms)
        {
            book.alarm_ms = Some(at_ms);
            self.due.push(Reverse((at_ms, key.clone(), queue)));
        }
    }

    /// Looks at the clock; returns what it showed before if it was set back since.
    fn set_back(&mut self, now_ms: i64) -> Option<i64> {
        let last_ms = self.last_ms.replace(now_ms);
        last_ms.filter(|last_ms| *last_ms > now_ms)
    }

    fn take_due(&mut self, now_ms: i64) -> Option<(i64, ShareKey, QueueId)> {
        let Reverse((at_ms, _, _)) = self.due.peek()?;
        if *at_ms > now_ms {
            return None;
        }
        self.due.pop().map(|Reverse(due)| due)
    }
}

impl Popper {
    /// What the clock shows. Where it was set back, no ledger waits for a time that it shows again much later: each counts
    /// what went by before, and says anew when its next invisible time ends.
    pub(super) fn now_ms(&mut self) -> i64 {
        let now_ms = self.context.clock.now_ms();
        let Some(last_ms) = self.alarms.set_back(now_ms) else {
            return now_ms;
        };
        for (key, share) in &mut self.shares {
            let queues: Vec<_> = share.books.keys().copied().collect();
            for queue in queues {
                if let Some(book) = share.books.get_mut(&queue) {
                    book.ledger.look(last_ms, &mut book.journal);
                    book.ledger.look(now_ms, &mut book.journal);
                    book.alarm_ms = None;
                }
                self.writing.note_change(key, queue, share);
                self.alarms.set(key, queue, share);
            }
        }
        now_ms
    }

    /// Sets the timer for the first alarm.
    pub(super) fn arm(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.alarms.due.is_empty() {
            return;
        }
        let now_ms = self.now_ms();
        let Some(Reverse((first_ms, _, _))) = self.alarms.due.peek() else {
            return;
        };
        let delay_ms = first_ms.saturating_sub(now_ms).clamp(0, LOOK_MS);
        let at_ms = now_ms.saturating_add(delay_ms);
        if let Some((armed_ms, timer)) = &self.alarms.armed {
            if *armed_ms <= at_ms {
                return;
            }
            timer.cancel();
        }
        let delay = Duration::from_millis(delay_ms.unsigned_abs());
        let timer = ctx.after(delay, |popper, ctx| popper.ring(ctx));
        self.alarms.armed = Some((at_ms, timer));
    }

    fn ring(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.alarms.armed = None;
        let now_ms = self.now_ms();
        let mut due = Vec::new();
        while let Some((at_ms, key, queue)) = self.alarms.take_due(now_ms) {
            if let Some(book) = self.book(&key, queue)
                && book.alarm_ms == Some(at_ms)
            {
                book.alarm_ms = None;
                due.push((key, queue));
            }
        }
        for (key, queue) in due {
            let max_attempts = self.max_attempts(&key.0);
            let Some(book) = self.book(&key, queue) else {
                continue;
            };
            let exhausted = book
                .ledger
                .exhausted(now_ms, max_attempts, &mut book.journal);
            self.bury(&key, queue, &exhausted, ctx);
            self.serve_waiting(&key, Some(queue), ctx);
            self.changed(&key, queue);
        }
        self.end_turn(ctx);
    }
}
