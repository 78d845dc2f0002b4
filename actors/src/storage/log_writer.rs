//! log-writer: the single appender of the commit log.
//!
//! It takes a batch, gives every message its place in its queue, in the log and in time, and copies it into the mapped
//! segment. Nothing else happens here: no I/O, no waiting, no allocation per message.
//!
//! On a slave it takes bytes of its master's log instead, as they lie there.
//!
//! A send that its producer numbered is stored once. Since nobody else appends, one that comes again finds the first here.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use castmq_protocol::model::{PhysicalOffset, QueueId};
use castmq_protocol::native::response::SendStatus;
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use castmq_protocol::record::{PartOfSend, Record, SendNumber};
use castmq_storage::commit_log::{AppendError, LogWriter as Log};
use castmq_storage::sequences::{Look, Place, StoredSend};
use serde::Serialize;
use tokio::time::Instant;

use super::append::{AppendBatch, AppendMessage, Outcome, Stored};
use super::commit_tracker::{CommitTracker, Park};
use super::dispatcher::{Advance, Dispatcher};
use super::flush_service::{FlushService, FlushTo};
use super::queue_offsets::QueueOffsets;
use super::runway::Runway;
use super::segment_allocator::{MakeReady, SegmentAllocator};
use crate::broker::context::{BrokerContext, FlushPolicy};
use crate::broker::topics::{Topic, TopicId};
use crate::supervision::{ActorRef, Answer, Cast, Ctx, Failure, Receive, Reply};

/// There is another segment to write to.
#[derive(Debug)]
pub(crate) struct SegmentReady;

/// What requests wait for, a segment or room for units of queues, will not come, and why. They are refused.
#[derive(Debug)]
pub(crate) struct RefuseStalled {
    pub(crate) reason: Refusal,
}

/// Units of queues that wait in memory to be written (20 bytes each): when there are more, so do requests.
pub(crate) const MOST_PENDING_UNITS: u64 = 2 * 1024 * 1024;

/// How often it is looked whether there are fewer again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How often the log says that requests wait for that.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// A copy of the master's log begins, or goes on after a break. Answered with where that is.
#[derive(Debug)]
pub(crate) struct BeginCopy;

/// Bytes of the master's log. Answered when they are in this one.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) parts: Vec<(PhysicalOffset, Bytes)>,
}

/// How far consumers may see the copy, by the master's word.
#[derive(Debug)]
pub(crate) struct CommitLimit(pub(crate) PhysicalOffset);

/// A copy on its way, and where it is in it.
struct Copying {
    parts: VecDeque<(PhysicalOffset, Bytes)>,
    reply: Reply<Result<(), String>>,
}

/// See the module.
pub(crate) struct LogWriter {
    context: Arc<BrokerContext>,
    log: Log,
    offsets: QueueOffsets,
    runway: Arc<Runway>,
    dispatcher: ActorRef<Dispatcher>,
    tracker: ActorRef<CommitTracker>,
    allocator: ActorRef<SegmentAllocator>,
    /// Topics by their numbers, as they were met.
    topics: Vec<Option<Arc<Topic>>>,
    /// The queue that the next message without one goes to, by topic number.
    round_robin: Vec<u32>,
    /// Batches that wait for a segment or for queues to be written, the first of them perhaps begun.
    stalled: VecDeque<Progress>,
    /// The same on a slave.
    stalled_copies: VecDeque<Copying>,
    /// What is stalled waits for queues to be written, not for a segment.
    waits_for_queues: bool,
    /// It will be looked whether they have been.
    is_looking: bool,
    warned: Option<Instant>,
    commit_limit: PhysicalOffset,
    flusher: ActorRef<FlushService>,
    last_store_ms: i64,
}

/// A batch and how far it is.
struct Progress {
    batch: AppendBatch,
    requests: usize,
    messages: usize,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct LogWriterState {
    appended: u64,
    stalled_batches: usize,
    /// They wait for queues to be written, not for a segment.
    waits_for_queues: bool,
    queues: usize,
    idempotent_producers: usize,
    failure: Option<String>,
}

impl LogWriter {
    /// Takes up writing at the end of the log.
    pub(crate) fn new(context: Arc<BrokerContext>) -> Result<Self, Failure> {
        let store = &context.store;
        let log = Log::resume(store.log.clone())?;
        // What an earlier incarnation noted and did not publish is gone.
        store.sequences.cut(store.log.appended());
        let offsets = QueueOffsets::recover(
            &store.log,
            store.queues.clone(),
            context.positions.dispatched(),
        );
        let actors = context.actors()?;
        Ok(Self {
            log,
            offsets,
            runway: context.runway.clone(),
            dispatcher: actors.dispatcher.clone(),
            tracker: actors.commit_tracker.clone(),
            allocator: actors.segment_allocator.clone(),
            topics: Vec::new(),
            round_robin: Vec::new(),
            stalled: VecDeque::new(),
            stalled_copies: VecDeque::new(),
            waits_for_queues: false,
            is_looking: false,
            warned: None,
            commit_limit: context.positions.committed(),
            flusher: actors.flush_service.clone(),
            last_store_ms: 0,
            context,
        })
    }

