//! timer: messages that wait for a time. They lie in the timer topic; its thread enters them into the wheel and takes out what
//! is due, and the actor stores that again under its own topic.
//!
//! - `thread`: the wheel, and what was delivered before the last stop.
//!
//! What is stored again says which message it was. After a stop the wheel gives out what it cannot be sure of once more, and
//! what the log says was stored is passed over: a message is delivered once, whatever fails in between, and never early.

mod thread;

use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::{
    MAX_PROPERTIES_BYTES, PhysicalOffset, QueueId, keys, property_value, replace_properties,
    system_topics,
};
use castmq_protocol::record::{Origin, RecordView};
use serde::Serialize;
use tokio::time::Instant;

use self::thread::{Job, Turn, Wheel};
pub(crate) use self::thread::{SharedWheel, cancel_key, note_masters};
use super::catching_up;
use super::expiry::Expiry;
use super::redirect::real_place;
use crate::broker::context::BrokerContext;
use crate::storage::append::{Appended, Outcome};
use crate::storage::log_writer::LogWriter;
use crate::storage::put::{Put, PutBatch};
use crate::supervision::{ActorRef, Cast, Ctx, Failure, Lost, Receive, Reply};
use crate::worker::Worker;

/// The shortest pause between two turns: many messages are due at nearly the same time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);

/// The longest: the wall clock may be set.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often it is written down how far the wheel is.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(2);

/// The longest pause of a wheel on which nothing waits.
const EMPTY_PAUSE: Duration = Duration::from_secs(60);

/// What failed is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);

/// The timer topic has new messages.
#[derive(Debug)]
pub(crate) struct TimerGrown;

/// The thread has something to say.
#[derive(Debug)]
struct Turned(Result<Result<Turn, String>, Lost>);

/// What the actor is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// It finds out what was handed to the log before.
    Beginning,
    /// The thread has the wheel.
    Turning,
    /// Messages are on their way to the log.
    Storing,
    /// It waits for a time, or for messages.
    Waiting,
}

type Work = (Job, Reply<Result<Turn, String>>);

/// See the module.
pub(crate) struct Timer {
    context: Arc<BrokerContext>,
    writer: ActorRef<LogWriter>,
    thread: Option<Worker<Work>>,
    doing: Doing,
    /// There is more to do than was known when the turn began.
    is_called_again: bool,
    /// Told apart from wake-ups that were set before.
    waiting: u64,
    last: Turn,
    last_checkpoint: Instant,
    /// Something was entered or came out since.
    is_changed: bool,
    delivered: u64,
    /// Messages that were gone when their time came.
    gone: u64,
    last_error: Option<String>,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct TimerState {
    waiting: u64,
    read_to_ms: i64,
    delivered: u64,
    gone: u64,
    last_error: Option<String>,
}

impl Timer {
    pub(crate) fn new(context: Arc<BrokerContext>) -> Result<Self, Failure> {
        let now = Instant::now();
        Ok(Self {
            writer: context.actors()?.log_writer.clone(),
            thread: None,
            doing: Doing::Beginning,
            is_called_again: false,
            waiting: 0,
            last: Turn::default(),
            last_checkpoint: now,
            is_changed: false,
            delivered: 0,
            gone: 0,
            last_error: None,
            context,
        })
    }

    /// What was handed to the log before has to be in the log, and dispatched.
    fn begin(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.doing = Doing::Beginning;
        catching_up::ask(&self.writer, ctx);
    }

    fn caught_up(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.submit(Job::Open, ctx);
    }

    fn submit(&mut self, job: Job, ctx: &mut Ctx<'_, Self>) {
        self.doing = Doing::Turning;
        self.waiting += 1;
        let reply = Reply::to_mailbox(ctx.me().mailbox(), Turned);
        let thread = self.thread.as_ref();
        if let Some(Err(failure)) = thread.map(|thread| thread.submit((job, reply))) {
            ctx.fail(failure);
        }
    }

    /// The next thing for the thread to do; everything that came out is stored.
    fn turn(&mut self, ctx: &mut Ctx<'_, Self>) {
        let now_ms = self.context.clock.now_ms();
        let is_due = self.is_changed && self.last_checkpoint.elapsed() >= CHECKPOINT_INTERVAL;
        if self.last.checkpoint_first || is_due {
            self.last_checkpoint = Instant::now();
            self.is_changed = false;
            self.submit(Job::Checkpoint { now_ms }, ctx);
            return;
        }
        self.is_changed |= self.is_called_again || self.last.waiting > 0;
        self.is_called_again = false;
        self.submit(Job::Turn { now_ms }, ctx);
    }

    fn turned(&mut self, turn: Turn, ctx: &mut Ctx<'_, Self>) {
        if turn.gone > 0 {
            self.gone += turn.gone;
            tracing::error!(
                messages = turn.gone,
                "messages that waited for their time are gone: the part of the log in which they lay is no longer there"
            );
        }
        let mut batch = PutBatch::default();
        for (index, slice) in turn.due.iter().enumerate() {
            if let Ok(record) = RecordView::parse(slice.record.as_ref()) {
                self.add(&mut batch, index as u64, slice.rolls, &record);
            }
        }
        // A checkpoint that has to wait for the log is made with the next one, and keeps nobody waiting.
        self.is_changed |= turn.is_uncovered || turn.is_behind;
        let stands_still = turn.is_uncovered && self.last.checkpoint_first;
        self.last = Turn {
            due: Vec::new(),
            more: turn.more && !stands_still,
            ..turn
        };
        if batch.len() > 0 {
            self.doing = Doing::Storing;
            batch.send(&self.writer, ctx.me().mailbox());
        } else {
            self.go_on(ctx);
        }
    }

