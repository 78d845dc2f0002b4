//! Messages that came back after the last attempt: they are stored among the group's dead letters, and then settled.

use std::collections::HashMap;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset, TopicName};
use castmq_protocol::record::{Origin, RecordView};

use super::share::{Book, ShareKey};
use super::{Popper, RETRY, new_number};
use crate::broker::topics::Topic;
use crate::delivery::expiry::Expiry;
use crate::delivery::fetch::{Fetch, Fetched, Patience, Wanted};
use crate::delivery::retry::dead_letter_properties;
use crate::metadata::actor::EnsureDerivedTopic;
use crate::storage::append::{Appended, Outcome};
use crate::storage::put::{Put, PutBatch};
use crate::supervision::{Ctx, Lost, Receive, Reply};

/// Most messages of one ledger on their way at once.
const MAX_BURIALS: usize = 256;

/// Messages on their way, by number.
#[derive(Default)]
pub(super) struct Burials {
    under_way: HashMap<u64, Burial>,
    done: u64,
}

impl Burials {
    /// Those that were under way are forgotten.
    pub(super) fn after(before: &Self) -> Self {
        Self {
            under_way: HashMap::new(),
            done: before.done,
        }
    }

    /// A ledger is no more: what is on its way settles nothing in one that takes its place.
    pub(super) fn forget(&mut self, key: &ShareKey, queue: QueueId, book: &Book) {
        if !book.burying.is_empty() {
            self.under_way
                .retain(|_, burial| burial.queue != queue || burial.key != *key);
        }
    }

    pub(super) fn done(&self) -> u64 {
        self.done
    }
}

#[derive(Debug, Clone)]
struct Burial {
    key: ShareKey,
    queue: QueueId,
    offset: QueueOffset,
}

/// The message was read.
#[derive(Debug)]
pub(super) struct BurialRead {
    number: u64,
    fetched: Result<Fetched, Lost>,
}

impl Popper {
    /// Sends messages to the dead letters that came back after the last attempt, as many as may be on their way.
    pub(super) fn bury_exhausted(
        &mut self,
        key: &ShareKey,
        queue: QueueId,
        ctx: &mut Ctx<'_, Self>,
    ) {
        let now_ms = self.now_ms();
        let max_attempts = self.max_attempts(&key.0);
        let Some(book) = self.book(key, queue) else {
            return;
        };
        let ledger = &mut book.ledger;
        let exhausted = ledger.exhausted(now_ms, max_attempts, MAX_BURIALS, &mut book.journal);
        self.changed(key, queue);
        self.bury(key, queue, &exhausted, ctx);
    }

    /// Sends messages to the dead letters.
    pub(super) fn bury(
        &mut self,
        key: &ShareKey,
        queue: QueueId,
        offsets: &[QueueOffset],
        ctx: &mut Ctx<'_, Self>,
    ) {
        for offset in offsets {
            let Some(book) = self.book(key, queue) else {
                return;
            };
            if book.burying.len() >= MAX_BURIALS || book.is_doubted {
                return;
            }
            if !book.burying.insert(*offset) {
                continue;
            }
            let number = new_number();
            let burial = Burial {
                key: key.clone(),
                queue,
                offset: *offset,
            };
            self.burials.under_way.insert(number, burial);
            let fetch = Fetch {
                wanted: Wanted {
                    offset: *offset,
                    max_messages: 1,
                    max_bytes: u32::MAX,
                    filter: None,
                    passes_expired: None,
                },
                patience: Patience::None,
                reply: Reply::to_mailbox(ctx.me().mailbox(), move |fetched| BurialRead {
                    number,
                    fetched,
                }),
            };
            self.fetch(key, queue, fetch, ctx);
        }
    }

    /// The message is there: sees to it that there is a topic for it, and stores it.
    fn burial_read(&mut self, number: u64, fetched: Fetched, ctx: &mut Ctx<'_, Self>) {
        let Some(burial) = self.burials.under_way.get(&number).cloned() else {
            return;
        };
        let record = fetched.records.into_iter().next();
        let bytes = record.as_ref().map_or(&[][..], AsRef::as_ref);
        let found = RecordView::parse(bytes).ok();
        let found = found.filter(|found| found.queue_offset() == Ok(burial.offset));
        let Some(found) = found else {
            // Retention has taken it.
            self.settle_buried(number, ctx);
            return;
        };
        let topic = self.context.topics.find(burial.key.1.as_str());
        let expiry = Expiry::of_message(topic.as_deref(), self.context.clock.now_ms());
        if expiry.is_over(&found) {
            self.context.meters.expired(1);
            self.settle_buried(number, ctx);
            return;
        }
        let name = TopicName::dead_letter_of(&burial.key.0);
        let metadata = match self.context.metadata() {
            Ok(metadata) => metadata,
            Err(refusal) => return self.try_later(number, &refusal, ctx),
        };
        let ensured = metadata.ask(EnsureDerivedTopic { name, queues: 1 });
        ctx.then(ensured, move |popper, ensured, ctx| {
            let bytes = record.as_ref().map_or(&[][..], AsRef::as_ref);
            match (ensured, RecordView::parse(bytes)) {
                (Ok(Ok(topic)), Ok(record)) => popper.put_dead_letter(number, &topic, &record, ctx),
                (Ok(Err(refusal)), _) => popper.try_later(number, &refusal, ctx),
                (Err(error), _) => popper.try_later(number, &error, ctx),
                (_, Err(error)) => popper.try_later(number, &error, ctx),
            }
        });
    }

