//! Handing messages of a queue out.

use std::sync::Arc;

use castmq_protocol::filter::CompiledFilter;
use castmq_protocol::model::{QueueId, QueueOffset, keys, property_value};
use castmq_protocol::native::request::PopReceipt;
use castmq_protocol::record::RecordView;
use castmq_storage::commit_log::{CommitLog, Gather};
use castmq_storage::consume_queue::{ConsumeQueue, ConsumeQueueError, ConsumeUnit};
use castmq_storage::disk::Wait;

use super::share::Book;
use super::{HandedOut, Pop};
use crate::clock::Clock;
use crate::delivery::expiry::Expiry;
use crate::delivery::fetch::is_hot;
use crate::delivery::pop::hand_out::{Taken, Terms};
use crate::delivery::pop::keys::key_of;
use crate::delivery::pop::ledger::Order;
use crate::delivery::pop::receipt::Receipt;

/// Messages looked at in one turn where a filter may let few of them through.
const MAX_FILTERED: usize = 4096;

/// And where many may wait for others of their key, or have expired.
const MAX_HELD: usize = 256;

/// Messages on their way out.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    receipts: Vec<PopReceipt>,
    gather: Gather,
    bytes: u64,
    /// Messages that have expired: they are settled.
    pub(super) expired: u64,
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.receipts.is_empty()
    }

    /// How many more there may be.
    pub(super) fn room(&self, pop: &Pop) -> usize {
        match self.receipts.is_empty() || self.bytes < u64::from(pop.max_bytes) {
            true => (pop.max_messages as usize).saturating_sub(self.receipts.len()),
            false => 0,
        }
    }

    fn fits(&self, pop: &Pop, unit: &ConsumeUnit) -> bool {
        self.receipts.is_empty() || self.bytes + u64::from(unit.size) <= u64::from(pop.max_bytes)
    }

    pub(super) fn finish(self) -> HandedOut {
        HandedOut {
            receipts: self.receipts,
            records: self.gather.finish(),
        }
    }
}

/// What has to happen after a look at a queue.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// The message to be brought from the disk.
    pub(super) cold: Option<QueueOffset>,
    /// Messages that came back after the last attempt.
    pub(super) exhausted: Vec<QueueOffset>,
    /// Messages were passed over or held back, and there are others behind them.
    pub(super) has_more: bool,
}

/// What is asked of a message before it goes out.
#[derive(Default)]
struct Rules<'a> {
    expiry: Option<Expiry>,
    filter: Option<&'a CompiledFilter>,
    is_keyed: bool,
}

/// What a message is.
enum Seen {
    Wanted { key: Option<u64> },
    Unwanted,
    Expired,
}

impl Rules<'_> {
    /// Messages looked at in one turn, for a pop that has room for so many.
    fn most(&self, room: usize) -> usize {
        match (room, self.filter) {
            (0, _) => 0,
            (_, Some(_)) => MAX_FILTERED,
            (room, None) if self.holds_some_back() => room.max(MAX_HELD),
            (room, None) => room,
        }
    }

    /// Whether messages may stay that were looked at.
    fn holds_some_back(&self) -> bool {
        self.filter.is_some() || self.is_keyed || self.expiry.is_some()
    }

    fn look(&self, log: &CommitLog, unit: &ConsumeUnit) -> Seen {
        if !self.holds_some_back() {
            return Seen::Wanted { key: None };
        }
        let is_unwanted = |filter: &CompiledFilter| !filter.may_match_code(unit.tags_code);
        if self.filter.is_some_and(is_unwanted) {
            return Seen::Unwanted;
        }
        let record = log.slice(unit.physical, unit.size as usize);
        let record = record
            .as_ref()
            .map(|record| RecordView::parse(record.as_ref()));
        let Some(Ok(record)) = record else {
            return Seen::Unwanted;
        };
        if self.expiry.is_some_and(|expiry| expiry.is_over(&record)) {
            return Seen::Expired;
        }
        let properties = record.properties();
        if self
            .filter
            .is_some_and(|filter| !filter.matches_record(&record))
        {
            return Seen::Unwanted;
        }
        let key = || property_value(properties, keys::SHARDING_KEY).map(key_of);
        Seen::Wanted {
            key: self.is_keyed.then(key).flatten(),
        }
    }
}

/// A look at one queue.
pub(super) struct Look<'a> {
    pub(super) log: &'a CommitLog,
    pub(super) queue: &'a Arc<ConsumeQueue>,
    /// It may be seen up to here.
    pub(super) end: QueueOffset,
    pub(super) id: QueueId,
    pub(super) pop: &'a Pop,
    pub(super) now_ms: i64,
    pub(super) clock: &'a Clock,
    /// Attempts after which a message is a dead letter.
    pub(super) max_attempts: u32,
}

