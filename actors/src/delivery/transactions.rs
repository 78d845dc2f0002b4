//! transactions: settles half messages as their producers say, and asks those that say nothing.
//!
//! What is open is known from the log (see [`Halves`](castmq_storage::halves::Halves)), so that a half message is committed
//! once, whatever fails in between.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::{
    GroupName, PhysicalOffset, QueueOffset, keys, property_value, replace_properties, system_topics,
};
use castmq_protocol::native::request::{EndTransaction, Resolution};
use castmq_protocol::native::response::CheckTransaction;
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use castmq_protocol::record::{RecordView, sys_flag};
use castmq_storage::commit_log::LogSlice;
use castmq_storage::halves::{Half, QUEUE};
use serde::Serialize;

use super::producers::Check;
use super::redirect::{real_place, to_schedule};
use crate::broker::context::BrokerContext;
use crate::broker::topics::TopicId;
use crate::storage::append::{AppendRequest, Appended, Outcome};
use crate::storage::log_writer::LogWriter;
use crate::storage::put::{Put, PutBatch};
use crate::supervision::{ActorRef, Cast, Ctx, Failure, Receive, Reply};

/// How often it is looked whether the dispatcher has caught up.
const CATCH_UP: Duration = Duration::from_millis(5);

/// Half messages looked at in one step of a round of checks.
const CHECKS_A_STEP: usize = 256;

/// The pause between two steps.
const STEP_PAUSE: Duration = Duration::from_millis(5);

/// Longest body of a mark in bytes (RocketMQ `transactionOpMsgMaxSize`).
const MAX_MARK_BYTES: usize = 4096;

/// Settled half messages that are remembered until it is looked which of them are noted.
const MAX_SETTLED: usize = 16_384;

/// Correlation of marks that nobody waits for.
const FOR_NOBODY: u64 = u64::MAX;

/// Settles a half message.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) end: EndTransaction,
    /// The producer's group.
    pub(crate) group: GroupName,
    pub(crate) reply: Reply<Result<(), Refusal>>,
}

/// Hands what has gathered to the log, after the messages that are here already.
#[derive(Debug)]
struct Store;

type Outcomes = Vec<Reply<Result<(), Refusal>>>;

