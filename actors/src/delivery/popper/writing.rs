//! The journal. One batch is under way at a time; what happens meanwhile goes with the next.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;

use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset, system_topics};
use castmq_protocol::native::Failure as Refusal;
use castmq_protocol::native::request::PopReceipt;
use tokio::time::Instant;

use super::record::Writer;
use super::share::{Share, ShareKey};
use super::{HandedOut, MakeRoom, Popper, RETRY, Refused};
use crate::delivery::pop::error::ReceiptError;
use crate::storage::append::{Appended, Outcome};
use crate::storage::put::{Put, PutBatch};
use crate::supervision::{Ctx, Receive, Reply};

/// The journal's only queue.
pub(super) const QUEUE: QueueId = QueueId(0);

/// Correlation of journal records; dead letters have [new numbers](super::new_number), which are higher.
pub(super) const JOURNAL: u64 = 0;

/// A record that is longer is followed by another one.
const MAX_RECORD_BYTES: usize = 512 * 1024;

/// Bytes of snapshots that are written with one batch.
const SNAPSHOT_BYTES: usize = 256 * 1024;

/// All ledgers are written down whole after at least this many bytes of journal, so that a start reads little more.
const ROUND_BYTES: u64 = 1024 * 1024;

/// A round comes when there is this many times more journal than the last one took: what rounds cost is bounded.
const ROUND_RATIO: u64 = 4;

/// And after this time in any case: retention leaves what a replay needs.
const ROUND_AGE: Duration = Duration::from_secs(3600);

/// Writes what there is to write.
#[derive(Debug)]
pub(super) struct Write;

/// An answer that waits for the journal.
pub(super) enum Owed {
    Messages(Reply<Result<HandedOut, Refusal>>, HandedOut),
    Settled(Reply<Refused>, Refused),
    Changed(
        Reply<Result<PopReceipt, ReceiptError>>,
        Result<PopReceipt, ReceiptError>,
    ),
}

impl Owed {
    fn pay(self) {
        match self {
            Self::Messages(reply, out) => reply.send(Ok(out)),
            Self::Settled(reply, refused) => reply.send(refused),
            Self::Changed(reply, receipt) => reply.send(receipt),
        }
    }
}

/// A batch on its way to the log.
struct UnderWay {
    owed: Vec<Owed>,
    /// What the groups' offsets are when it is stored.
    floors: Vec<(ShareKey, QueueId, QueueOffset)>,
    /// Ledgers of which the journal knows then that they are no more.
    forgotten: Vec<(ShareKey, QueueId)>,
    bytes: u64,
    replay_from: QueueOffset,
}

/// All ledgers are being written down whole, some with each batch.
struct Round {
    left: VecDeque<(ShareKey, QueueId)>,
    /// Where it began in the journal.
    began: Option<QueueOffset>,
    bytes: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Writing {
    owed: Vec<Owed>,
    changed: Vec<(ShareKey, QueueId)>,
    forgotten: Vec<(ShareKey, QueueId)>,
    under_way: Option<UnderWay>,
    is_due: bool,
    /// Everything before is in what follows.
    replay_from: QueueOffset,
    /// The same, as the last record that is stored has it.
    told: QueueOffset,
    round: Option<Round>,
    bytes_since_round: u64,
    last_round_bytes: u64,
    /// When the last round began, and where the log ended.
    last_round: Option<(Instant, PhysicalOffset)>,
}

impl Writing {
    /// Begins where a replay has ended, which read so much.
    pub(super) fn after_replay(replay_from: QueueOffset, bytes: u64) -> Self {
        Self {
            replay_from,
            told: replay_from,
            bytes_since_round: bytes,
            ..Self::default()
        }
    }

    pub(super) fn replay_from(&self) -> QueueOffset {
        self.replay_from
    }

    /// Answers when everything is written that was done by now.
    pub(super) fn owe(&mut self, owed: Owed) {
        self.owed.push(owed);
    }

    /// A ledger may have something to be written down.
    pub(super) fn note_change(&mut self, key: &ShareKey, queue: QueueId, share: &mut Share) {
        if let Some(book) = share.books.get_mut(&queue)
            && !book.is_dirty
            && !book.journal.is_empty()
        {
            book.is_dirty = true;
            self.changed.push((key.clone(), queue));
        }
    }

    /// A ledger is no more.
    pub(super) fn forget(&mut self, key: &ShareKey, queue: QueueId) {
        self.forgotten.push((key.clone(), queue));
    }

