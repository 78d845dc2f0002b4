//! Messages that may be dead letters already: those that were to become one when the popper began, since a crash can have
//! come between the letter and the entry that settles its message. Letters say which message they were, so it is found out
//! before anything of such a ledger is buried.

use std::collections::{BTreeSet, HashMap};

use castmq_protocol::model::{GroupName, QueueId, QueueOffset, TopicName};

use super::share::ShareKey;
use super::{Popper, RETRY};
use crate::delivery::letters::FindLetters;
use crate::supervision::Ctx;

/// Messages of a group, and what is asked of them.
#[derive(Debug)]
struct Doubt {
    places: Vec<(ShareKey, QueueId, QueueOffset)>,
    since_ms: i64,
}

impl Popper {
    /// Notes what was to become a dead letter before, and has it looked for.
    pub(super) fn doubt_all(&mut self, ctx: &mut Ctx<'_, Self>) {
        let now_ms = self.context.clock.now_ms();
        let mut doubts = HashMap::<GroupName, Doubt>::new();
        for (key, queue) in self.places(|_, _, _| true) {
            let max_attempts = self.max_attempts(&key.0);
            let Some(book) = self.book(&key, queue) else {
                continue;
            };
            let ledger = &mut book.ledger;
            let exhausted = ledger.exhausted(now_ms, max_attempts, usize::MAX, &mut book.journal);
            book.is_doubted = !exhausted.is_empty();
            let since_ms = exhausted
                .iter()
                .filter_map(|offset| book.ledger.popped_at_ms(*offset))
                .min();
            if let Some(since_ms) = since_ms {
                let doubt = doubts.entry(key.0.clone()).or_insert_with(|| Doubt {
                    places: Vec::new(),
                    since_ms,
                });
                doubt.since_ms = doubt.since_ms.min(since_ms);
                let places = exhausted
                    .into_iter()
                    .map(|offset| (key.clone(), queue, offset));
                doubt.places.extend(places);
            }
            self.changed(&key, queue);
        }
        for (group, doubt) in doubts {
            self.ask_for_letters(group, doubt, ctx);
        }
    }

    fn ask_for_letters(&self, group: GroupName, doubt: Doubt, ctx: &mut Ctx<'_, Self>) {
        let cold_reader = match self.context.actors() {
            Ok(actors) => actors.cold_reader.clone(),
            Err(failure) => return ctx.fail(failure),
        };
        let queues = &self.context.store.queues;
        let messages = doubt
            .places
            .iter()
            .map(|(key, queue, offset)| (queues.queue(&key.1, *queue), *offset));
        let question = FindLetters {
            topic: TopicName::dead_letter_of(&group),
            since_ms: doubt.since_ms,
            messages: messages.collect(),
        };
        let epoch = self.epoch;
        ctx.then(cold_reader.ask(question), move |popper, answer, ctx| {
            if popper.epoch != epoch {
                return;
            }
            let error = match answer {
                Ok(Ok(are_there)) => return popper.doubts_settled(&doubt, &are_there, ctx),
                Ok(Err(error)) => error,
                Err(error) => error.to_string(),
            };
            tracing::warn!(%group, error, "dead letters cannot be looked for, which is tried again");
            ctx.after(RETRY, move |popper, ctx| {
                if popper.epoch == epoch {
                    popper.ask_for_letters(group, doubt, ctx);
                }
            });
        });
    }

    /// Settles what is there, and goes on with what is not.
    fn doubts_settled(&mut self, doubt: &Doubt, are_there: &[bool], ctx: &mut Ctx<'_, Self>) {
        let now_ms = self.context.clock.now_ms();
        let mut touched = BTreeSet::new();
        for ((key, queue, offset), is_there) in doubt.places.iter().zip(are_there) {
            // One that was begun anew meanwhile is in no doubt.
            let Some(book) = self.book(key, *queue).filter(|book| book.is_doubted) else {
                continue;
            };
            if *is_there {
                // It may have been acknowledged, late.
                let _ = book.ledger.settle(now_ms, *offset, &mut book.journal);
            }
            touched.insert((key, *queue));
        }
        for (key, queue) in touched {
            if let Some(book) = self.book(key, queue) {
                book.is_doubted = false;
            }
            self.bury_exhausted(key, queue, ctx);
            self.go_on(key, queue, ctx);
        }
    }
}