/// See the module.
pub(crate) struct Transactions {
    context: Arc<BrokerContext>,
    writer: ActorRef<LogWriter>,
    /// Whether it is known what is open.
    is_ready: bool,
    /// What goes to the log at the end of this turn.
    batch: PutBatch,
    /// On their way to the log, and who waits for them.
    settling: HashMap<QueueOffset, Outcomes>,
    /// In the log, and perhaps not noted yet.
    settled: HashSet<QueueOffset>,
    /// How often the producers of each were asked.
    checks: HashMap<QueueOffset, u32>,
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
            batch: PutBatch::default(),
            settling: HashMap::new(),
            settled: HashSet::new(),
            checks: HashMap::new(),
            ended: 0,
            context,
        })
    }

    /// What was handed to the log before has to be in the log, and dispatched.
    fn caught_up(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.is_ready = true;
        let unmarked = self.context.store.unseen.halves.unmarked();
        self.mark(&unmarked, ctx);
        let interval = self.context.settings.broker.transaction_check_interval_ms;
        ctx.every(Duration::from_millis(interval), |actor, ctx| {
            actor.check(QueueOffset::ZERO, ctx);
        });
    }

    /// Stores marks of half messages that are committed without.
    fn mark(&self, offsets: &[QueueOffset], ctx: &Ctx<'_, Self>) {
        let mut batch = PutBatch::default();
        let mut body = String::new();
        for offset in offsets {
            if body.len() > MAX_MARK_BYTES {
                self.add_mark(&mut batch, FOR_NOBODY, &body);
                body.clear();
            }
            body.push_str(&format!("{offset},"));
        }
        if !body.is_empty() {
            self.add_mark(&mut batch, FOR_NOBODY, &body);
            batch.send(&self.writer, ctx.me().mailbox());
        }
    }

    fn add_mark(&self, batch: &mut PutBatch, correlation: u64, body: &str) {
        let Some(topic) = self.system_topic(system_topics::TRANSACTION_OP) else {
            return;
        };
        let properties = replace_properties(b"", &[(keys::TAGS, Some("d"))]);
        batch.add(
            correlation,
            &Put {
                topic,
                queue: Some(QUEUE),
                flag: 0,
                sys_flag: 0,
                born_timestamp_ms: self.context.clock.now_ms(),
                born_host: self.context.store_host,
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                properties: &properties,
                body: body.as_bytes(),
            },
        );
    }

    fn system_topic(&self, name: &str) -> Option<TopicId> {
        Some(self.context.topics.find(name)?.id)
    }

    fn end(&mut self, question: End, ctx: &mut Ctx<'_, Self>) {
        let end = &question.end;
        let is_known = end.place < self.context.positions.dispatched();
        let is_stored = end.place < self.context.store.log.appended();
        if !self.is_ready || (is_stored && !is_known) {
            // Its half message may be on the way to what is noted.
            ctx.after(CATCH_UP, move |actor, ctx| actor.end(question, ctx));
            return;
        }
        let settling = self.settle(&question, ctx);
        let reply = question.reply;
        match settling {
            Ok(Some(offset)) => self.settling.entry(offset).or_default().push(reply),
            Ok(None) => reply.send(Ok(())),
            Err(refusal) => reply.send(Err(refusal)),
        }
    }

    /// Begins to settle a half message; its offset when that has to be waited for.
    fn settle(
        &mut self,
        question: &End,
        ctx: &Ctx<'_, Self>,
    ) -> Result<Option<QueueOffset>, Refusal> {
        let end = &question.end;
        if self.settling.contains_key(&end.half) {
            return Ok(Some(end.half));
        }
        let found = self.context.store.log.record(end.place);
        let record = found.as_ref().map_or(&[][..], AsRef::as_ref);
        let half = RecordView::parse(record).ok().filter(|record| {
            record.topic() == Ok(system_topics::TRANSACTION_HALF)
                && record.queue_offset() == Ok(end.half)
        });
        let Some(half) = half else {
            return Err(Refusal::never(
                ErrorCode::MessageNotFound,
                format!(
                    "there is no half message {} at log position {}: it was not stored here, or is not kept any more",
                    end.half, end.place
                ),
            ));
        };
        let group = property_value(half.properties(), keys::PRODUCER_GROUP).unwrap_or_default();
        if group != question.group.as_str() {
            return Err(Refusal::never(
                ErrorCode::NotOwner,
                format!(
                    "the half message {} is one of producer group {group}, not of {}",
                    end.half, question.group
                ),
            ));
        }
        let is_open = self.context.store.unseen.halves.find(end.half).is_some();
        if !is_open || self.settled.contains(&end.half) || end.resolution == Resolution::Unknown {
            // Saying it again is harmless, and saying the opposite too late.
            return Ok(None);
        }
        let mut batch = self.take_batch(ctx);
        let added = match end.resolution {
            Resolution::Commit => self.add_message(&mut batch, end.half, end.place, &half),
            Resolution::Rollback | Resolution::Unknown => Ok(()),
        };
        if added.is_ok() {
            self.add_mark(&mut batch, end.half.0, &format!("{},", end.half));
        }
        self.batch = batch;
        added.map(|()| Some(end.half))
    }

    /// The batch of this turn, to be added to and put back.
    fn take_batch(&mut self, ctx: &Ctx<'_, Self>) -> PutBatch {
        if self.batch.len() == 0 {
            ctx.me().tell(Store);
        }
        std::mem::take(&mut self.batch)
    }

    /// Adds the message that a half message becomes.
    fn add_message(
        &self,
        batch: &mut PutBatch,
        offset: QueueOffset,
        place: PhysicalOffset,
        half: &RecordView<'_>,
    ) -> Result<(), Refusal> {
        let encoded = half.properties();
        let (topic, queue) = real_place(&self.context, encoded).map_err(|name| {
            Refusal::never(
                ErrorCode::TopicNotFound,
                format!("topic {name} of the half message {offset} does not exist any more"),
            )
        })?;
        let mut properties =
            replace_properties(encoded, &[(keys::REAL_TOPIC, None), (keys::REAL_QID, None)]);
        let (mut topic_id, mut queue) = (topic.id, queue);
        let level = property_value(encoded, keys::DELAY).and_then(|level| level.parse().ok());
        if let Some(level @ 1..) = level {
            let real = queue.unwrap_or_default();
            let waiting = to_schedule(&self.context, level, &topic, real, &properties)?;
            (topic_id, queue) = (waiting.topic.id, Some(waiting.queue));
            properties = waiting.properties;
        }
        batch.add(
            offset.0,
            &Put {
                topic: topic_id,
                queue,
                flag: half.flag(),
                sys_flag: (half.sys_flag() & !sys_flag::TRANSACTION_MASK)
                    | sys_flag::TRANSACTION_COMMIT,
                born_timestamp_ms: half.born_timestamp_ms(),
                born_host: half.born_host(),
                reconsume_times: half.reconsume_times(),
                prepared_transaction_offset: place.as_i64(),
                properties: &properties,
                body: half.body(),
            },
        );
        Ok(())
    }

    /// What is noted as settled need not be remembered here.
    fn forget_noted(&mut self) {
        let halves = &self.context.store.unseen.halves;
        self.settled.retain(|offset| halves.find(*offset).is_some());
    }

    /// Asks the producers of half messages that are open for too long, from an offset on.
    fn check(&mut self, from: QueueOffset, ctx: &mut Ctx<'_, Self>) {
        self.forget_noted();
        let halves = &self.context.store.unseen.halves;
        self.checks
            .retain(|offset, _| halves.find(*offset).is_some());
        let now_ms = self.context.clock.now_ms();
        let timeout = self.context.settings.broker.transaction_timeout_ms;
        let due_ms = now_ms.saturating_sub(i64::try_from(timeout).unwrap_or(i64::MAX));
        let old = halves.stored_before(due_ms, from, CHECKS_A_STEP);
        for half in &old {
            if !self.settled.contains(&half.offset) && !self.settling.contains_key(&half.offset) {
                self.check_one(half, now_ms, ctx);
            }
        }
        if let Some(last) = old.last().filter(|_| old.len() == CHECKS_A_STEP) {
            let next = last.offset + 1;
            ctx.after(STEP_PAUSE, move |actor, ctx| actor.check(next, ctx));
        }
    }

    fn check_one(&mut self, half: &Half, now_ms: i64, ctx: &Ctx<'_, Self>) {
        let Some(record) = self.context.store.log.record(half.physical) else {
            // Retention has taken it: nothing can become of it.
            self.give_up(half, None, ctx);
            return;
        };
        let Ok(view) = RecordView::parse(record.as_ref()) else {
            return;
        };
        let properties = view.properties();
        let immunity_s = property_value(properties, keys::CHECK_IMMUNITY_SECONDS);
        let immunity_s = immunity_s.and_then(|seconds| seconds.parse::<i64>().ok());
        if immunity_s
            .is_some_and(|s| half.stored_ms.saturating_add(s.saturating_mul(1000)) > now_ms)
        {
            return;
        }
        let asked = self.checks.entry(half.offset).or_default();
        if *asked >= self.context.settings.broker.transaction_check_max {
            self.give_up(half, Some(&record), ctx);
            return;
        }
        *asked += 1;
        let check = Check {
            check: CheckTransaction {
                half: half.offset,
                place: half.physical,
                checks: *asked,
            },
            record: record.clone(),
        };
        let turn = *asked as usize;
        let group = property_value(properties, keys::PRODUCER_GROUP).unwrap_or_default();
        if !self.context.producers.ask(group, turn, &check) {
            tracing::debug!(group, half = %half.offset, "no producer can be asked about its transaction");
        }
    }

    /// Puts a half message aside that nobody would settle.
    fn give_up(&mut self, half: &Half, record: Option<&LogSlice>, ctx: &Ctx<'_, Self>) {
        let mut batch = self.take_batch(ctx);
        let aside = self.system_topic(system_topics::TRANSACTION_UNRESOLVED);
        let view = record.and_then(|record| RecordView::parse(record.as_ref()).ok());
        if let (Some(view), Some(topic)) = (view, aside) {
            tracing::warn!(half = %half.offset, "a transaction was never settled: its message is put aside");
            batch.add(
                half.offset.0,
                &Put {
                    topic,
                    queue: Some(QUEUE),
                    flag: view.flag(),
                    sys_flag: view.sys_flag() & !sys_flag::TRANSACTION_MASK,
                    born_timestamp_ms: view.born_timestamp_ms(),
                    born_host: view.born_host(),
                    reconsume_times: view.reconsume_times(),
                    prepared_transaction_offset: 0,
                    properties: view.properties(),
                    body: view.body(),
                },
            );
        }
        self.add_mark(&mut batch, half.offset.0, &format!("{},", half.offset));
        self.settling.entry(half.offset).or_default();
        self.batch = batch;
    }
}

