//! transactions: settles half messages as their producers say, and asks those that say nothing.
//!
//! What is open is known from the log (see [`Halves`](castmq_storage::halves::Halves)), so that a half message is committed
//! once, whatever fails in between. What sessions bring is settled in batches: one of them for all that comes in a turn.
//!
//! - `ends`: what sessions bring; `half`: what a half message says.
//! - `batch`: what goes to the log.
//! - `checks`: half messages that nobody settles.

mod batch;
mod checks;
mod ends;
mod half;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::{
    GroupName, PhysicalOffset, QueueId, QueueOffset, keys, system_topics, write_properties,
};
use castmq_protocol::native::request::{EndTransaction, Resolution};
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use castmq_protocol::record::{RecordView, sys_flag};
use hashbrown::HashMap;
use serde::Serialize;

use self::batch::{Batch, Settled, outcome_of};
pub(crate) use self::ends::{Ended, Ending, Ends};
use self::half::Belongs;
use super::catching_up;
use super::redirect::to_schedule;
use crate::broker::context::BrokerContext;
use crate::broker::topics::{Topic, TopicId};
use crate::storage::append::{AppendRequest, Appended, Outcome};
use crate::storage::log_writer::LogWriter;
use crate::storage::put::{Put, PutBatch};
use crate::supervision::{ActorRef, Cast, Ctx, Failure, Receive};

/// How often it is looked whether the dispatcher has caught up.
const CATCH_UP: Duration = Duration::from_millis(5);

/// A batch with more than this goes to the log at once.
const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// While more than this is on its way to the log, other transactions wait.
const MAX_UNDER_WAY_BYTES: usize = 16 * 1024 * 1024;

/// Hands what has gathered to the log, after the messages that are here already.
#[derive(Debug)]
struct Store;

/// A half message of which the log may soon say more than is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Busy {
    /// It is settled with this batch, or was, and its message is stored by this request of it.
    With { number: u64, record: Option<usize> },
    /// The log-writer failed with it in hand.
    Unsure,
}

/// When a transaction that is to be ended has its outcome.
enum Done {
    /// Now: it is ended, or is left open.
    Now,
    /// With the batch that is being filled.
    WithThis,
    /// With a batch that is under way.
    With(u64),
    /// That cannot be said yet.
    Later,
}

/// See the module.
pub(crate) struct Transactions {
    context: Arc<BrokerContext>,
    writer: ActorRef<LogWriter>,
    /// Whether it is known what is open.
    is_ready: bool,
    /// Not looked at yet.
    waiting: VecDeque<Ends>,
    /// What goes to the log at the end of this turn.
    batch: Batch,
    /// In the memory of one that came back.
    spare: Option<PutBatch>,
    /// On their way to the log.
    under_way: VecDeque<Batch>,
    under_way_bytes: usize,
    busy: HashMap<QueueOffset, Busy>,
    /// Half messages that are busy until everything below a place is noted, oldest first.
    unnoted: VecDeque<(PhysicalOffset, Vec<Settled>)>,
    /// The topic of the last message that was committed: the next is often of the same.
    last_topic: Option<Arc<Topic>>,
    /// Properties on their way from a half message to its message.
    properties: Vec<u8>,
    ended: u64,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct TransactionsState {
    is_ready: bool,
    open: usize,
    settling: usize,
    ended: u64,
}

impl Transactions {
    pub(crate) fn new(context: Arc<BrokerContext>) -> Result<Self, Failure> {
        Ok(Self {
            writer: context.actors()?.log_writer.clone(),
            is_ready: false,
            waiting: VecDeque::new(),
            batch: Batch::default(),
            spare: None,
            under_way: VecDeque::new(),
            under_way_bytes: 0,
            busy: HashMap::new(),
            unnoted: VecDeque::new(),
            last_topic: None,
            properties: Vec::new(),
            ended: 0,
            context,
        })
    }

    /// What was handed to the log before has to be in the log, and dispatched.
    fn caught_up(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.is_ready = true;
        self.mark_again(ctx);
        self.begin_checks(ctx);
        self.work(ctx);
    }

    fn system_topic(&self, name: &str) -> Option<TopicId> {
        Some(self.context.topics.find(name)?.id)
    }

    /// The batch of this turn.
    fn batch(&mut self, ctx: &Ctx<'_, Self>) -> &mut Batch {
        if self.batch.is_empty() {
            ctx.me().tell(Store);
        }
        &mut self.batch
    }

    /// Looks at what waits.
    fn work(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.forget_noted();
        while self.is_ready
            && self.has_room()
            && let Some(ends) = self.waiting.pop_front()
        {
            self.settle_all(ends, ctx);
        }
    }

    fn has_room(&self) -> bool {
        self.under_way_bytes < MAX_UNDER_WAY_BYTES
    }