    /// Ledgers that are no more, as far as the journal may not know that.
    pub(super) fn take_forgotten(&mut self) -> Vec<(ShareKey, QueueId)> {
        let mut forgotten = std::mem::take(&mut self.forgotten);
        if let Some(under_way) = &mut self.under_way {
            forgotten.append(&mut under_way.forgotten);
        }
        forgotten
    }

    /// Begins a round when the last one is too long ago.
    pub(super) fn look_at_age(
        &mut self,
        shares: &HashMap<ShareKey, Share>,
        log_end: PhysicalOffset,
    ) {
        // None since the start: how far back the last one is, is not known.
        let never = (Instant::now(), PhysicalOffset::ZERO);
        let (began, _) = *self.last_round.get_or_insert(never);
        if began.elapsed() >= ROUND_AGE && !shares.is_empty() {
            self.begin_round(shares, log_end);
        }
    }

    /// Begins a round when the last one is so far back in the log that it keeps segments.
    fn make_room(
        &mut self,
        shares: &HashMap<ShareKey, Share>,
        log_end: PhysicalOffset,
        segment_bytes: u64,
    ) {
        let is_near = |at: PhysicalOffset| log_end.0 - at.0 < segment_bytes;
        if !shares.is_empty() && !self.last_round.is_some_and(|(_, at)| is_near(at)) {
            self.begin_round(shares, log_end);
        }
    }

    fn begin_round(&mut self, shares: &HashMap<ShareKey, Share>, log_end: PhysicalOffset) {
        if self.round.is_some() {
            return;
        }
        let left = shares.iter().flat_map(|(key, share)| {
            let queues = share.books.keys();
            queues.map(|queue| (key.clone(), *queue))
        });
        self.round = Some(Round {
            left: left.collect(),
            began: None,
            bytes: 0,
        });
        self.last_round = Some((Instant::now(), log_end));
    }

    fn is_idle(&self) -> bool {
        let has_told = self.told == self.replay_from;
        self.changed.is_empty() && self.forgotten.is_empty() && self.round.is_none() && has_told
    }

    /// The records of what there is to write.
    fn records(
        &mut self,
        shares: &mut HashMap<ShareKey, Share>,
        under_way: &mut UnderWay,
    ) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        let mut record = Writer::new(self.replay_from);
        let mut add = |key: &ShareKey, queue: QueueId, entries: &[u8]| {
            record.add(key, queue, entries);
            if record.len() > MAX_RECORD_BYTES {
                let full = std::mem::replace(&mut record, Writer::new(self.replay_from));
                records.push(full.finish());
            }
        };
        // One that is there again begins with a snapshot behind this.
        for (key, queue) in self.forgotten.drain(..) {
            add(&key, queue, &[]);
            under_way.forgotten.push((key, queue));
        }
        for (key, queue) in self.changed.drain(..) {
            let share = shares.get_mut(&key);
            let Some(book) = share.and_then(|share| share.books.get_mut(&queue)) else {
                continue;
            };
            book.is_dirty = false;
            if !book.journal.is_empty() {
                add(&key, queue, &book.journal.encode());
                book.journal.clear();
            }
            let floor = book.ledger.floor();
            under_way.floors.push((key, queue, floor));
        }
        if let Some(round) = &mut self.round {
            let mut bytes = 0;
            while bytes < SNAPSHOT_BYTES
                && let Some((key, queue)) = round.left.pop_front()
            {
                let share = shares.get(&key);
                if let Some(book) = share.and_then(|share| share.books.get(&queue)) {
                    let snapshot = book.ledger.snapshot().encode();
                    bytes += snapshot.len();
                    add(&key, queue, &snapshot);
                }
            }
            round.bytes += bytes as u64;
        }
        records.push(record.finish());
        records
    }

    /// A batch is stored, with its first record there.
    fn stored(&mut self, first: QueueOffset, bytes: u64) {
        self.bytes_since_round += bytes;
        if let Some(round) = &mut self.round {
            let began = *round.began.get_or_insert(first);
            if round.left.is_empty() {
                self.replay_from = began;
                self.last_round_bytes = round.bytes;
                self.bytes_since_round = 0;
                self.round = None;
            }
        }
    }
}

impl Popper {
    /// Has written what there is, after the messages that are here already.
    pub(super) fn write_soon(&mut self, ctx: &mut Ctx<'_, Self>) {
        let writing = &mut self.writing;
        let has_work = !writing.is_idle() || !writing.owed.is_empty();
        if has_work && writing.under_way.is_none() && !writing.is_due {
            writing.is_due = true;
            ctx.me().tell(Write);
        }
    }