    /// Whether queues are so far ahead of their files that nothing may be added to them.
    fn has_to_wait_for_queues(&mut self) -> bool {
        let pending = self.context.store.queues.pending_units();
        self.waits_for_queues = pending > MOST_PENDING_UNITS;
        self.waits_for_queues
    }

    /// Goes on with what is stalled as soon as that is possible.
    fn go_on_later(&mut self, ctx: &mut Ctx<'_, Self>) {
        if !self.waits_for_queues {
            self.allocator.tell(MakeReady);
        } else if !self.is_looking {
            self.is_looking = true;
            if self.warned.is_none_or(|time| time.elapsed() >= WARN_EVERY) {
                self.warned = Some(Instant::now());
                tracing::warn!("messages come faster than queues are written: producers wait");
            }
            ctx.after(LOOK_AGAIN, |writer, ctx| {
                writer.is_looking = false;
                writer.resume(ctx);
            });
        }
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.resume_copies();
        self.resume_stalled();
        if !self.stalled.is_empty() || !self.stalled_copies.is_empty() {
            self.go_on_later(ctx);
        }
    }

    /// Appends what it can; gives the batch back when it needs another segment, or queues are to be written first.
    fn append(&mut self, mut progress: Progress) -> Option<Progress> {
        if self.has_to_wait_for_queues() {
            return Some(progress);
        }
        self.last_store_ms = self.context.clock.now_ms().max(self.last_store_ms);
        while let Some(request) = progress.batch.requests.get(progress.requests) {
            let first = progress.messages;
            let last = first + request.messages as usize;
            let outcome = match self.append_request(&progress.batch, progress.requests, first..last)
            {
                Ok(stored) => Outcome::Stored(stored),
                Err(Stop::Refused(refusal)) => Outcome::Refused(refusal),
                Err(Stop::SegmentNotReady) => {
                    self.publish();
                    return Some(progress);
                }
            };
            progress.batch.requests[progress.requests].outcome = outcome;
            progress.requests += 1;
            progress.messages = last;
        }
        self.finish(progress.batch);
        None
    }

    fn append_request(
        &mut self,
        batch: &AppendBatch,
        index: usize,
        messages: Range<usize>,
    ) -> Result<Stored, Stop> {
        let request = &batch.requests[index];
        let messages = &batch.messages[messages];
        let extras = batch.extras_of(request);
        let number = extras.and_then(|extras| extras.number.as_ref());
        if let Some(number) = number
            && let Some(stored) = self.look(number)?
        {
            return Ok(stored);
        }
        self.meet(request.topic)?;
        let id = request.topic.0 as usize;
        let topic = self.topics[id].as_deref().ok_or_else(unknown_topic)?;
        let queue = match request.queue {
            Some(queue) => queue,
            None => {
                let turn = &mut self.round_robin[id];
                *turn = turn.wrapping_add(1);
                QueueId(*turn % topic.write_queues().max(1))
            }
        };
        let next_offset = self.offsets.next(topic, queue);
        let first_offset = *next_offset;
        let record = |message: &AppendMessage| Record {
            topic: topic.name.as_str(),
            queue,
            queue_offset: first_offset,
            physical_offset: PhysicalOffset::ZERO,
            flag: message.flag,
            sys_flag: request.sys_flag,
            born_timestamp_ms: request.born_timestamp_ms,
            born_host: extras.map_or(batch.born_host, |extras| extras.born_host),
            store_timestamp_ms: self.last_store_ms,
            store_host: self.context.store_host,
            reconsume_times: request.reconsume_times,
            prepared_transaction_offset: extras
                .map_or(0, |extras| extras.prepared_transaction_offset),
            body: batch.slice(&message.body),
            body_crc: message.body_crc,
            properties: batch.slice(&message.properties),
        };
        let bytes = messages.iter().map(|m| record(m).encoded_bytes()).sum();
        let first_place = self.log.reserve(bytes)?;
        let mut place = first_place;
        for (index, message) in messages.iter().enumerate() {
            let mut record = Record {
                queue_offset: first_offset + index as u64,
                physical_offset: place,
                ..record(message)
            };
            if number.is_some() {
                let part = PartOfSend {
                    before: index as u32,
                    behind: (messages.len() - index - 1) as u32,
                };
                record.prepared_transaction_offset = part.encode();
            }
            place = place + self.log.append(&record) as u64;
        }
        *next_offset = first_offset + messages.len() as u64;
        if let Some(number) = number {
            self.context.store.sequences.note(&StoredSend {
                number: *number,
                place: Place {
                    queue,
                    offset: first_offset,
                    physical: first_place,
                },
                stored_ms: self.last_store_ms,
            });
        }
        Ok(Stored {
            status: SendStatus::Stored,
            queue,
            queue_offset: first_offset,
            physical_offset: first_place,
        })
    }