    fn go_on(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.last.more || self.is_called_again {
            self.turn(ctx);
            return;
        }
        self.doing = Doing::Waiting;
        let left_ms = self.last.next_ms - self.context.clock.now_ms();
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
        let most = match self.last.waiting {
            // Nothing turns an empty wheel but a message.
            0 if !self.is_changed => EMPTY_PAUSE,
            _ => LONGEST_PAUSE,
        };
        self.waiting += 1;
        let waiting = self.waiting;
        ctx.after(left.clamp(SHORTEST_PAUSE, most), move |timer, ctx| {
            if timer.doing == Doing::Waiting && timer.waiting == waiting {
                timer.turn(ctx);
            }
        });
    }

    fn add(&self, batch: &mut PutBatch, number: u64, rolls: bool, record: &RecordView<'_>) {
        let encoded = record.properties();
        if Expiry::of_message(None, self.context.clock.now_ms()).is_over(record) {
            self.context.meters.expired(1);
            return;
        }
        let place = PhysicalOffset::from_i64(record.physical_offset()).unwrap_or_default();
        let stored = if rolls {
            let times = property_value(encoded, keys::TIMER_ROLL_TIMES);
            let times = times.and_then(|times| times.parse::<u32>().ok());
            let times = times.unwrap_or(0).saturating_add(1).to_string();
            let changes = [(keys::TIMER_ROLL_TIMES, Some(times.as_str()))];
            let topic = self.context.topics.find(system_topics::TIMER);
            let place = topic.map(|topic| (topic, Some(QueueId(0))));
            (
                place.ok_or_else(|| system_topics::TIMER.to_owned()),
                replace_properties(encoded, &changes),
            )
        } else {
            (
                real_place(&self.context, encoded),
                self.delivered_properties(record),
            )
        };
        let ((topic, queue), properties) = match stored {
            (Ok(place), properties) => (place, properties),
            (Err(topic), _) => {
                tracing::warn!(topic, %place, "a message that waited has no topic to go to any more");
                return;
            }
        };
        batch.add(
            number,
            &Put {
                queue,
                prepared_transaction_offset: Origin::Timer { place }.encode(),
                properties: &properties,
                ..Put::again(record, topic.id)
            },
        );
    }

    /// The properties under which a message comes to its topic, with the times of its waiting where there is room for them.
    fn delivered_properties(&self, record: &RecordView<'_>) -> Vec<u8> {
        let entered_ms = record.store_timestamp_ms().to_string();
        let taken_out_ms = self.context.clock.now_ms().to_string();
        let changes = [
            (keys::REAL_TOPIC, None),
            (keys::REAL_QID, None),
            (keys::TIMER_ENQUEUE_MS, Some(entered_ms.as_str())),
            (keys::TIMER_DEQUEUE_MS, Some(taken_out_ms.as_str())),
        ];
        let properties = replace_properties(record.properties(), &changes);
        if properties.len() <= MAX_PROPERTIES_BYTES {
            return properties;
        }
        let [topic, queue, ..] = changes;
        replace_properties(record.properties(), &[topic, queue])
    }

    fn failed(&mut self, error: String, ctx: &mut Ctx<'_, Self>) {
        if self.last_error.as_ref() != Some(&error) {
            tracing::error!(error, "the timer cannot go on, which is tried again");
        }
        self.last_error = Some(error);
        self.doing = Doing::Beginning;
        ctx.after(RETRY, |timer, ctx| timer.begin(ctx));
    }
}

impl Cast for Timer {
    type State = TimerState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        if self.context.standing.is_slave() {
            return Ok(());
        }
        let mut wheel = Wheel::new(&self.context);
        let work = move |(job, reply): Work| {
            reply.send(wheel.work(job).map_err(|error| error.to_string()));
        };
        self.thread = Some(Worker::start("timer", work)?);
        self.begin(ctx);
        Ok(())
    }

    fn observe(&self) -> TimerState {
        TimerState {
            waiting: self.last.waiting,
            read_to_ms: self.last.read_to_ms,
            delivered: self.delivered,
            gone: self.gone,
            last_error: self.last_error.clone(),
        }
    }
}

impl Receive<TimerGrown> for Timer {
    fn receive(&mut self, TimerGrown: TimerGrown, ctx: &mut Ctx<'_, Self>) {
        self.is_called_again = true;
        if self.doing == Doing::Waiting {
            self.turn(ctx);
        }
    }
}

impl Receive<Turned> for Timer {
    fn receive(&mut self, Turned(turned): Turned, ctx: &mut Ctx<'_, Self>) {
        match turned {
            Ok(Ok(turn)) => {
                self.last_error = None;
                self.turned(turn, ctx);
            }
            Ok(Err(error)) => self.failed(error, ctx),
            Err(Lost) => ctx.fail(Failure::new("the timer's thread died")),
        }
    }
}

impl Receive<Appended> for Timer {
    fn receive(&mut self, appended: Appended, ctx: &mut Ctx<'_, Self>) {
        match (self.doing, appended.requests.is_empty()) {
            (Doing::Beginning, true) => {
                catching_up::when_noted(&self.context, ctx, Self::caught_up);
            }
            (Doing::Storing, false) => {
                let is_stored = |request: &crate::storage::append::AppendRequest| {
                    matches!(request.outcome, Outcome::Stored(_))
                };
                if appended.requests.iter().all(is_stored) {
                    self.delivered += appended.requests.len() as u64;
                    self.go_on(ctx);
                } else {
                    // Some of them may be: the log knows.
                    self.failed("messages that are due could not be stored".to_owned(), ctx);
                }
            }
            _ => {}
        }
    }
}