    fn put_dead_letter(
        &mut self,
        number: u64,
        topic: &Topic,
        record: &RecordView<'_>,
        ctx: &mut Ctx<'_, Self>,
    ) {
        let Some(burial) = self.burials.under_way.get(&number).cloned() else {
            return;
        };
        let book = self.book(&burial.key, burial.queue);
        let attempts = book.map_or(0, |book| book.ledger.attempts(burial.offset.0));
        let attempts = i32::try_from(attempts).unwrap_or(i32::MAX);
        let place = PhysicalOffset::from_i64(record.physical_offset()).unwrap_or_default();
        let origin = Origin::Popped { place };
        let mut batch = PutBatch::default();
        batch.add(
            number,
            &Put {
                queue: Some(QueueId(number as u32 % topic.write_queues().max(1))),
                reconsume_times: record.reconsume_times().saturating_add(attempts),
                prepared_transaction_offset: origin.encode(),
                properties: &dead_letter_properties(record),
                ..Put::again(record, topic.id)
            },
        );
        batch.send(&self.writer, ctx.me().mailbox());
    }

    /// A dead letter came back from the log.
    pub(super) fn buried(&mut self, number: u64, appended: &Appended, ctx: &mut Ctx<'_, Self>) {
        let outcome = appended.requests.first().map(|request| &request.outcome);
        match outcome {
            Some(Outcome::Stored(_)) => {
                self.burials.done += 1;
                self.settle_buried(number, ctx);
            }
            Some(Outcome::Refused(refusal)) => self.try_later(number, &**refusal, ctx),
            // It may be there or not: the log knows.
            Some(Outcome::Unknown) | None if self.burials.under_way.contains_key(&number) => {
                tracing::warn!(
                    "the log-writer failed with a dead letter in hand: the popper begins anew"
                );
                self.begin(ctx);
            }
            // From before it began anew.
            Some(Outcome::Unknown) | None => {}
        }
    }

    fn settle_buried(&mut self, number: u64, ctx: &mut Ctx<'_, Self>) {
        let Some(burial) = self.burials.under_way.remove(&number) else {
            return;
        };
        let now_ms = self.now_ms();
        let Some(book) = self.book(&burial.key, burial.queue) else {
            return;
        };
        book.burying.remove(&burial.offset);
        // It may have been acknowledged, late, while it was on its way.
        let _ = book.ledger.settle(now_ms, burial.offset, &mut book.journal);
        let is_last = book.burying.is_empty();
        self.changed(&burial.key, burial.queue);
        if is_last {
            // Those that had to wait for their turn. To find them may take a look at all that came back.
            self.bury_exhausted(&burial.key, burial.queue, ctx);
        }
        self.go_on(&burial.key, burial.queue, ctx);
    }

    fn try_later(&mut self, number: u64, reason: &dyn std::fmt::Display, ctx: &mut Ctx<'_, Self>) {
        let Some(burial) = self.burials.under_way.remove(&number) else {
            return;
        };
        let Burial { key, queue, offset } = burial;
        tracing::warn!(group = %key.0, topic = %key.1, %queue, %offset, %reason, "a dead letter could not be stored, which is tried again");
        let at_ms = self
            .context
            .clock
            .now_ms()
            .saturating_add(RETRY.as_millis() as i64);
        if let Some(share) = self.shares.get_mut(&key) {
            if let Some(book) = share.books.get_mut(&queue) {
                book.burying.remove(&offset);
            }
            self.alarms.set_at(at_ms, &key, queue, share);
        }
        self.end_turn(ctx);
    }
}

impl Receive<BurialRead> for Popper {
    fn receive(&mut self, read: BurialRead, ctx: &mut Ctx<'_, Self>) {
        match read.fetched {
            Ok(fetched) => self.burial_read(read.number, fetched, ctx),
            Err(lost) => self.try_later(read.number, &lost, ctx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::share::tests::{book, key};
    use super::*;

    #[test]
    fn a_ledger_that_is_forgotten_takes_its_burials_with_it_and_nobody_elses() {
        let offset = QueueOffset(3);
        let (key, mut book) = (key(), book());
        book.burying.insert(offset);
        let mut burials = Burials::default();
        for (number, queue) in [(1, 0), (2, 1)] {
            let burial = Burial {
                key: key.clone(),
                queue: QueueId(queue),
                offset,
            };
            burials.under_way.insert(number, burial);
        }
        burials.forget(&key, QueueId(0), &book);
        let left: Vec<_> = burials.under_way.keys().collect();
        assert_eq!(left, [&2]);
    }
}
