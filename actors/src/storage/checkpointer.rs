//! checkpointer: writes consume queues and index back, makes them durable now and then, and moves the place from which
//! the next start begins. On a thread of its own.

use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use castmq_storage::epochs;
use castmq_storage::metadata::MetadataError;
use castmq_storage::store::CheckpointRound;
use serde::Serialize;
use tokio::time::Instant;

use super::log_writer::{MOST_PENDING_UNITS, RefuseStalled};
use crate::broker::context::{BrokerContext, Store};
use crate::supervision::{Cast, Ctx, Failure, Lost, Receive, Reply};
use crate::worker::{Worker, hand_over};

/// How often the units that wait in memory and the log since the last checkpoint are counted, while messages come.
const TICK: Duration = Duration::from_millis(25);

/// And while none come.
const IDLE_TICK: Duration = Duration::from_millis(100);

/// More units than this in memory (20 bytes each) are written back at once.
const MAX_PENDING_UNITS: u64 = 256 * 1024;

/// A checkpoint is made after this time, if anything was written.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);

/// And after this much log, so that a start after a crash has not much more to read.
const CHECKPOINT_BYTES: u64 = 256 * 1024 * 1024;

/// A checkpoint that syncs many queues is worth more log: each costs a small write and a sync, whatever it got.
const CHECKPOINT_BYTES_A_QUEUE: u64 = 1024 * 1024;

/// But not more than this.
const MOST_CHECKPOINT_BYTES: u64 = 1024 * 1024 * 1024;

#[derive(Debug)]
enum Task {
    WriteBack,
    Checkpoint {
        dispatched: PhysicalOffset,
        store_ms: i64,
    },
    /// The next step of a checkpoint.
    GoOn(CheckpointRound),
}

/// What came of a task.
#[derive(Debug)]
struct Outcome {
    /// What is left to be done of a checkpoint, if it was one and there is anything.
    left: Option<CheckpointRound>,
    recovery_point: PhysicalOffset,
    /// How many queues the checkpoint syncs, when it was begun.
    queues: Option<usize>,
}

#[derive(Debug)]
struct Work {
    task: Task,
    shown: Option<PhysicalOffset>,
    reply: Reply<Result<Outcome, String>>,
}

#[derive(Debug)]
struct Done(Result<Result<Outcome, String>, Lost>);

/// See the module.
pub(crate) struct Checkpointer {
    context: Arc<BrokerContext>,
    thread: Option<Worker<Work>>,
    is_busy: bool,
    /// A checkpoint that is being made, between two steps.
    round: Option<CheckpointRound>,
    /// One has to be made even when nothing new comes: the last one failed or was ahead of what is durable, or the start filled
    /// queues again.
    is_due_again: bool,
    last_write_back: Instant,
    /// Where the dispatcher was at the last tick.
    at_last_tick: PhysicalOffset,
    /// When it was begun, and where the dispatcher was then.
    last_checkpoint: (Instant, PhysicalOffset),
    /// How much log it was worth.
    checkpoint_bytes: u64,
    /// Where a start after a crash would begin; not known before the first task is done.
    recovery_point: Option<PhysicalOffset>,
    last_error: Option<String>,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct CheckpointerState {
    pending_units: u64,
    /// A start after a crash reads the log from here on.
    recovery_point: Option<u64>,
    last_error: Option<String>,
}

impl Checkpointer {
    pub(crate) fn new(context: Arc<BrokerContext>) -> Self {
        let now = Instant::now();
        Self {
            last_checkpoint: (now, context.positions.dispatched()),
            checkpoint_bytes: CHECKPOINT_BYTES,
            last_write_back: now,
            at_last_tick: context.positions.dispatched(),
            thread: None,
            is_busy: false,
            round: None,
            is_due_again: true,
            recovery_point: None,
            last_error: None,
            context,
        }
    }

    fn tick(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.begin_what_is_due(ctx);
        let dispatched = self.context.positions.dispatched();
        let is_idle = std::mem::replace(&mut self.at_last_tick, dispatched) == dispatched;
        ctx.after(if is_idle { IDLE_TICK } else { TICK }, Self::tick);
    }

    fn begin_what_is_due(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.is_busy {
            return;
        }
        let Some(task) = self.due() else {
            return;
        };
        let work = Work {
            task,
            shown: self.context.shown_by_now(),
            reply: Reply::to_mailbox(ctx.me().mailbox(), Done),
        };
        self.is_busy = hand_over(self.thread.as_ref(), work, ctx);
    }

    /// What waits for queues to be written hears that they cannot be.
    fn refuse_what_waits(&self, error: &str) {
        let reason = Refusal::safe(
            ErrorCode::StorageFailed,
            format!(
                "consume queues cannot be written, and more than {MOST_PENDING_UNITS} of their units wait in memory already: {error}"
            ),
        );
        if let Ok(actors) = self.context.actors() {
            actors.log_writer.tell(RefuseStalled { reason });
        }
    }

