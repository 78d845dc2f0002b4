//! Handing messages of a queue out.

use std::sync::Arc;

use castmq_protocol::filter::CompiledFilter;
use castmq_protocol::model::{QueueId, QueueOffset};
use castmq_protocol::native::request::PopReceipt;
use castmq_protocol::record::RecordView;
use castmq_storage::commit_log::{CommitLog, Gather};
use castmq_storage::consume_queue::{ConsumeQueue, ConsumeQueueError, ConsumeUnit};
use castmq_storage::disk::Wait;

use super::share::Book;
use super::{HandedOut, Pop};
use crate::delivery::fetch::is_hot;
use crate::delivery::pop::hand_out::{Taken, Terms};
use crate::delivery::pop::ledger::Order;
use crate::delivery::pop::receipt::Receipt;

/// Messages looked at in one turn where a filter may let few of them through.
const MAX_FILTERED: usize = 4096;

/// Messages on their way out.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    receipts: Vec<PopReceipt>,
    gather: Gather,
    bytes: u64,
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
    /// The filter has passed over messages, and there are others behind them.
    pub(super) has_more: bool,
}

/// A look at one queue.
pub(super) struct Look<'a> {
    pub(super) log: &'a CommitLog,
    pub(super) queue: &'a Arc<ConsumeQueue>,
    pub(super) id: QueueId,
    pub(super) pop: &'a Pop,
    pub(super) now_ms: i64,
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
        book.set_order(match pop.is_ordered {
            true => Order::Queue,
            false => Order::Unordered,
        });
        let Book {
            ledger, journal, ..
        } = book;
        // What retention took will not be acknowledged any more.
        ledger.skip_below(self.now_ms, self.queue.min_offset(), journal);
        let most = out.room(pop) + book.burying.len();
        let offer = ledger.offer(self.now_ms, pop.attempt_id, most, journal);
        let mut left = Left::default();
        if offer
            .again
            .iter()
            .any(|again| again.attempts >= self.max_attempts)
        {
            left.exhausted = ledger.exhausted(self.now_ms, self.max_attempts, journal);
        }
        let may_go = |offset: &QueueOffset| {
            !book.burying.contains(offset) && left.exhausted.binary_search(offset).is_err()
        };
        let again = offer.again.iter().map(|again| again.offset).filter(may_go);
        let again: Vec<_> = again.take(out.room(pop)).collect();
        for run in again.chunk_by(|one, next| *next == *one + 1) {
            let [first, ..] = run else { break };
            let count = run.len().min(out.room(pop));
            if !self.hand_out_run(book, *first, count, None, out)? {
                left.cold = Some(*first);
                return Ok(left);
            }
        }
        let behind = self.queue.max_offset().0.saturating_sub(offer.new_from.0);
        let most = match (&pop.filter, out.room(pop)) {
            (_, 0) => 0,
            (None, room) => room,
            (Some(_), _) => MAX_FILTERED,
        };
        let new = offer.room.min(behind).min(most as u64) as usize;
        let filter = pop.filter.as_deref();
        if new > 0 && !self.hand_out_run(book, offer.new_from, new, filter, out)? {
            left.cold = Some(offer.new_from);
        }
        let next = book.ledger.next();
        left.has_more = filter.is_some() && next > offer.new_from && next < self.queue.max_offset();
        Ok(left)
    }

    /// Hands out consecutive messages as far as they fit, those that the filter lets through. False when that would wait for the disk.
    fn hand_out_run(
        &self,
        book: &mut Book,
        first: QueueOffset,
        count: usize,
        filter: Option<&CompiledFilter>,
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
            if filter.is_some_and(|filter| !self.lets_through(filter, unit)) {
                hand_out.pass_over(offset);
                continue;
            }
            if out.room(self.pop) == 0 || !out.fits(self.pop, unit) {
                break;
            }
            let Taken::HandedOut(receipt) = hand_out.take(offset, None) else {
                break;
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

    fn lets_through(&self, filter: &CompiledFilter, unit: &ConsumeUnit) -> bool {
        if !filter.may_match_code(unit.tags_code) {
            return false;
        }
        let record = self.log.slice(unit.physical, unit.size as usize);
        record.is_some_and(|record| {
            RecordView::parse(record.as_ref()).is_ok_and(|record| filter.matches_record(&record))
        })
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
        // Zero would stand for any.
        attempt: receipt.attempt,
    }
}