impl Look<'_> {
    /// Hands out what the pop may have of this queue.
    pub(super) fn hand_out(
        &self,
        book: &mut Book,
        out: &mut Outgoing,
    ) -> Result<Left, ConsumeQueueError> {
        let pop = self.pop;
        book.set_order(pop.habit.order);
        let Book {
            ledger, journal, ..
        } = book;
        // What retention took will not be acknowledged any more.
        ledger.skip_below(self.now_ms, self.queue.min_offset(), journal);
        let most = out.room(pop) + book.burying.len();
        let offer = ledger.offer(self.now_ms, pop.attempt_id, most, journal);
        let mut left = Left::default();
        if offer.again.iter().any(|again| {
            again.attempts >= self.max_attempts && !book.burying.contains(&again.offset)
        }) {
            left.exhausted = ledger.exhausted(self.now_ms, self.max_attempts, most, journal);
        }
        let may_go = |offset: &QueueOffset| {
            !book.burying.contains(offset) && left.exhausted.binary_search(offset).is_err()
        };
        let again = offer.again.iter().map(|again| again.offset).filter(may_go);
        let again: Vec<_> = again.take(out.room(pop)).collect();
        let mut rules = Rules {
            expiry: Expiry::of(&pop.topic, self.queue, book.ledger.floor(), self.clock),
            ..Rules::default()
        };
        let expired_before = out.expired;
        for run in again.chunk_by(|one, next| *next == *one + 1) {
            let [first, ..] = run else { break };
            let count = run.len().min(out.room(pop));
            if !self.hand_out_run(book, *first, count, &rules, out)? {
                left.cold = Some(*first);
                return Ok(left);
            }
        }
        // Others may wait behind those that came back and had expired.
        left.has_more = out.expired > expired_before;
        rules.filter = pop.filter.as_deref();
        rules.is_keyed = pop.habit.order == Order::Keyed;
        let behind = self.end.0.saturating_sub(offer.new_from.0);
        let most = rules.most(out.room(pop));
        let new = offer.room.min(behind).min(most as u64) as usize;
        if new > 0 && !self.hand_out_run(book, offer.new_from, new, &rules, out)? {
            left.cold = Some(offer.new_from);
        }
        let next = book.ledger.next();
        left.has_more |= rules.holds_some_back() && next > offer.new_from && next < self.end;
        Ok(left)
    }

    /// Hands out consecutive messages as far as they fit, those that the rules let through. False when that would wait for the disk.
    fn hand_out_run(
        &self,
        book: &mut Book,
        first: QueueOffset,
        count: usize,
        rules: &Rules<'_>,
        out: &mut Outgoing,
    ) -> Result<bool, ConsumeQueueError> {
        if count == 0 {
            return Ok(true);
        }
        let Some(units) = self.places(book, first, count)? else {
            return Ok(false);
        };
        let terms = Terms {
            invisible_ms: self.pop.invisible_ms,
            attempt_id: self.pop.attempt_id,
        };
        let mut gone = Vec::new();
        let mut hand_out = book.ledger.hand_out(self.now_ms, terms, &mut book.journal);
        for (offset, unit) in (first.0..).map(QueueOffset).zip(&units) {
            let key = match rules.look(self.log, unit) {
                Seen::Wanted { key } => key,
                Seen::Unwanted => {
                    hand_out.pass_over(offset);
                    continue;
                }
                Seen::Expired => {
                    out.expired += u64::from(hand_out.pass_over(offset));
                    continue;
                }
            };
            if out.room(self.pop) == 0 || !out.fits(self.pop, unit) {
                break;
            }
            let receipt = match hand_out.take(offset, key) {
                Taken::HandedOut(receipt) => receipt,
                Taken::Held => continue,
                Taken::Refused => break,
            };
            if out.gather.add(self.log, unit.physical, unit.size) {
                out.bytes += u64::from(unit.size);
                out.receipts.push(on_wire(self.id, receipt));
            } else {
                gone.push(offset);
            }
        }
        for offset in gone {
            // Retention has just taken it. It is out, so it can be settled.
            let settled = book.ledger.settle(self.now_ms, offset, &mut book.journal);
            debug_assert!(settled.is_ok());
        }
        Ok(true)
    }

    /// Where messages lie, the first always among them; `None` when reading them would wait for the disk.
    fn places(
        &self,
        book: &Book,
        first: QueueOffset,
        count: usize,
    ) -> Result<Option<Vec<ConsumeUnit>>, ConsumeQueueError> {
        let mut units = Vec::with_capacity(count);
        if book.loaded.contains(&first.0) {
            let loaded = usize::try_from(book.loaded.end - first.0).unwrap_or(count);
            let count = count.min(loaded);
            self.queue.read(first, count, Wait::ForDisk, &mut units)?;
            return Ok(Some(units));
        }
        match self.queue.read(first, count, Wait::Never, &mut units) {
            Err(error) if error.is_would_block() => return Ok(None),
            read => read?,
        }
        Ok(is_hot(self.log, &units).then_some(units))
    }
}

/// A receipt as clients have it.
pub(super) fn on_wire(queue: QueueId, receipt: Receipt) -> PopReceipt {
    PopReceipt {
        queue,
        offset: receipt.offset,
        popped_at_ms: receipt.popped_at_ms,
        invisible_ms: receipt.invisible_ms,
        attempt: receipt.attempt,
    }
}

/// A receipt as ledgers have it.
pub(super) fn of_ledger(receipt: &PopReceipt) -> Receipt {
    Receipt {
        offset: receipt.offset,
        popped_at_ms: receipt.popped_at_ms,
        invisible_ms: receipt.invisible_ms,
        attempt: receipt.attempt,
    }
}