    fn settle_all(&mut self, mut ends: Ends, ctx: &mut Ctx<'_, Self>) {
        let (mut early, mut rest) = (ends.apart(), ends.apart());
        let group = ends.group().clone();
        ends.endings.retain_mut(|ending| {
            if self.batch.put.bytes() > MAX_BATCH_BYTES {
                rest.take(ending);
                return false;
            }
            match self.settle(ending, &group, ctx) {
                Ok(Done::Now) => ending.outcome = Some(Ok(())),
                Ok(Done::WithThis) => {}
                Ok(Done::With(before)) => {
                    self.join(before, ending, rest.apart());
                    return false;
                }
                Ok(Done::Later) => {
                    early.take(ending);
                    return false;
                }
                Err(refusal) => ending.outcome = Some(Err(Box::new(refusal))),
            }
            true
        });
        if !ends.is_over() {
            self.batch.ends.push(ends);
        }
        self.store_if_large(ctx);
        if !rest.endings.is_empty() {
            self.waiting.push_front(rest);
        }
        if !early.endings.is_empty() {
            ctx.after(CATCH_UP, |actor, ctx| {
                actor.waiting.push_back(early);
                actor.work(ctx);
            });
        }
    }

    /// Lets a transaction wait for a batch that is under way.
    fn join(&mut self, number: u64, ending: &mut Ending, mut alone: Ends) {
        alone.take(ending);
        let mut batches = self.under_way.iter_mut();
        if let Some(batch) = batches.find(|batch| batch.number == number) {
            batch.ends.push(alone);
        }
    }

    /// Begins to settle a half message.
    fn settle(
        &mut self,
        ending: &mut Ending,
        group: &GroupName,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<Done, Refusal> {
        let end = ending.end;
        let is_noted = end.place < self.context.positions.dispatched();
        if !is_noted && end.place < self.context.store.log.appended() {
            return Ok(Done::Later);
        }
        let stored = self.context.store.log.rest_of_segment(end.place);
        let stored = stored.as_ref().map_or(&[][..], AsRef::as_ref);
        let half = half_at(stored, &end).ok_or_else(|| unknown(&end))?;
        let belongs = Belongs::of(half.properties());
        if belongs.group != group.as_str() {
            return Err(foreign(&end, belongs.group, group));
        }
        let open = self.context.store.unseen.halves.find(end.half);
        if open.is_some_and(|open| open.physical != end.place) {
            // Bytes of a body, where anybody can write what looks like somebody else's half message.
            return Err(unknown(&end));
        }
        match self.busy.get(&end.half) {
            Some(Busy::With { number, record }) => {
                ending.record = *record;
                return Ok(match *number {
                    number if number == self.batch.number => Done::WithThis,
                    number if self.is_under_way(number) => Done::With(number),
                    _ => Done::Now,
                });
            }
            Some(Busy::Unsure) => return Ok(Done::Later),
            None => {}
        }
        if open.is_none() || end.resolution == Resolution::Unknown {
            // Saying it again is harmless, and saying the opposite too late.
            return Ok(Done::Now);
        }
        let is_commit = end.resolution == Resolution::Commit;
        if is_commit {
            self.add_message(&end, &half, &belongs, ctx)?;
        }
        let batch = self.batch(ctx);
        let record = batch.settle(end.half, is_commit);
        let number = batch.number;
        ending.record = record;
        self.busy.insert(end.half, Busy::With { number, record });
        Ok(Done::WithThis)
    }

    fn is_under_way(&self, number: u64) -> bool {
        self.under_way.iter().any(|batch| batch.number == number)
    }

    /// Adds the message that a half message becomes.
    fn add_message(
        &mut self,
        end: &EndTransaction,
        half: &RecordView<'_>,
        belongs: &Belongs<'_>,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<(), Refusal> {
        let topics = &self.context.topics;
        let topic = topics
            .find_again(&mut self.last_topic, belongs.topic)
            .ok_or_else(|| {
                Refusal::never(
                    ErrorCode::TopicNotFound,
                    format!(
                        "topic {} of the half message {} does not exist any more",
                        belongs.topic, end.half
                    ),
                )
            })?;
        let queue = belongs.queue.filter(|id| *id < topic.write_queues());
        let (mut topic_id, mut queue) = (topic.id, queue.map(QueueId));
        self.properties.clear();
        let changes = [(keys::REAL_TOPIC, None), (keys::REAL_QID, None)];
        write_properties(half.properties(), &changes, &mut self.properties);
        if belongs.delay_level > 0 {
            let (level, real) = (belongs.delay_level, queue.unwrap_or_default());
            let waiting = to_schedule(&self.context, level, topic, real, &self.properties)?;
            (topic_id, queue) = (waiting.topic.id, Some(waiting.queue));
            self.properties = waiting.properties;
        }
        let properties = std::mem::take(&mut self.properties);
        let batch = self.batch(ctx);
        let again = Put::again(half, topic_id);
        let put = Put {
            queue,
            sys_flag: again.sys_flag | sys_flag::TRANSACTION_COMMIT,
            prepared_transaction_offset: end.place.as_i64(),
            properties: &properties,
            ..again
        };
        batch.put.add_checked(batch.number, &put, half.body_crc());
        self.properties = properties;
        Ok(())
    }

    fn store_if_large(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.batch.put.bytes() > MAX_BATCH_BYTES {
            self.store(ctx);
        }
    }

    /// Hands the batch to the log.
    fn store(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.batch.is_empty() {
            return;
        }
        let Some(op_topic) = self.system_topic(system_topics::TRANSACTION_OP) else {
            ctx.fail(Failure::new("the topic of marks is missing"));
            return;
        };
        let next = Batch::new(self.batch.number + 1, self.spare.take());
        let mut batch = std::mem::replace(&mut self.batch, next);
        batch.seal(op_topic, &self.context);
        batch.bytes = batch.put.bytes();
        self.under_way_bytes += batch.bytes;
        let put = std::mem::take(&mut batch.put);
        self.under_way.push_back(batch);
        put.send(&self.writer, ctx.me().mailbox());
    }

    fn stored(&mut self, appended: Appended) {
        let requests = appended.requests.as_slice();
        let number = requests.first().map(|request| request.correlation);
        let mut batches = self.under_way.iter();
        let Some(index) = batches.position(|batch| Some(batch.number) == number) else {
            return;
        };
        let Some(mut batch) = self.under_way.remove(index) else {
            return;
        };
        self.under_way_bytes -= batch.bytes;
        batch.answer(requests);
        let is_stored = |request: &AppendRequest| matches!(request.outcome, Outcome::Stored(_));
        if !requests.iter().all(is_stored) {
            batch
                .halves
                .retain(|settled| self.outlast(settled, requests));
        }
        self.ended += batch.halves.len() as u64;
        let end = self.context.store.log.appended();
        self.unnoted.push_back((end, batch.halves));
        self.spare = Some(PutBatch::after(appended));
    }

    /// Whether a half message stays busy, of a batch of which not all is stored.
    fn outlast(&mut self, (half, record): &Settled, requests: &[AppendRequest]) -> bool {
        match outcome_of(*record, requests) {
            Ok(()) => true,
            Err(refusal) if refusal.code == ErrorCode::OutcomeUnknown => {
                self.busy.insert(*half, Busy::Unsure);
                true
            }
            Err(_) => {
                self.busy.remove(half);
                false
            }
        }
    }

    /// What is noted is busy no more.
    fn forget_noted(&mut self) {
        let dispatched = self.context.positions.dispatched();
        let is_noted = |unnoted: &mut (PhysicalOffset, Vec<Settled>)| unnoted.0 <= dispatched;
        while let Some((_, halves)) = self.unnoted.pop_front_if(is_noted) {
            for (half, _) in halves {
                self.busy.remove(&half);
            }
        }
    }
}

/// The half message that is to be settled, if it is the first of these records.
fn half_at<'a>(stored: &'a [u8], end: &EndTransaction) -> Option<RecordView<'a>> {
    let half = RecordView::parse(stored).ok()?;
    half.verify_place(end.place).ok()?;
    let is_half = half.is_of(system_topics::TRANSACTION_HALF);
    (is_half && half.queue_offset() == Ok(end.half)).then_some(half)
}