    fn due(&mut self) -> Option<Task> {
        let dispatched = self.context.positions.dispatched();
        let (time, place) = self.last_checkpoint;
        let grown = dispatched.distance_from(place);
        let interval = self.context.settings.store.consume_queue_flush_interval_ms;
        let is_time = self.last_write_back.elapsed() >= Duration::from_millis(interval);
        let pending = self.context.store.queues.pending_units();
        // Memory is bounded first: a checkpoint of many queues takes a while.
        if pending > MAX_PENDING_UNITS || (is_time && pending > 0 && self.round.is_some()) {
            self.last_write_back = Instant::now();
            return Some(Task::WriteBack);
        }
        if let Some(round) = self.round.take() {
            return Some(Task::GoOn(round));
        }
        let halves = &self.context.store.unseen.halves;
        let is_wanted = grown > 0 || self.is_due_again || halves.has_unsaved_questions();
        if grown >= self.checkpoint_bytes || (is_wanted && time.elapsed() >= CHECKPOINT_INTERVAL) {
            // Recovery begins where the log is durable, at the latest: behind that it is for another one, though nothing may come.
            self.is_due_again = self.context.store.log.flushed() < dispatched;
            self.last_checkpoint = (Instant::now(), dispatched);
            self.last_write_back = Instant::now();
            return Some(Task::Checkpoint {
                dispatched,
                store_ms: self.context.positions.store_ms(),
            });
        }
        if is_time && grown > 0 {
            self.last_write_back = Instant::now();
            return Some(Task::WriteBack);
        }
        None
    }
}

/// So that the next start shows nothing else before others have it.
fn note_shown(store: &Store, shown: Option<PhysicalOffset>) -> Result<(), MetadataError> {
    let metadata = &store.metadata;
    if shown.is_some() && epochs::shown(metadata)? != shown {
        epochs::note_shown(metadata, shown)?;
        metadata.flush()?;
    }
    Ok(())
}

/// How much log a checkpoint is worth that syncs so many queues.
fn checkpoint_bytes(queues: usize) -> u64 {
    let bytes = CHECKPOINT_BYTES_A_QUEUE.saturating_mul(queues as u64);
    bytes.clamp(CHECKPOINT_BYTES, MOST_CHECKPOINT_BYTES)
}

fn work(store: &Store, task: Task) -> Result<Outcome, String> {
    let is_begun = matches!(task, Task::Checkpoint { .. });
    let left = match task {
        Task::WriteBack => store.write_back().map(|()| None),
        Task::Checkpoint {
            dispatched,
            store_ms,
        } => store.begin_checkpoint(dispatched, store_ms).map(Some),
        Task::GoOn(mut round) => {
            let is_made = store.go_on_with_checkpoint(&mut round);
            is_made.map(|is_made| (!is_made).then_some(round))
        }
    };
    let left = left.map_err(|error| error.to_string())?;
    Ok(Outcome {
        queues: left
            .as_ref()
            .filter(|_| is_begun)
            .map(CheckpointRound::queues_left),
        left,
        recovery_point: store.recovery_point(),
    })
}

impl Cast for Checkpointer {
    type State = CheckpointerState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        let store = self.context.store.clone();
        self.thread = Some(Worker::start_in_background(
            "checkpoint",
            move |Work { task, shown, reply }| {
                let noted = note_shown(&store, shown).map_err(|error| error.to_string());
                reply.send(noted.and_then(|()| work(&store, task)));
            },
        )?);
        ctx.after(TICK, Self::tick);
        Ok(())
    }

    fn observe(&self) -> CheckpointerState {
        CheckpointerState {
            pending_units: self.context.store.queues.pending_units(),
            recovery_point: self.recovery_point.map(|point| point.0),
            last_error: self.last_error.clone(),
        }
    }
}

impl Receive<Done> for Checkpointer {
    fn receive(&mut self, Done(result): Done, ctx: &mut Ctx<'_, Self>) {
        self.is_busy = false;
        match result {
            Ok(Ok(outcome)) => {
                self.last_error = None;
                self.recovery_point = Some(outcome.recovery_point);
                if let Some(queues) = outcome.queues {
                    self.checkpoint_bytes = checkpoint_bytes(queues);
                }
                match outcome.left {
                    Some(_) => self.round = outcome.left,
                    // However long it took, something else gets its turn before the next.
                    None => self.last_write_back = Instant::now(),
                }
                if self.round.is_some() {
                    self.begin_what_is_due(ctx);
                }
            }
            Ok(Err(error)) => {
                // What could not be written stays in memory and is tried again.
                if self.last_error.as_ref() != Some(&error) {
                    tracing::error!(error, "consume queues cannot be written");
                }
                if self.context.store.queues.pending_units() > MOST_PENDING_UNITS {
                    self.refuse_what_waits(&error);
                }
                self.last_error = Some(error);
                self.is_due_again = true;
            }
            Err(Lost) => ctx.fail(Failure::new("the checkpoint thread died")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_queues_a_checkpoint_syncs_the_more_log_it_is_worth() {
        const MIB: u64 = 1024 * 1024;
        let worth = |queues| checkpoint_bytes(queues) / MIB;
        assert_eq!([0, 4, 256].map(worth), [256; 3]);
        assert_eq!(worth(1_000), 1_000);
        assert_eq!([1_024, 40_000, usize::MAX].map(worth), [1_024; 3]);
    }
}
