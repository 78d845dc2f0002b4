//! commit-tracker: knows how far the log is flushed, releases the answers that wait for it, and says how far consumers
//! may see.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::native::response::SendStatus;
use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use serde::Serialize;
use tokio::time::Instant;

use super::append::{AppendBatch, Outcome, Stored};
use super::dispatcher::{Advance, Dispatcher};
use super::flush_service::{FlushService, FlushTo};
use crate::broker::context::{BrokerContext, FlushPolicy};
use crate::supervision::{ActorRef, Cast, Ctx, Failure, Receive};

/// A batch in the log whose answers wait for the policy. Dropping it answers them: as late, unless they were settled.
#[derive(Debug)]
pub(crate) struct Park {
    /// Behind its last record; zero once its outcomes say how it stands.
    pub(crate) end: PhysicalOffset,
    pub(crate) batch: AppendBatch,
}

impl Park {
    /// Its outcomes say how it stands.
    fn settle(&mut self) {
        self.end = PhysicalOffset::ZERO;
    }

    /// It is stored, and perhaps not durable.
    fn settle_late(&mut self) {
        self.batch.restate(|stored| {
            Outcome::Stored(Stored {
                status: SendStatus::FlushTimeout,
                ..stored
            })
        });
        self.settle();
    }
}

impl Drop for Park {
    /// With an actor that fails, in its hand or in its keeping, what is not durable must not be called so.
    fn drop(&mut self) {
        if self.end != PhysicalOffset::ZERO {
            self.settle_late();
        }
    }
}

/// The log is durable up to here.
#[derive(Debug)]
pub(crate) struct Flushed(pub(crate) PhysicalOffset);

/// The log cannot be flushed any more.
#[derive(Debug)]
pub(crate) struct FlushFailed {
    pub(crate) reason: String,
}

/// See the module.
pub(crate) struct CommitTracker {
    context: Arc<BrokerContext>,
    dispatcher: ActorRef<Dispatcher>,
    flusher: ActorRef<FlushService>,
    flushed: PhysicalOffset,
    parked: VecDeque<Parked>,
    failure: Option<String>,
}

struct Parked {
    park: Park,
    since: Instant,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct CommitTrackerState {
    flushed: u64,
    parked_batches: usize,
    failure: Option<String>,
}

impl CommitTracker {
    pub(crate) fn new(context: Arc<BrokerContext>) -> Result<Self, Failure> {
        let actors = context.actors()?;
        Ok(Self {
            dispatcher: actors.dispatcher.clone(),
            flusher: actors.flush_service.clone(),
            flushed: context.store.log.flushed(),
            failure: context.store.log.failure(),
            parked: VecDeque::new(),
            context,
        })
    }

    fn release(&mut self) {
        while let Some(mut parked) = self.parked.pop_front() {
            if parked.park.end > self.flushed {
                self.parked.push_front(parked);
                return;
            }
            // Dropping it answers it.
            parked.park.settle();
        }
    }

    /// Answers what waits for too long: it is stored, but perhaps not durable.
    fn release_late(&mut self) {
        let limit = self.context.settings.store.sync_flush_timeout_ms;
        let limit = Duration::from_millis(limit);
        while let Some(mut parked) = self.parked.pop_front() {
            if parked.since.elapsed() < limit {
                self.parked.push_front(parked);
                return;
            }
            parked.park.settle_late();
        }
    }

    fn refuse(&mut self, reason: &str) {
        let refusal = Refusal::unknown(
            ErrorCode::StorageFailed,
            format!("the message may not be durable, because {reason}: look at the broker's disk"),
        );
        for mut parked in self.parked.drain(..) {
            let batch = &mut parked.park.batch;
            batch.restate(|_| Outcome::Refused(Box::new(refusal.clone())));
            parked.park.settle();
        }
    }
}

impl Cast for CommitTracker {
    type State = CommitTrackerState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        if self.context.flush_policy == FlushPolicy::Sync {
            let limit = self.context.settings.store.sync_flush_timeout_ms;
            ctx.every(Duration::from_millis((limit / 4).max(1)), |tracker, _| {
                tracker.release_late();
            });
            // What an earlier incarnation was told may not have reached the dispatcher.
            let committed = self.flushed;
            self.dispatcher.tell(Advance { committed });
            // Nor may what was parked with it have been flushed, and perhaps no message follows that would have it done.
            self.flusher
                .tell(FlushTo(self.context.store.log.appended()));
        }
        Ok(())
    }

    fn observe(&self) -> CommitTrackerState {
        CommitTrackerState {
            flushed: self.flushed.0,
            parked_batches: self.parked.len(),
            failure: self.failure.clone(),
        }
    }
}

impl Receive<Park> for CommitTracker {
    fn receive(&mut self, mut park: Park, _ctx: &mut Ctx<'_, Self>) {
        let end = park.end;
        if end <= self.flushed {
            // It has nothing but what was stored before, or no messages at all, and asks what was handed to the log before:
            // nobody would flush anything for it.
            park.settle();
            return;
        }
        self.parked.push_back(Parked {
            park,
            since: Instant::now(),
        });
        match self.failure.clone() {
            Some(reason) => self.refuse(&reason),
            None => {
                self.flusher.tell(FlushTo(end));
            }
        }
    }
}

impl Receive<Flushed> for CommitTracker {
    fn receive(&mut self, Flushed(end): Flushed, _ctx: &mut Ctx<'_, Self>) {
        self.flushed = self.flushed.max(end);
        if self.context.flush_policy == FlushPolicy::Sync {
            let committed = self.flushed;
            self.dispatcher.tell(Advance { committed });
        }
        self.release();
    }
}

impl Receive<FlushFailed> for CommitTracker {
    fn receive(&mut self, FlushFailed { reason }: FlushFailed, _ctx: &mut Ctx<'_, Self>) {
        self.refuse(&reason);
        self.failure = Some(reason);
    }
}