    fn write(&mut self, ctx: &mut Ctx<'_, Self>) {
        let writing = &mut self.writing;
        writing.is_due = false;
        if writing.under_way.is_some() {
            return;
        }
        let limit = ROUND_BYTES.max(ROUND_RATIO * writing.last_round_bytes);
        if writing.bytes_since_round > limit {
            writing.begin_round(&self.shares, self.context.store.log.appended());
        }
        let owed = std::mem::take(&mut writing.owed);
        if writing.is_idle() {
            owed.into_iter().for_each(Owed::pay);
            return;
        }
        let Some(topic) = self.context.topics.find(system_topics::POP_JOURNAL) else {
            tracing::error!("the pop journal's topic is missing: nothing can be popped");
            return;
        };
        let mut under_way = UnderWay {
            owed,
            floors: Vec::new(),
            forgotten: Vec::new(),
            bytes: 0,
            replay_from: writing.replay_from,
        };
        let mut batch = PutBatch::default();
        for record in self.writing.records(&mut self.shares, &mut under_way) {
            under_way.bytes += record.len() as u64;
            batch.add(
                JOURNAL,
                &Put {
                    topic: topic.id,
                    queue: Some(QUEUE),
                    flag: 0,
                    sys_flag: 0,
                    born_timestamp_ms: self.context.clock.now_ms(),
                    born_host: self.context.store_host,
                    reconsume_times: 0,
                    prepared_transaction_offset: 0,
                    properties: b"",
                    body: &record,
                },
            );
        }
        if self.context.pops_replay_from.load(Ordering::Acquire) == u64::MAX {
            self.tell_retention(under_way.replay_from);
        }
        self.writing.under_way = Some(under_way);
        batch.send(&self.writer, ctx.me().mailbox());
    }

    /// What a replay would need is kept.
    pub(super) fn tell_retention(&self, replay_from: QueueOffset) {
        let from = match self.shares.is_empty() {
            true => u64::MAX,
            false => replay_from.0,
        };
        self.context.pops_replay_from.store(from, Ordering::Release);
    }

    /// A batch of the journal came back.
    pub(super) fn written(&mut self, appended: &Appended, ctx: &mut Ctx<'_, Self>) {
        if !self.is_ready {
            // From before it began anew.
            return;
        }
        let Some(under_way) = self.writing.under_way.take() else {
            return;
        };
        let stored = appended
            .requests
            .iter()
            .map(|request| match &request.outcome {
                Outcome::Stored(stored) => Some(stored.queue_offset),
                _ => None,
            });
        let stored: Option<Vec<_>> = stored.collect();
        let Some(first) = stored.and_then(|offsets| offsets.first().copied()) else {
            // Ledgers are ahead of what is known to be written: the log knows who has what.
            tracing::warn!("the pop journal could not be written, which is tried again");
            self.to_forget.extend(under_way.forgotten);
            self.forget_all();
            ctx.after(RETRY, |popper, ctx| popper.begin(ctx));
            return;
        };
        self.writing.stored(first, under_way.bytes);
        self.writing.told = under_way.replay_from;
        self.tell_retention(under_way.replay_from);
        let offsets = &self.context.offsets;
        for (key, queue, floor) in under_way.floors {
            let share = self.shares.get_mut(&key);
            let Some(book) = share.and_then(|share| share.books.get_mut(&queue)) else {
                continue;
            };
            let place = (key.1.clone(), queue);
            // One that was begun anew since has no say, nor has any where somebody else has set the offset.
            if book.committed < floor
                && floor <= book.ledger.floor()
                && offsets.get(&key.0, &place) == Some(book.committed)
            {
                book.committed = floor;
                offsets.set(&key.0, place, floor);
            }
        }
        under_way.owed.into_iter().for_each(Owed::pay);
        self.write_soon(ctx);
    }
}

impl Receive<MakeRoom> for Popper {
    fn receive(&mut self, MakeRoom: MakeRoom, ctx: &mut Ctx<'_, Self>) {
        if self.is_ready {
            let context = &self.context;
            let segment_bytes = context.settings.store.commit_log_segment_bytes;
            let log_end = context.store.log.appended();
            self.writing.make_room(&self.shares, log_end, segment_bytes);
            self.write_soon(ctx);
        }
    }
}

impl Receive<Write> for Popper {
    fn receive(&mut self, Write: Write, ctx: &mut Ctx<'_, Self>) {
        if self.is_ready {
            self.write(ctx);
        }
    }
}
