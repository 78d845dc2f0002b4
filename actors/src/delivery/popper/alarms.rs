//! When invisible times end.

use std::collections::BTreeSet;
use std::time::Duration;

use castmq_protocol::model::QueueId;

use super::Popper;
use super::share::{Book, Share, ShareKey};
use crate::supervision::{Ctx, Task};

/// The wall clock is looked at again after this time, however far away the next end is: it may have been set.
const LOOK_MS: i64 = 1_000;

/// The ledgers that have to be looked at.
#[derive(Default)]
pub(super) struct Alarms {
    /// By time; each once.
    due: BTreeSet<(i64, ShareKey, QueueId)>,
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
            self.forget(key, queue, book);
            book.alarm_ms = Some(at_ms);
            self.due.insert((at_ms, key.clone(), queue));
        }
    }

    /// Has a ledger looked at no more.
    pub(super) fn forget(&mut self, key: &ShareKey, queue: QueueId, book: &Book) {
        if let Some(alarm_ms) = book.alarm_ms {
            self.due.remove(&(alarm_ms, key.clone(), queue));
        }
    }

    /// Looks at the clock; returns what it showed before if it was set back since.
    fn set_back(&mut self, now_ms: i64) -> Option<i64> {
        let last_ms = self.last_ms.replace(now_ms);
        last_ms.filter(|last_ms| *last_ms > now_ms)
    }

    fn take_due(&mut self, now_ms: i64) -> Option<(i64, ShareKey, QueueId)> {
        let is_due = self.due.first()?.0 <= now_ms;
        is_due.then(|| self.due.pop_first()).flatten()
    }
}

impl Popper {
    /// What the clock shows. Where it was set back, no ledger waits for a time that it shows again much later: each counts
    /// what went by before, and is looked at.
    pub(super) fn now_ms(&mut self) -> i64 {
        let now_ms = self.context.clock.now_ms();
        let Some(last_ms) = self.alarms.set_back(now_ms) else {
            return now_ms;
        };
        self.alarms.due.clear();
        for (key, share) in &mut self.shares {
            let queues: Vec<_> = share.books.keys().copied().collect();
            for queue in queues {
                if let Some(book) = share.books.get_mut(&queue) {
                    book.ledger.look(last_ms, &mut book.journal);
                    book.ledger.look(now_ms, &mut book.journal);
                    book.alarm_ms = None;
                }
                self.writing.note_change(key, queue, share);
                self.alarms.set_at(now_ms, key, queue, share);
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
        let Some((first_ms, _, _)) = self.alarms.due.first() else {
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
        while let Some((_, key, queue)) = self.alarms.take_due(now_ms) {
            if let Some(book) = self.book(&key, queue) {
                book.alarm_ms = None;
                due.push((key, queue));
            }
        }
        for (key, queue) in due {
            self.bury_exhausted(&key, queue, ctx);
            self.serve_waiting(&key, Some(queue), ctx);
            self.changed(&key, queue);
        }
        self.end_turn(ctx);
    }
}

#[cfg(test)]
mod tests {
    use super::super::share::tests::{book, key};
    use super::*;

    const QUEUE: QueueId = QueueId(0);

    fn share() -> (ShareKey, Share) {
        let mut share = Share::default();
        share.books.insert(QUEUE, book());
        (key(), share)
    }

    #[test]
    fn a_ledger_whose_alarm_is_set_earlier_is_there_once() {
        let ((key, mut share), mut alarms) = (share(), Alarms::default());
        for at_ms in (100..200).rev() {
            alarms.set_at(at_ms, &key, QUEUE, &mut share);
        }
        alarms.set_at(150, &key, QUEUE, &mut share);
        assert_eq!(alarms.due.len(), 1);
        assert_eq!(alarms.take_due(99), None);
        assert_eq!(alarms.take_due(100), Some((100, key, QUEUE)));
    }

    #[test]
    fn a_ledger_that_is_forgotten_has_no_alarm() {
        let ((key, mut share), mut alarms) = (share(), Alarms::default());
        alarms.set_at(100, &key, QUEUE, &mut share);
        alarms.forget(&key, QUEUE, &share.books[&QUEUE]);
        assert_eq!(alarms.take_due(i64::MAX), None);
    }
}