/// What the records of one half message came to.
fn outcome(requests: &[AppendRequest]) -> Result<(), Refusal> {
    for request in requests {
        match &request.outcome {
            Outcome::Stored(_) => {}
            Outcome::Refused(refusal) => return Err((**refusal).clone()),
            Outcome::Unknown => {
                return Err(Refusal::safe(
                    ErrorCode::OutcomeUnknown,
                    "the log-writer failed with the transaction in hand: end it again",
                ));
            }
        }
    }
    Ok(())
}

impl Cast for Transactions {
    type State = TransactionsState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        PutBatch::default().send(&self.writer, ctx.me().mailbox());
        Ok(())
    }

    fn observe(&self) -> TransactionsState {
        TransactionsState {
            is_ready: self.is_ready,
            open: self.context.store.unseen.halves.open(),
            settling: self.settling.len(),
            ended: self.ended,
        }
    }
}

impl Receive<End> for Transactions {
    fn receive(&mut self, end: End, ctx: &mut Ctx<'_, Self>) {
        self.end(end, ctx);
    }
}

impl Receive<Store> for Transactions {
    fn receive(&mut self, Store: Store, ctx: &mut Ctx<'_, Self>) {
        if self.batch.len() > 0 {
            let batch = std::mem::take(&mut self.batch);
            batch.send(&self.writer, ctx.me().mailbox());
        }
    }
}

impl Receive<Appended> for Transactions {
    fn receive(&mut self, appended: Appended, ctx: &mut Ctx<'_, Self>) {
        if appended.requests.is_empty() {
            let end = self.context.store.log.appended();
            let dispatched = self.context.clone().dispatched_to(end);
            ctx.then(dispatched, |actor, (), ctx| actor.caught_up(ctx));
            return;
        }
        if self.settled.len() > MAX_SETTLED {
            self.forget_noted();
        }
        let mut of_one = appended
            .requests
            .chunk_by(|one, next| one.correlation == next.correlation);
        while let Some(requests @ [first, ..]) = of_one.next() {
            if first.correlation == FOR_NOBODY {
                continue;
            }
            let offset = QueueOffset(first.correlation);
            let outcome = outcome(requests);
            if outcome.is_ok() {
                self.ended += 1;
                self.settled.insert(offset);
            }
            for reply in self.settling.remove(&offset).unwrap_or_default() {
                reply.send(outcome.clone());
            }
        }
    }
}