    /// Where a numbered send is stored, if it is. Its answer waits like one that is stored now: until everything in the log
    /// is as durable as the policy wants it.
    fn look(&self, number: &SendNumber) -> Result<Option<Stored>, Stop> {
        match self
            .context
            .store
            .sequences
            .look(number, self.last_store_ms)
        {
            Look::New => Ok(None),
            Look::Stored(place) => Ok(Some(Stored {
                status: SendStatus::Stored,
                queue: place.queue,
                queue_offset: place.offset,
                physical_offset: place.physical,
            })),
            Look::Forgotten { floor } => Err(forgotten(number, floor)),
            Look::TooManyProducers => Err(self.too_many_producers()),
        }
    }

    fn too_many_producers(&self) -> Stop {
        let broker = &self.context.settings.broker;
        Stop::Refused(Box::new(Refusal::safe(
            ErrorCode::LimitReached,
            format!(
                "{} idempotent producers have sent within {} ms, which is the limit: use producers for longer, or raise \
                 broker.idempotent_producers_max",
                broker.idempotent_producers_max, broker.idempotent_producer_expiry_ms
            ),
        )))
    }

    /// Makes sure that the topic with this number can be looked up without a lock.
    fn meet(&mut self, topic: TopicId) -> Result<(), Stop> {
        let number = topic.0 as usize;
        if self.topics.get(number).is_some_and(Option::is_some) {
            return Ok(());
        }
        let met = self.context.topics.by_id(topic).ok_or_else(unknown_topic)?;
        if self.topics.len() <= number {
            self.topics.resize(number + 1, None);
            self.round_robin.resize(number + 1, 0);
        }
        self.topics[number] = Some(met);
        Ok(())
    }

    /// Lets readers see what was appended, and gives the batch to whoever completes it.
    fn finish(&mut self, mut batch: AppendBatch) {
        let end = self.log.publish();
        batch.is_published = true;
        if self.context.answers_wait() {
            batch.release_buffer();
            batch.release_unwaiting();
            self.tracker.tell(Park { end, batch });
        } else {
            // The answer goes out first: dispatching need not hold it up.
            drop(batch);
        }
        self.announce(end);
    }

    fn publish(&mut self) {
        let end = self.log.publish();
        self.announce(end);
    }

    /// Tells those who work behind the end of the log.
    fn announce(&self, end: PhysicalOffset) {
        self.context.pulse.beat();
        if !self.context.answers_wait() {
            self.dispatcher.tell(Advance { committed: end });
        }
        if self.runway.is_short(end) {
            self.allocator.tell(MakeReady);
        }
    }

    /// Copies what it can; gives back what needs another segment, or has to wait for queues.
    fn copy(&mut self, mut copying: Copying) -> Option<Copying> {
        if self.has_to_wait_for_queues() {
            return Some(copying);
        }
        let mut result = Ok(());
        while let Some((at, bytes)) = copying.parts.pop_front() {
            match self.log.copy(at, &bytes) {
                Ok(taken) if taken == bytes.len() => {}
                Ok(taken) => {
                    let rest = (at + taken as u64, bytes.slice(taken..));
                    copying.parts.push_front(rest);
                    self.announce_copy();
                    return Some(copying);
                }
                Err(error) => {
                    result = Err(error.to_string());
                    break;
                }
            }
        }
        self.announce_copy();
        self.context.following.set_stalled_by(None);
        copying.reply.send(result);
        None
    }

    /// Tells those who work behind the end of a copy.
    fn announce_copy(&self) {
        let end = self.log.log().appended();
        self.context.pulse.beat();
        if self.context.flush_policy == FlushPolicy::Sync {
            self.flusher.tell(FlushTo(end));
        }
        let committed = end.min(self.commit_limit);
        if committed > self.context.positions.committed() {
            self.dispatcher.tell(Advance { committed });
        }
        if self.runway.is_short(end) {
            self.allocator.tell(MakeReady);
        }
    }

    fn resume_copies(&mut self) {
        while let Some(copying) = self.stalled_copies.pop_front() {
            if let Some(copying) = self.copy(copying) {
                self.stalled_copies.push_front(copying);
                return;
            }
        }
    }

