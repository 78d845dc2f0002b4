//! schedule: messages that wait for a delay level. Each level has a queue of the schedule topic, in which the first is
//! always the next that is due; when it is, it is stored again under its own topic.
//!
//! How far a level is, is known from the records themselves (see [`Moved`](castmq_storage::moved::Moved)), so that a
//! message is moved once, whatever fails in between.

use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::{QueueId, QueueOffset, keys, replace_properties, system_topics};
use castmq_protocol::record::{Origin, RecordView, Step, step};
use castmq_storage::disk::Wait;
use serde::Serialize;

use super::catching_up;
use super::cold_reader::ColdFetch;
use super::expiry::Expiry;
use super::fetch::{Fetch, Fetched, Patience, Read, Wanted, read};
use super::redirect::real_place;
use crate::broker::context::BrokerContext;
use crate::storage::append::{Appended, Outcome};
use crate::storage::log_writer::LogWriter;
use crate::storage::put::{Put, PutBatch};
use crate::supervision::{ActorRef, Cast, Ctx, Failure, Lost, Receive, Reply};

/// Messages moved at once.
const MAX_MESSAGES: u32 = 512;

/// Bytes moved at once.
const MAX_BYTES: u32 = 1024 * 1024;

/// The wall clock is looked at again after this time, however far away the next message is: it may have been set.
const LOOK: Duration = Duration::from_secs(1);

/// What failed is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);

/// A queue of the schedule topic has new messages.
#[derive(Debug)]
pub(crate) struct Scheduled(pub(crate) QueueId);

/// Messages of a level were read from the disk.
#[derive(Debug)]
struct Found {
    level: usize,
    epoch: u64,
    fetched: Result<Fetched, Lost>,
}

/// What a level is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// There are no messages.
    Nothing,
    /// The first message is not due yet.
    Waiting,
    /// Messages come from the disk.
    Reading,
    /// Messages up to this one are on their way to the log.
    Moving(QueueOffset),
}

#[derive(Debug)]
struct Level {
    next: QueueOffset,
    doing: Doing,
}

/// See the module.
pub(crate) struct Schedule {
    context: Arc<BrokerContext>,
    writer: ActorRef<LogWriter>,
    levels: Vec<Level>,
    /// Whether it is known how far the levels are.
    is_ready: bool,
    /// Tells what was begun before it began anew, and wake-ups set then, from what is now.
    epoch: u64,
    moved: u64,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct ScheduleState {
    is_ready: bool,
    waiting: u64,
    moved: u64,
}

impl Schedule {
    pub(crate) fn new(context: Arc<BrokerContext>) -> Result<Self, Failure> {
        Ok(Self {
            writer: context.actors()?.log_writer.clone(),
            levels: Vec::new(),
            is_ready: false,
            epoch: 0,
            moved: 0,
            context,
        })
    }

    /// Finds out how far the levels are: what was handed to the log before has to be in the log, and dispatched.
    fn begin(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.is_ready = false;
        self.epoch += 1;
        catching_up::ask(&self.writer, ctx);
    }

    fn caught_up(&mut self, ctx: &mut Ctx<'_, Self>) {
        let moved = &self.context.store.unseen.moved;
        self.levels = (0..self.context.delays.count())
            .map(|queue| Level {
                next: moved.next_scheduled(queue),
                doing: Doing::Nothing,
            })
            .collect();
        self.is_ready = true;
        for level in 0..self.levels.len() {
            self.read(level, ctx);
        }
    }

    /// Reads on in a level that does nothing.
    fn read(&mut self, level: usize, ctx: &mut Ctx<'_, Self>) {
        let Some(state) = self.levels.get_mut(level) else {
            return;
        };
        state.doing = Doing::Nothing;
        let queues = &self.context.store.queues;
        let Some(queue) = queues.find(system_topics::SCHEDULE, QueueId(level as u32)) else {
            return;
        };
        let wanted = Wanted {
            offset: state.next,
            max_messages: MAX_MESSAGES,
            max_bytes: MAX_BYTES,
            filter: None,
            passes_expired: None,
        };
        let (log, clock) = (&self.context.store.log, &self.context.clock);
        let end = queue.max_offset();
        match read(log, &queue, end, &wanted, Wait::Never, clock) {
            Ok(Read::Empty(_)) => {}
            Ok(Read::Done(fetched)) => self.fetched(level, fetched, ctx),
            Ok(Read::Cold) => {
                let epoch = self.epoch;
                let fetch = Fetch {
                    wanted,
                    patience: Patience::None,
                    reply: Reply::to_mailbox(ctx.me().mailbox(), move |fetched| Found {
                        level,
                        epoch,
                        fetched,
                    }),
                };
                state.doing = Doing::Reading;
                match self.context.actors() {
                    Ok(actors) => drop(actors.cold_reader.tell(ColdFetch { queue, end, fetch })),
                    Err(failure) => ctx.fail(failure),
                }
            }
            Err(error) => {
                tracing::warn!(level = level + 1, %error, "delayed messages cannot be read");
                self.wait(level, RETRY, ctx);
            }
        }
    }

    fn wait(&mut self, level: usize, time: Duration, ctx: &mut Ctx<'_, Self>) {
        if let Some(state) = self.levels.get_mut(level) {
            state.doing = Doing::Waiting;
            let epoch = self.epoch;
            ctx.after(time, move |schedule, ctx| {
                // A level that began anew meanwhile may have messages on their way: they must not be read twice.
                if schedule.epoch == epoch {
                    schedule.read(level, ctx);
                }
            });
        }
    }