fn unknown(end: &EndTransaction) -> Refusal {
    Refusal::never(
        ErrorCode::MessageNotFound,
        format!(
            "there is no half message {} at log position {}: it was not stored here, or is not kept any more",
            end.half, end.place
        ),
    )
}

fn foreign(end: &EndTransaction, owner: &str, group: &GroupName) -> Refusal {
    Refusal::never(
        ErrorCode::NotOwner,
        format!(
            "the half message {} is one of producer group {owner}, not of {group}: join that group to end it",
            end.half
        ),
    )
}

impl Cast for Transactions {
    type State = TransactionsState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        if self.context.standing.is_slave() {
            return Ok(());
        }
        catching_up::ask(&self.writer, ctx);
        Ok(())
    }

    fn observe(&self) -> TransactionsState {
        TransactionsState {
            is_ready: self.is_ready,
            open: self.context.store.unseen.halves.open(),
            settling: self.busy.len(),
            ended: self.ended,
        }
    }
}

impl Receive<Ends> for Transactions {
    fn receive(&mut self, ends: Ends, ctx: &mut Ctx<'_, Self>) {
        self.waiting.push_back(ends);
        self.work(ctx);
    }
}

impl Receive<Store> for Transactions {
    fn receive(&mut self, Store: Store, ctx: &mut Ctx<'_, Self>) {
        self.store(ctx);
    }
}

impl Receive<Appended> for Transactions {
    fn receive(&mut self, appended: Appended, ctx: &mut Ctx<'_, Self>) {
        if appended.requests.is_empty() {
            catching_up::when_noted(&self.context, ctx, Self::caught_up);
            return;
        }
        self.stored(appended);
        self.work(ctx);
    }
}