    fn resume_stalled(&mut self) {
        while let Some(progress) = self.stalled.pop_front() {
            if let Some(progress) = self.append(progress) {
                self.stalled.push_front(progress);
                return;
            }
        }
    }
}

/// Why a request is not appended.
enum Stop {
    /// Not yet.
    SegmentNotReady,
    /// Never.
    Refused(Box<Refusal>),
}

impl From<AppendError> for Stop {
    fn from(error: AppendError) -> Self {
        let refusal = match error {
            AppendError::SegmentNotReady => return Self::SegmentNotReady,
            AppendError::TooLong { .. } => {
                Refusal::never(ErrorCode::MessageTooLarge, error.to_string())
            }
            AppendError::Failed { .. } | AppendError::WriterTaken => {
                Refusal::safe(ErrorCode::StorageFailed, error.to_string())
            }
        };
        Self::Refused(Box::new(refusal))
    }
}

fn forgotten(number: &SendNumber, floor: u64) -> Stop {
    Stop::Refused(Box::new(Refusal::unknown(
        ErrorCode::SequenceForgotten,
        format!(
            "whether send {} of producer {:x} is stored is not known any more, only of {floor} and those above it: look for \
             its message before you send it anew",
            number.sequence, number.producer_id
        ),
    )))
}

fn unknown_topic() -> Stop {
    Stop::Refused(Box::new(Refusal::safe(
        ErrorCode::Internal,
        "the topic's number is not known: announce the topic anew",
    )))
}

impl Cast for LogWriter {
    type State = LogWriterState;

    fn observe(&self) -> LogWriterState {
        LogWriterState {
            appended: self.log.position().0,
            stalled_batches: self.stalled.len() + self.stalled_copies.len(),
            waits_for_queues: self.waits_for_queues,
            queues: self.offsets.len(),
            idempotent_producers: self.context.store.sequences.producers(),
            failure: self.log.log().failure(),
        }
    }
}

impl Receive<AppendBatch> for LogWriter {
    fn receive(&mut self, mut batch: AppendBatch, ctx: &mut Ctx<'_, Self>) {
        if let Err(refusal) = self.context.standing.check_master() {
            for request in &mut batch.requests {
                request.outcome = Outcome::Refused(Box::new(refusal.clone()));
            }
            return;
        }
        let progress = Progress {
            batch,
            requests: 0,
            messages: 0,
        };
        if !self.stalled.is_empty() {
            self.stalled.push_back(progress);
            return;
        }
        if let Some(progress) = self.append(progress) {
            self.stalled.push_back(progress);
            self.go_on_later(ctx);
        }
    }
}

impl Receive<SegmentReady> for LogWriter {
    fn receive(&mut self, SegmentReady: SegmentReady, ctx: &mut Ctx<'_, Self>) {
        self.resume(ctx);
    }
}

impl Answer<BeginCopy> for LogWriter {
    type Reply = PhysicalOffset;

    fn answer(
        &mut self,
        BeginCopy: BeginCopy,
        reply: Reply<PhysicalOffset>,
        _ctx: &mut Ctx<'_, Self>,
    ) {
        // What is stalled came over a connection that is gone.
        self.stalled_copies.clear();
        self.context.following.set_stalled_by(None);
        self.log.forget_unpublished();
        reply.send(self.log.copied());
    }
}

impl Answer<Copy> for LogWriter {
    type Reply = Result<(), String>;

    fn answer(&mut self, copy: Copy, reply: Reply<Self::Reply>, ctx: &mut Ctx<'_, Self>) {
        let copying = Copying {
            parts: copy.parts.into(),
            reply,
        };
        if !self.stalled_copies.is_empty() {
            self.stalled_copies.push_back(copying);
        } else if let Some(copying) = self.copy(copying) {
            self.stalled_copies.push_back(copying);
            self.go_on_later(ctx);
        }
    }
}

impl Receive<CommitLimit> for LogWriter {
    fn receive(&mut self, CommitLimit(limit): CommitLimit, _ctx: &mut Ctx<'_, Self>) {
        self.commit_limit = self.commit_limit.max(limit);
        self.context.copied(limit);
        let committed = self.log.log().appended().min(self.commit_limit);
        if committed > self.context.positions.committed() {
            self.dispatcher.tell(Advance { committed });
        }
    }
}

impl Receive<RefuseStalled> for LogWriter {
    fn receive(&mut self, refused: RefuseStalled, _ctx: &mut Ctx<'_, Self>) {
        if !self.stalled_copies.is_empty() {
            // The master has it, and waits.
            let reason = refused.reason.message.clone();
            self.context.following.set_stalled_by(Some(reason));
        }
        for mut progress in std::mem::take(&mut self.stalled) {
            let rest = progress.batch.requests.iter_mut().skip(progress.requests);
            for request in rest {
                request.outcome = Outcome::Refused(Box::new(refused.reason.clone()));
            }
            // What was appended before still has its policy to wait for.
            self.finish(progress.batch);
        }
    }
}