    /// Moves the messages that are due, and waits for the first that is not.
    fn fetched(&mut self, level: usize, fetched: Fetched, ctx: &mut Ctx<'_, Self>) {
        let Some(first) = self.levels.get(level).map(|state| state.next) else {
            return;
        };
        let now_ms = self.context.clock.now_ms();
        let delay_ms = self.context.delays.of_queue(level as u32);
        let delay_ms = i64::try_from(delay_ms).unwrap_or(i64::MAX);
        let mut batch = PutBatch::default();
        let mut next = first;
        let mut due_in_ms = None;
        'found: for slice in &fetched.records {
            let mut bytes = slice.as_ref();
            while let Ok(Step::Record(record)) = step(bytes) {
                let left_ms = record.store_timestamp_ms().saturating_add(delay_ms) - now_ms;
                // One that is stored in the future has a clock to thank that was set back: it has waited long enough.
                if (1..=delay_ms).contains(&left_ms) {
                    due_in_ms = Some(left_ms);
                    break 'found;
                }
                let offset = record.queue_offset().unwrap_or(next);
                self.add(&mut batch, level, offset, &record);
                next = offset + 1;
                bytes = bytes.get(record.total_bytes()..).unwrap_or_default();
            }
        }
        if due_in_ms.is_none() {
            // Records that retention took are passed over.
            next = next.max(fetched.next_offset);
        }
        if batch.len() > 0 {
            if let Some(state) = self.levels.get_mut(level) {
                state.doing = Doing::Moving(next);
            }
            batch.send(&self.writer, ctx.me().mailbox());
            return;
        }
        self.passed(level, next);
        match due_in_ms {
            Some(ms) => {
                let time = Duration::from_millis(ms.unsigned_abs());
                self.wait(level, time.min(LOOK), ctx);
            }
            None if next > first => self.read(level, ctx),
            None => {}
        }
    }

    /// Everything before this one is stored, or is not to be.
    fn passed(&mut self, level: usize, next: QueueOffset) {
        if let Some(state) = self.levels.get_mut(level) {
            state.next = next;
            self.context.store.unseen.moved.pass(level as u8, next);
        }
    }

    fn add(
        &self,
        batch: &mut PutBatch,
        level: usize,
        offset: QueueOffset,
        record: &RecordView<'_>,
    ) {
        let properties = record.properties();
        if Expiry::of_message(None, self.context.clock.now_ms()).is_over(record) {
            self.context.meters.expired(1);
            return;
        }
        let (topic, queue) = match real_place(&self.context, properties) {
            Ok(place) => place,
            Err(topic) => {
                tracing::warn!(topic, %offset, "a delayed message has no topic to go to any more");
                return;
            }
        };
        let origin = Origin::Schedule {
            queue: level as u8,
            offset,
        };
        batch.add(
            level as u64,
            &Put {
                queue,
                prepared_transaction_offset: origin.encode(),
                properties: &replace_properties(properties, &[(keys::DELAY, None)]),
                ..Put::again(record, topic.id)
            },
        );
    }
}

impl Cast for Schedule {
    type State = ScheduleState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        if self.context.standing.is_slave() {
            return Ok(());
        }
        self.begin(ctx);
        Ok(())
    }

    fn observe(&self) -> ScheduleState {
        let queues = &self.context.store.queues;
        let waiting = self.levels.iter().enumerate().map(|(level, state)| {
            let queue = queues.find(system_topics::SCHEDULE, QueueId(level as u32));
            queue.map_or(0, |queue| queue.max_offset().0.saturating_sub(state.next.0))
        });
        ScheduleState {
            is_ready: self.is_ready,
            waiting: waiting.sum(),
            moved: self.moved,
        }
    }
}

impl Receive<Scheduled> for Schedule {
    fn receive(&mut self, Scheduled(queue): Scheduled, ctx: &mut Ctx<'_, Self>) {
        // More levels may have been set once than there are now: their messages wait in the last.
        let level = queue.0 as usize;
        let is_idle = |state: &Level| state.doing == Doing::Nothing;
        if self.is_ready && self.levels.get(level).is_some_and(is_idle) {
            self.read(level, ctx);
        }
    }
}

impl Receive<Found> for Schedule {
    fn receive(&mut self, found: Found, ctx: &mut Ctx<'_, Self>) {
        let level = found.level;
        let is_reading = |state: &Level| state.doing == Doing::Reading;
        if found.epoch != self.epoch || !self.levels.get(level).is_some_and(is_reading) {
            return;
        }
        match found.fetched {
            Ok(fetched) => self.fetched(level, fetched, ctx),
            Err(Lost) => self.wait(level, RETRY, ctx),
        }
    }
}

impl Receive<Appended> for Schedule {
    fn receive(&mut self, appended: Appended, ctx: &mut Ctx<'_, Self>) {
        let Some(first) = appended.requests.first() else {
            catching_up::when_noted(&self.context, ctx, Self::caught_up);
            return;
        };
        if !self.is_ready {
            // From before it began anew.
            return;
        }
        let level = first.correlation as usize;
        let is_stored = appended
            .requests
            .iter()
            .all(|request| matches!(request.outcome, Outcome::Stored(_)));
        if !is_stored {
            // Some of them may be: the log knows.
            tracing::warn!(
                level = level + 1,
                "delayed messages could not be stored, which is tried again"
            );
            self.is_ready = false;
            self.epoch += 1;
            ctx.after(RETRY, |schedule, ctx| schedule.begin(ctx));
            return;
        }
        self.moved += appended.requests.len() as u64;
        if let Some(Doing::Moving(next)) = self.levels.get(level).map(|state| state.doing) {
            self.passed(level, next);
            self.read(level, ctx);
        }
    }
}
